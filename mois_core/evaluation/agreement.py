"""How far readers and segmenters agree with each other on the same scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product

import numpy as np

from mois_core.evaluation.analysis import EvaluationResults
from mois_core.results.scores import dice

LEAST_COMPARED = 3
"""With fewer masks of a scan there is nothing to compare an agreement with."""

_TRUTH = "Truth"


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far each two agree, over the scans that both have a mask of."""

    names: list[str]
    """The truth, readers, then segmenters."""
    dsc: np.ndarray
    """Mean of each pair; NaN for two that no scan has in common."""
    scans: dict[str, int]
    """How many scans each has a mask of."""

    @property
    def missing(self) -> str:
        """Return in words who has a mask of fewer scans than there are, if anyone has."""
        fewer = [f"{n} on {count}" for n, count in self.scans.items() if count < self.most]
        return f" Cells with {', '.join(fewer)} are about these." if fewer else ""

    @property
    def most(self) -> int:
        """Return the number of scans."""
        return max(self.scans.values(), default=0)


@lru_cache(maxsize=1)
def agreement(results: EvaluationResults) -> Agreement:
    """Compare the masks of all readers and segmenters with each other, scan by scan."""
    scans: dict[str, int] = {}
    pairs: dict[tuple[str, str], list[float]] = {}
    candidates = [(scan, results.kept(scan)) for scan in results.scans_of(None)]
    with_readers = [(scan, kept) for scan, kept in candidates if kept is not None and kept.readers]
    taken = {_TRUTH, *results.segmenters}
    for scan, kept in with_readers or candidates:
        if kept is None:
            continue
        readers = {f"{n} (reader)" if n in taken else n: m for n, m in kept.readers.items()}
        masks = {_TRUTH: kept.truth, **readers}
        for name in results.segmenters:
            mask = results.mask(scan, name, results.agreement_experiment)
            if mask is not None:
                masks[name] = mask
        for name in masks:
            scans[name] = scans.get(name, 0) + 1
        table = dice_of_pairs(list(masks.values()))
        for pair, value in zip(product(masks, repeat=2), table.ravel().tolist(), strict=True):
            pairs.setdefault(pair, []).append(value)
    readers = [name for name in scans if name not in results.segmenters]
    names = readers + [name for name in results.segmenters if name in scans]
    dsc = np.full((len(names), len(names)), np.nan)
    for (first, second), values in pairs.items():
        dsc[names.index(first), names.index(second)] = np.mean(values)
    return Agreement(names, dsc, {name: scans[name] for name in names})


def dice_of_pairs(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the DSC of each mask with each other one."""
    table = np.eye(len(masks))
    for first, second in combinations(range(len(masks)), 2):
        table[first, second] = table[second, first] = dice(masks[first], masks[second])
    return table
