"""One picture of a result: lesions, clicks and sums, good enough to print.

The maximum projection shows all lesions at once, the busiest slices show how well the outlines
fit. What tells lesions apart is never colour alone: every lesion has its id, and the line
style says how it came about.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mois_core import __version__
from mois_core.geometry import OPPOSITE, VIEWS, SliceStack
from mois_core.io.atomic import atomic_write
from mois_core.results.colours import Colour, lesion_colour
from mois_core.results.grey_window import grey_window
from mois_core.results.lesion_report import Totals, measure_lesions, totals, without_overlaps
from mois_core.results.picture_marks import (
    NEGATIVE_CLICK,
    POSITIVE_CLICK,
    STYLES,
    DrawnLesion,
    draw_clicks,
    draw_ids,
    draw_outlines,
    on_slice,
    projected,
)
from mois_core.session.lesion import Lesion, Status

MOST_SLICES = 5

_DPI = 200
_PAGE_INCHES = (13.0, 8.6)
"""The panels fit into this, whatever their shape: an A4 page on its side, with some margin."""
_PAGE_ASPECT = _PAGE_INCHES[0] / _PAGE_INCHES[1]
_FOOTER_INCHES, _CAPTION_INCHES, _GAP_INCHES = 0.75, 0.28, 0.14
_HEADER_INCHES = {True: 0.7, False: 0.45}
"""With and without a title of its own."""
_NARROWEST_INCHES = 7.5
"""What the legend needs."""

_SCALE_BARS_MM = (200, 100, 50, 20, 10, 5, 2, 1)
_SCALE_BAR_SHARE = 0.4
_INK = "#1b1f24"
_FAINT_INK = "#5b6470"


def draw_picture(
    path: str | os.PathLike[str],
    stack: SliceStack,
    lesions: Sequence[Lesion],
    title: str = "",
    colours: Mapping[int, Colour] = MappingProxyType({}),
) -> None:
    """Write a PNG of the lesions that count; rejected ones are only mentioned.

    ``colours`` are those of lesions (by id) that came with colours of their own.
    """
    figure = picture(stack, lesions, title, colours)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)


def picture(
    stack: SliceStack,
    lesions: Sequence[Lesion],
    title: str = "",
    colours: Mapping[int, Colour] = MappingProxyType({}),
) -> Figure:
    """Return the picture as a figure, for callers that show it instead of writing it."""
    own = without_overlaps(stack, lesions)
    shown = [lesion for lesion in own if lesion.status.counts and lesion.mask]
    colour_of = {le.id: colours.get(le.id) or lesion_colour(le.id) for le in shown}
    busiest = busiest_slices(shown, MOST_SLICES) if stack.count > 1 else []
    page = _Page.of(1 + len(busiest), stack, _HEADER_INCHES[bool(title)])
    figure = Figure(figsize=page.size, facecolor="white")
    FigureCanvasAgg(figure)

    flat = stack.array.max(axis=0)
    name = "Maximum projection" if stack.count > 1 else "The only slice"
    caption = f"{name}, {_counted(len(shown))}"
    axes = _panel(figure, page, 0, flat, grey_window(flat), stack, caption)
    _mark(axes, page, [projected(lesion, colour_of[lesion.id]) for lesion in shown])

    window = grey_window(stack.array) if busiest else (0.0, 1.0)
    for position, slice_index in enumerate(busiest, start=1):
        here = [lesion for lesion in shown if slice_index in lesion.mask.planes]
        caption = f"Slice {slice_index + 1} of {stack.count}, {_counted(len(here))}"
        image = stack.image(slice_index)
        axes = _panel(figure, page, position, image, window, stack, caption)
        _mark(axes, page, [on_slice(le, slice_index, colour_of[le.id]) for le in here])

    summary = totals(measure_lesions(stack, lesions))
    _header(figure, page, title, summary)
    _footer(figure, page, summary)
    return figure


def busiest_slices(lesions: Sequence[Lesion], most: int) -> list[int]:
    """Return the slices that show most lesions not yet seen on another one, in order.

    There are fewer than ``most`` if they show all lesions. Plainly taking those with most
    lesions would show the same ones again and again, since neighbouring slices share them.
    """
    slices_of = {lesion.id: set(lesion.mask.slices) for lesion in lesions}
    area = dict.fromkeys(sorted(set().union(*slices_of.values())), 0)
    for lesion in lesions:
        for slice_index, plane in lesion.mask:
            area[slice_index] += int(plane.pixels.sum())
    chosen: list[int] = []
    unseen = set(slices_of)
    while unseen and len(chosen) < most:
        counts = {n: sum(n in slices_of[lesion] for lesion in unseen) for n in area}
        best = max(area, key=lambda n: (counts[n], area[n]))
        del area[best]
        chosen.append(best)
        unseen -= {lesion for lesion in unseen if best in slices_of[lesion]}
    return sorted(chosen)


@dataclass(frozen=True)
class _Page:
    """Layout of the panels, in inches. All have the same size and the pixels' true shape."""

    columns: int
    rows: int
    panel: tuple[float, float]
    pixels_per_inch: tuple[float, float]
    """Columns and rows of a slice."""
    header: float

    @classmethod
    def of(cls, panels: int, stack: SliceStack, header: float) -> _Page:
        """Return the layout whose shape comes closest to that of the paper."""
        height_mm, width_mm = np.multiply(stack.shape, stack.pixel_spacing).tolist()

        def misfit(columns: int) -> float:
            aspect = columns * width_mm / (math.ceil(panels / columns) * height_mm)
            return abs(math.log(aspect / _PAGE_ASPECT))

        columns = min(range(1, panels + 1), key=misfit)
        in_column = math.ceil(panels / columns)
        scale = max(
            columns * width_mm / (_PAGE_INCHES[0] - (columns + 1) * _GAP_INCHES),
            in_column * height_mm / (_PAGE_INCHES[1] - in_column * (_CAPTION_INCHES + _GAP_INCHES)),
        )
        row_mm, column_mm = stack.pixel_spacing
        pixels_per_inch = (scale / column_mm, scale / row_mm)
        return cls(
            columns, in_column, (width_mm / scale, height_mm / scale), pixels_per_inch, header
        )

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the page."""
        width = self.columns * (self.panel[0] + _GAP_INCHES) + _GAP_INCHES
        height = self.rows * (self.panel[1] + _CAPTION_INCHES + _GAP_INCHES)
        return max(width, _NARROWEST_INCHES), height + self.header + _FOOTER_INCHES

    def rectangle(self, position: int) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of a panel as parts of the page."""
        width, height = self.size
        row, column = divmod(position, self.columns)
        used = self.columns * (self.panel[0] + _GAP_INCHES) - _GAP_INCHES
        left = (width - used) / 2 + column * (self.panel[0] + _GAP_INCHES)
        above = self.header + row * (self.panel[1] + _CAPTION_INCHES + _GAP_INCHES)
        bottom = height - above - _CAPTION_INCHES - self.panel[1]
        return left / width, bottom / height, self.panel[0] / width, self.panel[1] / height


def _panel(
    figure: Figure,
    page: _Page,
    position: int,
    image: np.ndarray,
    window: tuple[float, float],
    stack: SliceStack,
    caption: str,
) -> Axes:
    axes = figure.add_axes(page.rectangle(position))
    row_mm, column_mm = stack.pixel_spacing
    low, high = window
    axes.imshow(
        image, cmap="gray", vmin=low, vmax=high, interpolation="bilinear", aspect=row_mm / column_mm
    )
    # Nothing that is drawn on top may stretch the panel.
    axes.autoscale(enable=False)
    axes.set_title(caption, fontsize=8, color=_INK, pad=4)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    _orientation(axes, stack)
    _scale_bar(axes, stack)
    return axes


def _mark(axes: Axes, page: _Page, drawn: Sequence[DrawnLesion]) -> None:
    draw_outlines(axes, drawn)
    draw_clicks(axes, drawn)
    draw_ids(axes, drawn, page.pixels_per_inch)


def _orientation(axes: Axes, stack: SliceStack) -> None:
    """Draw the letters for left and right that radiologists look for before anything else."""
    to_right = VIEWS[stack.axis][2]
    for x, letter, side in ((0.02, OPPOSITE[to_right], "left"), (0.98, to_right, "right")):
        axes.text(
            x, 0.985, letter, transform=axes.transAxes, ha=side, va="top",
            color="white", fontsize=9, fontweight="bold",
        )  # fmt: skip


def _scale_bar(axes: Axes, stack: SliceStack) -> None:
    width_mm = stack.shape[1] * stack.pixel_spacing[1]
    fitting = (mm for mm in _SCALE_BARS_MM if mm <= _SCALE_BAR_SHARE * width_mm)
    length = next(fitting, _SCALE_BARS_MM[-1])
    left, right = 0.04, 0.04 + length / width_mm
    look = {"transform": axes.transAxes, "color": "white"}
    axes.plot([left, right], [0.015, 0.015], linewidth=2, solid_capstyle="butt", **look)
    label = f"{length // 10} cm" if length >= 10 else f"{length} mm"
    axes.text(left, 0.02, label, va="bottom", fontsize=7, **look)


def _header(figure: Figure, page: _Page, title: str, summary: Totals) -> None:
    width, height = page.size
    left = _GAP_INCHES / width
    burden = f"{_counted(summary.count)}, {_cm3(summary.burden_cm3)} in total"
    headline = {"va": "top", "fontsize": 13, "fontweight": "bold", "color": _INK}
    figure.text(left, 1 - 0.16 / height, title or burden, **headline)
    if title:
        figure.text(left, 1 - 0.43 / height, burden, va="top", fontsize=10, color=_FAINT_INK)


def _footer(figure: Figure, page: _Page, summary: Totals) -> None:
    width, height = page.size
    left = _GAP_INCHES / width
    handles = []
    for status, style in STYLES.items():
        total = summary.by_status.get(status.value)
        if total:
            label = f"{status.value}: {_counted(total.count)}, {_cm3(total.volume_cm3)}"
            handles.append(Line2D([], [], color=_INK, label=label, **style))
    handles.append(Line2D([], [], label="click in a lesion", **POSITIVE_CLICK))
    handles.append(Line2D([], [], label="click outside", **NEGATIVE_CLICK))
    figure.legend(
        handles=handles,
        ncols=len(handles),
        loc="upper left",
        bbox_to_anchor=(left, (_FOOTER_INCHES - _GAP_INCHES) / height),
        borderpad=0,
        borderaxespad=0,
        frameon=False,
        fontsize=8,
        handlelength=2.6,
        labelcolor=_INK,
    )
    notes = ["A lesion keeps its number and colour in all panels."]
    rejected = summary.by_status.get(Status.REJECTED.value)
    if rejected:
        notes.append(f"Rejected and not drawn: {_counted(rejected.count)}.")
    notes.append(f"MOISSAM2 {__version__}, for research only.")
    figure.text(left, 0.2 / height, "  ".join(notes), fontsize=7.5, color=_FAINT_INK)


def _counted(count: int) -> str:
    return f"{count} lesion" if count == 1 else f"{count} lesions"


def _cm3(volume: float) -> str:
    return f"{volume:,.0f} cm³" if volume >= 100 else f"{volume:.3g} cm³"
