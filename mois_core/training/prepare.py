"""Scans and labels from anywhere to cases to learn from, in folds of patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume, same_grid
from mois_core.io import atomic_write, read_labels, read_scan
from mois_core.io.scan_table import read_scan_table
from mois_core.session.components import TOUCHING
from mois_core.training.scans import INDEX
from mois_core.training.training_case import MOST_LESIONS, case_of


@dataclass(frozen=True)
class LabelledScan:
    """A scan with a label map of its lesions, as the table names them."""

    scan: Path
    labels: Path
    patient: str


@dataclass(frozen=True)
class PreparedCase:
    """What is known of one scan after preparing it; an entry of the index."""

    file: str
    patient: str
    fold: int
    slices: int
    rows: int
    columns: int
    slice_mm: float
    pixel_mm: tuple[float, float]
    tumours: int
    volume_cm3: float
    left_out: int
    """Tumours beyond the largest that a case can hold."""


def read_table(path: Path) -> list[LabelledScan]:
    """Read the table of scans: a CSV with the columns scan, labels and patient.

    File names are relative to the table; a scan without a patient is a patient of its own.
    """
    return [
        LabelledScan(row.scan, row.labels, row.patient or row.scan_text)
        for row in read_scan_table(path)
    ]


def folds_of(patients: Sequence[str], count: int, seed: int) -> dict[str, int]:
    """Return a fold for each patient, all of nearly the same size; no patient is in two."""
    unique = sorted(set(patients))
    if not 2 <= count <= len(unique):
        raise BadInput(f"{len(unique)} patients cannot be put into {count} folds")
    order = np.random.default_rng(seed).permutation(len(unique))
    return {unique[int(n)]: place % count for place, n in enumerate(order)}


def instances_of(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return numbered lesions, the largest first, and how many were too many.

    A label map of one value is taken apart into connected components; one of several values has
    its lesions numbered already.
    """
    if np.count_nonzero(np.unique(labels)) <= 1:
        labels, _ = ndimage.label(labels > 0, structure=TOUCHING)
    values, sizes = np.unique(labels[labels > 0], return_counts=True)
    order = values[np.argsort(-sizes, kind="stable")]
    table = np.zeros(int(labels.max()) + 1, dtype=np.uint8)
    kept = order[:MOST_LESIONS]
    table[kept] = np.arange(1, len(kept) + 1)
    return table[labels], len(order) - len(kept)


def prepare_one(source: LabelledScan, name: str, fold: int, out: Path) -> PreparedCase:
    """Write the case of one scan, and return what is known of it."""
    scan = read_scan(source.scan)
    labels = read_labels(source.labels, scan)
    if not same_grid(scan, labels):
        raise BadInput(f"{source.labels} does not lie on the voxel grid of {source.scan}")
    instances, left_out = instances_of(labels.array)
    tumours = int(instances.max())
    case = case_of(name, scan, instances, np.zeros(tumours + 1, dtype=np.uint8))
    file = f"{name}.npz"
    case.save(out / file)
    return PreparedCase(
        file=file,
        patient=source.patient,
        fold=fold,
        **_sizes_of(scan),
        tumours=tumours,
        volume_cm3=round(float(np.count_nonzero(instances) * scan.voxel_volume_cm3), 2),
        left_out=left_out,
    )


def _sizes_of(scan: Volume) -> dict[str, int | float | tuple[float, float]]:
    stack = SliceStack(scan)
    rows, columns = stack.pixel_spacing
    return {
        "slices": stack.count,
        "rows": stack.shape[0],
        "columns": stack.shape[1],
        "slice_mm": round(stack.slice_spacing, 3),
        "pixel_mm": (round(rows, 3), round(columns, 3)),
    }


def prepare(table: Path, out: Path, folds: int, seed: int) -> list[PreparedCase]:
    """Prepare every scan of a table.

    The index is written last: without it nothing is used.
    """
    sources = read_table(table)
    fold_of = folds_of([source.patient for source in sources], folds, seed)
    out.mkdir(parents=True, exist_ok=True)
    cases = [
        prepare_one(source, f"case-{place:04d}", fold_of[source.patient], out)
        for place, source in enumerate(sources, start=1)
    ]
    index = {"folds": folds, "seed": seed, "cases": [asdict(case) for case in cases]}
    with atomic_write(out / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return cases


def report(cases: Sequence[PreparedCase]) -> list[str]:
    """Return lines in the terms of the paper's Table 1: median and range over the scans."""
    lines = [
        f"{len(cases)} scans of {len({case.patient for case in cases})} patients in "
        f"{len({case.fold for case in cases})} folds"
    ]
    quantities = {
        "slices": [case.slices for case in cases],
        "slice distance in mm": [case.slice_mm for case in cases],
        "pixel height in mm": [case.pixel_mm[0] for case in cases],
        "pixel width in mm": [case.pixel_mm[1] for case in cases],
        "tumours": [case.tumours for case in cases],
        "tumour volume in cm3": [case.volume_cm3 for case in cases],
    }
    for name, values in quantities.items():
        middle, low, high = np.median(values), min(values), max(values)
        lines.append(f"{name}: {middle:g} ({low:g} to {high:g})")
    left_out = sum(case.left_out for case in cases)
    if left_out:
        lines.append(f"left out, beyond the {MOST_LESIONS} largest of a scan: {left_out} tumours")
    return lines
