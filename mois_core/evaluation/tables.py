"""Tables in the paper's layout, as rows of text: written as CSV and LaTeX, shown in the report."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mois_core.evaluation.agreement import LEAST_COMPARED, agreement
from mois_core.evaluation.analysis import (
    EvaluationResults,
    set_title,
)
from mois_core.evaluation.statistics import (
    SIGNIFICANT,
    Interval,
    bonferroni,
    difference,
    finite,
    mann_whitney,
    spread,
    wilcoxon,
)
from mois_core.io.atomic import atomic_write

TARGETS = (0.5, 0.6, 0.7, 0.8)
"""Scan-wise DSCs until which clicks and seconds are counted."""

FIRST_FEW = (1, 2, 3, 5, 10)
"""Prompted lesions or interactions after which segmenters are compared."""

_LOWER_IS_BETTER = {"assd_mm"}
_NEAREST_ZERO = {"volume_error_cm3"}
_MINUS, _DASH = "\u2212", "\u2013"


@dataclass(frozen=True)
class Cell:
    """One value of a table."""

    text: str
    is_best: bool = False
    is_different: bool = False
    """Whether it differs significantly from the segmenter that the others are compared with."""


@dataclass(frozen=True)
class Table:
    """A table with groups of rows, as the paper's Table 3 has one for each test set."""

    name: str
    title: str
    columns: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, tuple[Cell, ...]], ...]], ...]
    notes: tuple[str, ...] = ()


def all_tables(results: EvaluationResults) -> list[Table]:
    """Return every table that the results have the values for."""
    is_compared = len(results.segmenters) > 1
    tables = [benchmark_table(results), more_metrics_table(results)]
    if is_compared:
        tables.append(comparison_table(results))
    if results.has_curves:
        tables.append(clicks_table(results))
        if is_compared:
            tables += [early_table(results), fewer_clicks_table(results)]
    if len(results.sets) > 1:
        tables.append(shift_table(results))
    if any(len(results.folds(name)) > 1 for name in results.segmenters):
        tables.append(folds_table(results))
    if len(agreement(results).names) >= LEAST_COMPARED:
        tables.append(agreement_table(results))
    return tables


# ---- mean and standard deviation -----------------------------------------------------------


def benchmark_table(results: EvaluationResults) -> Table:
    """Return the paper's Table 3, or with a single set its Table 2."""
    others = len(results.segmenters) - 1
    notes = [
        _protocol_note(results),
        "Mean \u00b1 standard deviation over scans; folds averaged first.",
    ]
    if others:
        notes.append(
            f"* p < {SIGNIFICANT:g} against {results.reference}: Wilcoxon signed-rank test over "
            f"scans, Bonferroni correction for {others} comparisons."
        )
    if results.without_clicks:
        notes.append(f"Without clicks: {', '.join(results.without_clicks)}.")
    notes += [f"{name} was given {_given(given)}." for name, given in results.given.items()]
    notes += [f"Left out: {name}, because {why}." for name, why in results.left_out.items()]
    notes += [_DETECTION_NOTES[results.detection], _COST_NOTE]
    title, names = "Segmentation performance", results.benchmark_names
    table = _spreads(results, "benchmark", title, names, notes)
    groups = [
        (heading, (*lines, *_cost_lines(results, test_set)))
        for (heading, lines), test_set in zip(table.groups, results.sets, strict=True)
    ]
    return replace(table, groups=tuple(groups))


_DETECTION_NOTES = {
    "each side": "Each side: a lesion is detected if any component of the result overlaps it with "
    "the least IoU, as the paper words it, and a component is right likewise. One to one: each "
    "lesion is paired with one component at most, so what falls in pieces is found once.",
    "one to one": "One to one: each lesion is paired with one component at most.",
    "any overlap": "Any overlap: a lesion is detected if it shares a voxel with the result, as in "
    "the published code. One to one: paired from the least IoU on.",
}
_COST_NOTE = (
    "Seconds are the segmenter's own for all clicks and searches of a scan, opening it included. "
    "Memory is the most that the process held meanwhile, with everything else in it."
)


def _cost_lines(
    results: EvaluationResults, test_set: str
) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    """Yield what the scores of a set took. None is best: machines differ, and so do tasks."""
    for column, label in results.cost_names.items():
        spreads = [spread(results.cost(column, test_set, name)) for name in results.segmenters]
        yield label, tuple(Cell(_with_sd(one.mean, one.sd)) for one in spreads)


def more_metrics_table(results: EvaluationResults) -> Table:
    """Return the metrics that the paper does not report."""
    notes = [
        "The error of the volume is above 0 where too much was marked. Values that a scan does "
        "not have, as a surface distance to nothing, are left out."
    ]
    return _spreads(results, "more_metrics", "Further metrics", results.more_names, notes)


def _spreads(
    results: EvaluationResults,
    name: str,
    title: str,
    metrics: Mapping[str, str],
    notes: Sequence[str],
) -> Table:
    groups = []
    for test_set in results.sets:
        lines = [(label, _line(results, metric, test_set)) for metric, label in metrics.items()]
        scans = len(results.scans_of(test_set))
        heading = f"{set_title(test_set, results.sets)} ({scans} scan{'s' * (scans > 1)})"
        groups.append((heading, tuple(lines)))
    return Table(name, title, tuple(results.segmenters), tuple(groups), tuple(notes))


def _line(results: EvaluationResults, metric: str, test_set: str) -> tuple[Cell, ...]:
    """Return a metric of all segmenters, with the number of scans where it is not of all of them.

    A mean over fewer scans than another's is not called better: it may lack the hardest ones.
    """
    values = {name: results.final(metric, test_set, name) for name in results.segmenters}
    spreads = {name: spread(by_scan) for name, by_scan in values.items()}
    most = max(one.scans for one in spreads.values())
    known = [one.mean for one in spreads.values() if one.scans == most > 0]
    if metric in _NEAREST_ZERO:
        best = min(known, key=abs, default=math.nan)
    else:
        best = (min if metric in _LOWER_IS_BETTER else max)(known, default=math.nan)
    cells = []
    for name, whole in spreads.items():
        is_different = False
        if name != results.reference:
            p = wilcoxon(values[name], values[results.reference])
            is_different = bonferroni(p, len(spreads) - 1) < SIGNIFICANT
        is_best = len(set(known)) > 1 and whole.scans == most and whole.mean == best
        text = _with_sd(whole.mean, whole.sd)
        if 0 < whole.scans < len(results.scans_of(test_set)):
            text += f" (n = {whole.scans})"
        cells.append(Cell(text, is_best, is_different))
    return tuple(cells)


def _given(given: Mapping[str, object]) -> str:
    """Return in words what a segmenter's weights were given."""
    words = {"minutes": "{:g} minutes", "steps": "{:,} steps", "parameters": "{:,} parameters"}
    told = [form.format(given[name]) for name, form in words.items() if name in given]
    others = [f"{name} {value}" for name, value in given.items() if name not in words]
    return ", ".join([*told, *others])


def _protocol_note(results: EvaluationResults, experiment: str | None = None) -> str:
    protocol = results.plan["experiments"][experiment or results.final_experiment]
    if protocol["kind"] == "scan-wise":
        return f"Scan-wise, up to {protocol['clicks']} interactions."
    return (
        f"Up to {protocol['lesions']} prompted lesions and {protocol['clicks']} simulated "
        f"click{'s' * (protocol['clicks'] > 1)} per lesion"
        + (", by a person who makes mistakes." if protocol["kind"] == "reader" else ".")
    )


# ---- tests and intervals -------------------------------------------------------------------


def comparison_table(results: EvaluationResults) -> Table:
    """Compare the reference with every other segmenter: difference, its interval, and p."""
    others = [name for name in results.segmenters if name != results.reference]
    groups = []
    for test_set in results.sets:
        lines = []
        for metric, label in results.metric_names.items():
            cells = []
            for other in others:
                ours = results.final(metric, test_set, results.reference)
                theirs = results.final(metric, test_set, other)
                p = bonferroni(wilcoxon(ours, theirs), len(others))
                apart = difference(ours, theirs)
                text = f"{_interval(apart)}, p {_p(p)}"
                cells.append(Cell(text, is_different=p < SIGNIFICANT))
            lines.append((label, tuple(cells)))
        groups.append((set_title(test_set, results.sets), tuple(lines)))
    notes = (
        "Mean difference over scans with 95 % bootstrap interval; p of the Wilcoxon signed-rank "
        f"test with Bonferroni correction for {len(others)} comparisons. With n scans p cannot "
        "be below 2 / 2^n before the correction.",
    )
    title = f"{results.reference} minus other segmenters"
    return Table("comparison", title, tuple(others), tuple(groups), notes)


def shift_table(results: EvaluationResults) -> Table:
    """Test whether segmenters do otherwise on shifted sets than on the first one."""
    first, *others = results.sets
    lines = []
    for test_set in others:
        cells = []
        for name in results.segmenters:
            home = results.final("dsc", first, name)
            away = results.final("dsc", test_set, name)
            cells.append(Cell(_p(mann_whitney(home, away)).removeprefix("= ")))
        lines.append((set_title(test_set, results.sets), tuple(cells)))
    notes = (
        f"p of the Mann-Whitney U test between the scan-wise DSC of each set and of "
        f"{set_title(first, results.sets)}; not corrected.",
    )
    groups = (("", tuple(lines)),)
    return Table("shift", "Domain shift: p-values", tuple(results.segmenters), groups, notes)


def folds_table(results: EvaluationResults) -> Table:
    """Return the mean of each fold, which tells what one training more or less makes."""
    groups = []
    for test_set in results.sets:
        lines = []
        for metric, label in results.benchmark_names.items():
            cells = []
            for name in results.segmenters:
                folds = [results.final(metric, test_set, name, fold=f) for f in results.folds(name)]
                cells.append(Cell(", ".join(_signed(_mean(finite(fold)), 2) for fold in folds)))
            lines.append((label, tuple(cells)))
        groups.append((set_title(test_set, results.sets), tuple(lines)))
    notes = (
        "Mean over scans of each fold or seed of a segmenter. Differences between segmenters that "
        "are no larger than these are no differences.",
    )
    return Table("folds", "Each fold", tuple(results.segmenters), tuple(groups), notes)


def agreement_table(results: EvaluationResults) -> Table:
    """Return the numbers of the paper's Figure 6: the DSC of each pair of readers or segmenters."""
    found = agreement(results)
    names = found.names
    lines = tuple(
        (name, tuple(Cell(_signed(value, 2)) for value in row))
        for name, row in zip(names, found.dsc.tolist(), strict=True)
    )
    notes = (
        f"Scan-wise DSC of each pair, mean over {found.most} scans.{found.missing} "
        + _protocol_note(results, results.agreement_experiment),
    )
    return Table("agreement", "Agreement", tuple(names), (("", lines),), notes)


# ---- clicks --------------------------------------------------------------------------------


def clicks_table(results: EvaluationResults) -> Table:
    """Return clicks and seconds until a DSC, and how many scans got there."""
    groups = []
    for test_set in results.sets:
        lines = []
        for target in TARGETS:
            cells = []
            for name in results.segmenters:
                reached = results.reached(target, test_set, name)
                clicks, seconds = finite(reached.clicks), finite(reached.seconds)
                text = f"{len(clicks)} of {len(reached.clicks)}"
                if clicks:
                    text += f": {_mean(clicks):.1f} clicks, {_mean(seconds):.0f} s"
                cells.append(Cell(text))
            lines.append((f"Scan-wise DSC {target:g}", tuple(cells)))
        groups.append((set_title(test_set, results.sets), tuple(lines)))
    notes = (
        "Scans that reached the DSC, and the mean clicks and seconds of these. Seconds are the "
        "segmenter's own, reading the scan into it included.",
    )
    columns = tuple(results.segmenters)
    return Table("clicks", "Clicks and time to reach a DSC", columns, tuple(groups), notes)


def fewer_clicks_table(results: EvaluationResults) -> Table:
    """Compare the clicks that the reference needs for a DSC with those of the others."""
    others = [name for name in results.segmenters if name != results.reference]
    groups = []
    for test_set in results.sets:
        lines = [
            (
                f"Scan-wise DSC {target:g}",
                tuple(_saved(results, test_set, other, target) for other in others),
            )
            for target in TARGETS
        ]
        ends = tuple(
            _saved(results, test_set, other, results.last_dsc(test_set, other)) for other in others
        )
        lines.append(("The other's last DSC", ends))
        groups.append((set_title(test_set, results.sets), tuple(lines)))
    notes = (
        f"Mean clicks of {results.reference} until it reaches a scan-wise DSC, against those of "
        "the other segmenter, and the difference with its 95 % bootstrap interval. A scan on "
        "which it is never reached counts with one click more than it was given. Bold where the "
        "interval lies above 0.",
    )
    title = f"Clicks that {results.reference} saves"
    return Table("fewer_clicks", title, tuple(others), tuple(groups), notes)


def _saved(
    results: EvaluationResults, test_set: str, other: str, targets: Mapping[str, float] | float
) -> Cell:
    ours = results.clicks_until(targets, test_set, results.reference)
    theirs = results.clicks_until(targets, test_set, other)
    scans = sorted(ours.keys() & theirs.keys())
    if not scans:
        return Cell(_DASH)
    ours, theirs = ({scan: one[scan] for scan in scans} for one in (ours, theirs))
    saved = difference(theirs, ours)
    text = f"{_mean(ours):.1f} against {_mean(theirs):.1f}; saved {_interval(saved, digits=1)}"
    return Cell(text, is_best=saved.low > 0)


def early_table(results: EvaluationResults) -> Table:
    """Compare the reference with the others after the first few lesions or interactions."""
    others = [name for name in results.segmenters if name != results.reference]
    _, unit = results.curve_unit
    groups = []
    for test_set in results.sets:
        curves = {name: results.curve("dsc", test_set, name) for name in results.segmenters}
        ours = curves[results.reference]
        counts = [n for n in FIRST_FEW if all(n in curve for curve in curves.values())]
        lines = [
            (f"{unit}: {n}", tuple(_ahead(ours[n], curves[other][n]) for other in others))
            for n in counts
        ]
        groups.append((set_title(test_set, results.sets), tuple(lines)))
    notes = (
        f"Mean scan-wise DSC of {results.reference}, that of the other segmenter, and the mean "
        "difference with its 95 % bootstrap interval. Bold where the interval lies above 0.",
    )
    title = f"{results.reference} after few interactions"
    return Table("early", title, tuple(others), tuple(groups), notes)


def _ahead(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Cell:
    apart = difference(ours, theirs)
    text = f"{_mean(ours):.2f} against {_mean(theirs):.2f}; {_interval(apart)}"
    return Cell(text, is_best=apart.low > 0)


# ---- text ----------------------------------------------------------------------------------


def _mean(values: Mapping[str, float]) -> float:
    return float(np.mean(list(values.values()))) if values else math.nan


def _signed(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return _DASH
    return f"{value:.{digits}f}".replace("-", _MINUS)


def _with_sd(mean: float, sd: float) -> str:
    digits = 2 if abs(mean) < 10 else 1
    if not math.isfinite(mean):
        return _DASH
    if not math.isfinite(sd):
        return _signed(mean, digits)
    return f"{_signed(mean, digits)} \u00b1 {_signed(sd, digits)}"


def _interval(value: Interval, digits: int = 2) -> str:
    middle, low, high = (_signed(v, digits) for v in (value.value, value.low, value.high))
    return f"{middle} ({low} to {high})"


def _p(p: float) -> str:
    if not math.isfinite(p):
        return _DASH
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


# ---- files ---------------------------------------------------------------------------------


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Write each table as CSV, as LaTeX, and as Markdown for documentation."""
    folder.mkdir(exist_ok=True)
    for table in tables:
        for ending, write in (("csv", as_csv), ("tex", as_latex), ("md", as_markdown)):
            text = write(table)
            with atomic_write(folder / f"{table.name}.{ending}") as temporary:
                temporary.write_text(text, encoding="utf-8")


def as_csv(table: Table) -> str:
    """Return the table as CSV, with a star behind what differs significantly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["group", "row", *table.columns])
    for group, lines in table.groups:
        for label, cells in lines:
            marked = [cell.text + "*" * cell.is_different for cell in cells]
            writer.writerow([group, label, *marked])
    return text.getvalue()


def as_latex(table: Table) -> str:
    """Return the table for LaTeX's package booktabs, with the paper's marks."""
    width = len(table.columns) + 1
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(' '.join(table.notes))}}}",
        rf"\begin{{tabular}}{{l{'c' * (width - 1)}}}",
        r"\toprule",
        " & ".join(["", *(_tex(column) for column in table.columns)]) + r" \\",
    ]
    for group, rows in table.groups:
        lines.append(r"\midrule")
        if group:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textbf{{{_tex(group)}}}}} \\")
        for label, cells in rows:
            lines.append(" & ".join([_tex(label), *(_tex_cell(cell) for cell in cells)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", rf"\label{{tab:{table.name}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _tex_cell(cell: Cell) -> str:
    text = _tex(cell.text) + r"$^{*}$" * cell.is_different
    return rf"\textbf{{{text}}}" if cell.is_best else text


def as_markdown(table: Table) -> str:
    """Return the table as documentation shows it; a group's name is a row of its own."""
    lines = [["", *table.columns], ["---"] * (len(table.columns) + 1)]
    for group, rows in table.groups:
        if group:
            lines.append([f"**{group}**", *[""] * len(table.columns)])
        lines += [[label, *(_markdown_cell(cell) for cell in cells)] for label, cells in rows]
    text = [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]
    return "\n".join([*text, "", " ".join(table.notes).replace("*", "\\*"), ""])


def as_text(table: Table) -> str:
    """Return the table in columns, for a terminal."""
    lines = [["", *table.columns]]
    for group, rows in table.groups:
        lines.append([group, *[""] * len(table.columns)])
        for label, cells in rows:
            lines.append([f"  {label}", *(cell.text + "*" * cell.is_different for cell in cells)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _markdown_cell(cell: Cell) -> str:
    text = cell.text + "\\*" * cell.is_different
    return f"**{text}**" if cell.is_best else text


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\u00b1": r"$\pm$", "<": "$<$", ">": "$>$", _MINUS: "$-$", _DASH: "--",
}  # fmt: skip


def _tex(text: str) -> str:
    return re.sub("|".join(map(re.escape, _TEX)), lambda match: _TEX[match[0]], text)
