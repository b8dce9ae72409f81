"""Labels of control points: ``7+`` is a positive click for lesion 7, ``7-`` a negative one.

Files and the Slicer scene use the same labels. This imports nothing, since Slicer's module reads
it when Slicer starts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_CLICK_LABEL = re.compile(r"\s*0*([1-9][0-9]*)\s*([+-])\s*")

# What word processors and Asian keyboards put in the place of a sign, a digit or a blank. Without
# this, a negative click with a typographic minus would become a positive one of a new lesion.
_LOOK_ALIKES = str.maketrans(
    dict.fromkeys("\N{FULLWIDTH PLUS SIGN}\N{SMALL PLUS SIGN}", "+")
    | dict.fromkeys(
        "\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}"
        "\N{SMALL HYPHEN-MINUS}\N{FULLWIDTH HYPHEN-MINUS}\N{HEAVY MINUS SIGN}",
        "-",
    )
    | dict.fromkeys(
        "\N{ZERO WIDTH SPACE}\N{WORD JOINER}\N{ZERO WIDTH NO-BREAK SPACE}"
        "\N{LEFT-TO-RIGHT MARK}\N{RIGHT-TO-LEFT MARK}"
    )
    | {0xFF10 + digit: str(digit) for digit in range(10)}
)


class ClickLabel(NamedTuple):
    """A lesion, and whether the labelled point belongs to it."""

    lesion_id: int
    positive: bool


def read_click_label(label: str) -> ClickLabel | None:
    """Return what a label says, or None for any other, such as the ``F-1`` that Slicer gives.

    Signs, digits and blanks that look like those of a label count as them.
    """
    match = _CLICK_LABEL.fullmatch(label.translate(_LOOK_ALIKES))
    return ClickLabel(int(match[1]), match[2] == "+") if match else None


def write_click_label(lesion_id: int, positive: bool) -> str:
    """Return the label of a click's control point."""
    return f"{lesion_id}{'+' if positive else '-'}"
