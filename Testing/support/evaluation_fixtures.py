"""Small cohorts on disk, and results without a run, for the tests of the evaluation."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from engine_fixtures import FIRST, SECOND, THIRD, Block, scan_of, volume_of

from mois_core.evaluation.metrics import MetricSettings
from mois_core.evaluation.plan import EvaluationPlan, Experiment
from mois_core.evaluation.protocols import Protocol
from mois_core.evaluation.segmenter_specs import parse_spec
from mois_core.geometry import Volume
from mois_core.io import write_image

STUBS = Path(__file__).parent / "stub_segmenter.py"
EVERYTHING_COUNTS = MetricSettings(smallest_cm3=0.0)
LESIONS = (FIRST, SECOND, THIRD)


def truth_of(*blocks: Block) -> np.ndarray:
    """Return blocks as lesions 1, 2, ... of a label array in the scan's own order."""
    labels = np.zeros(scan_of().shape, dtype=np.uint8)
    for lesion_id, block in enumerate(blocks, start=1):
        labels[block.where] = lesion_id
    return labels


def write_case(folder: Path, *blocks: Block, brightest: int | None = None) -> None:
    """Write a scan with blocks for lesions and its truth; one voxel may be very bright."""
    folder.mkdir(parents=True)
    array = scan_of(*blocks)
    if brightest is not None:
        array[0, 0, 0] = brightest
    volume = volume_of(array)
    write_image(folder / "scan.nii.gz", volume)
    write_image(folder / "semantic.nii.gz", Volume(truth_of(*blocks), volume.ijk_to_ras))


def write_cohort(folder: Path, sets: Sequence[str] = ("near", "far"), scans: int = 2) -> Path:
    """Write sets of scans, each with all lesions or all but the first."""
    for test_set in sets:
        for n in range(scans):
            write_case(folder / test_set / f"p{n}", *LESIONS[n % 2 :])
    return folder


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """Write a cohort as a table."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def stub(name: str, label: str = "") -> str:
    """Return a stub segmenter as the command line writes it."""
    return f"{label or name}:{STUBS}:{name}"


def plan_of(cases: Sequence, *words: str, **protocol: object) -> EvaluationPlan:
    """Return a plan with one experiment in which components of every size count."""
    return EvaluationPlan(
        cases=tuple(cases),
        segmenters=tuple(parse_spec(text) for text in words),
        experiments=(Experiment("run", Protocol(**protocol)),),
        measuring=EVERYTHING_COUNTS,
    )
