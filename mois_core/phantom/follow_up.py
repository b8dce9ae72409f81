"""The same patient some time later: lesions that changed, vanished, merged, split, or are new."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from mois_core.errors import BadInput
from mois_core.phantom.appearance import OPTIONS, VARIED
from mois_core.phantom.generate import Phantom, PhantomPlan, random_stream, render
from mois_core.phantom.joined import deepest_mm, merged, nearest_pairs, split, splittable
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
    """stable, grown, shrunk, gone or new; merged (into another), split (off another)."""
    before_cm3: float | None
    after_cm3: float | None
    other: int | None = None
    """The lesion that a merged one is now part of, or that a split one was part of."""


def make_follow_up(
    baseline: Phantom, visit: int = 1, posture: float = 0, merge: int = 0, split_off: int = 0
) -> tuple[Phantom, tuple[LesionChange, ...]]:
    """Make a later scan of the baseline's patient; return it and what became of every lesion.

    Bladder and bowel are filled differently, the patient lies a few mm elsewhere, and noise and
    shading are new; the anatomy is the same. ``posture`` is a factor on how far back and arms are
    bent, ``merge`` and ``split_off`` say how many pairs of lesions merge and how many lesions fall
    in two. The baseline of a third scan is the second, with another ``visit``.
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
    kinds.update({lesion.id: "new" for lesion in new})
    lesions, others = _joined(before, kept, new, merge, split_off)
    kinds.update({n: "split" if n not in kinds else "merged" for n in others})
    after = render(dataclasses.replace(before, lesions=lesions), visit, posture=posture)
    volume_before = {lesion.id: lesion.volume_cm3 for lesion in baseline.lesions}
    volume_after = {lesion.id: lesion.volume_cm3 for lesion in after.lesions}
    return after, tuple(
        LesionChange(n, kind, volume_before.get(n), volume_after.get(n), others.get(n))
        for n, kind in sorted(kinds.items())
    )


def _joined(
    plan: PhantomPlan, kept: list[LesionPlan], new: list[LesionPlan], merge: int, split_off: int
) -> tuple[tuple[LesionPlan, ...], dict[int, int]]:
    """Return all lesions after some merged and split, and by id the lesions that others belong to.

    New lesions do neither.
    """
    pairs = nearest_pairs(kept, deepest_mm(plan.coverage.slices, plan.coverage.slice_mm))[:merge]
    paired = {lesion_id for pair in pairs for lesion_id in pair}
    falling = [n for n in splittable(kept) if n not in paired][:split_off]
    if len(pairs) < merge or len(falling) < split_off:
        raise BadInput(
            f"of these lesions {len(pairs)} pairs can merge and {len(falling)} can split; ask for "
            "fewer, or for more lesions"
        )
    by_id = {lesion.id: lesion for lesion in kept}
    others: dict[int, int] = {}
    for first, second in pairs:
        whole = merged(by_id.pop(first), by_id.pop(second))
        by_id[whole.id] = whole
        others[second if whole.id == first else first] = whole.id
    next_id = max(lesion.id for lesion in (*plan.lesions, *new)) + 1
    for lesion_id in falling:
        by_id[lesion_id], part = split(by_id[lesion_id], next_id)
        by_id[next_id] = part
        others[next_id] = lesion_id
        next_id += 1
    order = [lesion.id for lesion in kept if lesion.id in by_id]
    parts = [n for n in by_id if n not in order]
    return (*(by_id[n] for n in (*order, *parts)), *new), others


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
