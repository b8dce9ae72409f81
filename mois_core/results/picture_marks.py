"""What is drawn onto one panel of the picture: outlines, numbers and clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke

from mois_core.results.colours import Colour, lesion_colour
from mois_core.session.lesion import Click, Lesion, Status
from mois_core.session.masks import Plane

STYLES = {
    Status.PROMPTED: {"linestyle": "-", "linewidth": 0.9},
    Status.ACCEPTED: {"linestyle": (0, (5, 1.5)), "linewidth": 0.9},
    Status.FOUND: {"linestyle": (0, (1.6, 1.2)), "linewidth": 0.9},
}
"""A broken line for what only the search says, an unbroken one for what the user pointed at."""

_CLICK_POINTS = 4.2
_CLICK = {"linestyle": "", "markersize": 3.2, "markeredgecolor": "black", "markeredgewidth": 0.4}
POSITIVE_CLICK = {**_CLICK, "marker": "o", "markerfacecolor": "white"}
NEGATIVE_CLICK = {**_CLICK, "marker": "X", "markerfacecolor": "white", "markersize": _CLICK_POINTS}

_FONT_POINTS = 6.5
_POINTS_PER_INCH = 72
_DIGIT_WIDTH, _DIGIT_HEIGHT = 0.64, 0.8
"""Of a digit in the default font, as parts of the font's size."""
_NUMBER_GAP_POINTS = 2.0


@dataclass(frozen=True, eq=False)
class Shape:
    """What one panel shows of a lesion."""

    lesion: Lesion
    plane: Plane
    clicks: tuple[Click, ...]


def on_slice(lesion: Lesion, number: int) -> Shape:
    """A lesion as one slice shows it."""
    return Shape(lesion, lesion.mask.planes[number], lesion.clicks_on(number))


def projected(lesion: Lesion) -> Shape:
    """A lesion as the projection shows it: everything it covers on any slice."""
    planes = list(lesion.mask.planes.values())
    top = min(plane.row for plane in planes)
    left = min(plane.column for plane in planes)
    bottom = max(plane.box[0].stop for plane in planes)
    right = max(plane.box[1].stop for plane in planes)
    pixels = np.zeros((bottom - top, right - left), dtype=bool)
    for plane in planes:
        inside = Plane(plane.row - top, plane.column - left, plane.pixels)
        pixels[inside.box] |= plane.pixels
    return Shape(lesion, Plane(top, left, pixels), lesion.clicks)


def draw_outlines(axes: Axes, shapes: Sequence[Shape]) -> None:
    """Each lesion's border in its colour; one collection a style, as axes slow down with many."""
    for status, style in STYLES.items():
        lines, colours = [], []
        for shape in shapes:
            if shape.lesion.status is status:
                outline = _outline(shape.plane)
                lines += outline
                colours += [lesion_colour(shape.lesion.id)] * len(outline)
        if lines:
            axes.add_collection(LineCollection(lines, colors=colours, **style), autolim=False)


def _outline(plane: Plane) -> list[np.ndarray]:
    """Closed lines around a plane's pixels; the padding closes those at its edge."""
    padded = np.pad(plane.pixels, 1).astype(np.float32)
    lines = contour_generator(z=padded).lines(0.5)
    return [line + (plane.column - 1, plane.row - 1) for line in lines]


def draw_clicks(axes: Axes, shapes: Sequence[Shape]) -> None:
    """Where the user pointed, and whether that was in the lesion or outside."""
    for positive, marker in ((True, POSITIVE_CLICK), (False, NEGATIVE_CLICK)):
        clicks = [c for shape in shapes for c in shape.clicks if c.positive is positive]
        if clicks:
            axes.plot([c.x for c in clicks], [c.y for c in clicks], **marker)


@dataclass(frozen=True)
class _Rectangle:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Rectangle) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: _Rectangle) -> bool:
        across = self.left >= other.left and self.right <= other.right
        return across and self.top >= other.top and self.bottom <= other.bottom


def draw_numbers(axes: Axes, shapes: Sequence[Shape], pixels_per_inch: tuple[float, float]) -> None:
    """Numbers beside the lesions, the largest first; one without room is left out.

    A number on top of another would be read as a third one, and one on top of a click hides it.
    """
    point_x, point_y = (pixels / _POINTS_PER_INCH for pixels in pixels_per_inch)
    left, right = sorted(axes.get_xlim())
    top, bottom = sorted(axes.get_ylim())
    panel = _Rectangle(left, top, right, bottom)
    radius_x, radius_y = _CLICK_POINTS / 2 * point_x, _CLICK_POINTS / 2 * point_y
    taken = [
        _Rectangle(c.x - radius_x, c.y - radius_y, c.x + radius_x, c.y + radius_y)
        for shape in shapes
        for c in shape.clicks
    ]
    for shape in sorted(shapes, key=lambda shape: -int(shape.plane.pixels.sum())):
        text = str(shape.lesion.id)
        width = len(text) * _DIGIT_WIDTH * _FONT_POINTS * point_x
        height = _DIGIT_HEIGHT * _FONT_POINTS * point_y
        gap_x, gap_y = _NUMBER_GAP_POINTS * point_x, _NUMBER_GAP_POINTS * point_y
        for place in _places(shape.plane, width, height, gap_x, gap_y):
            if place.within(panel) and not any(place.meets(other) for other in taken):
                taken.append(place)
                _write(axes, place, text, lesion_colour(shape.lesion.id))
                break


def _places(
    plane: Plane, width: float, height: float, gap_x: float, gap_y: float
) -> list[_Rectangle]:
    """Where a lesion's number may stand, the best place first."""
    rows, columns = plane.box
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
    return [_Rectangle(x, y, x + width, y + height) for x, y in corners]


def _write(axes: Axes, place: _Rectangle, text: str, colour: Colour) -> None:
    axes.text(
        (place.left + place.right) / 2,
        (place.top + place.bottom) / 2,
        text,
        ha="center",
        va="center_baseline",
        fontsize=_FONT_POINTS,
        fontweight="bold",
        color=colour,
        path_effects=[withStroke(linewidth=1.6, foreground="black")],
    )
