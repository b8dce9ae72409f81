"""The paper's figures of numbers: interaction efficiency, domain shift, and tumour burden."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mois_core.evaluation.analysis import EvaluationResults, set_title
from mois_core.evaluation.figure_style import (
    FAINT,
    INK,
    colour_of,
    marker_of,
    new_figure,
    panels,
    style,
)
from mois_core.evaluation.statistics import finite, mann_whitney, spread

_MOST_ACROSS = 4
_LIMITS_OF_AGREEMENT = 1.96
_BOX_WIDTH = 0.55
"""Width of the boxes of box plots, as a part of their distance."""


def efficiency_figure(results: EvaluationResults) -> Figure | None:
    """Draw the scan-wise DSC of each set by the number of prompted lesions (the paper's Fig. 5)."""
    names = results.segmenters
    curves = {(s, n): results.curve("dsc", s, n) for s in results.sets for n in names}
    if max(len(curve) for curve in curves.values()) < 2:
        return None
    across = min(len(results.sets), _MOST_ACROSS)
    down = math.ceil(len(results.sets) / across)
    with style():
        figure = new_figure(max(2.6 * across, 4.2), 2.6 * down + 0.5)
        axes = panels(figure, down, across)
        for index, test_set in enumerate(results.sets):
            for name in names:
                _curve(axes[index], curves[test_set, name], name, names)
            axes[index].set_title(_letter(index) + set_title(test_set, results.sets))
            axes[index].set_ylim(0, 1)
            axes[index].xaxis.set_major_locator(MaxNLocator(integer=True))
            if index + across >= len(results.sets):
                axes[index].set_xlabel(results.curve_unit[1])
            if index % across == 0:
                axes[index].set_ylabel("Scan-wise DSC")
        _hide(axes[len(results.sets) :])
        _legend(figure, axes[0], len(names))
    return figure


def exemplars_figure(results: EvaluationResults) -> Figure | None:
    """Draw all metrics of the reference by the number of prompted lesions (Experiment 2)."""
    curves = {m: results.curve(m, None, results.reference) for m in results.metric_names}
    if max(len(curve) for curve in curves.values()) < 2:
        return None
    with style():
        figure = new_figure(7.8, 2.8)
        axes = panels(figure, 1, len(curves))
        for index, (metric, curve) in enumerate(curves.items()):
            _curve(axes[index], curve, results.reference, results.segmenters)
            axes[index].set_title(results.metric_names[metric])
            axes[index].set_ylim(0, 1)
            axes[index].set_xlabel(results.curve_unit[1])
            axes[index].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _curve(axes: Axes, curve: dict[int, dict[str, float]], name: str, names: Sequence[str]) -> None:
    """Draw a line of means with a band of one standard deviation each way."""
    counts = [count for count, values in curve.items() if finite(values)]
    spreads = [spread(curve[count]) for count in counts]
    means = np.array([one.mean for one in spreads])
    sds = np.nan_to_num(np.array([one.sd for one in spreads]))
    colour = colour_of(name, names)
    low, high = np.clip(means - sds, 0, 1), np.clip(means + sds, 0, 1)
    axes.fill_between(counts, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(
        counts, means, color=colour, marker=marker_of(name, names), markersize=4, linewidth=1.5,
        label=name, markeredgecolor="white", markeredgewidth=0.4,
    )  # fmt: skip


def shift_figure(results: EvaluationResults) -> Figure | None:
    """Draw the scan-wise DSC on each set, with p against the first one (the paper's Fig. 4)."""
    if len(results.sets) < 2:
        return None
    names = results.segmenters
    across = min(len(names), _MOST_ACROSS)
    down = math.ceil(len(names) / across)
    with style():
        figure = new_figure(max(2.6 * across, 4.2), 3.0 * down)
        axes = panels(figure, down, across)
        for index, name in enumerate(names):
            _box_plot(axes[index], results, name)
            axes[index].set_title(name)
            if index % across == 0:
                axes[index].set_ylabel("Scan-wise DSC")
        _hide(axes[len(names) :])
    return figure


def _box_plot(axes: Axes, results: EvaluationResults, name: str) -> None:
    """Draw quartiles, median and every scan of each set, with p against the first set."""
    by_set = [results.final("dsc", test_set, name) for test_set in results.sets]
    values = [list(finite(one).values()) for one in by_set]
    colour = colour_of(name, results.segmenters)
    boxes = axes.boxplot(
        values, widths=_BOX_WIDTH, patch_artist=True, showfliers=False,
        medianprops={"color": INK, "linewidth": 1.4},
    )  # fmt: skip
    for box in boxes["boxes"]:
        box.set(facecolor=colour, alpha=0.3, edgecolor=INK, linewidth=0.8)
    random = np.random.default_rng(0)
    for index, one in enumerate(values, start=1):
        if not one:
            # An empty line without clipping has no extent, and would leave the panel none.
            continue
        beside = index + random.uniform(-0.12, 0.12, len(one))
        axes.plot(beside, one, "o", color=colour, markersize=3, markeredgewidth=0, clip_on=False)
    for index, one in enumerate(by_set[1:], start=2):
        p = mann_whitney(by_set[0], one)
        text = "\u2013" if math.isnan(p) else f"p={p:.2f}" if p >= 0.01 else "p<0.01"
        axes.text(index, 1.03, text, ha="center", va="bottom", fontsize=7.5)
    axes.set_ylim(0, 1.12)
    axes.set_yticks(np.arange(0, 1.01, 0.2))
    labels = [textwrap.fill(s.replace("_", " "), 9) for s in results.sets]
    axes.set_xticks(range(1, len(labels) + 1), labels, fontsize=7.5)
    axes.grid(axis="x", visible=False)


def burden_figure(results: EvaluationResults) -> Figure:
    """Draw Bland and Altman's plot of the tumour burden, for each segmenter."""
    names = results.segmenters
    across = min(len(names), _MOST_ACROSS)
    down = math.ceil(len(names) / across)
    with style():
        figure = new_figure(max(2.9 * across, 4.6), 2.9 * down + 0.35)
        axes = panels(figure, down, across)
        for index, name in enumerate(names):
            _bland_altman(axes[index], results, name)
            if index + across >= len(names):
                axes[index].set_xlabel("Mean of result and truth (cm\u00b3)")
            if index % across == 0:
                axes[index].set_ylabel("Result \u2212 truth (cm\u00b3)")
        _hide(axes[len(names) :])
        _legend(figure, axes[0], len(results.sets))
    return figure


def _bland_altman(axes: Axes, results: EvaluationResults, name: str) -> None:
    errors = []
    for index, test_set in enumerate(results.sets):
        truth = results.final("truth_cm3", test_set, name)
        result = results.final("result_cm3", test_set, name)
        apart = [result[scan] - truth[scan] for scan in truth]
        middle = [(result[scan] + truth[scan]) / 2 for scan in truth]
        errors += apart
        # Colours tell segmenters apart in other figures, so here the sets differ by their mark.
        axes.plot(
            middle, apart, linestyle="", marker="osD^vPX"[index % 7], markersize=4.2,
            markerfacecolor="white" if index else FAINT, markeredgecolor=INK,
            markeredgewidth=0.8, label=set_title(test_set, results.sets),
        )  # fmt: skip
    bias = float(np.mean(errors))
    axes.axhline(0, color=FAINT, linewidth=0.8)
    lines, label = [(bias, "-")], f"bias {bias:+.0f} cm\u00b3"
    if len(errors) > 1:
        reach = _LIMITS_OF_AGREEMENT * float(np.std(errors, ddof=1))
        lines += [(bias - reach, "--"), (bias + reach, "--")]
        label = f"bias {bias:+.0f} ({bias - reach:+.0f} to {bias + reach:+.0f}) cm\u00b3"
    colour = colour_of(name, results.segmenters)
    for at, dashes in lines:
        axes.axhline(at, color=colour, linestyle=dashes, linewidth=1.2)
    # Above the panel: beside their lines the numbers would meet where these lie close together.
    axes.set_title(name, pad=16)
    axes.text(
        0.5, 1.02, label.replace("-", "\u2212"), transform=axes.transAxes, ha="center",
        va="bottom", fontsize=8, color=colour,
    )  # fmt: skip
    axes.margins(x=0.08, y=0.15)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _hide(axes: Sequence[Axes]) -> None:
    for unused in axes:
        unused.set_visible(False)


def _legend(figure: Figure, axes: Axes, entries: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(entries, 4))


def _letter(index: int) -> str:
    return f"({chr(ord('a') + index)}) "
