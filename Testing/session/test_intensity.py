"""Intensities end up in 0..255 as the published code scales them, but are not rounded."""

from __future__ import annotations

import numpy as np
import pytest

from mois_core.errors import BadInput
from mois_core.session.intensity import normalise


def a_scan(dtype=np.float32) -> np.ndarray:
    rng = np.random.default_rng(5)
    scan = rng.gamma(2, 100, (6, 40, 30))
    scan[rng.random(scan.shape) < 0.4] = 0
    return scan.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.uint16])
def test_percentiles_are_taken_above_zero_and_scaled_to_255(dtype):
    scan = a_scan(dtype)
    inside = np.sort(scan[scan > 0].astype(float))
    positions = np.array([0.005, 0.995]) * (len(inside) - 1)
    low, high = np.interp(positions, np.arange(len(inside)), inside)
    expected = np.where(scan == 0, 0, (np.clip(scan, low, high) - low) / (high - low) * 255)
    result = normalise(scan)
    assert result.dtype == np.float32
    assert np.abs(result - expected).max() < 1e-3
    assert (result.min(), result.max()) == (0, 255)


def test_background_does_not_decide_the_scale():
    scan = a_scan()
    padded = np.concatenate([scan, np.zeros_like(scan)])
    assert np.array_equal(normalise(padded)[: len(scan)], normalise(scan))


def test_zero_and_negative_voxels_become_zero():
    scan = a_scan()
    scan[0, 0, :3] = -5, 0, -1e6
    assert not normalise(scan)[0, 0, :3].any()


def test_values_between_grey_levels_are_kept():
    result = normalise(a_scan())
    assert np.any(result != np.round(result))


def test_the_scan_itself_is_left_alone():
    scan = a_scan()
    kept = scan.copy()
    normalise(scan)
    assert np.array_equal(scan, kept)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_numbers_are_counted(broken):
    scan = a_scan()
    scan[1, :2, 3] = broken
    with pytest.raises(BadInput, match="2 of the image's 7200 voxels"):
        normalise(scan)


@pytest.mark.parametrize("value", [0, -3, 0.0])
def test_an_image_without_anything_above_zero_is_refused(value):
    with pytest.raises(BadInput, match="empty"):
        normalise(np.full((2, 3, 4), value))


def test_a_constant_image_is_refused():
    with pytest.raises(BadInput, match="no contrast.*value 7"):
        normalise(np.full((2, 3, 4), 7))


def test_a_lone_bright_voxel_is_no_contrast():
    scan = np.full((10, 20, 30), 7.0)
    scan[0, 0, 0] = 1000
    with pytest.raises(BadInput, match="no contrast"):
        normalise(scan)
