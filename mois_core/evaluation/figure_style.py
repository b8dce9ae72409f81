"""Style that all figures share, so that they look like one work and print well."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mois_core.io.atomic import atomic_write, make_folder

# Okabe and Ito's colours, which readers with colour blindness tell apart. The first is for the
# segmenter that the others are compared with.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# One fewer than colours, so that both are met together again after 42 segmenters only.
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, FAINT = "#1b1f24", "#8a929c"
_DPI = 200

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    # Names of sets and segmenters are the user's, whatever signs they have.
    "text.parse_math": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


def style() -> rc_context:
    """Return the style as a context manager for the code that draws."""
    return rc_context(STYLE)


def colour_of(segmenter: str, segmenters: Sequence[str]) -> str:
    """Return a segmenter's colour, the same in every figure."""
    return COLOURS[segmenters.index(segmenter) % len(COLOURS)]


def marker_of(segmenter: str, segmenters: Sequence[str]) -> str:
    """Return a segmenter's marker, the same in every figure, for print without colour."""
    return MARKERS[segmenters.index(segmenter) % len(MARKERS)]


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, its size in inches, that needs no display."""
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(figure: Figure, rows: int, columns: int) -> list[Axes]:
    """Return panels in reading order that share their scales, labelled at the outside only."""
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    return list(grid.ravel())


def save(figure: Figure, folder: Path, name: str) -> Path:
    """Write a figure as PNG and PDF; return the path of the PNG.

    No date is written, so the same results give the same files.
    """
    make_folder(folder)
    with style(), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box; the tables have it.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # The layout takes most of the time; once is enough for both files.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for ending, extra in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            with atomic_write(folder / f"{name}.{ending}") as temporary:
                figure.savefig(temporary, dpi=_DPI, metadata=extra)
    return folder / f"{name}.png"
