"""What can be said about several scans: means, tests and intervals.

The unit is the scan. Where several models of a cross-validation were run on one scan, their
values are averaged first: they are no independent observations. Values are paired by the scan's
name, and a scan that one side lacks is in no comparison.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

SIGNIFICANT = 0.01
"""The paper's threshold, after correction."""
CONFIDENCE = 0.95
_RESAMPLES = 5000

ByScan = Mapping[str, float]


@dataclass(frozen=True)
class Spread:
    """A mean, and the standard deviation over scans (of a sample, so none for a single scan)."""

    mean: float
    sd: float
    scans: int


def spread(values: ByScan) -> Spread:
    """Of the scans that have a value."""
    there = finite(values)
    numbers = np.array(list(there.values()))
    if not len(numbers):
        return Spread(math.nan, math.nan, 0)
    sd = float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
    return Spread(float(numbers.mean()), sd, len(numbers))


def finite(values: ByScan) -> dict[str, float]:
    """The scans that have a value."""
    return {scan: value for scan, value in values.items() if math.isfinite(value)}


def average_folds(values: Sequence[tuple[str, float]]) -> dict[str, float]:
    """One value for each scan, from pairs of a scan and a value; what is not finite is no value."""
    by_scan: dict[str, list[float]] = {}
    for scan, value in values:
        there = by_scan.setdefault(scan, [])
        if math.isfinite(value):
            there.append(value)
    return {scan: float(np.mean(all_)) if all_ else math.nan for scan, all_ in by_scan.items()}


def paired(first: ByScan, second: ByScan) -> tuple[np.ndarray, np.ndarray]:
    """The values of the scans that both have, in the same order."""
    there, here = finite(first), finite(second)
    names = sorted(there.keys() & here.keys())
    return np.array([there[n] for n in names]), np.array([here[n] for n in names])


def wilcoxon(first: ByScan, second: ByScan) -> float:
    """p of the signed-rank test for pairs; 1 where there is no difference at all.

    NaN for fewer than two pairs, of which nothing can be said.
    """
    ours, theirs = paired(first, second)
    if len(ours) < 2:
        return math.nan
    if np.array_equal(ours, theirs):
        return 1.0
    return float(stats.wilcoxon(ours, theirs).pvalue)


def bonferroni(p: float, comparisons: int) -> float:
    """p corrected for the number of comparisons that were made; NaN stays NaN."""
    return p if math.isnan(p) else min(1.0, p * comparisons)


def mann_whitney(first: ByScan, second: ByScan) -> float:
    """p of the U test between two sets of different scans; NaN if one is empty."""
    ours, theirs = list(finite(first).values()), list(finite(second).values())
    if not ours or not theirs:
        return math.nan
    return float(stats.mannwhitneyu(ours, theirs, alternative="two-sided").pvalue)


@dataclass(frozen=True)
class Interval:
    """A value and where it may lie."""

    value: float
    low: float
    high: float


def bootstrap(
    values: Sequence[float],
    of: Callable[[np.ndarray], np.ndarray] | None = None,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The interval of a statistic by drawing scans with replacement, always the same draws.

    ``of`` takes an array and works along its last axis; the mean without it.
    """
    of = of or (lambda drawn: drawn.mean(axis=-1))
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        return Interval(math.nan, math.nan, math.nan)
    random = np.random.default_rng([seed, len(numbers), zlib.crc32(b"bootstrap")])
    drawn = of(numbers[random.integers(len(numbers), size=(_RESAMPLES, len(numbers)))])
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(of(numbers[None])[0]), float(low), float(high))


def difference(first: ByScan, second: ByScan, seed: int = 0) -> Interval:
    """The mean of ``first`` minus ``second`` over the scans that both have."""
    ours, theirs = paired(first, second)
    return bootstrap(ours - theirs, seed=seed)
