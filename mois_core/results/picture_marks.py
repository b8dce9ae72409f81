"""Marks on one panel of the picture: outlines, ids and clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patheffects import withStroke

from mois_core.results.colours import Colour
from mois_core.results.id_places import Rectangle, free_place
from mois_core.session.lesion import Click, Lesion, Status
from mois_core.session.masks import Plane

STYLES = {
    Status.PROMPTED: {"linestyle": "-", "linewidth": 0.9},
    Status.ACCEPTED: {"linestyle": (0, (5, 1.5)), "linewidth": 0.9},
    Status.FOUND: {"linestyle": (0, (1.6, 1.2)), "linewidth": 0.9},
}
"""Line of each status: unbroken for what the user pointed at, broken for what a search found."""

_CLICK_POINTS = 4.2
_CLICK = {"linestyle": "", "markersize": 3.2, "markeredgecolor": "black", "markeredgewidth": 0.4}
POSITIVE_CLICK = {**_CLICK, "marker": "o", "markerfacecolor": "white"}
NEGATIVE_CLICK = {**_CLICK, "marker": "X", "markerfacecolor": "white", "markersize": _CLICK_POINTS}

_FONT_POINTS = 6.5
_POINTS_PER_INCH = 72
_DIGIT_WIDTH, _DIGIT_HEIGHT = 0.64, 0.8
"""Width and height of a digit in the default font, as parts of the font's size."""
_ID_GAP_POINTS = 2.0


@dataclass(frozen=True, eq=False)
class DrawnLesion:
    """A lesion as one panel shows it."""

    lesion: Lesion
    plane: Plane
    clicks: tuple[Click, ...]
    colour: Colour


def on_slice(lesion: Lesion, slice_index: int, colour: Colour) -> DrawnLesion:
    """Return a lesion as one slice shows it."""
    plane, clicks = lesion.mask.planes[slice_index], lesion.clicks_on(slice_index)
    return DrawnLesion(lesion, plane, clicks, colour)


def projected(lesion: Lesion, colour: Colour) -> DrawnLesion:
    """Return a lesion as the projection shows it: everything that it covers on any slice."""
    planes = list(lesion.mask.planes.values())
    top = min(plane.row for plane in planes)
    left = min(plane.column for plane in planes)
    bottom = max(plane.box[0].stop for plane in planes)
    right = max(plane.box[1].stop for plane in planes)
    pixels = np.zeros((bottom - top, right - left), dtype=bool)
    for plane in planes:
        inside = Plane(plane.row - top, plane.column - left, plane.pixels)
        pixels[inside.box] |= plane.pixels
    return DrawnLesion(lesion, Plane(top, left, pixels), lesion.clicks, colour)


def draw_outlines(axes: Axes, lesions: Sequence[DrawnLesion]) -> None:
    """Draw each lesion's border in its colour.

    There is one collection a style, as axes slow down with many.
    """
    for status, style in STYLES.items():
        lines, colours = [], []
        for drawn in lesions:
            if drawn.lesion.status is status:
                outline = _outline(drawn.plane)
                lines += outline
                colours += [drawn.colour] * len(outline)
        if lines:
            axes.add_collection(LineCollection(lines, colors=colours, **style), autolim=False)


def _outline(plane: Plane) -> list[np.ndarray]:
    """Return closed lines around a plane's pixels; the padding closes those at its edge."""
    padded = np.pad(plane.pixels, 1).astype(np.float32)
    lines = contour_generator(z=padded).lines(0.5)
    return [line + (plane.column - 1, plane.row - 1) for line in lines]


def draw_clicks(axes: Axes, lesions: Sequence[DrawnLesion]) -> None:
    """Draw clicks, marked by whether they are in the lesion or outside of it."""
    for positive, marker in ((True, POSITIVE_CLICK), (False, NEGATIVE_CLICK)):
        clicks = [c for drawn in lesions for c in drawn.clicks if c.positive is positive]
        if clicks:
            axes.plot([c.x for c in clicks], [c.y for c in clicks], **marker)


def draw_ids(
    axes: Axes, lesions: Sequence[DrawnLesion], pixels_per_inch: tuple[float, float]
) -> None:
    """Draw ids beside the lesions, those of the largest first; one without room is left out.

    An id on top of another would be read as a third one, and one on top of a click hides it.
    """
    point_x, point_y = (pixels / _POINTS_PER_INCH for pixels in pixels_per_inch)
    left, right = sorted(axes.get_xlim())
    top, bottom = sorted(axes.get_ylim())
    panel = Rectangle(left, top, right, bottom)
    radius_x, radius_y = _CLICK_POINTS / 2 * point_x, _CLICK_POINTS / 2 * point_y
    taken = [
        Rectangle(c.x - radius_x, c.y - radius_y, c.x + radius_x, c.y + radius_y)
        for drawn in lesions
        for c in drawn.clicks
    ]
    for drawn in sorted(lesions, key=lambda drawn: -int(drawn.plane.pixels.sum())):
        text = str(drawn.lesion.id)
        width = len(text) * _DIGIT_WIDTH * _FONT_POINTS * point_x
        height = _DIGIT_HEIGHT * _FONT_POINTS * point_y
        gap_x, gap_y = _ID_GAP_POINTS * point_x, _ID_GAP_POINTS * point_y
        place = free_place(drawn.plane.box, (width, height), (gap_x, gap_y), panel, taken)
        if place is not None:
            taken.append(place)
            _write(axes, place, text, drawn.colour)


def _write(axes: Axes, rectangle: Rectangle, text: str, colour: Colour) -> None:
    axes.text(
        (rectangle.left + rectangle.right) / 2,
        (rectangle.top + rectangle.bottom) / 2,
        text,
        ha="center",
        va="center_baseline",
        fontsize=_FONT_POINTS,
        fontweight="bold",
        color=colour,
        path_effects=[withStroke(linewidth=1.6, foreground="black")],
    )
