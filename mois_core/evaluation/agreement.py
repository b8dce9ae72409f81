"""How far readers and segmenters agree with each other on the same scans."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np

from mois_core.evaluation.analysis import EvaluationResults
from mois_core.results.scores import dice

LEAST_COMPARED = 3
"""With fewer masks of a scan there is nothing to compare an agreement with."""

_TRUTH = "Truth"


@lru_cache(maxsize=1)
def agreement(results: EvaluationResults) -> tuple[list[str], np.ndarray, int]:
    """Return names of readers and segmenters, mean DSC of each pair, and number of scans.

    Only scans that all of them have a mask of are counted, so all cells are about the same scans.
    """
    names: list[str] = []
    tables = []
    candidates = [(scan, results.kept(scan)) for scan in results.scans_of(None)]
    with_readers = [(scan, kept) for scan, kept in candidates if kept is not None and kept.readers]
    for scan, kept in with_readers or candidates:
        if kept is None:
            continue
        masks = {_TRUTH: kept.truth, **kept.readers}
        for name in results.segmenters:
            mask = results.mask(scan, name, results.agreement_experiment)
            if mask is not None:
                masks[name] = mask
        if not names:
            names = list(masks)
        if all(name in masks for name in names):
            tables.append(dice_of_pairs([masks[name] for name in names]))
    if not tables:
        return [], np.zeros((0, 0)), 0
    return names, np.mean(tables, axis=0), len(tables)


def dice_of_pairs(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the DSC of each mask with each other one."""
    table = np.eye(len(masks))
    for first, second in combinations(range(len(masks)), 2):
        table[first, second] = table[second, first] = dice(masks[first], masks[second])
    return table
