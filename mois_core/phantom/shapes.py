"""Solids that anatomy is built from: columns along the body, and ellipsoids.

Both answer one question, how deep a point lies inside (mm, negative outside), for single points
and for whole blocks of voxels alike. The painter turns the depth into a soft-edged tissue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from mois_core.geometry import Box
from mois_core.phantom.grid import Bounds, Grid

Coordinates = tuple[np.ndarray, np.ndarray, np.ndarray]
"""z, y, x in mm, broadcastable against each other."""


@dataclass(frozen=True)
class Column:
    """A stack of ellipses along y: trunk, limbs, bones, vessels, the spinal canal.

    Each landmark is (y, centre x, centre z, half width, half depth) in mm, y rising.
    """

    landmarks: tuple[tuple[float, float, float, float, float], ...]

    @cached_property
    def _curves(self) -> PchipInterpolator:
        table = np.asarray(self.landmarks, dtype=np.float64)
        return PchipInterpolator(table[:, 0], table[:, 1:], axis=0)

    @property
    def bounds(self) -> Bounds:
        """The bounds of the whole column."""
        table = np.asarray(self.landmarks)
        y, x, z, width, depth = table.T
        return (
            (float((z - depth).min()), float((z + depth).max())),
            (float(y[0]), float(y[-1])),
            (float((x - width).min()), float((x + width).max())),
        )

    def section(self, y: np.ndarray) -> np.ndarray:
        """Return centre x, centre z, half width and half depth at heights y, on the last axis."""
        inside = np.clip(y, self.landmarks[0][0], self.landmarks[-1][0])
        return self._curves(inside.astype(np.float64))

    def relative_depth(self, at: Coordinates) -> tuple[np.ndarray, np.ndarray]:
        """Return the depth, 1 on the axis and 0 on the surface, and the mm of one unit of it."""
        z, y, x = at
        section = self.section(y).astype(x.dtype)
        centre_x, centre_z, width, depth = (section[..., n] for n in range(4))
        across = (x - centre_x) / width
        along = (z - centre_z) / depth
        relative = 1 - np.sqrt(across * across + along * along)
        outside = (y < self.landmarks[0][0]) | (y > self.landmarks[-1][0])
        return np.where(outside, relative.dtype.type(-1), relative), np.minimum(width, depth)

    def depth(self, at: Coordinates) -> np.ndarray:
        """Return how deep inside points lie in mm, negative outside."""
        relative, scale = self.relative_depth(at)
        return relative * scale


@dataclass(frozen=True)
class Ellipsoid:
    """An organ, with its centre and radii as (z, y, x) in mm, tilted in the coronal plane."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    tilt: float = 0.0
    """Degrees from upright; positive leans the top to the patient's left."""

    @property
    def bounds(self) -> Bounds:
        """The bounds of the whole ellipsoid."""
        z, y, x = self.centre
        reach = max(self.radii[1:]) if self.tilt else 0.0
        up, across = max(self.radii[1], reach), max(self.radii[2], reach)
        return (z - self.radii[0], z + self.radii[0]), (y - up, y + up), (x - across, x + across)

    def relative_depth(self, at: Coordinates) -> tuple[np.ndarray, float]:
        """Return the depth, 1 in the centre and 0 on the surface, and the mm of one unit of it."""
        z, y, x = at
        cos, sin = math.cos(math.radians(self.tilt)), math.sin(math.radians(self.tilt))
        up, across = y - self.centre[1], x - self.centre[2]
        along = (up * cos + across * sin) / self.radii[1]
        sideways = (across * cos - up * sin) / self.radii[2]
        through = (z - self.centre[0]) / self.radii[0]
        radius = np.sqrt(along * along + sideways * sideways + through * through)
        return 1 - radius, min(self.radii)

    def depth(self, at: Coordinates) -> np.ndarray:
        """Return how deep inside points lie in mm, negative outside."""
        relative, scale = self.relative_depth(at)
        return relative * scale


Solid = Column | Ellipsoid
Value = float | Callable[[Box, np.ndarray], np.ndarray]
"""A brightness, or what computes one from the box and the depth in it."""


class SolidPainter:
    """Paints solids into a float volume, with soft edges and slightly wobbly surfaces."""

    def __init__(self, grid: Grid, canvas: np.ndarray, wobble: np.ndarray) -> None:
        self.grid = grid
        self.canvas = canvas
        self.wobble = wobble

    def paint(self, solid: Solid, value: Value, *, edge: float = 3.0, wobble: float = 0.0) -> None:
        """Blend a tissue in; edge is the width of its border, wobble how uneven it is, in mm."""
        reach = edge / 2 + 2 * wobble
        grown = tuple((low - reach, high + reach) for low, high in solid.bounds)
        box = self.grid.box(grown)
        if box is None:
            return
        depth = solid.depth(self.grid.axes(box))
        if wobble:
            depth = depth + np.float32(wobble) * self.wobble[box]
        inner = value(box, depth) if callable(value) else value
        blend(self.canvas[box], inner, depth, edge)


def blend(
    region: np.ndarray,
    value: np.ndarray | float,
    depth: np.ndarray,
    edge: float,
    opacity: np.ndarray | None = None,
) -> None:
    """Replace the region by a value where depth is positive, in a ramp of the edge's width."""
    share = np.clip(depth / np.float32(edge) + np.float32(0.5), 0, 1)
    if opacity is not None:
        share *= opacity
    region += share * (np.asarray(value, dtype=np.float32) - region)


def nearest_surface(solids: Sequence[Solid], at: Coordinates) -> np.ndarray:
    """Return how deep points lie in the union of the solids, in mm."""
    return np.max([solid.depth(at) for solid in solids], axis=0)
