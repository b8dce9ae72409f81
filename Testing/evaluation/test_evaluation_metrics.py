"""Metrics agree with MONAI's and SimpleITK's, and say what was agreed where nothing is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK
import torch
from monai.metrics import compute_average_surface_distance, compute_dice, compute_surface_dice
from scipy import ndimage
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from mois_core.errors import BadInput
from mois_core.evaluation.detection import detect, overlaps
from mois_core.evaluation.metrics import AS_PUBLISHED, MetricSettings, measure, without_small
from mois_core.evaluation.surfaces import surface_scores

SPACING = (7.8, 0.62, 0.62)
ALL = MetricSettings(smallest_cm3=0.0)
PAIRS = MetricSettings(smallest_cm3=0.0, detection="one-to-one")
TIGHT = 1e-6


def random_mask(random: np.random.Generator) -> np.ndarray:
    """Return a mask of blobs, specks, next to nothing, or nothing."""
    shape = (random.integers(1, 7), random.integers(5, 24), random.integers(5, 24))
    return ndimage.gaussian_filter(random.standard_normal(shape), random.uniform(0, 2)) > 0


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Return a result that has to do with a truth, that truth, and a spacing."""
    random = np.random.default_rng(seed)
    truth = random_mask(random)
    truth &= random.random(truth.shape) < random.uniform(0.1, 1)
    result = np.roll(truth, int(random.integers(3)), axis=int(random.integers(3)))
    result = result ^ (random.random(truth.shape) < random.choice([0.0, 0.02, 0.2]))
    if seed % 20 == 7:
        result = np.zeros_like(result)
    if seed % 20 == 13:
        truth = np.zeros_like(truth)
    if seed % 40 == 19:
        truth, result = np.zeros_like(truth), np.zeros_like(truth)
    return result, truth, tuple(random.uniform(0.3, 8, 3).tolist())


def batched(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask.astype(np.float32))[None, None]


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("first", range(0, 200, 50))
def test_dice_and_surfaces_agree_with_monai_on_random_masks(first):
    for seed in range(first, first + 50):
        result, truth, spacing = random_pair(seed)
        ours = measure(result, truth, spacing, MetricSettings(smallest_cm3=0.0, tolerance_mm=1.5))
        pair = batched(result), batched(truth)
        theirs = float(compute_dice(*pair, ignore_empty=False))
        assert ours.dsc == pytest.approx(theirs, abs=TIGHT)
        if not (result.any() and truth.any()):
            continue
        assd = compute_average_surface_distance(
            *pair, include_background=True, symmetric=True, spacing=spacing
        )
        nsd = compute_surface_dice(*pair, [1.5], include_background=True, spacing=spacing)
        assert ours.assd_mm == pytest.approx(float(assd), abs=TIGHT, rel=TIGHT), seed
        assert ours.nsd == pytest.approx(float(nsd), abs=TIGHT), seed


def labelled(mask: np.ndarray) -> np.ndarray:
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    return SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(image, True))


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_volumes_lesions_and_overlaps_agree_with_simpleitk_on_random_masks(first):
    for seed in range(first, first + 50):
        result, truth, spacing = random_pair(seed)
        ours = measure(result, truth, spacing, PAIRS, surfaces=False)
        found, true = labelled(result), labelled(truth)
        assert ours.detected + ours.missed == true.max()
        assert ours.detected + ours.false == found.max()
        assert ours.detected == most_pairs(found, true, 0.1)
        cm3 = math.prod(spacing) / 1000
        volume = SimpleITK.LabelShapeStatisticsImageFilter()
        image = SimpleITK.GetImageFromArray(truth.astype(np.uint8))
        image.SetSpacing(spacing[::-1])
        volume.Execute(image)
        theirs = volume.GetPhysicalSize(1) / 1000 if truth.any() else 0.0
        assert ours.truth_cm3 == pytest.approx(theirs, abs=TIGHT)
        assert ours.volume_error_cm3 == pytest.approx((result.sum() - truth.sum()) * cm3, abs=TIGHT)
        pairs = overlaps(found, true)
        for pair, value in np.ndenumerate(pairs.dices):
            if pairs.shared[pair]:
                assert value == pytest.approx(itk_dice(found, true, pair), abs=TIGHT)
                break


def most_pairs(found: np.ndarray, true: np.ndarray, from_iou: float) -> int:
    """Return how many one-to-one pairs overlap enough, counted by another algorithm."""
    enough = np.zeros((found.max(), true.max()), dtype=bool)
    for ours, theirs in {*zip(found[found > 0], true[found > 0], strict=True)}:
        if theirs:
            first, second = found == ours, true == theirs
            enough[ours - 1, theirs - 1] = (first & second).sum() / (
                first | second
            ).sum() >= from_iou
    if not enough.any():
        return 0
    return int((maximum_bipartite_matching(csr_matrix(enough)) >= 0).sum())


def itk_dice(found: np.ndarray, true: np.ndarray, pair: tuple[int, int]) -> float:
    measures = SimpleITK.LabelOverlapMeasuresImageFilter()
    ours = SimpleITK.GetImageFromArray((found == pair[0] + 1).astype(np.uint8))
    theirs = SimpleITK.GetImageFromArray((true == pair[1] + 1).astype(np.uint8))
    measures.Execute(ours, theirs)
    return measures.GetDiceCoefficient()


def mask_of(*boxes: tuple[int, int, int, int], slices: int = 3) -> np.ndarray:
    """Return a mask of boxes (first and last row and column) on the middle slice."""
    mask = np.zeros((slices, 40, 40), dtype=bool)
    for top, bottom, left, right in boxes:
        mask[1, top:bottom, left:right] = True
    return mask


NOTHING = mask_of()
ONE = mask_of((0, 10, 0, 10))


def test_nothing_found_where_nothing_is_agrees_perfectly():
    metrics = measure(NOTHING, NOTHING, SPACING, ALL)

    assert (metrics.dsc, metrics.f1, metrics.precision, metrics.recall) == (1, 1, 1, 1)
    assert (metrics.assd_mm, metrics.nsd, metrics.volume_error_cm3) == (0, 1, 0)
    assert math.isnan(metrics.lesion_dsc)


@pytest.mark.parametrize(("result", "truth"), [(NOTHING, ONE), (ONE, NOTHING)])
def test_nothing_on_one_side_only_agrees_nowhere_and_has_no_distance(result, truth):
    metrics = measure(result, truth, SPACING, ALL)

    assert (metrics.dsc, metrics.f1, metrics.precision, metrics.recall) == (0, 0, 0, 0)
    assert metrics.nsd == 0
    assert math.isnan(metrics.assd_mm)
    assert math.isnan(metrics.lesion_dsc)
    assert abs(metrics.volume_error_cm3) == pytest.approx(100 * 7.8 * 0.62**2 / 1000)


def test_small_components_count_on_neither_side():
    large, small = (0, 20, 0, 20), (30, 33, 30, 33)
    truth, result = mask_of(large, small), mask_of(large, (36, 38, 0, 3))

    metrics = measure(result, truth, SPACING)

    assert metrics.dsc == 1
    assert (metrics.detected, metrics.missed, metrics.false) == (1, 0, 0)


def test_corners_join_for_the_filter_unless_as_published():
    volume = 7.8 * 0.62**2 / 1000
    mask = mask_of((0, 4, 0, 4), (4, 8, 4, 8))

    assert without_small(mask, volume, MetricSettings(smallest_cm3=20 * volume)).sum() == 32
    faces = MetricSettings(smallest_cm3=20 * volume, filter_corners=False)
    assert without_small(mask, volume, faces).sum() == 0


def test_rules_of_detection_differ_where_one_lesion_is_found_in_components():
    truth = mask_of((0, 10, 0, 30))
    components = mask_of((0, 10, 0, 9), (0, 10, 10, 19), (0, 10, 20, 22))
    between = overlaps(ndimage.label(components)[0], ndimage.label(truth)[0])

    strict = detect(between, "one-to-one", 0.1)
    assert (strict.detected, strict.missed, strict.false) == (1, 0, 2)
    assert strict.f1 == pytest.approx(1 / 2)
    each = detect(between, "each-side", 0.1)
    assert (each.detected, each.correct, each.false) == (1, 2, 1)
    loose = detect(between, "any-overlap", 0.1)
    assert (loose.detected, loose.correct, loose.false, loose.precision) == (1, 3, 0, 1)


def test_detection_is_measured_by_the_papers_words_and_one_to_one():
    truth = mask_of((0, 10, 0, 30))
    components = mask_of((0, 10, 0, 9), (0, 10, 10, 19), (0, 10, 20, 22))
    metrics = measure(components, truth, SPACING, ALL)

    assert (metrics.recall, metrics.precision, metrics.f1) == pytest.approx((1, 2 / 3, 2 / 3))
    one_to_one = (metrics.one_to_one_recall, metrics.one_to_one_precision, metrics.one_to_one_f1)
    assert one_to_one == pytest.approx((1, 1 / 3, 0.5))


def test_lesion_dice_is_of_detected_lesions_and_of_the_pair_unless_as_published():
    truth = mask_of((0, 10, 0, 10), (30, 40, 30, 40))
    result = mask_of((0, 10, 0, 10), (9, 20, 10, 20))
    assert measure(result, truth, SPACING, ALL).lesion_dsc == pytest.approx(
        2 * 100 / (100 + 100 + 110)
    )

    box = MetricSettings(smallest_cm3=0.0, lesion_dice="box")
    assert measure(result, truth, SPACING, box).lesion_dsc == 1


def test_the_published_way_is_all_departures_together():
    assert AS_PUBLISHED.smallest_cm3 == 2.0
    assert AS_PUBLISHED.detection == "any-overlap"
    truth = mask_of((0, 30, 0, 30))
    touching = mask_of((29, 40, 0, 30))

    assert measure(touching, truth, (7.8, 1, 1), AS_PUBLISHED).f1 == 1
    assert measure(touching, truth, (7.8, 1, 1)).f1 == 0


def test_surfaces_of_the_same_mask_lie_on_each_other():
    scores = surface_scores(ONE, ONE, SPACING, 0.0)
    assert (scores.assd_mm, scores.nsd) == (0, 1)


def test_distances_are_in_millimetres_along_each_axis():
    first, second = np.zeros((5, 5, 5), dtype=bool), np.zeros((5, 5, 5), dtype=bool)
    first[1, 2, 2] = second[3, 2, 2] = True

    assert surface_scores(first, second, (7.8, 1, 1), 15).assd_mm == pytest.approx(15.6)


@pytest.mark.parametrize(
    "wrong", [{"from_iou": 0}, {"from_iou": 1.1}, {"smallest_cm3": -1}, {"detection": "lucky"}]
)
def test_measuring_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(BadInput):
        MetricSettings(**wrong)
