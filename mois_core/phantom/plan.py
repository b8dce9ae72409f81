"""Plans of a phantom's lesions: where they sit and how large they are, before any voxel exists.

Plans are drawn in millimetres from the seed alone, so that a patient keeps the same lesions at
every matrix size and on every scanner, and a follow-up can change some and leave the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mois_core.phantom.appearance import OPTIONS, VARIED, Appearance
from mois_core.phantom.patient import Patient
from mois_core.phantom.skeleton import Skeleton, draw_skeleton

MAX_SLICES = 8
SMALLEST_CM3, LARGEST_CM3 = 0.1, 400.0
_MOST_BURDEN_CM3, _WHOLE_BODY_MM = 1600.0, 156.0
"""What all lesions of a patient come to at most, unless a burden is asked for; and the depth of a
scan (20 slices) below which that shrinks with it."""

_MEDIAN_CM3 = 30.0
_SHAPE_FACTOR = {"nodule": 0.7, "spindle": 0.9, "lobulated": 1.1, "plexiform": 2.0}
_SMALL_SHARE, _SMALL_FACTOR = 0.1, 0.05
_ON_NERVE, _TOUCHING = 0.7, 0.15
_CLEARANCE_MM = 3.0
"""Lesions that are not meant to touch stay this far apart."""

_TRIES_PER_SIZE, _SHRINK, _MOST_TRIES = 15, 0.7, 300


@dataclass(frozen=True)
class LesionPlan:
    """A lesion that is to be painted."""

    id: int
    appearance: int
    shape: str
    centre: tuple[float, float, float]
    """z, y, x in mm."""
    volume_cm3: float
    """Volume that is aimed at; voxels, skin and neighbours make the painted one differ."""
    skeleton: Skeleton
    brightness: float
    """Factor of its own, so that lesions of one appearance are not all equally bright."""
    seed: int
    """Seed of its surface and texture."""


@dataclass(frozen=True)
class Coverage:
    """Slab of the body that the slices cover."""

    slices: int
    slice_mm: float

    def place(self, z: float, reach: float) -> float:
        """Return the nearest z at which a lesion of that reach is in the slab and meets a slice."""
        half = self.slices * self.slice_mm / 2
        room = max(half - max(reach, self.slice_mm / 2), 0.0)
        z = min(max(z, -room), room)
        if reach < 0.75 * self.slice_mm:
            index = math.floor((z + half) / self.slice_mm)
            z = (min(index, self.slices - 1) + 0.5) * self.slice_mm - half
        return z


def draw_volumes(
    rng: np.random.Generator,
    shapes: Sequence[str],
    coverage: Coverage,
    burden_cm3: float | None = None,
) -> np.ndarray:
    """Draw log-normal volumes with a share of small nodules, scaled to a burden if one is given."""
    count = len(shapes)
    volumes = _MEDIAN_CM3 * np.exp(0.95 * rng.standard_normal(count))
    volumes *= np.array([_SHAPE_FACTOR[shape] for shape in shapes])
    volumes[rng.random(count) < _SMALL_SHARE] *= _SMALL_FACTOR
    depth = coverage.slices * coverage.slice_mm
    most = _MOST_BURDEN_CM3 * min(1.0, depth / _WHOLE_BODY_MM)
    burden = min(volumes.sum(), most) if burden_cm3 is None else burden_cm3
    volumes *= burden / volumes.sum()
    return np.round(np.clip(volumes, SMALLEST_CM3, LARGEST_CM3), 3)


def plan_lesions(
    rng: np.random.Generator,
    patient: Patient,
    coverage: Coverage,
    appearances: Sequence[Appearance],
    target: int,
    count: int,
    burden_cm3: float | None = None,
) -> list[LesionPlan]:
    """Plan `count` lesions, numbered from head to foot."""
    kinds = _share_out(rng, count, len(appearances), target)
    shapes = [
        appearances[kind].shape
        if appearances[kind].shape != VARIED
        else str(rng.choice(OPTIONS["shape"]))
        for kind in kinds
    ]
    volumes = draw_volumes(rng, shapes, coverage, burden_cm3)
    plans: list[LesionPlan] = []
    for n in np.argsort(-volumes, kind="stable"):
        plans.append(
            place_lesion(rng, patient, coverage, plans, int(kinds[n]), shapes[n], float(volumes[n]))
        )
    plans.sort(key=lambda plan: -plan.centre[1])
    return [replace(plan, id=lesion_id) for lesion_id, plan in enumerate(plans, 1)]


def _share_out(rng: np.random.Generator, count: int, appearances: int, target: int) -> np.ndarray:
    """Draw each lesion's appearance.

    Somewhat under half of the lesions are targets, and at least one is not.
    """
    targets = max(1, round(count * rng.uniform(0.38, 0.48)))
    distractors = [kind for kind in range(appearances) if kind != target]
    others = [distractors[n % len(distractors)] for n in range(count - targets)]
    return rng.permutation([target] * targets + others)


def place_lesion(
    rng: np.random.Generator,
    patient: Patient,
    coverage: Coverage,
    others: Sequence[LesionPlan],
    appearance: int,
    shape: str,
    volume_cm3: float,
) -> LesionPlan:
    """Find room for a lesion; one that finds none shrinks until it fits."""
    max_depth = (min(MAX_SLICES, coverage.slices) - 0.1) * coverage.slice_mm
    occupied = _OccupiedRoom(others)
    touching = bool(others) and rng.random() < _TOUCHING
    for attempt in range(1, _MOST_TRIES + 1):
        site, direction = _draw_site(rng, patient)
        skeleton = draw_skeleton(rng, shape, direction).fitted(volume_cm3, max_depth)
        neighbour = None
        if touching:
            neighbour = int(rng.integers(len(others)))
            site = _beside(rng, others[neighbour], skeleton)
        centre = (coverage.place(site[0], skeleton.reach[0]), float(site[1]), float(site[2]))
        plan = LesionPlan(
            id=0,
            appearance=appearance,
            shape=shape,
            centre=centre,
            volume_cm3=volume_cm3,
            skeleton=skeleton,
            brightness=float(rng.uniform(0.92, 1.08)),
            seed=int(rng.integers(2**31)),
        )
        if occupied.is_free_for(plan, neighbour) and _lies_well(patient, plan):
            break
        if attempt % _TRIES_PER_SIZE == 0:
            touching = False
            volume_cm3 = max(SMALLEST_CM3, round(volume_cm3 * _SHRINK, 3))
    return plan


def _draw_site(rng: np.random.Generator, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Draw a point (z, y, x) and the direction in which a lesion there would grow."""
    if rng.random() < _ON_NERVE:
        nerve = patient.nerves[int(rng.integers(len(patient.nerves)))]
        leg = int(rng.integers(len(nerve) - 1))
        along = nerve[leg + 1] - nerve[leg]
        site = nerve[leg] + rng.random() * along + rng.normal(0, 7, size=3)
    else:
        part = patient.outline[rng.choice(len(patient.outline), p=[0.5, 0.16, 0.16, 0.09, 0.09])]
        low, high = part.bounds[1]
        y = low + (high - low) * rng.uniform(0.06, 0.9)
        x, z, width, depth = part.section(np.array(y))
        out, turn = rng.uniform(0.35, 0.85), rng.uniform(0, 2 * math.pi)
        site = np.array(
            [z + out * depth * math.sin(turn), y, x + out * width * math.cos(turn)], dtype=float
        )
        along = np.array([0.3, 1.0, 0.3]) * rng.standard_normal(3)
    return site, along / math.sqrt(float((along * along).sum()))


def _beside(rng: np.random.Generator, other: LesionPlan, skeleton: Skeleton) -> np.ndarray:
    """Draw a site where the lesion just touches another, above, below or beside it."""
    turn = rng.uniform(0, 2 * math.pi)
    up, across = math.sin(turn), math.cos(turn)
    gap_y = (other.skeleton.reach[1] + skeleton.reach[1]) * up * 0.85
    gap_x = (other.skeleton.reach[2] + skeleton.reach[2]) * across * 0.85
    return np.array(other.centre) + np.array([0.0, gap_y, gap_x])


def _ball_centres(plan: LesionPlan) -> np.ndarray:
    return plan.skeleton.balls[:, :3] + np.array(plan.centre)


def _lies_well(patient: Patient, plan: LesionPlan) -> bool:
    """Return whether a lesion is in the body, but in no organ where neurofibromas do not grow."""
    z, y, x = _ball_centres(plan).T
    if np.mean(patient.depth((z, y, x)) > 4) < 0.9:
        return False
    return all(np.mean(organ.depth((z, y, x)) > 0) < 0.1 for organ in patient.off_limits)


class _OccupiedRoom:
    """Room that the lesions so far occupy, asked at each attempt to place the next one."""

    def __init__(self, lesions: Sequence[LesionPlan]) -> None:
        self.lesions = lesions
        self.centres = np.array([lesion.centre for lesion in lesions]).reshape(-1, 3)
        self.reaches = np.array([lesion.skeleton.reach for lesion in lesions]).reshape(-1, 3)

    def is_free_for(self, plan: LesionPlan, neighbour: int | None) -> bool:
        """Return whether the lesion keeps clear of all others but the neighbour it may touch."""
        apart = np.abs(self.centres - np.array(plan.centre))
        needed = self.reaches + np.array(plan.skeleton.reach) + _CLEARANCE_MM
        own = _ball_centres(plan)
        for n in np.flatnonzero((apart < needed).all(axis=1)):
            if n == neighbour:
                continue
            other = self.lesions[n]
            steps = own[:, None] - _ball_centres(other)[None]
            reach = plan.skeleton.balls[:, None, 3] + other.skeleton.balls[None, :, 3]
            reach += _CLEARANCE_MM
            if ((steps * steps).sum(axis=2) < reach * reach).any():
                return False
        return True
