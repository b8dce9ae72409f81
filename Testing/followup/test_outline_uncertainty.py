"""The interval of a change against outlines that are displaced at random."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mois_core.errors import BadInput
from mois_core.followup.outline_uncertainty import (
    CORRELATION_MM,
    ChangeInterval,
    change_interval,
    check_dice,
    in_words,
    sd_of_log_volume,
)


def displaced_balls(radius: float, dice: float, outlines: int) -> np.ndarray:
    """Radii of outlines of a ball in evenly spread directions, [outlines, directions]."""
    count = 400
    n = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * n / count), math.pi * (1 + 5**0.5) * n
    points = np.stack(
        [np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], axis=1
    )
    squared = radius**2 * np.square(points[:, None] - points[None]).sum(axis=2)
    covariance = np.exp(-squared / (2 * CORRELATION_MM**2)) + 1e-6 * np.eye(count)
    sigma = (1 - dice) * math.sqrt(math.pi) * radius / 3
    field = np.random.default_rng(0).standard_normal((outlines, count))
    return radius + sigma * field @ np.linalg.cholesky(covariance).T


@pytest.mark.parametrize("dice", [0.8, 0.9])
@pytest.mark.parametrize("radius", [6.0, 15.0, 30.0])
def test_displaced_outlines_have_the_dice_and_the_spread_that_the_formula_says(radius, dice):
    radii = displaced_balls(radius, dice, 2000)
    one, other = radii[::2], radii[1::2]
    shared = (np.minimum(one, other) ** 3).mean(axis=1)
    reached = 2 * shared / ((one**3).mean(axis=1) + (other**3).mean(axis=1))
    assert reached.mean() == pytest.approx(dice, abs=0.02)

    volume_cm3 = 4 / 3 * math.pi * radius**3 / 1000
    spread = np.log((radii**3).mean(axis=1)).std()
    assert spread == pytest.approx(sd_of_log_volume(volume_cm3, dice), rel=0.1)


def test_the_interval_holds_the_true_change_as_often_as_it_says():
    """Also at the readers' own agreement, where displacements are no longer small."""
    radius = 25.0
    volumes = 4 / 3 * math.pi * (displaced_balls(radius, 0.63, 2000) ** 3).mean(axis=1) / 1000
    held = 0
    for then, now in volumes.reshape(-1, 2):
        low, high = change_interval(then, now, 0.63).bounds
        held += low <= 1 <= high
    assert 0.92 <= held / 1000 <= 0.98


def test_large_lesions_and_agreeing_outlines_are_surer():
    spreads = [sd_of_log_volume(volume) for volume in (0.1, 1, 10, 100, 1000)]
    assert spreads == sorted(spreads, reverse=True)
    assert sd_of_log_volume(10, 0.9) < sd_of_log_volume(10, 0.6)
    assert sd_of_log_volume(10, 1.0) == 0


def test_chances_of_a_change():
    interval = ChangeInterval(1.2, 0.2)
    assert interval.chance(1.2, math.inf) == pytest.approx(0.5)
    whole = interval.chance(0, 0.8) + interval.chance(0.8, 1.2) + interval.chance(1.2, math.inf)
    assert whole == pytest.approx(1)
    assert ChangeInterval(1.3, 0.0).chance(1.2, math.inf) == 1
    assert [in_words(part) for part in (0.99, 0.85, 0.5)] == ["sure", "likely", "uncertain"]


@pytest.mark.parametrize("dice", [0, -1, 1.1])
def test_an_agreement_that_is_no_dice_is_refused(dice):
    with pytest.raises(BadInput, match="Dice"):
        check_dice(dice)
