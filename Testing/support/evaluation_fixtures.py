"""Small cohorts on disk, and results without a run, for the tests of the evaluation."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from engine_fixtures import FIRST, SECOND, THIRD, Block, scan_of, volume_of

from mois_core.evaluation.metrics import Measuring
from mois_core.evaluation.plan import Experiment, Plan
from mois_core.evaluation.protocols import Protocol
from mois_core.evaluation.segmenter_specs import parse_spec
from mois_core.geometry import Volume
from mois_core.io import write_image

STUBS = Path(__file__).parent / "stub_segmenter.py"
EVERYTHING_COUNTS = Measuring(smallest_cm3=0.0)
LESIONS = (FIRST, SECOND, THIRD)


def truth_of(*blocks: Block) -> np.ndarray:
    """The lesions' numbers in the scan's own order."""
    labels = np.zeros(scan_of().shape, dtype=np.uint8)
    for number, block in enumerate(blocks, start=1):
        labels[block.where] = number
    return labels


def write_case(folder: Path, *blocks: Block, brightest: int | None = None) -> None:
    """A scan with block-edited lesions and its truth; ``brightest`` is put into one voxel."""
    folder.mkdir(parents=True)
    array = scan_of(*blocks)
    if brightest is not None:
        array[0, 0, 0] = brightest
    volume = volume_of(array)
    write_image(folder / "scan.nii.gz", volume)
    write_image(folder / "semantic.nii.gz", Volume(truth_of(*blocks), volume.ijk_to_ras))


def write_cohort(folder: Path, sets: Sequence[str] = ("near", "far"), scans: int = 2) -> Path:
    """Sets of scans with fewer and fewer lesions."""
    for test_set in sets:
        for number in range(scans):
            write_case(folder / test_set / f"p{number}", *LESIONS[number % 2 :])
    return folder


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """A cohort as a table."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def stub(name: str, label: str = "") -> str:
    """A stub segmenter in words."""
    return f"{label or name}:{STUBS}:{name}"


def plan_of(cases: Sequence, *words: str, **protocol: object) -> Plan:
    """A plan with one experiment in which components of every size count."""
    return Plan(
        cases=tuple(cases),
        segmenters=tuple(parse_spec(text) for text in words),
        experiments=(Experiment("run", Protocol(**protocol)),),
        measuring=EVERYTHING_COUNTS,
    )
