"""The paper's figures of masks: what was right and wrong, and how far readers agree."""

from __future__ import annotations

import math
import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mois_core.evaluation.agreement import LEAST_COMPARED, agreement
from mois_core.evaluation.analysis import EvaluationResults, set_title
from mois_core.evaluation.figure_style import INK, new_figure, style
from mois_core.evaluation.results_folder import KeptScan

# The paper's colours: right, too much, missed.
RIGHT, EXTRA, MISSED = (0.18, 0.80, 0.25), (0.25, 0.45, 1.0), (0.95, 0.15, 0.15)
_OPACITY = 0.75
_BRIGHTNESS = 0.9
_MOST_BESIDE = 4
"""Segmenters up to which the sets lie beside, and not below, one another."""


def overlay_figure(results: EvaluationResults) -> Figure | None:
    """Draw one scan of each set, projected, through every segmenter (the paper's Fig. 3)."""
    names = results.segmenters
    typical = [(test_set, _typical(results, test_set)) for test_set in results.sets]
    found = [(test_set, scan, results.kept(scan)) for test_set, scan in typical]
    shown = [(test_set, scan, kept) for test_set, scan, kept in found if kept is not None]
    if not shown:
        return None
    boxes = [_body_box(kept) for *_, kept in shown]
    heights = [
        (rows.stop - rows.start) * kept.spacing[1] / ((cols.stop - cols.start) * kept.spacing[2])
        for (rows, cols), (*_, kept) in zip(boxes, shown, strict=True)
    ]
    # Bodies are tall and narrow: a few go side by side for each set, and the sets as well.
    down, beside = (1, len(shown)) if len(names) <= _MOST_BESIDE else (len(shown), 1)
    across = beside * len(names)
    with style():
        panel = 1.15 if across > 8 else 1.5
        figure = new_figure(panel * across + 0.2, (panel * max(heights) + 0.7) * down + 0.2)
        parts = figure.subfigures(down, beside, wspace=0.03, squeeze=False).ravel()
        for part, (test_set, scan, kept), box in zip(parts, shown, boxes, strict=True):
            part.suptitle(set_title(test_set, results.sets), fontsize=9)
            axes = part.subplots(1, len(names), squeeze=False)[0]
            for panel_axes, name in zip(axes, names, strict=True):
                mask = results.mask(scan, name)
                panel_axes.imshow(
                    _overlay(kept, mask)[box], aspect=kept.spacing[1] / kept.spacing[2],
                    interpolation="nearest",
                )  # fmt: skip
                panel_axes.set_title(textwrap.fill(name, 12), fontsize=7.5)
                panel_axes.set_xticks([])
                panel_axes.set_yticks([])
                panel_axes.grid(False)
                panel_axes.spines[:].set_visible(False)
                dsc = results.final("dsc", test_set, name).get(scan)
                if dsc is not None:
                    panel_axes.set_xlabel(f"DSC {dsc:.2f}", fontsize=7.5, labelpad=2)
        handles = [
            Patch(color=RIGHT, label="True positive"),
            Patch(color=EXTRA, label="False positive"),
            Patch(color=MISSED, label="False negative"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _typical(results: EvaluationResults, test_set: str) -> str:
    """Return the scan with the median DSC of the reference: neither the best nor the worst."""
    values = results.final("dsc", test_set, results.reference)
    if not values:
        return results.scans_of(test_set)[0]
    ordered = sorted(values, key=lambda scan: (values[scan], scan))
    return ordered[(len(ordered) - 1) // 2]


def _body_box(scan: KeptScan) -> tuple[slice, slice]:
    """Return the box of the projection with the patient in it."""
    body = scan.projection > 0
    parts = []
    for axis in (1, 0):
        filled = np.flatnonzero(body.any(axis=axis))
        parts.append(slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(None))
    return parts[0], parts[1]


def _overlay(scan: KeptScan, mask: np.ndarray | None) -> np.ndarray:
    """Return the projection in grey with colours where lesions are.

    Where a line of sight passes several kinds, the one with most voxels is seen.
    """
    grey = _BRIGHTNESS * scan.projection / 255.0
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    if mask is None:
        return picture
    kinds = np.stack(
        [kind.sum(axis=0) for kind in (mask & scan.truth, mask & ~scan.truth, ~mask & scan.truth)]
    )
    seen = kinds.argmax(axis=0)
    for kind, colour in enumerate((RIGHT, EXTRA, MISSED)):
        where = (seen == kind) & (kinds[kind] > 0)
        picture[where] = (1 - _OPACITY) * picture[where] + _OPACITY * np.array(colour)
    return picture


def agreement_figure(results: EvaluationResults) -> Figure | None:
    """Draw the scan-wise DSC between each two readers or segmenters (the paper's Fig. 6)."""
    found = agreement(results)
    names, table = found.names, found.dsc
    if len(names) < LEAST_COMPARED:
        return None
    side = 0.75 * len(names) + 1.6
    with style():
        figure = new_figure(side + 0.8, side)
        axes = figure.subplots()
        image = axes.imshow(table, cmap="viridis", vmin=0, vmax=1)
        ticks = range(len(names))
        labels = [textwrap.fill(name, 14) for name in names]
        axes.set_xticks(ticks, labels, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, labels)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for row in ticks:
            for column in ticks:
                value = table[row, column]
                if math.isnan(value):
                    continue
                ink = "white" if value < 0.6 else INK
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink)
        figure.colorbar(image, ax=axes, label="Scan-wise DSC", shrink=0.85)
        axes.set_title(f"Mean over {found.most} scan{'s' * (found.most > 1)}")
    return figure
