"""What is to be run: which segmenters, on which scans, by which protocols."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mois_core import __version__
from mois_core.errors import BadInput
from mois_core.evaluation.cohort import Case, without_places
from mois_core.evaluation.metrics import Measuring
from mois_core.evaluation.protocols import Protocol
from mois_core.evaluation.segmenter_specs import SegmenterSpec, weights_of


@dataclass(frozen=True)
class Experiment:
    """One way to work through every scan, under the name that its results have."""

    name: str
    protocol: Protocol


@dataclass(frozen=True)
class Plan:
    """Everything that the results depend on."""

    cases: tuple[Case, ...]
    segmenters: tuple[SegmenterSpec, ...]
    experiments: tuple[Experiment, ...]
    measuring: Measuring
    keep_masks: bool = True
    """Results as masks, for pictures and for the agreement between readers."""

    def __post_init__(self) -> None:
        if not self.cases or not self.segmenters or not self.experiments:
            raise BadInput("nothing to evaluate: scans, segmenters and protocols are needed")
        for what, names in {
            "segmenters": [f"{spec.name}@{spec.fold}" for spec in self.segmenters],
            "experiments": [experiment.name for experiment in self.experiments],
            "scans": [case.name for case in self.cases],
        }.items():
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise BadInput(f"two {what} are called '{sorted(twice)[0].removesuffix('@')}'")


@dataclass(frozen=True)
class Job:
    """One segmenter on one scan by one protocol."""

    experiment: Experiment
    case: Case
    segmenter: SegmenterSpec

    @property
    def key(self) -> str:
        """The name of the job's files."""
        spec = self.segmenter
        return job_key(self.experiment.name, self.case.name, spec.name, spec.fold)


def job_key(experiment: str, scan: str, segmenter: str, fold: str) -> str:
    """A file name of its own for each job: readable, and short enough for every system."""
    words = [experiment, scan, segmenter, fold]
    text = "_".join(word for word in words if word)
    unique = hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', text)[:80]}-{unique}"


def jobs_of(plan: Plan) -> list[Job]:
    """All jobs in the order of the results, those of one scan and experiment together.

    The model of a fold is not tested on scans it was trained on.
    """
    return [
        Job(experiment, case, spec)
        for experiment in plan.experiments
        for case in plan.cases
        for spec in plan.segmenters
        if not (case.fold and spec.fold and case.fold != spec.fold)
    ]


def described(plan: Plan) -> dict[str, object]:
    """The plan as it is kept beside the results: without file names of scans, with checksums."""
    content = {
        "mois_version": __version__,
        "measuring": asdict(plan.measuring),
        "experiments": {e.name: asdict(e.protocol) for e in plan.experiments},
        "segmenters": {
            f"{spec.name}@{spec.fold}" if spec.fold else spec.name: {
                "kind": spec.kind.replace("\\", "/").rpartition("/")[2],
                "options": dict(spec.options),
                "dtype": spec.dtype,
                "weights": dict(weights_of(spec)),
            }
            for spec in plan.segmenters
        },
        "cases": [asdict(without_places(case)) for case in plan.cases],
    }
    # As it comes back from the file, where tuples are lists, so that both can be compared.
    return json.loads(json.dumps(content))


def check_same(before: dict[str, object], now: dict[str, object]) -> None:
    """Refuse to mix results of different plans in one folder.

    More scans, segmenters or experiments may join; what has the same name must be the same.
    """
    advice = "choose another results folder, or delete this one"
    for what in ("mois_version", "measuring"):
        if before[what] != now[what]:
            raise BadInput(f"the results there were made with another {what}; {advice}")
    for what in ("experiments", "segmenters"):
        for name, content in now[what].items():
            if before[what].get(name, content) != content:
                raise BadInput(f"'{name}' in the {what} there is another one; {advice}")
    known = {case["name"]: case for case in before["cases"]}
    for case in now["cases"]:
        if known.get(case["name"], case) != case:
            raise BadInput(f"the scan '{case['name']}' there is another one; {advice}")


def merged(before: dict[str, object], now: dict[str, object]) -> dict[str, object]:
    """Both plans together, the earlier one first."""
    names = {case["name"] for case in before["cases"]}
    return {
        **now,
        "experiments": {**before["experiments"], **now["experiments"]},
        "segmenters": {**before["segmenters"], **now["segmenters"]},
        "cases": [*before["cases"], *(c for c in now["cases"] if c["name"] not in names)],
    }


def by_scan(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs of each scan together, so that a scan is read, or made, once."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.case.name, []).append(job)
    return list(groups.values())
