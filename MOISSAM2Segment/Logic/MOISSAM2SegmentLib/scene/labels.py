"""What a control point's label says: ``7+`` belongs to lesion 7, ``7-`` does not."""

from __future__ import annotations

import re
from typing import NamedTuple

_LESION_CLICK = re.compile(r"\s*0*([1-9][0-9]*)\s*([+-])\s*")


class Labelled(NamedTuple):
    """A lesion's number, and whether the point belongs to it."""

    lesion: int
    positive: bool


def read_label(label: str) -> Labelled | None:
    """None for any other label, such as the ``F-1`` that Slicer gives by itself."""
    match = _LESION_CLICK.fullmatch(label)
    return Labelled(int(match[1]), match[2] == "+") if match else None


def click_label(lesion: int, positive: bool) -> str:
    """The label of a click, as in the files that the command line reads."""
    return f"{lesion}{'+' if positive else '-'}"
