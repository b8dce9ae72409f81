"""Simulated clicks go where the paper says, or where its code does, and are the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mois_core.evaluation.simulated_reader import Mistakes, Reader, VoxelClick, next_clicks
from mois_core.session.components import centre_inside

SPACING = (7.8, 0.62, 0.62)


def empty() -> np.ndarray:
    return np.zeros((5, 30, 30), dtype=bool)


def box(*extents: tuple[int, int]) -> np.ndarray:
    mask = empty()
    mask[tuple(slice(*extent) for extent in extents)] = True
    return mask


LESION = box((1, 4), (5, 14), (5, 14))


def test_the_first_click_is_in_the_middle_of_the_lesion():
    assert next_clicks(empty(), LESION, SPACING) == [VoxelClick((2, 9, 9), True)]


def test_a_centre_outside_a_bent_lesion_moves_to_the_nearest_voxel_of_it():
    ring = box((2, 3), (5, 16), (5, 16)) & ~box((2, 3), (6, 15), (6, 20))
    (click,) = next_clicks(empty(), ring, SPACING)

    assert ring[click.voxel]
    assert click.voxel == (2, 10, 5)


def test_the_nearest_voxel_is_told_in_millimetres():
    component = np.zeros((3, 9, 9), dtype=bool)
    component[0, 4, 4] = component[2, 4, 4] = component[1, 4, 0] = component[1, 4, 8] = True

    assert centre_inside(component, (7.8, 1, 1))[0] == 1
    assert centre_inside(component, (1, 7.8, 7.8))[0] in (0, 2)


def test_the_largest_error_is_clicked_and_its_kind_decides_the_sign():
    too_much = box((1, 4), (16, 28), (16, 28))
    assert next_clicks(LESION | too_much, LESION, SPACING) == [VoxelClick((2, 21, 21), False)]

    small_rest = LESION & ~box((1, 4), (5, 7), (5, 14))
    (click,) = next_clicks(small_rest, LESION, SPACING)
    assert click.positive
    assert click.voxel[1] in (5, 6)


@pytest.mark.parametrize("rule", ["centre", "deepest", "published"])
def test_where_nothing_is_wrong_nothing_is_clicked(rule):
    assert next_clicks(LESION, LESION, SPACING, rule) == []
    assert next_clicks(empty(), empty(), SPACING, rule) == []


def test_the_deepest_place_is_furthest_from_the_border():
    comb = box((2, 3), (2, 4), (2, 28)) | box((2, 3), (10, 21), (10, 21))
    comb |= box((2, 3), (2, 20), (15, 16))

    (click,) = next_clicks(empty(), comb, SPACING, "deepest")
    assert click.voxel == (2, 15, 15)


def test_the_published_rule_clicks_on_both_kinds_of_error_at_once():
    result = box((1, 4), (5, 14), (9, 18))
    clicks = next_clicks(result, LESION, SPACING, "published")

    assert [click.positive for click in clicks] == [True, False]
    assert (LESION & ~result)[clicks[0].voxel]
    assert (result & ~LESION)[clicks[1].voxel]
    assert clicks == next_clicks(result, LESION, SPACING, "published")


def test_the_published_rule_looks_into_one_patch_only():
    shape = (40, 30, 30)
    truth, result = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    truth[2:6, 5:20, 5:20] = True
    result[2:6, 5:20, 5:20] = True
    result[30:34, 5:10, 5:10] = True

    assert next_clicks(result, truth, SPACING, "published") == []
    assert next_clicks(result, truth, SPACING) == [VoxelClick((31, 7, 7), False)]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), rule=st.sampled_from(["centre", "deepest", "published"]))
def test_every_click_lies_in_an_error_of_its_kind(seed, rule):
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 9, 3).tolist())
    result, truth = (random.random(shape) < random.uniform(0, 1) for _ in range(2))

    clicks = next_clicks(result, truth, SPACING, rule)

    assert bool(clicks) == bool((result != truth).any())
    for click in clicks:
        assert (truth & ~result if click.positive else result & ~truth)[click.voxel]


def test_a_reader_makes_the_same_mistakes_again_and_others_on_another_scan():
    meant = VoxelClick((2, 15, 15), True)

    def clicks(seed: int, scan: str) -> list[VoxelClick]:
        reader = Reader(Mistakes(jitter_mm=3, late=0.3, wrong=0.3), seed, scan)
        return [reader.perform(meant, (5, 30, 30), SPACING) for _ in range(20)]

    assert clicks(0, "a") == clicks(0, "a")
    assert clicks(0, "a") != clicks(0, "b")
    assert clicks(0, "a") != clicks(1, "a")


def test_a_readers_mistakes_do_not_depend_on_the_clicks_before():
    meant = VoxelClick((2, 15, 15), True)
    mistakes = Mistakes(jitter_mm=3, late=0.5, wrong=0.5)

    def second_lesion(clicks_on_first: int) -> list[object]:
        reader = Reader(mistakes, 0, "scan")
        for count in range(1, clicks_on_first + 1):
            reader.begin(1, count)
            reader.perform(meant, (5, 30, 30), SPACING)
        made = []
        for count in range(1, 6):
            reader.begin(2, count)
            made += [reader.is_late(), reader.perform(meant, (5, 30, 30), SPACING)]
        return made

    assert second_lesion(0) == second_lesion(1) == second_lesion(3)
    assert len({click.voxel for click in second_lesion(0)[1::2]}) > 1


def test_a_reader_misses_by_as_much_as_told_and_stays_in_the_slice_and_the_scan():
    reader = Reader(Mistakes(jitter_mm=2.0, wrong=0.25), 0, "scan")
    clicks = [
        reader.perform(VoxelClick((2, 100, 100), True), (5, 200, 200), SPACING) for _ in range(800)
    ]

    voxels = np.array([click.voxel for click in clicks])
    assert set(voxels[:, 0].tolist()) == {2}
    assert np.std(voxels[:, 1]) * 0.62 == pytest.approx(2.0, rel=0.1)
    assert np.mean([not click.positive for click in clicks]) == pytest.approx(0.25, abs=0.05)
    at_edge = [
        reader.perform(VoxelClick((0, 0, 29), True), (5, 30, 30), SPACING) for _ in range(50)
    ]
    assert all(0 <= v < n for c in at_edge for v, n in zip(c.voxel, (5, 30, 30), strict=True))


def test_a_reader_without_mistakes_clicks_as_meant():
    reader = Reader(Mistakes(jitter_mm=0, late=0, wrong=0), 0, "scan")
    meant = VoxelClick((1, 2, 3), False)

    assert reader.perform(meant, (5, 30, 30), SPACING) == meant
    assert not any(reader.is_late() for _ in range(50))
