"""Labels of control points: ``7+`` is a positive click for lesion 7, ``7-`` a negative one.

Files and the Slicer scene use the same labels. This imports nothing, since Slicer's module reads
it when Slicer starts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_CLICK_LABEL = re.compile(r"\s*0*([1-9][0-9]*)\s*([+-])\s*")


class ClickLabel(NamedTuple):
    """A lesion, and whether the labelled point belongs to it."""

    lesion_id: int
    positive: bool


def read_click_label(label: str) -> ClickLabel | None:
    """Return what a label says, or None for any other, such as the ``F-1`` that Slicer gives."""
    match = _CLICK_LABEL.fullmatch(label)
    return ClickLabel(int(match[1]), match[2] == "+") if match else None


def write_click_label(lesion_id: int, positive: bool) -> str:
    """Return the label of a click's control point."""
    return f"{lesion_id}{'+' if positive else '-'}"
