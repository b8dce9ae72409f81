"""Lesions that grow into one another, and lesions that fall apart, between two visits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mois_core.phantom.plan import MAX_SLICES, LesionPlan
from mois_core.phantom.skeleton import Skeleton

_FURTHEST_MM = 80.0
"""Between the surfaces of lesions that may merge."""
_ALIKE = 1.5
"""Lesions that merge are about equally flat, since one lesion has one flatness."""
_THINNEST_MM = 7.0
_BRIDGE_BALLS = 9
_BRIDGE_SHARE = 0.6
"""Radius of the bridge, as a part of the smaller lesion's largest ball."""
_LEAST_SPLIT_CM3 = 4.0
_GAP_MM = 9.0


def nearest_pairs(lesions: Sequence[LesionPlan], depth_mm: float) -> list[tuple[int, int]]:
    """Return ids of lesions that could merge, no lesion twice, nearest pairs first.

    A merged lesion fits into as many slices as a lesion may have.
    """
    pairs = []
    for n, one in enumerate(lesions):
        for other in lesions[n + 1 :]:
            flatness = sorted(plan.skeleton.flatness for plan in (one, other))
            deep = abs(one.centre[0] - other.centre[0])
            deep += one.skeleton.reach[0] + other.skeleton.reach[0]
            if flatness[1] > _ALIKE * flatness[0] or deep > depth_mm:
                continue
            gap = float(_gaps(one, other).min())
            if gap < _FURTHEST_MM:
                pairs.append((gap, one.id, other.id))
    taken: set[int] = set()
    chosen = []
    for _, first, second in sorted(pairs):
        if not taken & {first, second}:
            taken |= {first, second}
            chosen.append((first, second))
    return chosen


def merged(one: LesionPlan, other: LesionPlan) -> LesionPlan:
    """Return two lesions and a bridge between them as one lesion, which keeps the larger one's id.

    The bridge is a row of balls from the ball of one lesion to that of the other where they are
    nearest.
    """
    large, small = sorted((one, other), key=lambda plan: (-plan.volume_cm3, plan.id))
    added = small.skeleton.balls.copy()
    added[:, :3] += np.array(small.centre) - np.array(large.centre)
    own = large.skeleton.balls
    gaps = _gaps(large, small)
    first, second = np.unravel_index(int(np.argmin(gaps)), gaps.shape)
    share = np.linspace(0, 1, _BRIDGE_BALLS)[:, None]
    middle = own[first, :3] + share * (added[second, :3] - own[first, :3])
    radius = max(_BRIDGE_SHARE * float(small.skeleton.balls[:, 3].max()), _THINNEST_MM)
    bridge = np.column_stack([middle, np.full(_BRIDGE_BALLS, radius)])
    balls = np.vstack([own, added, bridge])
    # The middle of all balls, so that the lesion keeps within the slices that it may have.
    middle_of_all = (balls[:, :3].min(axis=0) + balls[:, :3].max(axis=0)) / 2
    balls[:, :3] -= middle_of_all
    return dataclasses.replace(
        large,
        centre=tuple(float(mm) for mm in np.array(large.centre) + middle_of_all),
        volume_cm3=round(large.volume_cm3 + small.volume_cm3, 3),
        skeleton=Skeleton(balls, large.skeleton.flatness),
    )


def _gaps(one: LesionPlan, other: LesionPlan) -> np.ndarray:
    """Return the distances between the balls of two lesions, taken for round."""
    steps = one.skeleton.balls[:, None, :3] - other.skeleton.balls[None, :, :3]
    steps += np.array(one.centre) - np.array(other.centre)
    radii = one.skeleton.balls[:, None, 3] + other.skeleton.balls[None, :, 3]
    return np.sqrt((steps * steps).sum(axis=2)) - radii


def splittable(lesions: Sequence[LesionPlan]) -> list[int]:
    """Return ids of lesions that can fall apart, the longest ones first."""
    fitting = [
        plan
        for plan in lesions
        if plan.volume_cm3 >= _LEAST_SPLIT_CM3 and all(len(part.balls) for part in _halves(plan))
    ]
    return [plan.id for plan in sorted(fitting, key=lambda p: (-max(p.skeleton.reach[1:]), p.id))]


def split(plan: LesionPlan, new_id: int) -> tuple[LesionPlan, LesionPlan]:
    """Return the two parts of a lesion without its middle; the larger one keeps the id."""
    parts = []
    for half in _halves(plan):
        middle = (half.balls[:, :3].min(axis=0) + half.balls[:, :3].max(axis=0)) / 2
        balls = half.balls.copy()
        balls[:, :3] -= middle
        volume = plan.volume_cm3 * float((balls[:, 3] ** 3).sum())
        volume /= float((plan.skeleton.balls[:, 3] ** 3).sum())
        parts.append(
            dataclasses.replace(
                plan,
                centre=tuple(float(mm) for mm in np.array(plan.centre) + middle),
                volume_cm3=round(volume, 3),
                skeleton=Skeleton(balls, half.flatness),
            )
        )
    large, small = sorted(parts, key=lambda part: -part.volume_cm3)
    return large, dataclasses.replace(small, id=new_id)


def _halves(plan: LesionPlan) -> list[Skeleton]:
    """Return what lies on both sides of a gap across the lesion's longest axis in the plane."""
    balls = plan.skeleton.balls
    axis = 1 + int(np.argmax(np.ptp(balls[:, 1:3], axis=0)))
    along = balls[:, axis]
    low, high = (along - balls[:, 3]).min(), (along + balls[:, 3]).max()
    middle = (low + high) / 2
    halves = []
    for side in (-1, 1):
        own = balls[(along - middle) * side > 0].copy()
        # A ball that reaches into the gap shrinks.
        room = (own[:, axis] - middle) * side - _GAP_MM / 2
        own[:, 3] = np.minimum(own[:, 3], room)
        halves.append(Skeleton(own[own[:, 3] > 3], plan.skeleton.flatness))
    return halves


def deepest_mm(slices: int, slice_mm: float) -> float:
    """Return how deep a lesion may be."""
    return (min(MAX_SLICES, slices) - 1) * slice_mm
