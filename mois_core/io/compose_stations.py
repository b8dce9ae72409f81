"""Compose the stations of a whole-body scan, taken while the table moved, on one grid.

Scanners deliver the head, the trunk and the legs as scans of their own that overlap a little. The
search needs them as one. The grid is that of the uppermost station and reaches as far as all of
them; a station that lies between its voxels is interpolated linearly. Where two overlap, one
fades into the other from the upper edge of the overlap to the lower. Intensities are otherwise
left as they are: a step between stations stays a step, spread over the overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.geometry import Box, Volume
from mois_core.progress import CancelToken, Progress, silent

_SUPERIOR = 2
# All in voxels. Positions in files are rounded, and so are distances of table and slices.
_OFF_DIRECTION = 0.25
_ON_GRID = 0.05
_WIDEST_GAP = 0.45
_LARGEST_OVERLAP = 0.5
"""Part of the smaller station beyond which two are no neighbours but the same place twice. With
half or less on either side, a station also keeps those above and below it apart."""
_SMALLEST_SIDE_OVERLAP = 0.5


@dataclass(frozen=True, eq=False)
class ComposedVolume(Volume):
    """A volume composed of stations; it keeps the places of its seams."""

    seams_mm: tuple[float, ...] = ()
    """Where the middle of each overlap lies in the patient (S), from the head down."""

    @property
    def note(self) -> str:
        """One line that tells the user what was done."""
        seams = " and ".join(str(round(mm)) for mm in self.seams_mm)
        many = len(self.seams_mm) > 1
        return (
            f"{station_count(self)} stations were composed into one scan; the "
            f"{'seams lie' if many else 'seam lies'} at S {seams} mm. Intensities are as acquired."
        )


def station_count(volume: Volume) -> int:
    """Return how many stations a volume was composed of; 1 if it was read as it is."""
    return len(volume.seams_mm) + 1 if isinstance(volume, ComposedVolume) else 1


@dataclass(frozen=True, eq=False)
class StationPlan:
    """Where each station goes on the grid of all of them."""

    ijk_to_ras: np.ndarray
    shape: tuple[int, int, int]
    """Of the composed array, [k, j, i]."""
    order: tuple[int, ...]
    """The stations from the head down."""
    boxes: tuple[Box, ...]
    """Each station's box of the composed array, in the order in which they were given."""
    shifts: tuple[tuple[float, float, float], ...]
    """How far each station lies beyond its box, in voxels along the array's axes."""
    axis: int
    """The axis of the array along which the stations follow one another."""
    seams_mm: tuple[float, ...]


def plan_stations(stations: Sequence[Volume], names: Sequence[str]) -> StationPlan:
    """Place stations on one grid; refuse them in words if they do not follow one another.

    Only the grids of the volumes are looked at. `names` are what messages call them.
    """
    order = sorted(range(len(stations)), key=lambda n: -_middle(stations[n])[_SUPERIOR])
    first = stations[order[0]]
    for n in order[1:]:
        _check_directions(first, stations[n], names[order[0]], names[n])
    axis = int(np.argmax(np.abs(first.ijk_to_ras[_SUPERIOR, :3] / first.spacing)))
    to_ijk = first.ras_to_ijk
    corners = np.array([(to_ijk @ station.ijk_to_ras)[:3, 3] for station in stations])
    sizes = np.array([station.array.shape[::-1] for station in stations])
    for upper, lower in zip(order[:-1], order[1:], strict=True):
        pair = [upper, lower]
        _check_neighbours(corners[pair], sizes[pair], axis, first, [names[n] for n in pair])

    starts = np.round(corners).astype(int)
    for upper, lower in zip(order[:-1], order[1:], strict=True):
        _close_gap(starts[:, axis], sizes[:, axis], upper, lower)
    shifts = corners - starts
    shifts[np.abs(shifts) <= _ON_GRID] = 0
    lowest = starts.min(axis=0)
    starts -= lowest
    to_ras = first.ijk_to_ras.copy()
    to_ras[:3, 3] = (first.ijk_to_ras @ (*lowest, 1))[:3]
    shape = (starts + sizes).max(axis=0)
    spans = [(starts[n, axis], starts[n, axis] + sizes[n, axis]) for n in order]
    seams = [
        _seam_mm(to_ras, shape, axis, *_shared(upper, lower))
        for upper, lower in zip(spans[:-1], spans[1:], strict=True)
    ]
    return StationPlan(
        ijk_to_ras=to_ras,
        shape=tuple(shape[::-1].tolist()),
        order=tuple(order),
        boxes=tuple(_box(start, start + size) for start, size in zip(starts, sizes, strict=True)),
        shifts=tuple(tuple(shift[::-1].tolist()) for shift in shifts),
        axis=2 - axis,
        seams_mm=tuple(seams),
    )


def compose_stations(
    stations: Sequence[Volume],
    plan: StationPlan,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> ComposedVolume:
    """Return the stations on one grid, blended where they overlap; what none covers is 0."""
    kind = np.result_type(*(station.array for station in stations))
    composed = np.zeros(plan.shape, dtype=kind)
    above: Box | None = None
    for done, n in enumerate(plan.order):
        progress(done, len(plan.order), "joining stations")
        if cancel is not None:
            cancel.check()
        box = plan.boxes[n]
        array = _on_grid(stations[n].array, plan.shifts[n], kind)
        if above is not None:
            overlap = _intersection(above, box)
            before = composed[overlap].copy()
            composed[box] = array
            after = composed[overlap]
            composed[overlap] = _blend(before, after, plan.axis, above[plan.axis], box[plan.axis])
        else:
            composed[box] = array
        above = box
    return ComposedVolume(composed, plan.ijk_to_ras, plan.seams_mm)


def _middle(volume: Volume) -> np.ndarray:
    size = np.array(volume.array.shape[::-1])
    return (volume.ijk_to_ras @ (*(size - 1) / 2, 1))[:3]


def _check_directions(first: Volume, other: Volume, first_name: str, name: str) -> None:
    """Refuse a station whose voxels drift off the grid from its one end to the other."""
    if (
        np.abs(np.array(other.spacing) / first.spacing - 1).max() * max(other.array.shape)
        > _OFF_DIRECTION
    ):
        sizes = [" x ".join(f"{mm:.3g}" for mm in v.spacing) for v in (first, other)]
        raise BadInput(
            f"{first_name} and {name} have voxels of different sizes ({sizes[0]} and {sizes[1]} "
            "mm) and cannot be composed."
        )
    turned = first.ras_to_ijk[:3, :3] @ other.ijk_to_ras[:3, :3] - np.eye(3)
    if np.abs(turned * other.array.shape[::-1]).max() > _OFF_DIRECTION:
        raise BadInput(
            f"{first_name} and {name} were acquired in different directions and cannot be composed."
        )


def _check_neighbours(
    corners: np.ndarray, sizes: np.ndarray, axis: int, grid: Volume, names: Sequence[str]
) -> None:
    """Refuse two stations unless one lies below the other and they touch or overlap a little."""
    overlap = (corners + sizes).min(axis=0) - corners.max(axis=0)  # negative where there is a gap
    part = overlap / sizes.min(axis=0)
    upper, lower = names
    if (np.delete(part, axis) < _SMALLEST_SIDE_OVERLAP).any():
        raise BadInput(
            f"{upper} and {lower} do not lie one below the other and cannot be composed."
        )
    if part[axis] > _LARGEST_OVERLAP:
        raise BadInput(
            f"{upper} and {lower} show the same place and cannot be composed; choose one of them."
        )
    if -overlap[axis] > _WIDEST_GAP:
        raise BadInput(
            f"{-overlap[axis] * grid.spacing[axis]:.0f} mm are missing between {upper} and "
            f"{lower}; they cannot be composed without what lies between."
        )


def _close_gap(starts: np.ndarray, sizes: np.ndarray, upper: int, lower: int) -> None:
    """Move the lower of two stations to the end of the upper one, if rounding left a plane between.

    Gaps that are narrow enough add up from station to station.
    """
    if starts[lower] > starts[upper]:
        starts[lower] = min(starts[lower], starts[upper] + sizes[upper])
    else:
        starts[lower] = max(starts[lower], starts[upper] - sizes[lower])


def _shared(upper: tuple[int, int], lower: tuple[int, int]) -> tuple[int, int]:
    """Return start and end of what two spans share; they are equal where spans only touch."""
    return max(upper[0], lower[0]), min(upper[1], lower[1])


def _seam_mm(to_ras: np.ndarray, shape: np.ndarray, axis: int, start: int, end: int) -> float:
    middle = (shape - 1) / 2
    middle[axis] = (start + end - 1) / 2
    return round(float((to_ras @ (*middle, 1))[_SUPERIOR]), 1)


def _box(start: np.ndarray, end: np.ndarray) -> Box:
    k, j, i = (slice(int(a), int(b)) for a, b in zip(start[::-1], end[::-1], strict=True))
    return k, j, i


def _intersection(first: Box, second: Box) -> Box:
    k, j, i = (
        slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
        for a, b in zip(first, second, strict=True)
    )
    return k, j, i


def _on_grid(array: np.ndarray, shift: tuple[float, float, float], kind: np.dtype) -> np.ndarray:
    """Return a station's voxels at the whole numbers of the grid, by linear interpolation."""
    if not any(shift):
        return array.astype(kind, copy=False)
    moved = ndimage.shift(array.astype(_precision(kind)), shift, order=1, mode="nearest")
    return _rounded(moved, kind)


def _blend(
    before: np.ndarray, after: np.ndarray, axis: int, upper: slice, lower: slice
) -> np.ndarray:
    """Fade from the upper station to the lower one along an axis."""
    count = before.shape[axis]
    weight = np.arange(1, count + 1, dtype=_precision(before.dtype)) / (count + 1)
    if lower.start < upper.start:
        weight = weight[::-1]
    weight = weight.reshape([-1 if n == axis else 1 for n in range(3)])
    return _rounded((1 - weight) * before + weight * after, before.dtype)


def _precision(kind: np.dtype) -> np.dtype:
    return np.dtype(np.float64 if kind.itemsize > 2 else np.float32)


def _rounded(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    return (np.rint(values) if kind.kind in "iu" else values).astype(kind)
