"""Four phantom test sets that mirror the shifts of the paper: made from seeds, never stored."""

from __future__ import annotations

from collections.abc import Sequence

from mois_core.errors import BadInput
from mois_core.evaluation.cohort import EvaluationCase, PhantomSource
from mois_core.phantom import is_held_out

FIRST_SEEDS = {
    "in-domain": 610_000,
    "field-strength": 620_000,
    "low-burden": 630_000,
    "vendor": 640_000,
}
"""The first seed of each set. All are held out from training, and apart from one another and from
the demo's, so no patient is in two sets. Whoever looks at these scans to change the network or the
engine has to move them on."""

MOST_SCANS = 10_000
"""Scans of one set at most: from this many on, its seeds would run into those of the next set."""


def phantom_cases(
    scans_per_set: int, size: tuple[int, int] | None = None, annotators: Sequence[str] = ()
) -> list[EvaluationCase]:
    """Return the cases of all four sets; with fewer scans, the first ones of the same patients.

    Simulated ``annotators`` draw on all of them.
    """
    if not 1 <= scans_per_set <= MOST_SCANS:
        raise BadInput(f"a test set has 1 to {MOST_SCANS} scans, not {scans_per_set}")
    cases = [
        EvaluationCase(
            name=f"{name}-{seed}",
            test_set=name,
            patient=str(seed),
            phantom=PhantomSource(name, seed, size),
            annotators=tuple(annotators),
        )
        for name, first in FIRST_SEEDS.items()
        for seed in range(first, first + scans_per_set)
    ]
    assert all(is_held_out(case.phantom.seed) for case in cases if case.phantom)
    return cases
