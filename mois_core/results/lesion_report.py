"""The lesion table: what a radiologist would measure by hand, and the model that measured it.

A CSV file holds one row per lesion and nothing else, so that every spreadsheet and every script
reads it as it is. A JSON file holds the same rows, the totals, and what made them. Neither names
the patient or the scan unless the caller says so.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull

from mois_core import __version__
from mois_core.errors import BadInput
from mois_core.geometry import SliceStack
from mois_core.io.atomic import atomic_write
from mois_core.network.model_info import ModelInfo
from mois_core.session.lesion import Lesion, Status, painting_order
from mois_core.session.masks import Mask, Plane

REPORT_ENDINGS = (".csv", ".json")

_DIGITS = 7
"""Significant digits in files: more than any voxel deserves, fewer than rounding errors show in."""


@dataclass(frozen=True)
class LesionRow:
    """Measurements of one lesion; the fields are the columns of the table, in their order.

    A lesion whose mask is empty has no centroid and no intensity.
    """

    lesion: int
    status: str
    volume_cm3: float
    voxels: int
    slices: int
    diameter_mm: float
    """Largest distance within one slice between two points of the lesion, measured from the outer
    edges of its pixels: a lesion of one pixel is as long as that pixel's diagonal."""
    centroid_r: float | None
    centroid_a: float | None
    centroid_s: float | None
    mean: float | None
    sd: float | None
    """Intensities are those of the scan as it was read, over all of the lesion's voxels."""
    clicks: int


COLUMNS = tuple(column.name for column in fields(LesionRow))


@dataclass(frozen=True)
class StatusTotal:
    """Number and volume of all lesions with one status."""

    count: int
    volume_cm3: float


@dataclass(frozen=True)
class Totals:
    """Number and volume of all lesions of a scan.

    Rejected lesions appear under their status only, not in the sums, and a lesion whose mask is
    empty is not counted at all.
    """

    count: int
    burden_cm3: float
    by_status: Mapping[str, StatusTotal]


@dataclass(frozen=True)
class Provenance:
    """Model and parameters that a reader needs to repeat a measurement."""

    model: ModelInfo
    parameters: Mapping[str, object] = field(default_factory=dict)
    scan: str | None = None
    """The scan's file; left out unless someone wants it, since file names often name patients."""
    notices: Sequence[str] = ()
    """What was said while the result was made, such as that a click lies in air."""


def measure_lesions(stack: SliceStack, lesions: Sequence[Lesion]) -> list[LesionRow]:
    """Measure lesions, in the order given; rejected ones too, their status tells them apart.

    Lesions are measured `without_overlaps`, so no voxel is counted twice.
    """
    return [_measure(stack, lesion) for lesion in without_overlaps(stack, lesions)]


def without_overlaps(stack: SliceStack, lesions: Sequence[Lesion]) -> list[Lesion]:
    """Return the lesions, each left with the voxels that a label map gives it.

    Table, picture and segmentation then agree. Rejected lesions take nothing from others and
    keep what they have.
    """
    taken = np.zeros(stack.array.shape, dtype=bool)
    own = {}
    for lesion in reversed(painting_order(lesions)):
        planes = {}
        for slice_index, plane in lesion.mask:
            free = Plane.crop(plane.pixels & ~taken[slice_index][plane.box])
            if free is not None:
                row, column = plane.row + free.row, plane.column + free.column
                planes[slice_index] = Plane(row, column, free.pixels)
        lesion.mask.paint(taken, True)
        own[lesion.id] = Mask(lesion.mask.shape, planes)
    return [replace(lesion, mask=own.get(lesion.id, lesion.mask)) for lesion in lesions]


def totals(table: Iterable[LesionRow]) -> Totals:
    """Return count and tumour burden, over all and for each status that occurs."""
    table = [row for row in table if row.voxels]
    by_status = {}
    for status in Status:
        volumes = [row.volume_cm3 for row in table if row.status == status.value]
        if volumes:
            by_status[status.value] = StatusTotal(len(volumes), sum(volumes))
    counted = [total for status, total in by_status.items() if Status(status).counts]
    return Totals(
        count=sum(total.count for total in counted),
        burden_cm3=float(sum(total.volume_cm3 for total in counted)),
        by_status=by_status,
    )


def _measure(stack: SliceStack, lesion: Lesion) -> LesionRow:
    mask = lesion.mask
    voxels = mask.voxels
    centroid, mean, sd = (None, None, None), None, None
    if voxels:
        centroid = _centroid(stack, mask, voxels)
        intensities = mask.read(stack.array).astype(np.float64)
        mean, sd = float(intensities.mean()), float(intensities.std())
    return LesionRow(
        lesion=lesion.id,
        status=lesion.status.value,
        volume_cm3=voxels * stack.volume.voxel_volume_cm3,
        voxels=voxels,
        slices=len(mask.slices),
        diameter_mm=max((_diameter(stack, plane) for _, plane in mask), default=0.0),
        centroid_r=centroid[0],
        centroid_a=centroid[1],
        centroid_s=centroid[2],
        mean=mean,
        sd=sd,
        clicks=len(lesion.clicks),
    )


def _centroid(stack: SliceStack, mask: Mask, voxels: int) -> tuple[float, float, float]:
    total = np.zeros(3)
    for slice_index, plane in mask:
        at_rows, at_columns = np.nonzero(plane.pixels)
        total += (
            slice_index * len(at_rows),
            (at_columns + plane.column).sum(),
            (at_rows + plane.row).sum(),
        )
    r, a, s = stack.point_to_ras(*(total / voxels)).tolist()
    return r, a, s


def _diameter(stack: SliceStack, plane: Plane) -> float:
    """Return the largest distance in mm between two points of a slice's pixels."""
    # Only corners on the convex hull can be furthest apart, and only those of the outermost
    # pixels of a row can be on it, which leaves few enough to compare each with each.
    pixels = plane.pixels
    at_rows = np.flatnonzero(pixels.any(axis=1))
    first = pixels[at_rows].argmax(axis=1)
    behind_last = pixels.shape[1] - pixels[at_rows, ::-1].argmax(axis=1)
    corners = np.concatenate(
        [
            np.stack([at_rows + down, edge], axis=1)
            for down in (0, 1)
            for edge in (first, behind_last)
        ]
    )
    hull = corners[ConvexHull(corners).vertices]
    # Through the affine and not through the spacing: pixels of a sheared scan are no rectangles.
    points = hull @ stack.to_ras[:3, 1:3].T
    return float(np.linalg.norm(points[:, None] - points[None], axis=2).max())


def check_report_path(path: str | os.PathLike[str]) -> None:
    """Refuse an ending that is not written; for callers who want to know before hours of work."""
    if Path(path).suffix.lower() not in REPORT_ENDINGS:
        raise BadInput(
            f"{path}: reports are written as {' or '.join(REPORT_ENDINGS)}; use one of these "
            "endings."
        )


def write_report(
    path: str | os.PathLike[str], table: Sequence[LesionRow], provenance: Provenance
) -> None:
    """Write a CSV or a JSON file, whichever the path's ending says."""
    check_report_path(path)
    if Path(path).suffix.lower() == ".csv":
        write_csv(path, table)
    else:
        write_json(path, table, provenance)


def write_csv(path: str | os.PathLike[str], table: Sequence[LesionRow]) -> None:
    """Write the table alone: totals or comments between the rows would be read as lesions."""
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rounded(asdict(row)) for row in table)


def write_json(
    path: str | os.PathLike[str], table: Sequence[LesionRow], provenance: Provenance
) -> None:
    """Write the table, its totals, and the model, checksum, version and parameters behind it."""
    document = {
        "mois_version": __version__,
        "model": asdict(provenance.model),
        "parameters": dict(provenance.parameters),
        "notices": list(provenance.notices),
        "totals": rounded(asdict(totals(table))),
        "lesions": [rounded(asdict(row)) for row in table],
    }
    if provenance.scan is not None:
        document["scan"] = provenance.scan
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def rounded(value: object) -> object:
    """Return what files say of a value, or of all that it holds: no digit that is not earned."""
    if isinstance(value, Mapping):
        return {key: rounded(part) for key, part in value.items()}
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
