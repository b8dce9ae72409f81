"""The same patient some time later: lesions that grew, shrank, vanished, or are new."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from mois_core.phantom.appearance import OPTIONS, VARIED
from mois_core.phantom.generate import Phantom, PhantomPlan, random_stream, render
from mois_core.phantom.plan import (
    LARGEST_CM3,
    MAX_SLICES,
    SMALLEST_CM3,
    LesionPlan,
    draw_volumes,
    place_lesion,
)

_SHARES = {"gone": 0.1, "shrunk": 0.2, "grown": 0.3}
_NEW_SHARE = 0.1
_FACTORS = {"shrunk": (0.3, 0.7), "grown": (1.4, 2.6), "stable": (0.95, 1.05)}


@dataclass(frozen=True)
class LesionChange:
    """What became of one lesion. Lesions keep their ids; new ones take the ids after."""

    id: int
    change: str
    """stable, grown, shrunk, gone or new."""
    before_cm3: float | None
    after_cm3: float | None


def make_follow_up(baseline: Phantom, visit: int = 1) -> tuple[Phantom, tuple[LesionChange, ...]]:
    """Make a later scan of the baseline's patient; return it and what became of every lesion.

    Bladder and bowel are filled differently, the patient lies a few mm elsewhere, and noise and
    shading are new; the anatomy is the same.
    """
    before = baseline.plan
    rng = random_stream(before.seed, "follow-up", visit)
    kinds = _draw_kinds(rng, before.lesions)
    kept = [
        _grown(rng, before, lesion, *_FACTORS[kinds[lesion.id]])
        for lesion in before.lesions
        if kinds[lesion.id] != "gone"
    ]
    new = _new_lesions(rng, before, kept)
    after = render(dataclasses.replace(before, lesions=(*kept, *new)), visit)
    volume_before = {lesion.id: lesion.volume_cm3 for lesion in baseline.lesions}
    volume_after = {lesion.id: lesion.volume_cm3 for lesion in after.lesions}
    kinds.update({lesion.id: "new" for lesion in new})
    return after, tuple(
        LesionChange(lesion_id, kind, volume_before.get(lesion_id), volume_after.get(lesion_id))
        for lesion_id, kind in sorted(kinds.items())
    )


def _draw_kinds(rng: np.random.Generator, lesions: tuple[LesionPlan, ...]) -> dict[int, str]:
    """Draw what becomes of each lesion, by its id."""
    kinds = [kind for kind, share in _SHARES.items() for _ in range(round(share * len(lesions)))]
    kinds += ["stable"] * (len(lesions) - len(kinds))
    order = rng.permutation(len(lesions))
    return {lesion.id: kinds[index] for lesion, index in zip(lesions, order, strict=True)}


def _grown(
    rng: np.random.Generator, plan: PhantomPlan, lesion: LesionPlan, least: float, most: float
) -> LesionPlan:
    """Return a lesion whose volume has changed by a factor between `least` and `most`."""
    factor = rng.uniform(least, most)
    volume = float(np.clip(lesion.volume_cm3 * factor, SMALLEST_CM3, LARGEST_CM3))
    max_depth = (min(MAX_SLICES, plan.coverage.slices) - 0.1) * plan.coverage.slice_mm
    skeleton = lesion.skeleton.fitted(volume, max_depth)
    return dataclasses.replace(lesion, volume_cm3=volume, skeleton=skeleton)


def _new_lesions(
    rng: np.random.Generator, plan: PhantomPlan, others: list[LesionPlan]
) -> list[LesionPlan]:
    count = max(1, round(_NEW_SHARE * len(plan.lesions)))
    kinds = rng.integers(len(plan.appearances), size=count)
    shapes = [plan.appearances[kind].shape for kind in kinds]
    shapes = [str(rng.choice(OPTIONS["shape"])) if s == VARIED else s for s in shapes]
    volumes = draw_volumes(rng, shapes, plan.coverage)
    first = max(lesion.id for lesion in plan.lesions) + 1
    new: list[LesionPlan] = []
    for kind, shape, volume in zip(kinds, shapes, volumes, strict=True):
        lesion = place_lesion(
            rng, plan.patient, plan.coverage, others + new, int(kind), shape, float(volume)
        )
        new.append(dataclasses.replace(lesion, id=first + len(new)))
    return new
