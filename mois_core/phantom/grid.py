"""The voxel grid of a phantom, and noise that does not depend on its resolution.

Everything about the patient is drawn in millimetres, never in voxels, so one seed is the same
patient at every size. Arrays are indexed [k, j, i]: slices run to posterior, rows to superior,
columns to the patient's left. That is the byte order of a NIfTI file with the axes L, S, P.

Same seed, same bytes: arithmetic on voxels keeps to operations that IEEE 754 rounds exactly
(+ - * / and square roots) or to double precision, because the vectorised exp, sin or dot products
of numpy differ in the last bit from one processor to the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mois_core.geometry import Box

Bounds = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""Lowest and highest z, y and x in mm."""

FIELD_OF_VIEW = (1.035, 1.035 * 320 / 1024)
"""Height and width of the field of view as fractions of the patient's height."""


@dataclass(frozen=True)
class Grid:
    """Voxel grid of a phantom, in mm.

    x runs to the left from the midline, y from the soles to superior, z to posterior from the
    middle slice.
    """

    rows: int
    columns: int
    slices: int
    height_mm: float
    slice_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of slices, rows and columns."""
        return self.slices, self.rows, self.columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along i, j and k. The field of view stays, so it follows the matrix."""
        return (
            FIELD_OF_VIEW[1] * self.height_mm / self.columns,
            FIELD_OF_VIEW[0] * self.height_mm / self.rows,
            self.slice_mm,
        )

    @property
    def bounds(self) -> Bounds:
        """The edges of the field of view along z, y and x."""
        below = (FIELD_OF_VIEW[0] - 1) / 2 * self.height_mm
        half_width = FIELD_OF_VIEW[1] * self.height_mm / 2
        half_depth = self.slices * self.slice_mm / 2
        return (
            (-half_depth, half_depth),
            (-below, self.height_mm + below),
            (-half_width, half_width),
        )

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """4 x 4 matrix from (i, j, k, 1) to RAS mm: the axes L, S, P of a coronal acquisition."""
        column, row, depth = self.spacing
        (near, _), (bottom, _), (right, _) = self.bounds
        middle = self.height_mm / 2
        return np.array(
            [
                [-column, 0, 0, -(right + column / 2)],
                [0, 0, -depth, -(near + depth / 2)],
                [0, row, 0, bottom + row / 2 - middle],
                [0, 0, 0, 1],
            ]
        )

    def axes(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return voxel centres along z, y and x, shaped so that they broadcast to the box."""
        column, row, depth = self.spacing
        centres = []
        for (start, _), step, count in zip(
            self.bounds, (depth, row, column), self.shape, strict=True
        ):
            centres.append((start + (np.arange(count) + 0.5) * step).astype(np.float32))
        z, y, x = centres
        if box is not None:
            z, y, x = z[box[0]], y[box[1]], x[box[2]]
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def box(self, bounds: Bounds) -> Box | None:
        """Return the box of the voxels whose centres lie within the bounds, or None without any."""
        column, row, depth = self.spacing
        cuts = []
        for (start, _), step, count, (low, high) in zip(
            self.bounds, (depth, row, column), self.shape, bounds, strict=True
        ):
            first = max(0, math.ceil((low - start) / step - 0.5))
            last = min(count, math.floor((high - start) / step - 0.5) + 1)
            if first >= last:
                return None
            cuts.append(slice(first, last))
        return cuts[0], cuts[1], cuts[2]


def smooth_noise(
    rng: np.random.Generator,
    bounds: Bounds,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    scale: tuple[float, float, float],
) -> np.ndarray:
    """Return random structure of a size (mm along z, y, x), about unit variance, as float32.

    The random numbers sit on a lattice that depends on the bounds only; cubic B-splines
    interpolate between them. So the structure is the same at every resolution.
    """
    shape = [math.ceil((high - low) / s) + 4 for (low, high), s in zip(bounds, scale, strict=True)]
    values = rng.standard_normal(shape, dtype=np.float32)
    for axis, (positions, (low, _), size) in enumerate(zip(axes, bounds, scale, strict=True)):
        values = _interpolate(values, axis, (positions.ravel().astype(np.float64) - low) / size)
    values *= _UNIT_VARIANCE
    return values


_UNIT_VARIANCE = np.float32(0.479**-1.5)
"""A B-spline through white noise keeps 0.479 of the variance along each axis."""


def _interpolate(lattice: np.ndarray, axis: int, positions: np.ndarray) -> np.ndarray:
    """Interpolate along one axis; the lattice begins one node before position zero."""
    base = np.clip(np.floor(positions).astype(int), 0, lattice.shape[axis] - 4)
    t = positions - base
    weights = (
        (1 - t) * (1 - t) * (1 - t) / 6,
        (3 * t * t * t - 6 * t * t + 4) / 6,
        (-3 * t * t * t + 3 * t * t + 3 * t + 1) / 6,
        t * t * t / 6,
    )
    shape = [1, 1, 1]
    shape[axis] = len(positions)
    total = None
    for offset, weight in enumerate(weights):
        part = lattice.take(base + offset, axis) * weight.astype(np.float32).reshape(shape)
        total = part if total is None else total + part
    return total
