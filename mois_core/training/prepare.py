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
from mois_core.training.cases import MOST_LESIONS, case_of
from mois_core.training.scans import INDEX


@dataclass(frozen=True)
class Entry:
    """A row of the table of scans."""

    scan: Path
    labels: Path
    patient: str


@dataclass(frozen=True)
class Finding:
    """What is known of one scan after preparing it."""

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


def read_table(path: Path) -> list[Entry]:
    """The table of scans: a CSV with the columns scan, labels and patient.

    File names are relative to the table; a scan without a patient is a patient of its own.
    """
    return [
        Entry(row.scan, row.labels, row.patient or row.scan_text) for row in read_scan_table(path)
    ]


def folds_of(patients: Sequence[str], count: int, seed: int) -> dict[str, int]:
    """A fold for each patient, all of nearly the same size; a patient is never in two."""
    unique = sorted(set(patients))
    if not 2 <= count <= len(unique):
        raise BadInput(f"{len(unique)} patients cannot be put into {count} folds")
    order = np.random.default_rng(seed).permutation(len(unique))
    return {unique[int(n)]: place % count for place, n in enumerate(order)}


def instances_of(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbered lesions, the largest first, and how many were too many.

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


def prepare_one(entry: Entry, name: str, fold: int, out: Path) -> Finding:
    """Write one case and say what was found in it."""
    scan, labels = read_scan(entry.scan), read_labels(entry.labels)
    if not same_grid(scan, labels):
        raise BadInput(f"{entry.labels} does not lie on the voxel grid of {entry.scan}")
    instances, left_out = instances_of(labels.array)
    tumours = int(instances.max())
    case = case_of(name, scan, instances, np.zeros(tumours + 1, dtype=np.uint8))
    case.save(out / f"{name}.npz")
    return _finding(entry, f"{name}.npz", fold, scan, instances, left_out)


def _finding(
    entry: Entry, file: str, fold: int, scan: Volume, instances: np.ndarray, left_out: int
) -> Finding:
    stack = SliceStack(scan)
    rows, columns = stack.pixel_spacing
    return Finding(
        file=file,
        patient=entry.patient,
        fold=fold,
        slices=stack.count,
        rows=stack.shape[0],
        columns=stack.shape[1],
        slice_mm=round(stack.slice_spacing, 3),
        pixel_mm=(round(rows, 3), round(columns, 3)),
        tumours=int(instances.max()),
        volume_cm3=round(float(np.count_nonzero(instances) * scan.voxel_volume_cm3), 2),
        left_out=left_out,
    )


def prepare(table: Path, out: Path, folds: int, seed: int) -> list[Finding]:
    """Prepare every scan of a table. The index is written last: without it nothing is used."""
    entries = read_table(table)
    fold_of = folds_of([entry.patient for entry in entries], folds, seed)
    out.mkdir(parents=True, exist_ok=True)
    findings = [
        prepare_one(entry, f"case-{number:04d}", fold_of[entry.patient], out)
        for number, entry in enumerate(entries, start=1)
    ]
    index = {"folds": folds, "seed": seed, "cases": [asdict(finding) for finding in findings]}
    with atomic_write(out / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return findings


def report(findings: Sequence[Finding]) -> list[str]:
    """What was found, in the terms of the paper's Table 1: median and range over the scans."""
    lines = [
        f"{len(findings)} scans of {len({finding.patient for finding in findings})} patients in "
        f"{len({finding.fold for finding in findings})} folds"
    ]
    quantities = {
        "slices": [finding.slices for finding in findings],
        "slice distance in mm": [finding.slice_mm for finding in findings],
        "pixel height in mm": [finding.pixel_mm[0] for finding in findings],
        "pixel width in mm": [finding.pixel_mm[1] for finding in findings],
        "tumours": [finding.tumours for finding in findings],
        "tumour volume in cm3": [finding.volume_cm3 for finding in findings],
    }
    for name, values in quantities.items():
        middle, low, high = np.median(values), min(values), max(values)
        lines.append(f"{name}: {middle:g} ({low:g} to {high:g})")
    left_out = sum(finding.left_out for finding in findings)
    if left_out:
        lines.append(f"left out, beyond the {MOST_LESIONS} largest of a scan: {left_out} tumours")
    return lines
