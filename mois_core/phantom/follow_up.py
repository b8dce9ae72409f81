"""The same patient some time later: lesions that grew, shrank, vanished, or are new."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from mois_core.phantom.appearance import OPTIONS, VARIED
from mois_core.phantom.generate import Case, Phantom, random_stream, render
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
class Change:
    """What became of one lesion. Lesions keep their ids; new ones take the numbers after."""

    id: int
    change: str
    """stable, grown, shrunk, gone or new."""
    before_cm3: float | None
    after_cm3: float | None


def make_follow_up(baseline: Phantom, visit: int = 1) -> tuple[Phantom, tuple[Change, ...]]:
    """A later scan of the baseline's patient, and what happened to every lesion.

    Bladder and bowel are filled differently, the patient lies a few mm elsewhere, and noise and
    shading are new; the anatomy is the same.
    """
    case = baseline.case
    rng = random_stream(case.seed, "follow-up", visit)
    kinds = _draw_kinds(rng, case.plans)
    kept = [
        _grown(rng, case, plan, *_FACTORS[kinds[plan.id]])
        for plan in case.plans
        if kinds[plan.id] != "gone"
    ]
    new = _new_lesions(rng, case, kept)
    after = render(dataclasses.replace(case, plans=(*kept, *new)), visit)
    volume_before = {lesion.id: lesion.volume_cm3 for lesion in baseline.lesions}
    volume_after = {lesion.id: lesion.volume_cm3 for lesion in after.lesions}
    kinds.update({plan.id: "new" for plan in new})
    return after, tuple(
        Change(number, kind, volume_before.get(number), volume_after.get(number))
        for number, kind in sorted(kinds.items())
    )


def _draw_kinds(rng: np.random.Generator, plans: tuple[LesionPlan, ...]) -> dict[int, str]:
    kinds = [kind for kind, share in _SHARES.items() for _ in range(round(share * len(plans)))]
    kinds += ["stable"] * (len(plans) - len(kinds))
    order = rng.permutation(len(plans))
    return {plan.id: kinds[place] for plan, place in zip(plans, order, strict=True)}


def _grown(
    rng: np.random.Generator, case: Case, plan: LesionPlan, least: float, most: float
) -> LesionPlan:
    factor = rng.uniform(least, most)
    volume = float(np.clip(plan.volume_cm3 * factor, SMALLEST_CM3, LARGEST_CM3))
    max_depth = (min(MAX_SLICES, case.coverage.slices) - 0.1) * case.coverage.slice_mm
    skeleton = plan.skeleton.fitted(volume, max_depth)
    return dataclasses.replace(plan, volume_cm3=volume, skeleton=skeleton)


def _new_lesions(
    rng: np.random.Generator, case: Case, others: list[LesionPlan]
) -> list[LesionPlan]:
    count = max(1, round(_NEW_SHARE * len(case.plans)))
    kinds = rng.integers(len(case.appearances), size=count)
    shapes = [case.appearances[kind].shape for kind in kinds]
    shapes = [str(rng.choice(OPTIONS["shape"])) if s == VARIED else s for s in shapes]
    volumes = draw_volumes(rng, shapes, case.coverage)
    first = max(plan.id for plan in case.plans) + 1
    new: list[LesionPlan] = []
    for kind, shape, volume in zip(kinds, shapes, volumes, strict=True):
        plan = place_lesion(
            rng, case.patient, case.coverage, others + new, int(kind), shape, float(volume)
        )
        new.append(dataclasses.replace(plan, id=first + len(new)))
    return new
