"""Pictures of a comparison: scans side by side, curves over time, and the registration."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mois_core import __version__
from mois_core.followup.change import lesion_changes
from mois_core.followup.course import FollowUp, labels_of_courses
from mois_core.followup.report import summary
from mois_core.geometry import SliceStack
from mois_core.io.atomic import atomic_write
from mois_core.results.colours import lesion_colour
from mois_core.results.picture_marks import draw_ids, draw_outlines, projected
from mois_core.session.intensity import PERCENTILES
from mois_core.session.lesion import Lesion

_DPI = 150
_HEIGHT_INCHES, _HEADER_INCHES, _FOOTER_INCHES, _GAP_INCHES = 9.0, 0.95, 0.35, 0.15
_MOST_CURVES = 12
_INK, _FAINT_INK = "#1b1f24", "#5b6470"


def draw_side_by_side(path: str | os.PathLike[str], follow_up: FollowUp) -> None:
    """Write a PNG of the maximum projections of all scans; a lesion keeps number and colour."""
    _save(path, side_by_side(follow_up))


def draw_curves(path: str | os.PathLike[str], follow_up: FollowUp) -> None:
    """Write a PNG of the volumes over all scans."""
    _save(path, curves(follow_up))


def draw_registration(path: str | os.PathLike[str], follow_up: FollowUp) -> None:
    """Write a PNG of how each scan lies on the next one, before and after the registration."""
    _save(path, registration_picture(follow_up))


def side_by_side(follow_up: FollowUp) -> Figure:
    """Return the projections of all scans, in the order of time."""
    stacks = [SliceStack(point.scan) for point in follow_up.points]
    sizes = [np.multiply(stack.shape, stack.pixel_spacing) for stack in stacks]
    inches_per_mm = _HEIGHT_INCHES / max(size[0] for size in sizes)
    widths = [size[1] * inches_per_mm for size in sizes]
    width = max(sum(widths) + _GAP_INCHES * (len(widths) + 1), 6.0)
    height = _HEIGHT_INCHES + _HEADER_INCHES + _FOOTER_INCHES
    figure = _figure(width, height)
    left = _GAP_INCHES
    for n, (stack, size) in enumerate(zip(stacks, sizes, strict=True)):
        own = size[0] * inches_per_mm
        bottom = _FOOTER_INCHES + (_HEIGHT_INCHES - own)
        axes = figure.add_axes((left / width, bottom / height, widths[n] / width, own / height))
        _projection(axes, follow_up, n, stack, stack.shape[0] / own)
        left += widths[n] + _GAP_INCHES
    for row, text in enumerate(summary(follow_up).split("\n")):
        size, colour = (11, _INK) if row == 0 else (10, _FAINT_INK)
        figure.text(
            _GAP_INCHES / width, 1 - (0.12 + 0.24 * row) / height, text, va="top", fontsize=size,
            color=colour,
        )  # fmt: skip
    figure.text(
        _GAP_INCHES / width, 0.12 / height,
        f"A lesion keeps its number and colour.  MOISSAM2 {__version__}, for research only.",
        fontsize=7.5, color=_FAINT_INK,
    )  # fmt: skip
    return figure


def _projection(
    axes: Axes, follow_up: FollowUp, position: int, stack: SliceStack, pixels_per_inch: float
) -> None:
    flat = stack.array.max(axis=0)
    low, high = _window(flat)
    row_mm, column_mm = stack.pixel_spacing
    axes.imshow(flat, cmap="gray", vmin=low, vmax=high, aspect=row_mm / column_mm)
    axes.autoscale(enable=False)
    axes.set_axis_off()
    for x, letter, side in ((0.02, "R", "left"), (0.98, "L", "right")):
        axes.text(
            x, 0.985, letter, transform=axes.transAxes, ha=side, va="top", color="white",
            fontweight="bold",
        )  # fmt: skip
    point = follow_up.points[position]
    axes.set_title(f"Scan {position + 1}: {point.burden_cm3:,.1f} cm³", fontsize=9, color=_INK)
    drawn = []
    for value, course in sorted(labels_of_courses(follow_up, position).items()):
        lesion = point.lesions[value]
        numbered = Lesion(course.number, lesion.status, lesion.mask)
        drawn.append(projected(numbered, lesion_colour(course.number)))
    draw_outlines(axes, drawn)
    draw_ids(axes, drawn, (pixels_per_inch * row_mm / column_mm, pixels_per_inch))


def curves(follow_up: FollowUp) -> Figure:
    """Return the burden, and the volumes of the lesions that changed most, over all scans."""
    figure = _figure(8.0, 7.0)
    above, below = figure.subplots(2, 1, sharex=True)
    at, name = _times(follow_up)
    above.plot(at, [point.burden_cm3 for point in follow_up.points], color=_INK, marker="o")
    above.set_ylabel("all lesions (cm³)")
    changes = [row for row in lesion_changes(follow_up) if row.part_of is None]
    changes.sort(key=lambda row: -abs(row.difference_cm3 or row.now_cm3 or 0))
    by_number = {course.number: course for course in follow_up.courses}
    for row in changes[:_MOST_CURVES]:
        volumes = follow_up.family_cm3(by_number[row.lesion])
        heights = [np.nan if volume is None else volume for volume in volumes]
        below.plot(
            at, heights, color=lesion_colour(row.lesion), marker="o", markersize=4,
            label=f"{row.lesion} {row.change}",
        )  # fmt: skip
    below.set_ylabel("lesion (cm³)")
    below.set_xlabel(name)
    below.legend(fontsize=7, ncols=3, frameon=False)
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    below.set_xticks(at)
    figure.tight_layout()
    return figure


def _times(follow_up: FollowUp) -> tuple[Sequence[float], str]:
    """Return where scans stand on the axis of time, and what that is called."""
    days = [point.day for point in follow_up.points]
    if None in days:
        return list(range(1, len(days) + 1)), "scan"
    return [round((day - days[0]).days / 30.44, 1) for day in days], "months since the first scan"


def registration_picture(follow_up: FollowUp) -> Figure:
    """Return each later scan in green with the earlier one in magenta, before and after.

    What agrees is grey.
    """
    registrations = follow_up.registrations
    figure = _figure(2.6 * 2 * len(registrations), 8.0)
    panels = figure.subplots(1, 2 * len(registrations), squeeze=False)[0]
    for n, registration in enumerate(registrations):
        later = registration.later.array
        stack_mm = registration.later.image.GetSpacing()
        middle = int(np.argmax(registration.later.body_array.sum(axis=(1, 2))))
        quality = registration.quality
        for axes, moved, what in (
            (
                panels[2 * n],
                registration.earlier_unmoved,
                f"before: {quality.correlation_before:.2f}",
            ),
            (panels[2 * n + 1], registration.earlier_on_later, f"after: {quality.correlation:.2f}"),
        ):
            shown = np.stack([moved[middle], later[middle], moved[middle]], axis=-1)
            axes.imshow(np.clip(shown, 0, 1), aspect=stack_mm[1] / stack_mm[0])
            axes.set_axis_off()
            axes.set_title(f"Scan {n + 1} on {n + 2}\n{what}", fontsize=8, color=_INK)
    figure.tight_layout()
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _window(flat: np.ndarray) -> tuple[float, float]:
    above_zero = flat[flat > 0]
    if not above_zero.size:
        return 0.0, 1.0
    low, high = np.percentile(above_zero, PERCENTILES).tolist()
    return (low, high) if low < high else (0.0, high)


def _save(path: str | os.PathLike[str], figure: Figure) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)
