"""Thin slices become thick ones, and results find their way back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mois_core.geometry import SliceStack, Volume
from mois_core.io.resample import TRAINING_SLICE_SPACING_MM, thicken

TILTED = Rotation.from_euler("xyz", [8, -12, 5], degrees=True).as_matrix()
AXIAL_STORAGE = np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]])


def a_blob_scan(centre_ras, sigma_mm, directions, spacing, shape=(50, 90, 50)) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = directions * np.asarray(spacing)
    middle = (np.array(shape[::-1]) - 1) / 2
    affine[:3, 3] = -affine[:3, :3] @ middle
    k, j, i = np.indices(shape)
    ras = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    distance = np.linalg.norm(ras - centre_ras, axis=-1)
    return Volume(np.exp(-((distance / sigma_mm) ** 2) / 2).astype(np.float32), affine)


def centroid_ras(volume: Volume) -> np.ndarray:
    k, j, i = ndimage.center_of_mass(volume.array)
    return (volume.ijk_to_ras @ (i, j, k, 1))[:3]


@pytest.mark.parametrize("directions", [np.eye(3), AXIAL_STORAGE, TILTED])
@pytest.mark.parametrize("thin", [0.9, 1.3, 3.0])
def test_a_blob_stays_where_it_is_and_its_mask_comes_back(directions, thin):
    centre = np.array([3.0, -6.0, 4.0])
    scan = a_blob_scan(centre, 8.0, directions, (1.5, thin, 1.5))
    thick = thicken(SliceStack(scan))
    assert SliceStack(thick.volume).slice_spacing == pytest.approx(TRAINING_SLICE_SPACING_MM)
    assert np.array_equal(SliceStack(thick.volume).array, thick.volume.array)
    assert np.abs(centroid_ras(thick.volume) - centroid_ras(scan)).max() < thin / 2

    mask = thick.volume.array > 0.5
    back = Volume(thick.to_original(mask), scan.ijk_to_ras)
    assert back.array.shape == scan.array.shape
    assert np.abs(centroid_ras(back) - centre).max() < TRAINING_SLICE_SPACING_MM / 2
    thick_cm3 = mask.sum() * thick.volume.voxel_volume_cm3
    assert back.array.sum() * back.voxel_volume_cm3 == pytest.approx(thick_cm3, rel=0.15)


@pytest.mark.parametrize("thin", [0.9, 1.3, 0.9765625, 7.8 / 7])
def test_the_same_scan_from_another_file_gives_the_same_thick_slices(thin):
    blob = a_blob_scan((3, -6, 4), 8.0, TILTED, (1.5, thin, 1.5))
    scan = Volume((blob.array * 1000).astype(np.int16), blob.ijk_to_ras)
    # NIfTI keeps places in single precision.
    rounded = Volume(scan.array.astype(np.float64), scan.ijk_to_ras.astype(np.float32))

    one, other = (thicken(SliceStack(volume)).volume for volume in (scan, rounded))

    assert one.digest == other.digest


def test_a_click_and_its_mask_meet_on_the_original_slice():
    scan = a_blob_scan((0, 0, 0), 8.0, TILTED, (2, 1, 2), shape=(20, 61, 20))
    stack = SliceStack(scan)
    thick = thicken(stack)
    thick_stack = SliceStack(thick.volume)
    for n in range(stack.count):
        click = stack.point_to_ras(n, 7, 9)
        thick_n, x, y = (int(round(float(c))) for c in thick_stack.point_from_ras(click))
        assert (x, y) == (7, 9)
        mask = np.zeros(thick.volume.array.shape, dtype=np.uint8)
        mask[thick_n, y, x] = 5
        assert stack.from_volume(thick.to_original(mask))[n, 9, 7] == 5


@pytest.mark.parametrize("count", [2, 8, 40, 41, 78, 100])
def test_slabs_cover_the_scan_and_average_what_they_cover(count):
    ramp = np.broadcast_to(np.arange(count, dtype=np.int16)[None, :, None], (2, count, 3))
    stack = SliceStack(Volume(ramp, np.eye(4)))
    thick = thicken(stack)
    profile = thick.volume.array[:, 0, 0]
    assert len(profile) == int(np.ceil(count / 7.8))
    slab_positions = SliceStack(thick.volume).point_to_ras(np.arange(len(profile)), 0, 0)[:, 1]
    # A ramp averages to its value in the middle, but for the steps between its own slices; the
    # outermost slabs have only their inner part.
    assert np.allclose(profile[1:-1], slab_positions[1:-1], atol=0.02)
    assert profile.min() >= 0 and profile.max() <= count - 1
    assert set(thick.slab_of_slice) == set(range(len(profile)))


def test_a_constant_image_stays_constant():
    thick = thicken(SliceStack(Volume(np.full((3, 50, 4), 9, dtype=np.uint8), np.eye(4))))
    assert thick.volume.array.dtype == np.float32
    assert np.allclose(thick.volume.array, 9)


@pytest.mark.parametrize("spacing", [7.8, 7.2, 8.4, 12.0])
def test_thick_slices_are_kept_and_the_note_says_so(spacing):
    volume = Volume(np.ones((4, 10, 5)), np.diag([1, spacing, 1, 1]))
    thick = thicken(SliceStack(volume))
    mask = np.ones((4, 10, 5), dtype=bool)
    assert thick.volume is volume
    assert thick.to_original(mask) is mask
    assert "kept as acquired" in thick.note


def test_the_note_tells_what_was_averaged():
    note = thicken(SliceStack(Volume(np.ones((3, 78, 4)), np.eye(4)))).note
    assert note == "78 slices 1 mm apart were averaged to 10 slices 7.8 mm apart."


def test_a_lone_slice_is_kept():
    volume = Volume(np.ones((3, 1, 4)), np.eye(4))
    assert thicken(SliceStack(volume)).volume is volume


def test_masks_of_another_shape_are_refused():
    thick = thicken(SliceStack(Volume(np.ones((3, 78, 4)), np.eye(4))))
    with pytest.raises(ValueError, match="shape"):
        thick.to_original(np.zeros((3, 78, 4)))
    with pytest.raises(ValueError, match="shape"):
        thick.from_original(np.zeros((3, 10, 4)))


@pytest.mark.parametrize("directions", [np.eye(3), AXIAL_STORAGE, TILTED])
def test_labels_on_the_scan_become_labels_of_slabs_and_none_is_lost(directions):
    scan = a_blob_scan((0, 0, 0), 8.0, directions, (2, 1, 2), shape=(20, 61, 20))
    thick = thicken(SliceStack(scan))
    labels = np.zeros(scan.array.shape, dtype=np.uint8)
    labels.ravel()[[5, 12_000, 24_000]] = 1, 2, 3
    slabs = thick.from_original(labels)
    assert slabs.shape == thick.volume.array.shape and slabs.dtype == labels.dtype
    assert np.unique(slabs).tolist() == [0, 1, 2, 3]
    assert np.array_equal(thick.to_original(slabs)[labels > 0], labels[labels > 0])
