"""Statistics over several scans: means, tests and intervals.

The unit is the scan. Where several models of a cross-validation were run on one scan, their
values are averaged first: they are no independent observations. Values are paired by the scan's
name, and a scan that one side lacks is in no comparison.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
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
    """Return mean and standard deviation over the scans that have a value."""
    there = np.array(list(finite(values).values()))
    if not len(there):
        return Spread(math.nan, math.nan, 0)
    sd = float(there.std(ddof=1)) if len(there) > 1 else math.nan
    return Spread(float(there.mean()), sd, len(there))


def finite(values: ByScan) -> dict[str, float]:
    """Return the values without those that are not finite."""
    return {scan: value for scan, value in values.items() if math.isfinite(value)}


def average_folds(values: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Return the mean of each scan, from pairs of a scan and a value.

    Values that are not finite are left out; a scan without any other has NaN.
    """
    by_scan: dict[str, list[float]] = {}
    for scan, value in values:
        of_scan = by_scan.setdefault(scan, [])
        if math.isfinite(value):
            of_scan.append(value)
    return {scan: float(np.mean(own)) if own else math.nan for scan, own in by_scan.items()}


def paired(first: ByScan, second: ByScan) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of the scans that both have, in the same order."""
    ours, theirs = finite(first), finite(second)
    names = sorted(ours.keys() & theirs.keys())
    return np.array([ours[name] for name in names]), np.array([theirs[name] for name in names])


def wilcoxon(first: ByScan, second: ByScan) -> float:
    """Return p of the signed-rank test for pairs, and 1 where there is no difference at all.

    Of fewer than two pairs nothing can be said: NaN.
    """
    ours, theirs = paired(first, second)
    if len(ours) < 2:
        return math.nan
    if np.array_equal(ours, theirs):
        return 1.0
    return float(stats.wilcoxon(ours, theirs).pvalue)


def bonferroni(p: float, comparisons: int) -> float:
    """Return p corrected for the number of comparisons that were made; NaN stays NaN."""
    return p if math.isnan(p) else min(1.0, p * comparisons)


def mann_whitney(first: ByScan, second: ByScan) -> float:
    """Return p of the U test between two sets of different scans, or NaN if one is empty."""
    ours, theirs = list(finite(first).values()), list(finite(second).values())
    if not ours or not theirs:
        return math.nan
    return float(stats.mannwhitneyu(ours, theirs, alternative="two-sided").pvalue)


@dataclass(frozen=True)
class Interval:
    """A value and the confidence interval around it."""

    value: float
    low: float
    high: float


def bootstrap(values: Sequence[float]) -> Interval:
    """Return the mean and its percentile interval by drawing scans with replacement.

    The draws depend on the number of values only, so the same values always have the same interval.
    """
    observed = np.asarray(values, dtype=np.float64)
    if not len(observed):
        return Interval(math.nan, math.nan, math.nan)
    value = float(observed.mean())
    if len(observed) == 1:
        # Every draw is that value; scipy refuses to draw from one.
        return Interval(value, value, value)
    drawn = stats.bootstrap(
        (observed,),
        np.mean,
        n_resamples=_RESAMPLES,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        # Called `rng` since scipy 1.15; every version that we allow knows this name.
        random_state=np.random.default_rng([0, len(observed), zlib.crc32(b"bootstrap")]),
    )
    low, high = drawn.confidence_interval
    return Interval(value, float(low), float(high))


def difference(first: ByScan, second: ByScan) -> Interval:
    """Return the mean of ``first`` minus ``second`` over the scans that both have."""
    ours, theirs = paired(first, second)
    return bootstrap(ours - theirs)
