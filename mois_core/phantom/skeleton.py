"""Lesion shapes: each is a handful of balls whose union is the lesion.

Balls make nodules, grapes, spindles along a nerve and branching plexiform growths alike, their
depth is cheap to evaluate on any voxel grid, and growing a lesion is scaling its balls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_PROBES = 14
"""Points per axis with which the volume of a union of balls is estimated."""


@dataclass(frozen=True)
class Skeleton:
    """Balls whose union is a lesion, and how flat they are.

    Their rows are z, y, x and radius in mm, relative to the lesion's centre.
    """

    balls: np.ndarray
    flatness: float = 1.0
    """Balls are this much thinner along z than in the coronal plane."""

    @cached_property
    def reach(self) -> tuple[float, float, float]:
        """Half the extent along z, y and x."""
        radii = self.balls[:, 3:] * np.array([self.flatness, 1, 1])
        return tuple(float(r) for r in (np.abs(self.balls[:, :3]) + radii).max(axis=0))

    def depth(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return how deep points, relative to the centre, lie in the union of the balls, in mm."""
        deepest = None
        for bz, by, bx, radius in self.balls.astype(np.float32):
            dz, dy, dx = (z - bz) / np.float32(self.flatness), y - by, x - bx
            own = radius - np.sqrt(dz * dz + dy * dy + dx * dx)
            deepest = own if deepest is None else np.maximum(deepest, own, out=deepest)
        return deepest

    def scaled(self, factor: float) -> Skeleton:
        """Return the skeleton larger by a factor."""
        return Skeleton(self.balls * factor, self.flatness)

    def fitted(self, volume_cm3: float, max_depth_mm: float) -> Skeleton:
        """Return the skeleton scaled to a volume.

        If it would be too deep along z, it is flattened and spread out instead.
        """
        own = self._volume_mm3()
        fitted = self.scaled((volume_cm3 * 1000 / own) ** (1 / 3))
        excess = 2 * fitted.reach[0] / max_depth_mm
        if excess <= 1:
            return fitted
        squeezed = fitted.balls.copy()
        squeezed[:, 0] /= excess
        spread = math.sqrt(excess)
        squeezed[:, 1:] *= spread
        return Skeleton(squeezed, fitted.flatness / excess / spread)

    def _volume_mm3(self) -> float:
        reach = self.reach
        steps = (np.arange(_PROBES) + 0.5) / _PROBES * 2 - 1
        z, y, x = np.meshgrid(*(steps * r for r in reach), indexing="ij", sparse=True)
        inside = np.count_nonzero(self.depth(*(a.astype(np.float32) for a in (z, y, x))) > 0)
        return max(inside, 1) * math.prod(2 * r / _PROBES for r in reach)


def draw_skeleton(rng: np.random.Generator, shape: str, direction: np.ndarray) -> Skeleton:
    """Draw a shape of about unit size, its long axis along a direction (z, y, x; unit length)."""
    balls = _SHAPES[shape](rng)
    # No matrix product: its last bit depends on the processor.
    balls[:, :3] = (balls[:, :3, None] * _frame(rng, direction)).sum(axis=1)
    low = (balls[:, :3] - balls[:, 3:]).min(axis=0)
    high = (balls[:, :3] + balls[:, 3:]).max(axis=0)
    balls[:, :3] -= (low + high) / 2
    return Skeleton(balls)


def _frame(rng: np.random.Generator, direction: np.ndarray) -> np.ndarray:
    """Return axes as rows: the direction, then two random ones across it."""
    across = np.cross(direction, rng.standard_normal(3))
    across /= math.sqrt(float((across * across).sum()))
    return np.stack([direction, across, np.cross(direction, across)])


def _nodule(rng: np.random.Generator) -> np.ndarray:
    """Draw a slightly oblong ball."""
    length = rng.uniform(0.0, 0.7)
    along = np.linspace(-length / 2, length / 2, 4)
    return np.column_stack([along, np.zeros((4, 2)), np.ones(4)])


def _spindle(rng: np.random.Generator) -> np.ndarray:
    """Draw a spindle, thick in the middle and running out along the nerve."""
    along = np.linspace(-1, 1, 15)
    bend = rng.uniform(-0.35, 0.35) * (1 - along * along)
    radii = 0.16 + rng.uniform(0.22, 0.36) * (1 - along * along)
    return np.column_stack([along * 1.6, bend, np.zeros(15), radii])


def _lobulated(rng: np.random.Generator) -> np.ndarray:
    """Draw balls like grapes around a middle one."""
    count = int(rng.integers(5, 9))
    off = rng.standard_normal((count, 3))
    off /= np.sqrt((off * off).sum(axis=1, keepdims=True))
    off *= rng.uniform(0.55, 0.95, size=(count, 1)) * np.array([1.5, 1.0, 0.8])
    grapes = np.column_stack([off, rng.uniform(0.35, 0.6, size=count)])
    return np.vstack([[0, 0, 0, 0.6], grapes])


def _plexiform(rng: np.random.Generator) -> np.ndarray:
    """Draw a beaded cord that branches, each branch wandering on its own."""
    balls: list[np.ndarray] = []
    cords = [(np.zeros(3), np.array([1.0, 0, 0]), 14), (np.zeros(3), np.array([-1.0, 0, 0]), 14)]
    for start, heading, length in cords:
        point, beads = start.copy(), rng.uniform(0.16, 0.30, size=length)
        for step, radius in enumerate(beads):
            balls.append(np.append(point, radius * (1 - 0.5 * step / length)))
            heading = heading + rng.standard_normal(3) * 0.28
            heading = heading / math.sqrt(float((heading * heading).sum()))
            point = point + heading * 0.16
            if length > 8 and step in (3, 7) and rng.random() < 0.75:
                side = heading + rng.standard_normal(3) * 0.9
                cords.append((point, side / math.sqrt(float((side * side).sum())), length // 2))
    return np.array(balls)


_SHAPES = {
    "nodule": _nodule,
    "spindle": _spindle,
    "lobulated": _lobulated,
    "plexiform": _plexiform,
}
