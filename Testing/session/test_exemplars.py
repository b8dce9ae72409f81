"""The exemplar bank: what is in it, and which of it a slice is searched with."""

from __future__ import annotations

import pytest
import torch
from engine_fixtures import FIRST, SECOND, THIRD, Block, painted
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_sessions import click_on, ras, stub_session

from mois_core.errors import BadInput
from mois_core.network.exemplar import ExemplarView
from mois_core.session import NewClick
from mois_core.session.exemplars import Exemplar, choose, choose_as_published

pytestmark = pytest.mark.usefixtures("one_thread")

MEMORY, POINTER = torch.zeros(4, 2, 2), torch.zeros(16)


def an_exemplar(lesion=1, slice_index=0, is_prompted=True, changed=0):
    return Exemplar(lesion, ExemplarView(slice_index, is_prompted, MEMORY, POINTER), changed)


exemplars = st.builds(
    an_exemplar, st.integers(1, 9), st.integers(0, 30), st.booleans(), st.integers(0, 9)
)
banks = st.lists(exemplars, max_size=30)


def keys(chosen):
    return [exemplar.key for exemplar in chosen]


# ---- the paper's rule --------------------------------------------------------------------------


def test_prompted_goes_before_propagated_then_newer_before_older_then_nearer_before_farther():
    bank = [
        an_exemplar(1, 10, False, changed=9),
        an_exemplar(2, 50, True, changed=1),
        an_exemplar(3, 20, True, changed=2),
        an_exemplar(4, 11, True, changed=2),
        an_exemplar(5, 12, False, changed=9),
    ]
    order = [4, 3, 2, 1, 5]
    for most in range(1, 6):
        chosen = {exemplar.lesion for exemplar in choose(bank, 10, most)}
        assert chosen == set(order[:most])


@given(banks, st.integers(0, 30), st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_nothing_left_out_would_go_before_what_is_chosen(bank, searched, most):
    chosen = choose(bank, searched, most)
    assert len(chosen) == min(most, len(bank))

    def rank(e):
        return not e.view.is_prompted, -e.changed, abs(e.view.slice - searched)

    taken = {id(e) for e in chosen}
    left = [e for e in bank if id(e) not in taken]
    if chosen and left:
        assert max(map(rank, chosen)) <= min(map(rank, left))


@given(banks, st.integers(0, 30), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_the_chosen_ones_keep_the_order_of_the_bank(bank, searched, most):
    places = [next(i for i, e in enumerate(bank) if e is c) for c in choose(bank, searched, most)]

    assert places == sorted(places)


def test_the_published_choice_is_the_oldest_prompted_ones():
    bank = [an_exemplar(n, n, is_prompted=n % 2 == 0, changed=n) for n in range(30)]

    assert keys(choose_as_published(bank, 20, 10)) == [(n, n, True) for n in range(0, 20, 2)]
    assert choose_as_published(bank[1::2], 20, 10) == []


# ---- the bank of a session ---------------------------------------------------------------------

MANY = [Block((n, n + 1), (4, 8), (4 + 6 * m, 8 + 6 * m)) for n in range(12) for m in range(2)]


def test_a_new_lesion_offers_its_clicked_slice_and_those_it_was_propagated_to(session):
    lesion_id = click_on(session, FIRST)

    bank = session.exemplars_for(0)
    assert keys(bank)[0] == (lesion_id, 5, True)
    assert sorted(keys(bank)[1:]) == [(lesion_id, n, False) for n in (3, 4, 6, 7)]


@pytest.mark.parametrize("most", [1, 3, 10])
def test_the_bank_never_holds_more_than_it_may(most):
    session = stub_session(*MANY, exemplars=most, propagation_slices=0)
    for block in MANY[:13]:
        click_on(session, block)
        assert len(session.exemplars_for(5)) == min(most, len(session.lesions))


def test_a_bank_of_none_is_refused():
    with pytest.raises(BadInput, match="at least one exemplar"):
        stub_session(exemplars=0)


def test_when_the_bank_is_full_the_newest_lesions_are_in_it():
    session = stub_session(*MANY, exemplars=4)
    lesion_ids = [click_on(session, block) for block in MANY[:9]]
    assert [e.lesion for e in session.exemplars_for(0)] == lesion_ids[-4:]

    middle = MANY[0].middle
    session.click(ras(session, *middle), lesion=lesion_ids[0])

    assert {e.lesion for e in session.exemplars_for(0)} == {lesion_ids[0], *lesion_ids[-3:]}


def test_of_lesions_clicked_together_the_nearest_are_taken():
    session = stub_session(*MANY, exemplars=3, propagation_slices=0)
    session.clicks([NewClick(ras(session, *block.middle)) for block in MANY[::2]])

    assert {e.view.slice for e in session.exemplars_for(0)} == {0, 1, 2}
    assert {e.view.slice for e in session.exemplars_for(7)} == {6, 7, 8}
    assert {e.view.slice for e in session.exemplars_for(11)} == {9, 10, 11}


def test_in_reference_mode_the_oldest_stay_and_propagated_ones_are_left_out():
    session = stub_session(FIRST, SECOND, THIRD, reference=True, exemplars=2)
    for block in (FIRST, SECOND, THIRD):
        click_on(session, block)

    assert keys(session.exemplars_for(9)) == [(1, 5, True), (2, 5, True)]
    session.delete(1)
    assert keys(session.exemplars_for(9)) == [(2, 5, True), (3, 10, True)]


def test_deleted_and_rejected_lesions_leave_the_bank_and_come_back_with_undo(session):
    for block in (FIRST, SECOND, THIRD):
        click_on(session, block)
    session.delete(1)
    session.reject(2)
    assert {e.lesion for e in session.exemplars_for(5)} == {3}
    session.undo()
    assert {e.lesion for e in session.exemplars_for(5)} == {2, 3}
    session.undo()
    assert {e.lesion for e in session.exemplars_for(5)} == {1, 2, 3}


def test_findings_that_nobody_touched_are_no_exemplars(session):
    click_on(session, FIRST)
    session.find_similar()
    assert {e.lesion for e in session.exemplars_for(5)} == {1}


def test_a_propagated_slice_becomes_a_prompted_one_where_the_user_clicks(session):
    lesion_id = click_on(session, FIRST)
    session.click(ras(session, 6, 9, 8), lesion=lesion_id)

    prompted = {key for key in keys(session.exemplars_for(0)) if key[2]}
    assert prompted == {(lesion_id, 5, True), (lesion_id, 6, True)}
    assert (lesion_id, 6, False) not in keys(session.exemplars_for(0))


def test_a_slice_whose_mask_became_empty_is_no_exemplar_any_more(session):
    lesion_id = click_on(session, FIRST)
    for row, column in ((7, 6), (7, 10), (11, 6), (11, 10)):
        session.click(ras(session, 5, row, column), positive=False, lesion=lesion_id)

    assert not [key for key in keys(session.exemplars_for(0)) if key[2]]


def test_rejected_prompts_do_not_push_out_what_the_bank_would_still_take():
    """Memories of propagated slices are dropped when prompted exemplars alone fill the bank."""
    session = stub_session(*MANY, exemplars=3, propagation_slices=2)
    for block in MANY[:6]:
        click_on(session, block)
    session.reject(1, 2, 3, 4, 5, 6)
    session.set_mask(None, session.stack.to_volume(painted(MANY[8])))
    long = stub_session(FIRST, *MANY[:6], exemplars=3, propagation_slices=2)
    for block in MANY[:6]:
        click_on(long, block)
    long.reject(1, 2, 3, 4, 5, 6)
    lesion_id = click_on(long, FIRST)

    assert [e.lesion for e in session.exemplars_for(0)] == [7]
    assert keys(long.exemplars_for(5)) == [
        (lesion_id, 5, True),
        (lesion_id, 4, False),
        (lesion_id, 6, False),
    ]


def test_propagated_memories_are_not_kept_once_prompted_ones_fill_the_bank():
    session = stub_session(FIRST, SECOND, THIRD, exemplars=2)
    first, second, third = (click_on(session, block) for block in (FIRST, SECOND, THIRD))

    assert all(
        slice_memory.memory is not None
        for slice_memory in session.lesion(first).propagated.values()
    )
    assert all(
        slice_memory.memory is None for slice_memory in session.lesion(third).propagated.values()
    )
    assert all(key[2] for key in keys(session.exemplars_for(5)))
    assert session.lesion(second).prompted


def test_exemplars_from_elsewhere_count_as_prompted_and_age_like_others(session):
    session.add_exemplars(session.stack.to_volume(painted(SECOND)))
    lesion_id = click_on(session, FIRST)

    assert keys(session.exemplars_for(0))[:2] == [(0, 4, True), (lesion_id, 5, True)]
    assert keys(choose(session.exemplars_for(0), 0, 1)) == [(lesion_id, 5, True)]
