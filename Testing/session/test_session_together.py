"""Nothing is computed twice, and several lesions at once give what each alone gives."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from engine_fixtures import (
    FIRST,
    LESION,
    OTHER_KIND,
    SECOND,
    THIRD,
    Block,
    painted,
    scan_of,
    volume_of,
)
from stub_network import StubNetwork
from stub_sessions import click_on, digest, ras, stack_of, stub_session

from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.network.config import preset
from mois_core.network.loading import build
from mois_core.session import NewClick, Session
from mois_core.session.propagation import around_every_prompt

pytestmark = pytest.mark.usefixtures("one_thread")

BLOCKS = (FIRST, SECOND, THIRD, OTHER_KIND)


def all_clicks(session, blocks=BLOCKS):
    return [NewClick(ras(session, *block.middle)) for block in blocks]


# ---- encoding ----------------------------------------------------------------------------------


def test_clicks_propagation_and_searching_on_encoded_slices_encode_nothing(session):
    session.prepare()
    assert session.embeddings.encoded == session.model.calls["encode"] == 12

    lesion_id = click_on(session, FIRST)
    session.click(ras(session, 4, 8, 8), positive=False, lesion=lesion_id)
    session.move_click(session.lesion(lesion_id).clicks[0].id, ras(session, 6, 9, 9))
    session.box(ras(session, 5, 18, 3), ras(session, 5, 28, 12))
    session.set_mask(None, session.stack.to_volume(painted(THIRD)))
    found = session.find_similar()
    session.click(ras(session, 5, 23, 23), lesion=found[0] if found else None)
    session.find_similar()
    session.undo()
    session.redo()

    assert session.embeddings.encoded == session.model.calls["encode"] == 12


def test_a_click_before_anything_is_encoded_encodes_its_own_slice_first(session):
    ready_before = []
    encode = session.model.encode

    def watched(images):
        ready_before.append(ready_slices(session))
        return encode(images)

    session.model.encode = watched
    click_on(session, FIRST)

    assert ready_before[:2] == [set(), {FIRST.middle[0]}]
    assert ready_slices(session) == {2, 3, 4, 5, 6, 7, 8}
    assert len(ready_before) == 7


def ready_slices(session):
    return {n for n in range(session.stack.count) if session.embeddings.is_ready(n)}


def test_a_click_that_is_not_propagated_encodes_one_slice(session):
    click_on(session, FIRST, propagate=False)

    assert session.embeddings.encoded == 1


def test_a_second_search_computes_nothing_about_the_slices_again(session):
    click_on(session, FIRST)
    session.find_similar()
    before = session.model.calls["memory_query"]

    session.find_similar()

    assert session.model.calls["memory_query"] == before


def test_exemplar_keys_are_computed_once_for_all_slices_and_searches_with_the_same_bank(session):
    click_on(session, FIRST)
    click_on(session, THIRD)
    session.find_similar()
    assert session.model.calls["exemplar_keys"] < 12

    few = stub_session(propagation_slices=2)
    click_on(few, FIRST)
    few.find_similar()
    few.find_similar()
    assert few.model.calls["exemplar_keys"] == 1


def test_exemplars_live_as_long_as_the_keys_that_are_kept_of_them():
    """Keys are found again by whose they are; nobody else may get that identity meanwhile."""
    session = stub_session(propagation_slices=0)
    lesion_id = click_on(session, FIRST)
    memory = weakref.ref(session.lesion(lesion_id).prompted[5].memory)
    session.find_similar()
    session.undo()
    session.undo()
    click_on(session, OTHER_KIND)
    gc.collect()
    assert memory() is not None

    session.find_similar()
    gc.collect()

    assert memory() is None


# ---- sharing -----------------------------------------------------------------------------------


def test_lesions_that_share_a_slice_share_the_pass():
    together, alone = stub_session(), stub_session()
    blocks = (FIRST, SECOND)
    together.clicks(all_clicks(together, blocks), propagate=False)
    click_on(alone, FIRST, propagate=False)
    assert together.model.calls["decode"] == alone.model.calls["decode"] == 1

    together.propagate()
    click_on(alone, FIRST)

    # Both are propagated to the same slices; the second one ends before the first.
    assert together.model.calls["decode"] <= alone.model.calls["decode"]
    assert together.model.calls["remember"] <= alone.model.calls["remember"]


def test_more_lesions_than_fit_into_a_pass_are_split_over_several():
    blocks = [
        Block((5, 6), (row, row + 3), (column, column + 3))
        for row in range(3, 30, 5)
        for column in range(1, 30, 5)
    ]
    session = stub_session(*blocks, propagation_slices=0)
    lesion_ids = session.clicks(all_clicks(session, blocks))

    assert len(lesion_ids) == 36
    assert session.model.calls["decode"] == 3
    for lesion_id, block in zip(lesion_ids, blocks, strict=True):
        assert np.array_equal(stack_of(session, lesion_id), painted(block))


@pytest.mark.parametrize("ends", [(2, 11), (5, 11), (5, 8), (2, 8)])
def test_lesions_of_different_length_are_propagated_together_as_alone(ends):
    long = Block((0, 12), (6, 13), (5, 12))
    short = Block(ends, (20, 27), (4, 10))
    middle = ((6, 9, 9), (6, 23, 7))
    session = stub_session(long, short, propagation_slices=5)
    session.clicks([NewClick(ras(session, *place)) for place in middle])
    together = [digest(lesion.mask) for lesion in session.lesions]
    session.undo()

    for place in middle:
        session.click(ras(session, *place))

    assert [digest(lesion.mask) for lesion in session.lesions] == together


def test_a_lesion_with_an_erased_neighbour_is_propagated_together_with_one_without():
    long = (Block((0, 12), (6, 13), (5, 12)), Block((0, 12), (20, 27), (4, 10)))
    session = stub_session(*long)
    session.clicks([NewClick(ras(session, 6, 9, 9)), NewClick(ras(session, 6, 23, 7))])
    drawn = stack_of(session, 1)
    drawn[5] = False
    session.set_mask(1, session.stack.to_volume(drawn))

    session.propagate([1, 2])

    assert 5 not in session.lesion(1).mask.slices
    assert session.lesion(2).mask.slices == (3, 4, 5, 6, 7, 8, 9)


def test_the_order_in_which_a_lesion_is_propagated_does_not_depend_on_others():
    """Prompts in several places make several targets per round; others must not reorder them."""
    long = tuple(Block((0, 12), (row, row + 5), (4, 9)) for row in (3, 10, 17))
    places = ((6, 5, 6), (9, 12, 6), (3, 19, 6), (7, 19, 6), (8, 5, 6))
    lesion_ids = (1, 2, 3, 3, 1)
    session = stub_session(*long, propagation_slices=4)
    session.clicks(
        [NewClick(ras(session, *p), True, n) for p, n in zip(places, lesion_ids, strict=True)]
    )

    for lesion in session.lesions:
        rounds = around_every_prompt(lesion.prompted, lesion.prompted, 4, 12)
        assert list(lesion.propagated) == [target.slice for own in rounds for target in own]


# ---- several at once ---------------------------------------------------------------------------


def test_several_clicks_are_one_step_and_give_the_same_as_one_by_one(session):
    together = session.clicks(all_clicks(session))
    masks = [digest(session.lesion(lesion_id).mask) for lesion_id in together]
    assert session.undo() == "clicks"
    assert session.lesions == ()

    one_by_one = [session.click(new.ras) for new in all_clicks(session)]

    assert one_by_one == together
    assert [digest(session.lesion(lesion_id).mask) for lesion_id in one_by_one] == masks


def test_several_clicks_on_one_lesion_are_taken_in_order(session):
    slice_index, row, column = FIRST.middle
    new = [
        NewClick(ras(session, slice_index, row, column), True, 4),
        NewClick(ras(session, slice_index, FIRST.rows[0] + 1, FIRST.columns[0] + 1), False, 4),
        NewClick(ras(session, slice_index + 1, row, column), True, 4),
    ]
    assert session.clicks(new) == [4, 4, 4]
    together = digest(session.lesion(4).mask)
    session.undo()

    for click in new:
        session.click(*click)

    assert digest(session.lesion(4).mask) == together


def test_no_clicks_are_no_step(session):
    assert session.clicks([]) == []
    assert session.undo() is None


def test_holes_count_alike_whether_clicks_come_together_or_one_by_one():
    scan = scan_of(Block((5, 6), (8, 20), (8, 20)))
    scan[5, 12:14, 12:14] = LESION // 2
    session = Session(StubNetwork(), volume_of(scan))
    new = [
        NewClick(ras(session, 5, 9, 9), True, 1),
        NewClick(ras(session, 5, 18, 18), False, 1),
    ]
    session.clicks(new)
    together = digest(session.lesion(1).mask)
    assert stack_of(session, 1)[5, 12, 12]
    session.undo()

    for click in new:
        session.click(*click)

    assert digest(session.lesion(1).mask) == together


# ---- the same numbers --------------------------------------------------------------------------


def tiny_session(name):
    scan = scan_of(FIRST, SECOND, THIRD, OTHER_KIND, slices=9)
    model = fill_synthetic(build(preset(name))).requires_grad_(False).eval()
    return Session(model, volume_of(scan))


@pytest.mark.parametrize("name", ["mois-tiny", "slm-tiny"])
def test_a_real_network_gives_together_what_it_gives_alone(name):
    session = tiny_session(name)
    clicks = [
        NewClick(ras(session, 5, 9, 8), True, 1),
        NewClick(ras(session, 5, 23, 7), True, 2),
        NewClick(ras(session, 5, 16, 16), True, 3),
        NewClick(ras(session, 5, 7, 7), False, 1),
    ]
    session.clicks(clicks)
    together = session.lesions
    session.undo()
    for click in clicks:
        session.click(*click)

    for one, other in zip(together, session.lesions, strict=True):
        assert_alike(one, other)


def assert_alike(one, other):
    """The same but for the order in which sums were taken."""
    assert one.mask.slices == other.mask.slices
    differing = sum(int((one.mask.image(n) ^ other.mask.image(n)).sum()) for n in one.mask.slices)
    assert differing <= 0.01 * one.mask.voxels
    for ours, theirs in ((one.prompted, other.prompted), (one.propagated, other.propagated)):
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[n].pointer, theirs[n].pointer, atol=1e-2) for n in ours)
