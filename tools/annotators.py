"""How far simulated people who draw by hand agree, on phantoms of the training range.

Run as ``python -m tools.annotators``. Their errors in `simulated_annotators` are set by this table,
next to the agreement of the paper's people.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# Run as a file, Python looks for imports beside it and not in the project's root.
sys.path.insert(0, str(Path(__file__).parents[1]))

from mois_core.evaluation.agreement import dice_of_pairs
from mois_core.evaluation.cohort import EvaluationCase, PhantomSource, load_case
from mois_core.evaluation.phantom_sets import FIRST_SEEDS
from mois_core.evaluation.simulated_annotators import ANNOTATORS

FIRST_SEED = 2001
"""Of the training range: the test sets' are for measuring only."""


def cases(of_each_set: int, first: int) -> Iterator[EvaluationCase]:
    """Yield phantoms like those of the test sets, with everybody to draw on them."""
    names = [name for name in FIRST_SEEDS for _ in range(of_each_set)]
    for seed, name in enumerate(names, start=first):
        source = PhantomSource(name, seed)
        yield EvaluationCase(f"{name}-{seed}", name, phantom=source, annotators=tuple(ANNOTATORS))


def agreement(cases: Iterator[EvaluationCase]) -> tuple[list[str], np.ndarray]:
    """Return names, and the mean DSC of each pair over the cases."""
    tables = []
    for case in cases:
        loaded = load_case(case)
        masks = {"Truth": loaded.labels > 0, **loaded.readers}
        tables.append(dice_of_pairs(list(masks.values())))
    return list(masks), np.mean(tables, axis=0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--phantoms", type=int, default=1, help="of each of the four sets (1)")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"seed ({FIRST_SEED})")
    args = parser.parse_args()
    names, table = agreement(cases(args.phantoms, args.first))
    for name, row in zip(names, table, strict=True):
        print(f"{name:<22}", *(f"{value:.2f}" for value in row))


if __name__ == "__main__":
    main()
