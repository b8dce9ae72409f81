"""Scans and labels from anywhere to cases to learn from, in folds of patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import VIEWS, SliceStack, acquired_axis, same_grid
from mois_core.io import atomic_write, read_labels, read_scan
from mois_core.io.atomic import make_folder, temporary_folder
from mois_core.io.scan_table import ScanTableRow
from mois_core.network.config import check_grey_window
from mois_core.progress import Progress, silent
from mois_core.training.label_values import check_values, classes_in, instances_of, of_values
from mois_core.training.scans import INDEX
from mois_core.training.training_case import MOST_LESIONS, case_of


@dataclass(frozen=True)
class Preparation:
    """How scans are turned into cases."""

    axis: str = "coronal"
    """Along which slices are taken."""
    grey_window: tuple[float, float] | None = None
    """Values that become black and white; None takes percentiles of each scan."""
    lesion_values: tuple[int, ...] = ()
    """Values of the label maps that are lesions; if none, all but 0 are."""

    def __post_init__(self) -> None:
        if self.axis not in VIEWS:
            raise BadInput(f"there are no {self.axis} slices; choose from {', '.join(VIEWS)}")
        if self.grey_window is not None:
            check_grey_window(self.grey_window)


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
    acquired: str | None
    """Along which slices it was plainly acquired."""
    values: tuple[int, ...]
    """Values of its label map, 0 left out."""
    classes: tuple[int, ...]
    """The same if they look like classes and not like lesions by number."""


def folds_of(patients: Sequence[str], count: int, seed: int) -> dict[str, int]:
    """Return a fold for each patient, all of nearly the same size; no patient is in two."""
    unique = sorted(set(patients))
    if not 2 <= count <= len(unique):
        raise BadInput(f"{len(unique)} patients cannot be put into {count} folds")
    order = np.random.default_rng(seed).permutation(len(unique))
    return {unique[int(n)]: place % count for place, n in enumerate(order)}


def prepare_one(
    source: ScanTableRow, name: str, fold: int, out: Path, how: Preparation
) -> PreparedCase:
    """Write the case of one scan, and return what is known of it."""
    scan = read_scan(source.scan)
    labels = read_labels(source.labels, scan)
    if not same_grid(scan, labels):
        raise BadInput(f"{source.labels} does not lie on the voxel grid of {source.scan}")
    values = tuple(np.unique(labels.array[labels.array > 0]).tolist())
    drawn = of_values(labels.array, how.lesion_values) if how.lesion_values else labels.array
    instances, left_out = instances_of(drawn)
    tumours = int(instances.max())
    appearances = np.zeros(tumours + 1, dtype=np.uint8)
    try:
        case = case_of(name, scan, instances, appearances, how.axis, how.grey_window)
    except BadInput as error:
        raise BadInput(f"{source.scan}: {error}") from error
    file = f"{name}.npz"
    case.save(out / file)
    return PreparedCase(
        file=file,
        patient=_patient_of(source),
        fold=fold,
        **_sizes_of(SliceStack(scan, how.axis)),
        tumours=tumours,
        volume_cm3=round(float(np.count_nonzero(instances) * scan.voxel_volume_cm3), 2),
        left_out=left_out,
        acquired=acquired_axis(scan),
        values=values,
        classes=() if how.lesion_values else classes_in(labels.array),
    )


def _patient_of(source: ScanTableRow) -> str:
    """Return the patient; a scan without one is a patient of its own."""
    return source.patient or source.scan_text


def _sizes_of(stack: SliceStack) -> dict[str, int | float | tuple[float, float]]:
    rows, columns = stack.pixel_spacing
    return {
        "slices": stack.count,
        "rows": stack.shape[0],
        "columns": stack.shape[1],
        "slice_mm": round(stack.slice_spacing, 3),
        "pixel_mm": (round(rows, 3), round(columns, 3)),
    }


def prepare(
    sources: Sequence[ScanTableRow],
    out: Path,
    folds: int,
    seed: int,
    how: Preparation | None = None,
    progress: Progress = silent,
) -> list[PreparedCase]:
    """Prepare scans.

    What an earlier time has left in the folder stays until all of this is there. The index is
    written last: without it nothing is used.
    """
    how = how or Preparation()
    fold_of = folds_of([_patient_of(source) for source in sources], folds, seed)
    with temporary_folder(make_folder(out)) as fresh:
        cases = []
        for place, source in enumerate(sources, start=1):
            progress(place - 1, len(sources), "preparing")
            fold = fold_of[_patient_of(source)]
            cases.append(prepare_one(source, f"case-{place:04d}", fold, fresh, how))
        check_values(how.lesion_values, {value for case in cases for value in case.values})
        (out / INDEX).unlink(missing_ok=True)
        for case in cases:
            (fresh / case.file).replace(out / case.file)
    index = {
        "folds": folds,
        "seed": seed,
        **asdict(how),
        "cases": [asdict(case) for case in cases],
    }
    with atomic_write(out / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return cases


def report(cases: Sequence[PreparedCase], how: Preparation) -> list[str]:
    """Return lines in the terms of the paper's Table 1: median and range over the scans.

    Warnings of what may have been meant otherwise come last.
    """
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
    return lines + _warnings(cases, how)


def _warnings(cases: Sequence[PreparedCase], how: Preparation) -> list[str]:
    lines = []
    with_classes = [case for case in cases if case.classes]
    if with_classes:
        first = with_classes[0]
        lines.append(
            f"Warning: in {len(with_classes)} of {len(cases)} scans the values of the label map "
            f"look like classes and not like lesions by number (the first is {first.file}, with "
            f"{', '.join(map(str, first.classes))}). All voxels of a value count as one tumour "
            "there. Say which values are lesions, as with --label 2, and each connected part of "
            "them is one"
        )
    across = [case.acquired for case in cases if case.acquired not in (None, how.axis)]
    if across:
        acquired = max(sorted(set(across)), key=across.count)
        lines.append(
            f"Warning: {len(across)} of {len(cases)} scans were acquired in other slices than the "
            f"{how.axis} ones that were taken; --axis {acquired} takes them as most of these were"
        )
    without = sum(case.tumours == 0 for case in cases)
    if without:
        lines.append(f"{without} of {len(cases)} scans have no tumour and cannot be clicked on")
    return lines
