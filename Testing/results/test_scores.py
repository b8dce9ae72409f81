"""Scores mean what their names say, worked out by hand on small arrays."""

from __future__ import annotations

import numpy as np
import pytest

from mois_core.evaluation.detection import detect, overlaps
from mois_core.results.scores import DETECTED_FROM_IOU, dice


def labels(*runs: tuple[int, int, int]) -> np.ndarray:
    line = np.zeros(100, dtype=np.uint16)
    for lesion_id, start, stop in runs:
        line[start:stop] = lesion_id
    return line


def detection_f1(result: np.ndarray, truth: np.ndarray) -> float:
    return detect(overlaps(result, truth), "one-to-one", DETECTED_FROM_IOU).f1


def test_dice_is_twice_the_overlap_over_both_sizes():
    assert dice(labels((1, 0, 10)) > 0, labels((1, 5, 15)) > 0) == 0.5
    assert dice(labels((1, 0, 10)) > 0, labels((1, 0, 10)) > 0) == 1
    assert dice(labels((1, 0, 10)) > 0, labels() > 0) == 0
    assert dice(labels() > 0, labels() > 0) == 1


def test_every_lesion_found_is_a_perfect_detection_whatever_its_id():
    truth = labels((1, 0, 10), (2, 20, 30))
    assert detection_f1(labels((7, 20, 30), (9, 0, 10)), truth) == 1


def test_missed_and_false_lesions_cost_alike():
    truth = labels((1, 0, 10), (2, 20, 30))
    assert detection_f1(labels((1, 0, 10)), truth) == pytest.approx(2 / 3)
    assert detection_f1(labels((1, 0, 10), (2, 20, 30), (3, 50, 60)), truth) == pytest.approx(4 / 5)


def test_a_tenth_of_overlap_is_a_detection_and_less_is_none():
    truth = labels((1, 0, 10))
    assert detection_f1(labels((1, 9, 10)), truth) == 1
    assert detection_f1(labels((1, 9, 20)), truth) == 0


def test_one_blob_over_three_lesions_finds_one_and_three_components_find_one():
    three, blob = labels((1, 0, 10), (2, 10, 20), (3, 20, 30)), labels((1, 0, 30))
    assert detection_f1(blob, three) == pytest.approx(2 / 4)
    assert detection_f1(three, blob) == pytest.approx(2 / 4)


def test_pairs_are_chosen_so_that_most_lesions_are_found():
    truth = labels((1, 0, 10), (2, 10, 20))
    result = labels((1, 0, 11), (2, 12, 13))
    assert detection_f1(result, truth) == 1


def test_nothing_found_where_nothing_is_is_perfect():
    assert detection_f1(labels(), labels()) == 1
    assert detection_f1(labels((1, 0, 5)), labels()) == 0
    assert detection_f1(labels(), labels((1, 0, 5))) == 0
