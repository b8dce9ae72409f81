"""How a patient lies at a visit: a bent back, arms moved away, a nod of head and legs.

The bends are shears, which move tissue without changing volumes; only between trunk and arms is
tissue stretched. Arithmetic keeps to what `grid` asks for, so the bytes are the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.phantom.grid import Grid

LARGEST_FACTOR = 2.0
_BEND_MM, _NOD_MM, _ARMS_MM = 18.0, 9.0, 16.0
"""What a posture of factor 1 reaches at most."""
_SHOULDER, _HAND = 0.82, 0.40
_TRUNK, _ARM = 0.096, 0.120
"""Fractions of the height: where arms begin and end, and where, from the midline, the trunk
certainly ends and the arm's middle is."""


@dataclass(frozen=True)
class Posture:
    """How far the body lies from where it would without bending, in mm."""

    bend: float
    """The middle of the back to the left, head and feet staying where they are."""
    nod: float
    """Head and feet to posterior, against the middle."""
    arms: tuple[float, float]
    """The right and the left hand away from the body."""


def draw_posture(rng: np.random.Generator, factor: float) -> Posture:
    """Draw a posture; the factor says how far from straight at most."""
    if not 0 < factor <= LARGEST_FACTOR:
        raise BadInput(
            f"the factor on the posture must be above 0 and at most {LARGEST_FACTOR:g}, "
            f"not {factor:g}"
        )
    signs = np.where(rng.random(2) < 0.5, -1.0, 1.0)
    bend, nod = signs * rng.uniform(0.5, 1.0, size=2) * factor * (_BEND_MM, _NOD_MM)
    arms = rng.uniform(0.0, 1.0, size=2) * factor * _ARMS_MM
    return Posture(float(bend), float(nod), (float(arms[0]), float(arms[1])))


def bent(
    grid: Grid, posture: Posture, body: np.ndarray, instances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the body (interpolated) and the labels (nearest) in a posture."""
    z, y, x = (axis.ravel().astype(np.float64) for axis in grid.axes())
    from_middle = (y / grid.height_mm - 0.5) * 2
    back = 1 - from_middle * from_middle
    ramp = np.clip((np.abs(x) / grid.height_mm - _TRUNK) / (_ARM - _TRUNK), 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    down = np.clip((_SHOULDER - y / grid.height_mm) / (_SHOULDER - _HAND), 0, 1)
    side = np.where(x < 0, -posture.arms[0], posture.arms[1])
    column_mm, _, slice_mm = grid.spacing
    # Where the voxel's tissue comes from, in voxels: [rows, columns] across, [rows] through.
    across = -(posture.bend * back)[:, None] - (down[:, None] * (ramp * side)[None])
    columns = np.arange(grid.columns)[None] + across / column_mm
    through = posture.nod * (back - 0.5) / slice_mm
    rows = np.broadcast_to(np.arange(grid.rows, dtype=np.float64)[:, None], columns.shape)
    moved_body, moved_labels = np.empty_like(body), np.empty_like(instances)
    for n in range(grid.slices):
        slices = np.broadcast_to((n + through)[:, None], columns.shape)
        at = np.stack([slices, rows, columns])
        ndimage.map_coordinates(body, at, moved_body[n], order=1, mode="nearest")
        ndimage.map_coordinates(instances, at, moved_labels[n], order=0, mode="nearest")
    _keep_smallest(instances, moved_labels, across / column_mm, through)
    return moved_body, moved_labels


def _keep_smallest(
    before: np.ndarray, moved: np.ndarray, across: np.ndarray, through: np.ndarray
) -> None:
    """Put a voxel of each lesion that no sample hit where its middle has moved to."""
    for lesion_id in np.setdiff1d(before, moved).tolist():
        k, j, i = np.argwhere(before == lesion_id).mean(axis=0).round().astype(int)
        place = np.array([k - through[j], j, i - across[j, i]]).round().astype(int)
        moved[tuple(np.clip(place, 0, np.array(before.shape) - 1))] = lesion_id
