"""What a step draws: cases, crops of them, lesions to prompt and simulated clicks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_fixtures import CROP

from mois_core.errors import BadInput
from mois_core.phantom import HELD_OUT_FROM, PhantomSettings
from mois_core.training.config import (
    InteractionConfig,
    SamplingConfig,
    TrainConfig,
    ValidationConfig,
)
from mois_core.training.prompted_lesions import choose_lesions, masks_of
from mois_core.training.resized_case import ResizedCase
from mois_core.training.sampling import sample_scan
from mois_core.training.simulated_clicks import correction, first_click
from mois_core.training.training_case import TrainingCase, phantom_case
from mois_core.training.validation import validation_phantoms


def test_held_out_phantoms_are_refused():
    with pytest.raises(BadInput, match="held out"):
        phantom_case(HELD_OUT_FROM, PhantomSettings())
    with pytest.raises(BadInput, match="held out"):
        validation_phantoms(ValidationConfig(every=1, first_phantom=HELD_OUT_FROM - 1, phantoms=2))


def test_a_case_survives_its_file(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 9, size=(2, 5, 4)).astype(np.uint8) for _ in range(2)]
    case = TrainingCase("one", *arrays, np.arange(9, dtype=np.uint8))
    case.save(tmp_path / "one.npz")
    again = TrainingCase.load(tmp_path / "one.npz")
    for name in ("images", "labels", "appearances"):
        np.testing.assert_array_equal(getattr(again, name), getattr(case, name))
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(BadInput, match="prepared case"):
        TrainingCase.load(tmp_path / "broken.npz")


def test_the_first_click_is_inside_a_lesion_whose_centre_is_not():
    ring = np.zeros((21, 21), dtype=bool)
    ring[3:18, 3:18] = True
    ring[6:15, 6:15] = False
    x, y, label = first_click(ring)
    assert ring[int(y), int(x)] and label == 1


def test_a_correction_goes_to_the_deepest_point_of_the_largest_error():
    truth = np.zeros((40, 40), dtype=bool)
    truth[5:14, 5:14] = True
    answer = truth.copy()
    answer[25:36, 20:31] = True
    answer[5:7, 5:7] = False
    rng = np.random.default_rng(1)
    clicks = {correction(rng, answer, truth) for _ in range(20)}
    assert (25.0, 30.0, 0) in clicks
    assert all(label == 1 for x, y, label in clicks if (x, y) != (25.0, 30.0))


def test_a_sample_is_the_same_whenever_it_is_drawn(scans):
    how = SamplingConfig(consecutive=3, elsewhere=2, crop_size=CROP, degrees=10, shear=5)
    first, second = (sample_scan(np.random.default_rng(5), scans[0], how) for _ in range(2))
    assert torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)
    assert first.images.shape == (5, 1, *CROP)
    assert first.slice_indices[1] == first.slice_indices[0] + 1 == first.slice_indices[2] - 1


def test_augmentation_is_the_same_on_all_slices(scans):
    scan = replace(
        scans[0],
        images=np.repeat(scans[0].images[2:3], 6, axis=0),
        labels=np.repeat(scans[0].labels[2:3], 6, axis=0),
    )
    how = SamplingConfig(consecutive=4, elsewhere=0, degrees=10, shear=5, scale=0.1)
    sample = sample_scan(np.random.default_rng(3), scan, how)
    for n in range(1, 4):
        assert torch.equal(sample.images[n], sample.images[0])
        assert torch.equal(sample.labels[n], sample.labels[0])


def test_some_crops_are_of_anywhere_in_the_body(scans):
    scan = replace_labels_by_one_corner(scans[0])
    near, anywhere = (
        [sample_scan(np.random.default_rng(seed), scan, how).labels[1:] for seed in range(20)]
        for how in (
            SamplingConfig(1, 1, 4, anywhere=share, crop_size=(32, 32)) for share in (0.0, 1.0)
        )
    )
    assert all(bool(crop.any()) for crops in near for crop in crops)
    without = [not bool(crop.any()) for crops in anywhere for crop in crops]
    assert np.mean(without) > 0.5


def replace_labels_by_one_corner(scan: ResizedCase) -> ResizedCase:
    labels = np.zeros_like(scan.labels)
    labels[:, :12, :12] = 1
    return replace(scan, labels=labels)


def test_drawn_by_size_a_crop_is_of_the_large_lesion_as_often_as_it_is_larger():
    labels = np.zeros((4, 128, 128), dtype=np.uint8)
    labels[:, 80:112, 8:40] = 1
    labels[0, 8:16, 100:116] = 2
    scan = ResizedCase("two", np.full_like(labels, 99), labels, np.zeros(3, dtype=np.uint8))
    how = SamplingConfig(consecutive=1, elsewhere=0, crop_size=(32, 32))

    def share_of_small(by_size: float) -> float:
        how_drawn = replace(how, by_size=by_size)
        drawn = [sample_scan(np.random.default_rng(n), scan, how_drawn) for n in range(300)]
        return sum(2 in sample.labels for sample in drawn) / len(drawn)

    assert share_of_small(0.0) > 0.4
    assert share_of_small(1.0) < 0.1  # 128 of 4224 pixels


def test_lesions_taken_as_one_object_are_all_of_one_appearance(scans):
    rng = np.random.default_rng(3)
    config = TrainConfig(
        sampling=SamplingConfig(scans=1, consecutive=2, elsewhere=2),
        interaction=InteractionConfig(as_one_object=True),
    )
    sample = sample_scan(rng, scans[0], config.sampling)
    lesions = choose_lesions([sample], [rng], 0, config)
    assert lesions
    for lesion, mask in zip(lesions, masks_of([sample], lesions)[:, 0] > 0, strict=True):
        labels = sample.labels[lesion.crop].numpy()
        wanted = (labels > 0) & (sample.appearances[labels] == lesion.appearance)
        np.testing.assert_array_equal(mask.numpy(), wanted)
