"""The list of lesions: accept, reject, refine, merge, split; undo and redo of everything."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import FIRST, OTHER_KIND, SECOND, THIRD, Block, painted
from stub_sessions import click_on, digest, is_exactly, ras, stack_of, stub_session

from mois_core.errors import BadInput, Cancelled
from mois_core.progress import CancelToken
from mois_core.session import NewClick

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def searched(session):
    """One prompted lesion (1) and two findings (2 and 3)."""
    click_on(session, FIRST)
    assert session.find_similar() == [2, 3]
    return session


def statuses(session):
    return {lesion.id: lesion.status.value for lesion in session.lesions}


# ---- decisions ---------------------------------------------------------------------------------


def test_findings_are_accepted_rejected_and_reconsidered(searched):
    assert statuses(searched) == {1: "prompted", 2: "found", 3: "found"}
    searched.accept(2)
    searched.reject(3)
    assert statuses(searched) == {1: "prompted", 2: "accepted", 3: "rejected"}
    searched.reconsider(2, 3)
    assert statuses(searched) == {1: "prompted", 2: "found", 3: "found"}


def test_accepting_without_ids_accepts_all_that_are_undecided(searched):
    searched.reject(3)
    searched.accept()

    assert statuses(searched) == {1: "prompted", 2: "accepted", 3: "rejected"}


def test_a_prompted_lesion_that_is_rejected_is_prompted_again_when_accepted(searched):
    searched.reject(1)
    assert searched.exemplars_for(5) == []
    searched.accept(1)

    assert statuses(searched)[1] == "prompted"
    assert searched.exemplars_for(5)


@pytest.mark.parametrize("decision", ["accept", "reconsider"])
def test_a_lesion_without_a_mask_is_no_finding_to_decide_on(session, decision):
    empty = session.new_lesion()
    before = session.state
    getattr(session, decision)(empty)
    assert session.state is before

    session.reject(empty)
    getattr(session, decision)(empty)
    assert statuses(session) == {empty: "prompted"}


def test_what_the_user_erased_a_slice_of_is_no_finding_any_more(searched):
    stack = stack_of(searched, 2)
    stack[5] = False
    searched.set_mask(2, searched.stack.to_volume(stack))
    searched.reject(2)
    searched.reconsider(2)
    searched.find_similar()

    assert statuses(searched)[2] == "prompted"
    assert np.array_equal(stack_of(searched, 2), stack)


def test_rejected_lesions_do_not_count(searched):
    assert set(np.unique(searched.labels())) == {0, 1, 2, 3}
    searched.reject(2)

    assert set(np.unique(searched.labels())) == {0, 1, 3}
    assert is_exactly(searched, 2, SECOND)


def test_a_decision_that_changes_nothing_is_no_step(searched):
    before = searched.state
    searched.reconsider(2)
    searched.reject()
    searched.delete()
    searched.delete_clicks([])
    searched.accept(1)
    assert searched.split(1) == [1]
    assert searched.state is before

    searched.accept()
    searched.accept()
    assert searched.undo() == "accept"
    assert statuses(searched)[2] == "found"


def test_a_lesion_that_is_not_there_is_refused_and_nothing_changes(searched):
    before = searched.state
    for refused in (
        lambda: searched.accept(2, 9),
        lambda: searched.reject(9),
        lambda: searched.reconsider(9),
        lambda: searched.rename(9, "x"),
        lambda: searched.delete(1, 9),
        lambda: searched.merge(1, 9),
        lambda: searched.split(9),
        lambda: searched.propagate([9]),
        lambda: searched.mask(9),
        lambda: searched.lesion(9),
    ):
        with pytest.raises(BadInput, match="there is no lesion 9; there are: 1, 2, 3"):
            refused()
    assert searched.state is before


# ---- refining ----------------------------------------------------------------------------------


def test_a_click_turns_a_finding_into_a_prompted_lesion_and_an_exemplar(searched):
    assert {e.lesion for e in searched.exemplars_for(5)} == {1}
    searched.click(ras(searched, 5, 21, 5), positive=False, lesion=2)

    assert statuses(searched)[2] == "prompted"
    refined = stack_of(searched, 2)
    whole = painted(SECOND)
    assert refined[5].any()
    assert (refined <= whole).all()
    assert not refined[5, 20:24, 4:8].any()
    assert (2, 5, True) in {e.key for e in searched.exemplars_for(5)}


def test_what_propagation_a_refined_finding_does_not_reach_is_not_part_of_it_any_more():
    """The finding spans a slice on which the click says there is nothing."""
    session = stub_session(FIRST, Block((2, 11), (18, 28), (4, 14)), propagation_slices=3)
    click_on(session, FIRST)
    (found,) = session.find_similar()
    assert len(session.lesion(found).mask.slices) == 9

    for row in (20, 26):
        for column in (6, 12):
            session.click(ras(session, 6, row, column), positive=False, lesion=found)

    assert not session.lesion(found).prompted[6].found
    assert session.lesion(found).mask.slices == (2, 10)


def test_a_rejected_lesion_that_is_clicked_counts_again(searched):
    searched.reject(2)
    searched.click(ras(searched, 5, 23, 7), lesion=2)

    assert statuses(searched)[2] == "prompted"
    assert is_exactly(searched, 2, SECOND)


# ---- names and deletion ------------------------------------------------------------------------


def test_names_stay_with_their_lesions(session):
    lesion_id = session.new_lesion("left arm")
    click_on(session, FIRST, lesion=lesion_id)
    assert session.lesion(lesion_id).name == "left arm"
    session.rename(lesion_id, "right arm")
    assert session.lesion(lesion_id).name == "right arm"
    session.undo()
    assert session.lesion(lesion_id).name == "left arm"


def test_a_deleted_lesion_is_gone_and_its_id_is_not_given_again(searched):
    searched.delete(1, 3)

    assert statuses(searched) == {2: "found"}
    assert searched.exemplars_for(5) == []
    assert click_on(searched, THIRD) == 4


# ---- merging and splitting ---------------------------------------------------------------------


def test_merged_lesions_are_one_under_the_lowest_id(session):
    for block in (FIRST, SECOND, OTHER_KIND):
        click_on(session, block)
    assert session.merge(3, 1) == 1

    assert statuses(session) == {1: "prompted", 2: "prompted"}
    assert np.array_equal(stack_of(session, 1), painted(FIRST) | painted(OTHER_KIND))
    assert len(session.lesion(1).clicks) == 2
    # Slices that both lay on are as if painted, so that no propagation takes one of them away.
    session.propagate([1])
    assert np.array_equal(stack_of(session, 1)[5], (painted(FIRST) | painted(OTHER_KIND))[5])


def test_merged_lesions_on_the_same_prompted_slice_make_one_exemplar_of_both(session):
    click_on(session, FIRST)
    click_on(session, SECOND)
    session.merge(1, 2)

    (both,) = [e for e in session.exemplars_for(5) if e.view.is_prompted]
    assert both.key == (1, 5, True)
    assert int((both.view.memory[:16] > 0).sum()) == 7 * 7 + 7 * 6


def test_merging_with_a_lesion_that_was_denied_on_the_slice_keeps_the_other_ones_memory(session):
    session.click(ras(session, 6, 9, 8))
    click_on(session, OTHER_KIND)
    for row, column in ((21, 21), (21, 25), (25, 21), (25, 25)):
        session.click(ras(session, 6, row, column), positive=False, lesion=2)
    assert not session.lesion(2).prompted[6].found

    session.merge(1, 2)

    assert session.lesion(1).prompted[6].found


def test_findings_that_were_merged_or_split_are_the_users_and_stay_so_in_a_search(searched):
    searched.merge(2, 3)
    assert statuses(searched) == {1: "prompted", 2: "accepted"}
    assert searched.find_similar() == []
    assert searched.split(2) == [2, 4]
    assert statuses(searched) == {1: "prompted", 2: "accepted", 4: "accepted"}
    assert is_exactly(searched, 2, SECOND)
    assert is_exactly(searched, 4, THIRD)
    assert searched.find_similar() == []


def test_empty_lesions_that_are_merged_are_no_finding(session):
    merged = session.merge(session.new_lesion(), session.new_lesion())

    assert statuses(session) == {merged: "prompted"}


def test_what_a_merge_fills_in_on_an_erased_slice_stays_when_it_is_propagated(session):
    erased, other = click_on(session, FIRST), click_on(session, OTHER_KIND)
    stack = stack_of(session, erased)
    stack[3] = False
    session.set_mask(erased, session.stack.to_volume(stack))
    merged = session.merge(erased, other)
    before = stack_of(session, merged)
    session.propagate([merged])

    assert np.array_equal(stack_of(session, merged)[3], before[3])
    assert before[3].any()


@pytest.mark.parametrize("then", ["click", "propagate"])
def test_what_was_found_stays_when_a_lesion_that_it_was_merged_with_goes_on(then):
    far = Block((6, 9), (20, 27), (4, 10))
    session = stub_session(FIRST, far, propagation_slices=3)
    click_on(session, FIRST)
    merged = session.merge(1, *session.find_similar())
    before = stack_of(session, merged)
    if then == "click":
        session.click(ras(session, *FIRST.middle), lesion=merged)
    else:
        session.propagate([merged])
    assert np.array_equal(stack_of(session, merged), before)


def test_a_finding_that_is_found_again_forgets_what_it_was_merged_from():
    session = stub_session(FIRST, THIRD, Block((4, 7), (20, 27), (4, 10)))
    click_on(session, FIRST)
    merged = session.merge(*session.find_similar()[:2])
    session.reconsider(merged)
    for lesion_id in session.find_similar():
        lesion = session.lesion(lesion_id)
        before = stack_of(session, lesion_id)
        n, row, column = np.argwhere(before)[0]
        session.click(ras(session, n, row, column), lesion=lesion_id)
        session.delete_click(session.lesion(lesion_id).clicks[-1].id)
        assert np.array_equal(stack_of(session, lesion_id), before), lesion.id


def test_clicked_lesions_that_were_rejected_stay_so_when_merged(session):
    first, second = click_on(session, FIRST), click_on(session, SECOND)
    session.reject(first, second)
    merged = session.merge(first, second)
    assert statuses(session) == {merged: "rejected"}
    assert not session.labels().any()


def test_rejected_lesions_stay_rejected_when_merged(searched):
    searched.reject(2, 3)
    searched.merge(2, 3)

    assert statuses(searched) == {1: "prompted", 2: "rejected"}


@pytest.mark.parametrize("lesion_ids", [(), (1,), (1, 1)])
def test_merging_takes_two(searched, lesion_ids):
    with pytest.raises(BadInput, match="at least two"):
        searched.merge(*lesion_ids)


def test_each_component_of_a_lesion_becomes_a_lesion_with_its_own_clicks(session):
    lesion_id = click_on(session, FIRST)
    session.click(ras(session, 5, 23, 7), lesion=lesion_id)
    both = stack_of(session, lesion_id)
    session.rename(lesion_id, "arm")
    assert session.split(lesion_id) == [1, 2]

    assert np.array_equal(stack_of(session, 1) | stack_of(session, 2), both)
    assert not (stack_of(session, 1) & stack_of(session, 2)).any()
    assert [lesion.name for lesion in session.lesions] == ["arm", ""]
    assert [len(lesion.clicks) for lesion in session.lesions] == [1, 1]
    keys = {e.key for e in session.exemplars_for(5)}
    assert keys == {(1, 5, True), (2, 5, True)}


def test_a_slice_that_was_denied_or_erased_stays_so_in_the_components_of_a_split():
    long = (Block((0, 12), (6, 13), (5, 12)), Block((4, 8), (20, 27), (4, 10)))
    session = stub_session(*long, propagation_slices=5)
    lesion_id = session.click(ras(session, 6, 9, 8))
    session.click(ras(session, 6, 23, 7), lesion=lesion_id)
    for row, column in ((7, 6), (7, 10), (11, 6), (11, 10), (22, 6), (22, 9), (25, 6), (25, 9)):
        session.click(ras(session, 9, row, column), positive=False, lesion=lesion_id)
    drawn = stack_of(session, lesion_id)
    drawn[3] = False
    session.set_mask(lesion_id, session.stack.to_volume(drawn))

    lesion_ids = session.split(lesion_id)
    session.propagate(lesion_ids)

    parts = [session.lesion(part) for part in lesion_ids]
    assert not any({3, 9} & set(part.mask.slices) for part in parts)
    assert len(parts[0].clicks) + len(parts[1].clicks) == 10


def test_overlapping_lesions_show_what_was_pointed_at_over_what_was_found(searched):
    searched.set_mask(2, searched.stack.to_volume(painted(SECOND) | painted(FIRST)))
    searched.undo()
    searched.accept(2)
    overlapping = painted(SECOND) | painted(THIRD)
    searched.set_mask(None, searched.stack.to_volume(overlapping))

    labels = searched.stack.from_volume(searched.labels())
    assert (labels[SECOND.where] == 4).all()
    assert (labels[THIRD.where] == 4).all()
    assert (labels[FIRST.where] == 1).all()
    assert is_exactly(searched, 2, SECOND)


# ---- undo and redo -----------------------------------------------------------------------------


def every_operation(session):
    """A session's life, one operation after another."""
    middle = ras(session, *FIRST.middle)
    yield lambda: click_on(session, FIRST)
    yield lambda: session.click(ras(session, 4, 8, 7), positive=False, lesion=1)
    yield lambda: session.move_click(2, ras(session, 6, 8, 7))
    yield lambda: session.delete_click(2)
    yield lambda: session.find_similar()
    yield lambda: session.accept(2)
    yield lambda: session.reject(3)
    yield lambda: session.reconsider(3)
    yield lambda: session.rename(3, "neck")
    yield lambda: session.box(ras(session, 5, 18, 18), ras(session, 5, 28, 28))
    yield lambda: session.set_mask(
        2, session.stack.to_volume(painted(Block((4, 6), *[(20, 25)] * 2)))
    )
    yield lambda: session.propagate([2], joined=False)
    yield lambda: session.click(ras(session, 5, 23, 7), lesion=2)
    yield lambda: session.merge(1, 2)
    yield lambda: session.split(1)
    yield lambda: session.add_exemplars(session.stack.to_volume(painted(THIRD)))
    yield lambda: session.find_similar(use_exemplars=False)
    yield lambda: session.accept()
    yield lambda: session.clear_exemplars()
    yield lambda: session.new_lesion("new")
    yield lambda: session.clicks([NewClick(middle, False, 1), NewClick(middle)])
    yield lambda: session.delete(1)


def test_undo_and_redo_are_exact_over_everything(session):
    states, digests, names = [session.state], [digest(session.state)], []
    for operation in every_operation(session):
        operation()
        assert session.state is not states[-1]
        states.append(session.state)
        digests.append(digest(session.state))
    labels = session.labels()

    for state, before in zip(states[-2::-1], digests[-2::-1], strict=True):
        names.append(session.undo())
        assert session.state is state
        assert digest(session.state) == before
    assert session.undo() is None
    for state, after, name in zip(states[1:], digests[1:], names[::-1], strict=True):
        assert session.redo() == name
        assert session.state is state
        assert digest(session.state) == after
    assert session.redo() is None
    assert np.array_equal(session.labels(), labels)


def test_a_new_step_after_an_undo_leaves_nothing_to_redo(session):
    click_on(session, FIRST)
    click_on(session, SECOND)
    session.undo()
    click_on(session, THIRD)

    assert session.redo() is None
    assert is_exactly(session, 2, THIRD)


def test_propagation_belongs_to_the_click_before_it(session):
    before = session.state
    click_on(session, FIRST, propagate=False)
    session.propagate()
    assert is_exactly(session, 1, FIRST)

    assert session.undo() == "click"
    assert session.state is before
    session.redo()
    assert is_exactly(session, 1, FIRST)


def test_propagation_after_an_undo_leaves_nothing_to_redo(session):
    click_on(session, FIRST, propagate=False)
    click_on(session, SECOND)
    session.undo()
    session.propagate()

    assert session.redo() is None
    assert is_exactly(session, 1, FIRST)


# ---- progress and cancelling -------------------------------------------------------------------


def long_operations(session):
    middle = ras(session, *FIRST.middle)
    found = np.array(painted(SECOND))
    return {
        "prepare": lambda **how: session.prepare(3, **how),
        "click": lambda **how: session.click(middle, **how),
        "clicks": lambda **how: session.clicks([NewClick(middle), NewClick(middle)], **how),
        "move_click": lambda **how: session.move_click(1, ras(session, 4, 7, 7), **how),
        "delete_click": lambda **how: session.delete_click(1, **how),
        "box": lambda **how: session.box(middle, ras(session, 5, 28, 28), **how),
        "propagate": lambda **how: session.propagate(**how),
        "find_similar": lambda **how: session.find_similar(**how),
        "find_similar inside": lambda **how: session.find_similar(
            inside=session.stack.to_volume(found), **how
        ),
    }


LONG_OPERATIONS = list(long_operations(stub_session()))


@pytest.fixture
def busy():
    session = stub_session(findings="reprompted")
    for block in (FIRST, SECOND):
        click_on(session, block)
    session.click(ras(session, 7, 8, 8), lesion=1)
    return session


@pytest.mark.parametrize("name", LONG_OPERATIONS)
def test_progress_grows_to_its_total_in_every_stage(busy, name):
    told = []
    long_operations(busy)[name](progress=lambda *what: told.append(what))

    stages = list(dict.fromkeys(what for _, _, what in told))
    assert stages
    for stage in stages:
        steps = [(done, total) for done, total, what in told if what == stage]
        assert len({total for _, total in steps}) == 1
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("name", LONG_OPERATIONS)
def test_a_cancelled_operation_changes_nothing_and_can_be_repeated(busy, name, after):
    before, content, semantic = busy.state, digest(busy.state), busy.semantic
    history = (list(busy.history.past), list(busy.history.future))
    undisturbed = stub_session(findings="reprompted")
    undisturbed.history.present = busy.state
    token, calls = CancelToken(), []

    def progress(*told):
        calls.append(told)
        if len(calls) > after:
            token.cancel()

    try:
        long_operations(busy)[name](progress=progress, cancel=token)
    except Cancelled:
        assert busy.state is before
        assert digest(before) == content
        assert busy.semantic is semantic
        assert (busy.history.past, busy.history.future) == history
        long_operations(busy)[name]()
    else:
        assert len(calls) <= after + 1 or calls[-1][0] == calls[-1][1]

    long_operations(undisturbed)[name]()
    assert digest(busy.state) == digest(undisturbed.state)


def test_something_already_cancelled_does_nothing(session):
    token = CancelToken()
    token.cancel()
    for operation in (
        lambda: click_on(session, FIRST, cancel=token),
        lambda: session.prepare(cancel=token),
        lambda: session.find_similar(cancel=token, use_exemplars=False),
    ):
        with pytest.raises(Cancelled):
            operation()
    assert session.lesions == ()
    assert session.undo() is None
