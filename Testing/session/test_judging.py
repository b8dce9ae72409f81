"""A finding is the whole lesion that a search marks a part of, and is judged by its evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_fixtures import Block, painted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from stub_sessions import click_on, stack_of, stub_session

from mois_core.network.config import ExemplarConfig, NetworkConfig, preset
from mois_core.session.judging import (
    RISE,
    SPARE,
    USUAL_LIKENESS,
    candidates,
    confidence,
    judged,
    needed,
)
from mois_core.session.looks import looks_of
from mois_core.session.masks import Mask
from mois_core.session.search import Marked, heights

CLICKED = Block((3, 8), (4, 12), (4, 12))
LIKE_IT = Block((4, 7), (20, 28), (4, 12))
BRIGHTER = Block((3, 9), (20, 28), (20, 28), CLICKED.brightness + 60)
OTHERS = [
    Block((n, n + 1), (row, row + 4), (16, 20), BRIGHTER.brightness)
    for n in (1, 11)
    for row in (0, 8, 16, 24)
]
"""Enough of them that looks can be compared."""
SLICES = 12
VOXEL_CM3 = 1.0
NOTHING = np.zeros_like(painted(CLICKED, SLICES))
MASK = Mask.from_stack(painted(CLICKED, SLICES))


def marked_parts(*parts: tuple[Block, int]) -> Marked:
    """What a search marks that sees so many columns of each block, and lesions that are whole."""
    lesions = np.zeros_like(painted(CLICKED, SLICES))
    found = lesions.copy()
    for block, columns in parts:
        whole = painted(block, SLICES)
        lesions |= whole
        first = np.flatnonzero(whole.any(axis=(0, 1)))[:columns]
        found[:, :, first] |= whole[:, :, first]
    return Marked(found, heights(found.astype(np.float16), found), lesions)


def with_heights(*parts: tuple[Block, float]) -> Marked:
    """What a search marks, with the confidence that it has in each block."""
    confidence = np.zeros_like(painted(CLICKED, SLICES), dtype=np.float16)
    for block, height in parts:
        confidence[painted(block, SLICES)] = height
    return Marked(confidence > 0, confidence, confidence > 0)


@pytest.fixture(scope="module")
def session():
    made = stub_session(CLICKED, LIKE_IT, BRIGHTER, *OTHERS, slices=SLICES)
    made.prepare()
    return made


def found_of(session, marked: Marked, known: np.ndarray = NOTHING, wanted=(), smallest=1):
    """The candidates of a search, by their voxels."""
    every = candidates(marked, known, wanted, session.embeddings, smallest, VOXEL_CM3)
    return {one.mask.voxels: one for one in every}


def judged_as(session, marked: Marked, judgement, least=0.5, known=NOTHING, wanted=()) -> Marked:
    """What a search marks that is found likely."""
    return judged(marked, judgement, least, known, wanted, session.embeddings, 1, VOXEL_CM3)


def test_a_finding_is_the_whole_lesion_that_the_search_marks_a_part_of(session):
    marked = marked_parts((LIKE_IT, 2), (BRIGHTER, 6), (CLICKED, 0))

    assert found_of(session, marked).keys() == {LIKE_IT.voxels, BRIGHTER.voxels}


def test_what_looks_like_the_wanted_lesion_is_likelier(session):
    marked = marked_parts((LIKE_IT, 4), (BRIGHTER, 4), (CLICKED, 4), *((one, 0) for one in OTHERS))
    wanted = [MASK]

    found = found_of(session, marked, wanted=wanted)

    of_same, of_other = (found[block.voxels].likeness for block in (LIKE_IT, BRIGHTER))
    assert -1 <= of_other < 0 < of_same <= 1
    sure = judged_as(session, marked, (0.0, 5.0, 0.0, 0.0, 0.0), wanted=wanted)
    assert not (sure.found & painted(BRIGHTER, SLICES)).any()
    assert (sure.found & painted(LIKE_IT, SLICES)).sum() == LIKE_IT.voxels


def test_without_wanted_lesions_looks_say_nothing(session):
    marked = with_heights((LIKE_IT, 0.25), (BRIGHTER, 0.75))
    judgement = (10.0, 5.0, 0.0, 0.0, -7.5)

    sure = judged_as(session, marked, judgement)

    assert {one.likeness for one in found_of(session, marked).values()} == {USUAL_LIKENESS}
    assert np.array_equal(sure.found, painted(BRIGHTER, SLICES))
    expected = confidence((0.75, USUAL_LIKENESS, 0, 0, 1), judgement)
    assert sure.confidence.max() == pytest.approx(expected, abs=1e-3)


def test_how_strongly_the_search_marks_a_finding_at_its_strongest_counts(session):
    found = found_of(session, with_heights((LIKE_IT, 0.25), (BRIGHTER, 0.75)))

    assert found[LIKE_IT.voxels].height == pytest.approx(0.25)
    assert found[BRIGHTER.voxels].height == pytest.approx(0.75)


def test_what_lies_beside_a_known_lesion_is_judged_by_itself(session):
    """Strongly marked as the known lesion is, what hangs together with it need not be."""
    beside = Block((3, 8), (12, 20), (4, 12))
    known = painted(CLICKED, SLICES)
    marked = with_heights((CLICKED, 1.0), (beside, 0.25), (BRIGHTER, 0.75))

    found = found_of(session, marked, known, [MASK])
    sure = judged_as(session, marked, (10.0, 0.0, 0.0, 0.0, -5.0), 0.5, known, [MASK])

    assert found.keys() == {beside.voxels, BRIGHTER.voxels}
    assert found[beside.voxels].height == pytest.approx(0.25)
    assert found[beside.voxels].touches and not found[BRIGHTER.voxels].touches
    assert np.array_equal(sure.found, known | painted(BRIGHTER, SLICES))
    assert not sure.confidence[known].any()


def test_what_is_more_of_a_known_lesion_is_not_left_to_find(session):
    beside = Block((3, 8), (12, 20), (4, 12))
    marked = with_heights((CLICKED, 1.0), (beside, 0.25), (BRIGHTER, 0.75))

    found = found_of(session, marked, painted(CLICKED, SLICES), [MASK])

    assert len(found) == 2
    for one in found.values():
        assert one.known == pytest.approx(np.log(1 / (0.75 + SPARE)))


def test_the_more_is_known_of_what_seems_to_be_there_the_less_is_left(session):
    """By ratios: of a hundred lesions, ten known ones say no more than one of ten."""
    blocks = CLICKED, LIKE_IT, BRIGHTER
    marked = with_heights((CLICKED, 1.0), (LIKE_IT, 0.5), (BRIGHTER, 1.0))

    def known(count: int) -> float:
        stacks = [painted(one, SLICES) for one in blocks[:count]]
        wanted = [Mask.from_stack(one) for one in stacks]
        every = found_of(session, marked, np.any([NOTHING, *stacks], axis=0), wanted)
        (value,) = {one.known for one in every.values()}
        return value

    assert known(0) == pytest.approx(np.log(1 / (2.5 + SPARE)))
    assert known(1) == pytest.approx(np.log(1 / (1.5 + SPARE)))
    assert known(2) == pytest.approx(np.log(2 / (1.0 + SPARE)))


def test_of_two_lesions_the_second_is_found_though_it_is_all_that_the_first_is_not(session):
    marked = marked_parts((LIKE_IT, 8), (CLICKED, 8))
    shipped = preset("phantom").exemplars
    how = shipped.judgement, shipped.min_confidence, painted(CLICKED, SLICES), [MASK]

    found = judged_as(session, marked, *how).found

    assert (found & painted(LIKE_IT, SLICES)).sum() == LIKE_IT.voxels


def test_specks_are_no_findings_and_nothing_marked_is_nothing_found(session):
    speck = marked_parts((Block((5, 6), (1, 2), (30, 31)), 1))
    nothing = marked_parts((LIKE_IT, 0))

    assert not found_of(session, speck, smallest=2)
    assert not judged_as(session, nothing, (1.0,) * 5).found.any()


@given(
    st.tuples(*[st.floats(-10, 10)] * 5),
    st.tuples(*(st.floats(*ends) for ends in ((0, 1), (-1, 1), (-3, 0), (-3, 3)))),
    st.floats(0, 1),
)
@settings(max_examples=50, deadline=None)
def test_confidence_is_a_share_and_follows_the_evidence(judgement, evidence, more):
    height, *rest = evidence
    now, then = (confidence((one, *rest, 1.0), judgement) for one in (height, height + more))
    assert 0 <= now <= 1
    assert (then - now) * judgement[0] >= -1e-9


@given(
    st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 10), st.floats(0.01, 0.99)
)
@settings(max_examples=100, deadline=None)
def test_findings_have_to_be_the_surer_the_more_is_known(least, known, unknown, times, more):
    now = needed(least, known, unknown)
    assert least - 1e-9 <= now <= expit(logit(least) + RISE) + 1e-9
    assert now - 1e-9 <= needed(least, known * times, unknown)
    assert needed(least, known, unknown * times) <= now + 1e-9
    assert now <= needed(least + (1 - least) * more, known, unknown) + 1e-9


@pytest.mark.parametrize(("known", "unknown"), [(0, 0), (0, 50), (50, 0), (50, 50)])
def test_none_and_full_confidence_stay_what_they_are_whatever_is_known(known, unknown):
    assert needed(0.0, known, unknown) == 0
    assert needed(1.0, known, unknown) == 1


def test_a_finding_that_is_kept_where_nothing_is_known_is_left_out_where_most_is(session):
    blocks = CLICKED, LIKE_IT, BRIGHTER
    marked = with_heights((CLICKED, 1.0), (LIKE_IT, 1.0), (BRIGHTER, 0.5))
    by_height = (4.0, 0.0, 0.0, 0.0, -2.0)

    def keeps(count: int) -> bool:
        stacks = [painted(one, SLICES) for one in blocks[:count]]
        wanted = [Mask.from_stack(one) for one in stacks]
        where = np.any([NOTHING, *stacks], axis=0)
        found = judged_as(session, marked, by_height, 0.4, where, wanted).found
        return bool(found[painted(BRIGHTER, SLICES)].any())

    assert keeps(0)
    assert not keeps(2)


def test_size_counts_below_what_is_measurable(session):
    marked = marked_parts((LIKE_IT, 8), (BRIGHTER, 8))
    for voxel_cm3, below in ((1.0, 0), (3.0 / LIKE_IT.voxels, 0), (0.3 / LIKE_IT.voxels, -1)):
        every = candidates(marked, NOTHING, [], session.embeddings, 1, voxel_cm3)
        sizes = {one.mask.voxels: one.size for one in every}
        assert sizes[LIKE_IT.voxels] == pytest.approx(below)
        assert sizes[LIKE_IT.voxels] <= sizes[BRIGHTER.voxels] <= 0


def test_looks_are_the_means_of_the_features_inside(session):
    mask = Mask.from_stack(painted(LIKE_IT, SLICES))
    sums, count = 0.0, 0
    for n in mask.slices:
        coarse = session.embeddings.features(n).coarse[0].double()
        size = coarse.shape[1:]
        pixels = torch.from_numpy(mask.image(n))[None, None].double()
        inside = torch.nn.functional.interpolate(pixels, size, mode="area")[0, 0]
        sums, count = sums + (coarse * inside).sum(dim=(1, 2)), count + inside.sum()

    torch.testing.assert_close(looks_of([mask], session.embeddings).inside[0], sums / count)


def test_a_session_shows_whole_lesions_and_leaves_out_what_it_doubts(monkeypatch):
    marked = with_heights((LIKE_IT, 0.25), (BRIGHTER, 0.75))
    for least, kept in ((0.0, (LIKE_IT, BRIGHTER)), (0.5, (BRIGHTER,))):
        session = stub_session(
            CLICKED, LIKE_IT, BRIGHTER, slices=SLICES, min_confidence=least, absorb=False
        )
        exemplars = replace(session.model.config.exemplars, judgement=(10.0, 0.0, 0.0, 0.0, -5.0))
        config = replace(session.model.config, marks_unprompted=True, exemplars=exemplars)
        monkeypatch.setattr(session.model, "config", config)
        monkeypatch.setattr(session.search, "run", lambda *_: marked)
        click_on(session, CLICKED, propagate=False)

        found = [stack_of(session, one) for one in session.find_similar()]

        assert len(found) == len(kept)
        for block in kept:
            assert any(np.array_equal(one, painted(block, SLICES)) for one in found)
        assert np.array_equal(session.semantic, sum(found).astype(bool))


def test_only_networks_that_mark_unprompted_have_a_judgement():
    with pytest.raises(ValueError, match="judgement"):
        NetworkConfig(preset("mois-tiny").encoder, exemplars=ExemplarConfig(judgement=(1,) * 5))


def test_a_judgement_from_before_a_number_was_added_is_refused():
    shipped = preset("phantom")
    with pytest.raises(ValueError, match="5 factors"):
        replace(shipped, exemplars=replace(shipped.exemplars, judgement=(1,) * 4))
