"""Statistics pair scans by name, average folds first, and know what cannot be said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mois_core.evaluation.statistics import (
    Interval,
    average_folds,
    bonferroni,
    bootstrap,
    difference,
    mann_whitney,
    paired,
    spread,
    wilcoxon,
)

NAN = math.nan


def named(*values: float) -> dict[str, float]:
    return {f"scan{n}": value for n, value in enumerate(values)}


def test_folds_of_a_scan_are_averaged_before_anything_else():
    folds = [("a", 0.2), ("a", 0.4), ("b", 0.5), ("b", NAN), ("c", NAN)]
    values = average_folds(folds)

    assert values["a"] == pytest.approx(0.3)
    assert values["b"] == 0.5
    assert math.isnan(values["c"])
    assert spread(values).scans == 2


def test_the_deviation_is_that_of_a_sample_and_a_single_scan_has_none():
    assert spread(named(1, 2, 4)).sd == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert math.isnan(spread(named(1)).sd)
    assert math.isnan(spread({}).mean)


def test_pairs_go_by_name_whatever_the_order_and_leave_out_what_one_side_lacks():
    first = {"b": 2.0, "a": 1.0, "only here": 9.0, "empty": NAN}
    second = {"a": 10.0, "b": 20.0, "empty": 5.0}
    ours, theirs = paired(first, second)

    assert ours.tolist() == [1, 2]
    assert theirs.tolist() == [10, 20]


def test_wilcoxon_is_the_signed_rank_test_of_the_pairs():
    random = np.random.default_rng(0)
    first, second = random.random(12), random.random(12)
    expected = stats.wilcoxon(first, second).pvalue

    assert wilcoxon(named(*first), named(*second)) == pytest.approx(expected)
    assert wilcoxon(named(1, 2, 3), named(1, 2, 3)) == 1
    assert math.isnan(wilcoxon(named(1), named(2)))


def test_twelve_scans_that_all_get_better_are_significant_and_three_cannot_be():
    worse = named(*np.linspace(0.2, 0.4, 12))
    better = {name: value + 0.1 + value / 10 for name, value in worse.items()}
    assert wilcoxon(better, worse) == pytest.approx(2 / 2**12)

    few = {name: worse[name] for name in list(worse)[:3]}
    assert wilcoxon(few, better) == pytest.approx(2 / 2**3)


def test_bonferroni_multiplies_up_to_one():
    assert bonferroni(0.004, 6) == pytest.approx(0.024)
    assert bonferroni(0.5, 6) == 1
    assert math.isnan(bonferroni(NAN, 6))


def test_sets_of_different_scans_are_compared_by_mann_whitney():
    first, second = named(0.1, 0.2, 0.3, 0.4), named(0.5, 0.6, 0.7)
    assert mann_whitney(first, second) == pytest.approx(2 / 35)
    assert math.isnan(mann_whitney(first, {"x": NAN}))


def test_the_bootstrap_gives_the_same_interval_again_and_covers_the_mean():
    values = np.random.default_rng(1).normal(3, 1, 40)
    interval = bootstrap(values)

    assert interval == bootstrap(values)
    assert interval.low < interval.value < interval.high
    assert interval.value == pytest.approx(values.mean())
    expected = 1.96 * values.std(ddof=1) / np.sqrt(40)
    assert interval.high - interval.value == pytest.approx(expected, rel=0.15)
    assert math.isnan(bootstrap([]).value)


def test_the_interval_of_one_value_or_of_equal_ones_is_that_value():
    assert bootstrap([2.5]) == Interval(2.5, 2.5, 2.5)
    assert bootstrap([0.3] * 7) == Interval(np.mean([0.3] * 7), *[np.mean([0.3] * 7)] * 2)
    assert difference(named(2.0), named(0.5)) == Interval(1.5, 1.5, 1.5)


def test_nineteen_of_twenty_intervals_hold_the_true_mean():
    random = np.random.default_rng(2)
    intervals = [bootstrap(random.normal(0, 1, 30)) for _ in range(60)]

    assert sum(one.low <= 0 <= one.high for one in intervals) >= 51


def test_a_difference_is_of_pairs_not_of_means():
    first, second = named(1.0, 5.0, 9.0), {**named(0.5, 4.5, 8.5), "another": 100.0}
    apart = difference(first, second)

    assert (apart.value, apart.low, apart.high) == (0.5, 0.5, 0.5)
