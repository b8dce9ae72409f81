"""Values that tables and figures are made of, out of the rows of a results folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.plan import task_key
from mois_core.evaluation.results_folder import KeptScan, ResultRow, ResultsFolder, read_rows
from mois_core.evaluation.statistics import average_folds

_METRIC_NAMES = {
    "dsc": "Scan-wise DSC",
    "f1": "Lesion F1 score",
    "lesion_dsc": "Lesion-wise DSC",
}
"""Metrics of the paper's tables, in their order."""
_MORE_METRIC_NAMES = {
    "precision": "Lesion precision",
    "recall": "Lesion recall",
    "one_to_one_precision": "Lesion precision",
    "one_to_one_recall": "Lesion recall",
    "one_to_one_lesion_dsc": "Lesion-wise DSC",
    "prompted_dsc": "DSC of prompted lesions",
    "assd_mm": "ASSD (mm)",
    "nsd": "Normalised surface DSC",
    "volume_error_cm3": "Volume error (cm3)",
}
_ONE_TO_ONE, _BY_RULE = "one_to_one_", ("f1", "precision", "recall", "lesion_dsc")
"""Columns that are one to one in any case, and those that follow the rule of the plan."""
_COST_NAMES = {
    "seconds": "Seconds for a scan",
    "memory_mib": "Peak memory (GiB)",
    "gpu_memory_mib": "Peak GPU memory (GiB)",
}
_COST_UNITS = {"seconds": 1, "memory_mib": 1024, "gpu_memory_mib": 1024}

BENCHMARK, EFFICIENCY, READERS = "benchmark", "efficiency", "readers"
"""Names of experiments that have a table and a figure of their own."""


@dataclass(frozen=True)
class Reached:
    """Clicks and seconds of each scan until a DSC was reached; infinite if it never was."""

    clicks: Mapping[str, float]
    seconds: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class EvaluationResults:
    """The tables of a results folder, and the values that they hold."""

    folder: Path
    plan: Mapping[str, object]
    rows: Sequence[ResultRow]
    seconds: Sequence[ResultRow] = field(default=(), repr=False)
    failures: Sequence[ResultRow] = ()

    @classmethod
    def read(cls, folder: Path) -> EvaluationResults:
        """Read what ``mois evaluate`` wrote."""
        plan = ResultsFolder(folder).plan()
        rows = read_rows(folder)
        if not rows:
            raise BadInput(f"{folder} holds no results: every scan failed; see failures.csv")
        return cls(
            folder, plan, rows, read_rows(folder, "seconds.csv"), read_rows(folder, "failures.csv")
        )

    # ---- what there is -----------------------------------------------------------------------

    @cached_property
    def experiments(self) -> list[str]:
        """Names of the experiments that have results."""
        return list(dict.fromkeys(row["experiment"] for row in self.rows))

    @cached_property
    def segmenters(self) -> list[str]:
        """Names of the segmenters that have results, in the order of the plan.

        The others are compared with the first one.
        """
        names = [name.partition("@")[0] for name in self.plan["segmenters"]]
        with_results = {row["segmenter"] for row in self.rows}
        return [name for name in dict.fromkeys(names) if name in with_results]

    @cached_property
    def sets(self) -> list[str]:
        """Names of the test sets that have results, in the order of the plan."""
        names = dict.fromkeys(case["test_set"] for case in self.plan["cases"])
        with_results = {row["set"] for row in self.rows}
        return [name for name in names if name in with_results]

    @cached_property
    def without_clicks(self) -> list[str]:
        """Names of the segmenters that were given no clicks."""
        clicked = {row["segmenter"] for row in self.rows if row["clicks"]}
        return [name for name in self.segmenters if name not in clicked]

    @property
    def given(self) -> Mapping[str, Mapping[str, object]]:
        """What the weights of segmenters were given, as far as it is known."""
        told = {name: one.get("given") for name, one in self.plan["segmenters"].items()}
        return {
            name: given
            for name, given in told.items()
            if given and name.partition("@")[0] in self.segmenters
        }

    @property
    def left_out(self) -> Mapping[str, str]:
        """Segmenters that were asked for and were not there, and why."""
        return self.plan.get("left_out", {})

    @property
    def reference(self) -> str:
        """The segmenter that the others are compared with."""
        return self.segmenters[0]

    @property
    def final_experiment(self) -> str:
        """Experiment that the tables' values are from."""
        return BENCHMARK if BENCHMARK in self.experiments else self.experiments[0]

    @property
    def agreement_experiment(self) -> str:
        """Experiment whose results are compared with what readers drew."""
        return READERS if READERS in self.experiments else self.final_experiment

    @property
    def detection(self) -> str:
        """How lesions were matched, in words that stand behind a metric's name."""
        return str(self.plan["measuring"]["detection"]).replace("-", " ")

    @cached_property
    def metric_names(self) -> dict[str, str]:
        """Names of the metrics of the paper's tables, by column."""
        return self._named(_METRIC_NAMES)

    @cached_property
    def benchmark_names(self) -> dict[str, str]:
        """The same with lesions matched one to one besides."""
        both = {"dsc": "", "f1": "", "one_to_one_f1": "Lesion F1 score", "lesion_dsc": ""}
        return self._named({n: name or _METRIC_NAMES[n] for n, name in both.items()})

    @cached_property
    def more_names(self) -> dict[str, str]:
        """Names of the metrics that the paper does not report, by column."""
        return self._named(_MORE_METRIC_NAMES)

    def _named(self, names: Mapping[str, str]) -> dict[str, str]:
        """Return names with how lesions were matched; what is in no row, or twice, is left out."""
        is_one_to_one = self.detection == "one to one"
        named = {}
        for column, name in names.items():
            if column not in self.rows[0] or (is_one_to_one and column.startswith(_ONE_TO_ONE)):
                continue
            rule = self.detection if column in _BY_RULE else ""
            rule = "one to one" if column.startswith(_ONE_TO_ONE) else rule
            named[column] = f"{name} ({rule})" if rule else name
        return named

    @cached_property
    def cost_names(self) -> dict[str, str]:
        """Names of times and memory that were measured at all, by column."""
        return {
            column: name
            for column, name in _COST_NAMES.items()
            if any(math.isfinite(row.get(column, math.nan)) for row in self.seconds)
        }

    @property
    def curve_experiment(self) -> str:
        """Experiment in which results were measured along the way."""
        return EFFICIENCY if EFFICIENCY in self.experiments else self.final_experiment

    @property
    def has_curves(self) -> bool:
        """Whether results were measured along the way, so that clicks can be counted."""
        return self.plan["experiments"][self.curve_experiment]["measured"] != "end"

    @property
    def curve_unit(self) -> tuple[str, str]:
        """Column and name of the curves' axis: scan-wise interactions, else prompted lesions."""
        rows = (row for row in self.rows if row["experiment"] == self.curve_experiment)
        if any(row["prompted"] for row in rows):
            return "prompted", "Prompted lesions"
        return "interactions", "Interactions"

    def folds(self, segmenter: str) -> list[str]:
        """Return the folds, or seeds, of a segmenter that have results."""
        rows = self.select(self.final_experiment, None, segmenter)
        return list(dict.fromkeys(row["fold"] for row in rows))

    def select(self, experiment: str, test_set: str | None, segmenter: str) -> list[ResultRow]:
        """Return the rows of one segmenter, of every set if none is named."""
        return [
            row
            for row in self.rows
            if row["experiment"] == experiment
            and row["segmenter"] == segmenter
            and test_set in (None, row["set"])
        ]

    # ---- values ------------------------------------------------------------------------------

    def final(
        self,
        metric: str,
        test_set: str | None,
        segmenter: str,
        experiment: str | None = None,
        fold: str | None = None,
    ) -> dict[str, float]:
        """Return one value for each scan at the end of the protocol, of a fold or their mean."""
        rows = self.select(experiment or self.final_experiment, test_set, segmenter)
        last = [row for row in rows if row["is_last"] and fold in (None, row["fold"])]
        return average_folds([(row["scan"], row[metric]) for row in last])

    @cached_property
    def _costs(self) -> dict[tuple, ResultRow]:
        return {_key(row): row for row in self.seconds}

    def cost(self, column: str, test_set: str | None, segmenter: str) -> dict[str, float]:
        """Return seconds, or GiB of memory, of each scan for the whole protocol, folds averaged."""
        rows = self.select(self.final_experiment, test_set, segmenter)
        last = [self.with_costs(row) for row in rows if row["is_last"]]
        return average_folds([(row["scan"], row[column]) for row in last])

    def with_costs(self, row: ResultRow) -> ResultRow:
        """Return a row with its time and memory, in the units of tables."""
        costs = self._costs[_key(row)]
        return {**row, **{name: costs[name] / _COST_UNITS[name] for name in self.cost_names}}

    def curve(
        self, metric: str, test_set: str | None, segmenter: str
    ) -> dict[int, dict[str, float]]:
        """Return a value for each scan by the number of prompted lesions or interactions.

        A scan with fewer of them keeps the value it had in the end. One without any click has the
        same value from the first count of the others on. Nothing where only the end was measured.
        """
        if not self.has_curves:
            return {}
        unit, _ = self.curve_unit
        steps: dict[tuple[str, str], dict[int, float]] = {}
        for row in self.select(self.curve_experiment, test_set, segmenter):
            steps.setdefault((row["scan"], row["fold"]), {})[int(row[unit])] = row[metric]
        counts = sorted({count for one in steps.values() for count in one if count})
        if not counts and steps:
            rows = (row for row in self.rows if row["experiment"] == self.curve_experiment)
            shown = {int(row[unit]) for row in rows if test_set in (None, row["set"])}
            counts = sorted(shown - {0})
        curve = {}
        for count in counts:
            held = [
                (scan, one[max(n for n in one if n <= count)])
                for (scan, _), one in steps.items()
                if min(one) <= count
            ]
            curve[count] = average_folds(held)
        return curve

    def reached(self, target: float, test_set: str, segmenter: str) -> Reached:
        """Return clicks and seconds until a scan-wise DSC, the mean over folds that got there."""
        times = {key: row["seconds"] for key, row in self._costs.items()}
        first: dict[tuple[str, str], ResultRow] = {}
        rows = self.select(self.curve_experiment, test_set, segmenter)
        for row in rows:
            if row["dsc"] >= target:
                first.setdefault((row["scan"], row["fold"]), row)
        clicks = average_folds([(row["scan"], row["clicks"]) for row in first.values()])
        seconds = average_folds([(row["scan"], times[_key(row)]) for row in first.values()])
        never = {row["scan"]: math.inf for row in rows}
        return Reached({**never, **clicks}, {**never, **seconds})

    def last_dsc(self, test_set: str, segmenter: str) -> dict[str, float]:
        """Return the DSC of each scan at the end of a segmenter's curve."""
        return self.final("dsc", test_set, segmenter, self.curve_experiment)

    def clicks_until(
        self, targets: Mapping[str, float] | float, test_set: str, segmenter: str
    ) -> dict[str, float]:
        """Return the clicks of each scan until a scan-wise DSC, the same for all or one for each.

        One that never gets there is counted with one click more than it was given. A segmenter that
        takes no clicks has none to count.
        """
        if segmenter in self.without_clicks:
            return {}
        rows = self.select(self.curve_experiment, test_set, segmenter)
        by_fold: dict[tuple[str, str], list[ResultRow]] = {}
        for row in rows:
            by_fold.setdefault((row["scan"], row["fold"]), []).append(row)
        values = []
        for (scan, _), steps in by_fold.items():
            target = targets if isinstance(targets, float) else targets.get(scan)
            if target is None:
                continue
            enough = [row["clicks"] for row in steps if row["dsc"] >= target]
            given = max(row["clicks"] for row in steps)
            values.append((scan, min(enough, default=given + 1)))
        return average_folds(values)

    # ---- masks -------------------------------------------------------------------------------

    def kept(self, scan: str) -> KeptScan | None:
        """Return what pictures need of a scan, if it was kept."""
        return ResultsFolder(self.folder).scan(scan)

    def mask(self, scan: str, segmenter: str, experiment: str | None = None) -> np.ndarray | None:
        """Return the final result of a segmenter (of its first fold) on a scan, if it was kept."""
        experiment = experiment or self.final_experiment
        fold = next(
            (r["fold"] for r in self.select(experiment, None, segmenter) if r["scan"] == scan),
            None,
        )
        if fold is None:
            return None
        key = task_key(experiment, scan, segmenter, fold)
        return ResultsFolder(self.folder).mask(key, scan)

    def scans_of(self, test_set: str | None) -> list[str]:
        """Return the names of the scans that have results, in the order of the plan."""
        with_results = {row["scan"] for row in self.rows if test_set in (None, row["set"])}
        return [case["name"] for case in self.plan["cases"] if case["name"] in with_results]


def set_title(name: str, sets: Sequence[str]) -> str:
    """Return the title of a set in figures and tables."""
    words = name.replace("_", " ")
    words = words[:1].upper() + words[1:]
    return words if len(sets) == 1 else f"Test set {sets.index(name) + 1}: {words}"


def _key(row: ResultRow) -> tuple:
    return tuple(row[name] for name in ("experiment", "scan", "segmenter", "fold", "step"))
