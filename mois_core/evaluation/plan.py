"""Plan of an evaluation: which segmenters run on which scans by which protocols."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from mois_core import __version__
from mois_core.errors import BadInput
from mois_core.evaluation.cohort import EvaluationCase, describe_case
from mois_core.evaluation.metrics import MetricSettings
from mois_core.evaluation.protocols import Protocol
from mois_core.evaluation.segmenter_specs import SegmenterSpec, files_of, given_to, weights_of


@dataclass(frozen=True)
class Experiment:
    """A protocol for every scan, under the name that its results have."""

    name: str
    protocol: Protocol


@dataclass(frozen=True)
class EvaluationPlan:
    """Everything that the results of an evaluation depend on."""

    cases: tuple[EvaluationCase, ...]
    segmenters: tuple[SegmenterSpec, ...]
    experiments: tuple[Experiment, ...]
    measuring: MetricSettings
    keep_masks: bool = True
    """Whether results are kept as masks, for pictures and for the agreement between readers."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Segmenters that were asked for and are not on this computer, and why."""

    def __post_init__(self) -> None:
        if not self.cases or not self.segmenters or not self.experiments:
            raise BadInput("nothing to evaluate: scans, segmenters and protocols are needed")
        for what, names in {
            "segmenters": [spec.label for spec in self.segmenters],
            "experiments": [experiment.name for experiment in self.experiments],
            "scans": [case.name for case in self.cases],
        }.items():
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise BadInput(f"two {what} are called '{sorted(twice)[0]}'")
        self._check_folds()

    def _check_folds(self) -> None:
        """Refuse models that share a name and are no folds of one, or would not be tested."""
        folds = ", ".join(sorted({case.fold for case in self.cases}))
        tested = {task.segmenter.name for task in tasks_of(self)}
        for name, specs in self._by_name().items():
            if len({spec.kind for spec in specs}) > 1 or not (len(specs) == 1 or specs[0].fold):
                raise BadInput(f"what is called '{name}' are no folds of one segmenter; rename one")
            if name not in tested:
                raise BadInput(f"'{specs[0].label}' is of no scan's fold; these are: {folds}")

    def _by_name(self) -> dict[str, list[SegmenterSpec]]:
        """Return the segmenters by name, each with its folds; one without a fold comes first."""
        by_name: dict[str, list[SegmenterSpec]] = {}
        for spec in sorted(self.segmenters, key=lambda spec: spec.fold != ""):
            by_name.setdefault(spec.name, []).append(spec)
        return by_name

    def untested(self) -> list[str]:
        """Return a line for each model or scan that folds leave out, to be told to the user."""
        tasks = tasks_of(self)
        models = {task.segmenter.label for task in tasks}
        pairs = {(task.segmenter.name, task.case.name) for task in tasks}
        lines = [
            f"{spec.label} is not tested: no scan was left out of its fold"
            for spec in self.segmenters
            if spec.label not in models
        ]
        for name in self._by_name():
            left = [case.name for case in self.cases if (name, case.name) not in pairs]
            if left:
                lines.append(f"{name} has no model for the folds of {len(left)} of the scans")
        return lines


@dataclass(frozen=True)
class EvaluationTask:
    """One segmenter on one scan by one protocol."""

    experiment: Experiment
    case: EvaluationCase
    segmenter: SegmenterSpec

    @property
    def key(self) -> str:
        """The name of the task's files."""
        spec = self.segmenter
        return task_key(self.experiment.name, self.case.name, spec.name, spec.fold)


def task_key(experiment: str, scan: str, segmenter: str, fold: str) -> str:
    """Return a file name of its own for a task: readable, and short enough for every system."""
    words = [experiment, scan, segmenter, fold]
    text = "_".join(word for word in words if word)
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', text)[:80]}-{_unique(words)}"


def file_name_of(scan: str) -> str:
    """Return a file name of its own for a scan: its name, if that can be one."""
    plain = re.sub(r"[^\w. -]", "-", scan)[:80]
    return plain if plain == scan else f"{plain}-{_unique([scan])}"


def _unique(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]


def tasks_of(plan: EvaluationPlan) -> list[EvaluationTask]:
    """Return all tasks in the order of the results, those of one scan and experiment together.

    The model of a fold is not tested on scans it was trained on.
    """
    return [
        EvaluationTask(experiment, case, spec)
        for experiment in plan.experiments
        for case in plan.cases
        for spec in plan.segmenters
        if not (case.fold and spec.fold and case.fold != spec.fold)
    ]


def describe_plan(plan: EvaluationPlan) -> dict[str, object]:
    """Return the plan as results keep it: without file names of scans, with checksums."""
    content = {
        "mois_version": __version__,
        "measuring": asdict(plan.measuring),
        "experiments": {e.name: asdict(e.protocol) for e in plan.experiments},
        "segmenters": {spec.label: _describe_segmenter(spec) for spec in plan.segmenters},
        "cases": [describe_case(case) for case in plan.cases],
    }
    if plan.left_out:
        content["left_out"] = dict(plan.left_out)
    # As it comes back from the file, where tuples are lists, so that both can be compared.
    return json.loads(json.dumps(content))


def _describe_segmenter(spec: SegmenterSpec) -> dict[str, object]:
    """Return a segmenter in words; a file is told by its name and checksum, not by its place."""
    files = files_of(spec)
    content: dict[str, object] = {
        "kind": spec.kind.replace("\\", "/").rpartition("/")[2],
        "options": {
            name: files[name]["file"] if name in files else value for name, value in spec.options
        },
        "device": spec.device,
        "dtype": spec.dtype,
        "weights": dict(weights_of(spec)),
    }
    given = given_to(spec)
    return content | ({"files": files} if files else {}) | ({"given": given} if given else {})


def check_compatible(
    before: dict[str, object], now: dict[str, object], measured: Collection[str]
) -> None:
    """Refuse to mix the results of different described plans in one folder.

    More scans, segmenters or experiments may join; what has the same name must be the same, but for
    what is only told of a segmenter's weights: their checksum says whether they are the same. Of
    the scans that holds for those that were ``measured``: the files of others may be mended.
    """
    advice = "choose another results folder, or delete this one"
    for what in ("mois_version", "measuring"):
        if before[what] != now[what]:
            raise BadInput(f"the results there were made with another {what}; {advice}")
    for what in ("experiments", "segmenters"):
        for name, content in now[what].items():
            if _measured_by(before[what].get(name, content)) != _measured_by(content):
                raise BadInput(f"'{name}' in the {what} there is another one; {advice}")
    known = {case["name"]: case for case in before["cases"]}
    for case in now["cases"]:
        name = case["name"]
        if name in measured and not _is_same_case(known[name], case):
            raise BadInput(
                f"the scan '{name}' there is another one, or its files have changed since; {advice}"
            )


def _is_same_case(before: Mapping[str, object], now: Mapping[str, object]) -> bool:
    """Return whether two described cases are one, as far as both know their files."""
    ours, theirs = dict(now), dict(before)
    our_sums, their_sums = ours.pop("sha256", {}), theirs.pop("sha256", {})
    both = our_sums.keys() & their_sums.keys()
    return ours == theirs and all(our_sums[name] == their_sums[name] for name in both)


def _measured_by(content: Mapping[str, object]) -> dict[str, object]:
    """Return the part of an experiment or a segmenter that its results depend on."""
    return {name: value for name, value in content.items() if name != "given"}


def merge_plans(before: dict[str, object], now: dict[str, object]) -> dict[str, object]:
    """Return two described plans as one, the earlier one first."""
    cases = {case["name"]: case for case in (*before["cases"], *now["cases"])}
    left_out = {**before.get("left_out", {}), **now.get("left_out", {})}
    known = before["segmenters"].keys() | now["segmenters"].keys()
    return {
        **now,
        "left_out": {name: why for name, why in left_out.items() if name not in known},
        "experiments": {**before["experiments"], **now["experiments"]},
        "segmenters": {**before["segmenters"], **now["segmenters"]},
        "cases": list(cases.values()),
    }


def group_by_scan(tasks: Sequence[EvaluationTask]) -> list[list[EvaluationTask]]:
    """Return the tasks of each scan together, so that a scan is read, or made, once."""
    groups: dict[str, list[EvaluationTask]] = {}
    for task in tasks:
        groups.setdefault(task.case.name, []).append(task)
    return list(groups.values())
