"""Where the number of a lesion stands in a picture: beside the lesion, and on no other number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Box = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Rectangle:
    """A part of a picture, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Rectangle) -> bool:
        """Return whether the two rectangles overlap."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: Rectangle) -> bool:
        """Return whether the other rectangle holds all of this one."""
        across = self.left >= other.left and self.right <= other.right
        return across and self.top >= other.top and self.bottom <= other.bottom


def free_place(
    box: Box,
    size: tuple[float, float],
    gap: tuple[float, float],
    inside: Rectangle,
    taken: Iterable[Rectangle],
) -> Rectangle | None:
    """Return the best place for a number beside a lesion, or None if there is no room.

    ``box`` are the lesion's rows and columns; ``size`` and ``gap`` are given across and down.
    """
    for place in _beside(box, *size, *gap):
        if place.within(inside) and not any(place.meets(other) for other in taken):
            return place
    return None


def _beside(box: Box, width: float, height: float, gap_x: float, gap_y: float) -> list[Rectangle]:
    """Return where a number may stand, the best place first."""
    rows, columns = box
    middle_x, middle_y = (columns.start + columns.stop - 1) / 2, (rows.start + rows.stop - 1) / 2
    beyond_right, beyond_left = columns.stop - 0.5 + gap_x, columns.start - 0.5 - gap_x - width
    below, above = rows.stop - 0.5 + gap_y, rows.start - 0.5 - gap_y - height
    corners = [
        (beyond_right, middle_y - height / 2),
        (beyond_left, middle_y - height / 2),
        (middle_x - width / 2, above),
        (middle_x - width / 2, below),
        (beyond_right, above),
        (beyond_right, below),
        (beyond_left, above),
        (beyond_left, below),
    ]
    return [Rectangle(x, y, x + width, y + height) for x, y in corners]
