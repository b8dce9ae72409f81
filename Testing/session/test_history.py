"""Undo and redo, and what they may keep in memory."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from engine_fixtures import FIRST, SECOND, painted
from stub_sessions import click_on, digest, is_exactly, ras, stub_session

from mois_core.errors import BadInput
from mois_core.session import state_size
from mois_core.session.history import Difference, History
from mois_core.session.state_size import PER_ARRAY, PER_ENTRY, PER_LESION, difference

pytestmark = pytest.mark.usefixtures("one_thread")


def steps(history):
    return [what for what, _ in history.past]


def bags(before, after):
    """The difference of two sets of which every member takes its own value in bytes."""
    return Difference(sum(before - after), sum(after - before))


# ---- any states ----------------------------------------------------------------------------------


def test_without_a_budget_nothing_is_forgotten():
    history = History(0)
    for n in range(1, 1001):
        history.commit(f"step {n}", n)
    for n in range(1000, 0, -1):
        assert history.undo() == f"step {n}"

    assert history.present == 0
    assert history.undo() is None


def test_the_oldest_steps_go_when_the_states_keep_too_much():
    history = History(frozenset({1}), 100, bags)
    for n in range(1, 8):
        history.commit(f"step {n}", frozenset({30 + n}))

    assert steps(history) == ["step 6", "step 7"]
    assert history.nbytes == 35 + 36
    assert [history.undo() for _ in range(3)] == ["step 7", "step 6", None]
    assert history.present == frozenset({35})
    assert [history.redo() for _ in range(3)] == ["step 6", "step 7", None]


def test_what_the_present_has_too_costs_nothing():
    history, state = History(frozenset(), 100, bags), frozenset()
    for n in range(1, 50):
        state |= {n * 1000}
        history.commit("step", state)

    assert len(history.past) == 49
    assert history.nbytes == 0


@pytest.mark.parametrize("budget", [0, 10, 999])
def test_the_last_step_can_always_be_undone(budget):
    history = History(frozenset({1000}), budget, bags)
    history.commit("delete", frozenset())
    assert history.undo() == "delete"
    assert history.present == frozenset({1000})
    history.redo()
    history.commit("small", frozenset({1}))

    assert steps(history) == ["small"]


def test_a_step_that_is_amended_is_measured_anew():
    history = History(frozenset({50, 60}), 100, bags)
    history.commit("click", frozenset({50}))
    assert history.nbytes == 60
    history.amend(frozenset({60, 7}))
    assert history.nbytes == 50
    assert steps(history) == ["click"]
    history.commit("other", frozenset({8}))
    assert history.nbytes == 60 + 7
    assert steps(history) == ["other"], "50 + 67 is too much"


def test_an_amended_beginning_has_no_step():
    history = History(frozenset({1}), 10, bags)
    history.amend(frozenset({2}))

    assert (history.present, history.past, history.nbytes) == (frozenset({2}), [], 0)


@pytest.mark.parametrize("seed", range(20))
def test_the_bytes_are_those_of_all_that_the_present_does_not_have(seed):
    random = Random(seed)
    history, fresh = History(frozenset(), 3000, bags), iter(range(1, 10**6))
    for _ in range(200):
        kind = random.random()
        # Nothing that was let go comes back by itself, as in sessions.
        kept = frozenset(n for n in history.present if random.random() < 0.8)
        state = kept | {next(fresh) for _ in range(random.randint(0, 3))}
        if kind < 0.5:
            history.commit("step", state)
            assert history.nbytes <= 3000 or len(history.past) == 1
            assert not history.future
        elif kind < 0.6:
            history.amend(state)
        elif kind < 0.8:
            history.undo()
        else:
            history.redo()
        others = [state for _, state in history.past + history.future]
        assert history.nbytes == sum(frozenset().union(*others) - history.present)


# ---- sessions ------------------------------------------------------------------------------------


def arrays(*states):
    """Everything large that states keep alive, by identity."""
    found = {}

    def keep(value):
        if value is not None:
            found[id(value)] = value.nbytes + PER_ARRAY

    for state in states:
        for exemplar in state.imported:
            keep(exemplar.view.memory)
            keep(exemplar.view.pointer)
        for lesion in state.lesions.values():
            more = [part.mask for part in (lesion.absorbed, lesion.origin) if part is not None]
            for mask in (lesion.mask, *more):
                for plane in mask.planes.values() if mask else ():
                    keep(plane.pixels)
            for painting in lesion.paintings:
                keep(painting.plane and painting.plane.pixels)
            for memory in (*lesion.prompted.values(), *lesion.propagated.values()):
                for tensor in (memory.pointer, memory.score, memory.memory, memory.logits):
                    keep(tensor)
    return found


def kept_by_history(session):
    """Bytes that undo and redo keep alive beyond what is shown, counted one by one."""
    history = session.history
    present = arrays(history.present)
    others = arrays(*(state for _, state in history.past + history.future))
    return sum(nbytes for key, nbytes in others.items() if key not in present)


def small_change(history):
    """What is counted for Python's own objects."""
    states = [history.present, *(state for _, state in history.past + history.future)]
    lesions = {id(lesion) for state in states for lesion in state.lesions.values()}
    return PER_LESION * len(lesions) + PER_ENTRY * sum(len(state.lesions) for state in states)


def work(session):
    """A day's work, one step after the other."""
    yield click_on(session, FIRST)
    yield session.click(ras(session, 6, 8, 8), lesion=1)
    yield session.click(ras(session, 5, 12, 12), positive=False, lesion=1)
    yield click_on(session, SECOND, propagate=False)
    yield session.propagate()
    yield session.find_similar()
    yield session.accept()
    yield session.set_mask(1, session.stack.to_volume(painted(FIRST)))
    yield session.add_exemplars(session.stack.to_volume(painted(SECOND).astype(int)))
    yield session.delete_click(1)
    yield session.merge(1, 2)
    yield session.undo()
    yield session.undo()
    yield session.redo()
    yield session.split(1)
    yield session.clear_exemplars()
    yield session.undo()
    yield session.find_similar()
    yield session.delete(1)
    yield session.undo()
    yield session.move_click(2, ras(session, 5, 7, 7))


def test_what_a_session_keeps_for_undo_is_counted(session):
    seen = []
    for _ in work(session):
        exact, told = kept_by_history(session), session.history.nbytes
        assert exact <= told <= exact + small_change(session.history)
        seen.append(exact)
    assert max(seen) > 10_000


def test_a_long_day_keeps_what_fits_and_the_rest_can_be_undone():
    budget = 400_000
    session, roomy = stub_session(undo_budget=budget), stub_session()
    for one in (session, roomy):
        for n in range(60):
            one.click(ras(one, 5, 7 + n % 5, 7), lesion=1)
    assert digest(session.state) == digest(roomy.state)
    assert len(roomy.history.past) == 60
    assert kept_by_history(session) <= session.history.nbytes <= budget
    steps_left = len(session.history.past)
    assert 1 < steps_left < 60

    assert all(session.undo() == roomy.undo() == "click" for _ in range(steps_left))
    assert digest(session.state) == digest(roomy.state)
    assert session.undo() is None
    assert session.history.past == []
    assert all(session.redo() == "click" for _ in range(steps_left))


def test_what_the_step_before_did_stays_part_of_one_step():
    session = stub_session(undo_budget=0)
    click_on(session, FIRST)
    click_on(session, SECOND, propagate=False)
    session.propagate()

    assert steps(session.history) == ["click"]
    assert session.undo() == "click"
    assert is_exactly(session, 1, FIRST)
    assert 2 not in session.state.lesions
    assert session.undo() is None


def test_steps_cost_no_more_with_more_lesions(monkeypatch):
    session = stub_session()
    click_on(session, FIRST)
    for lesion_id in range(2, 300):
        session.history.commit(
            "copy", session.state.with_lesions(_renumbered(session.lesion(1), lesion_id))
        )
    looked = []
    arrays_in = state_size._arrays_in
    monkeypatch.setattr(
        state_size, "_arrays_in", lambda lesion: looked.append(lesion) or arrays_in(lesion)
    )
    session.rename(7, "seven")
    session.click(ras(session, 5, 8, 8), lesion=1)

    assert [lesion.id for lesion in looked] == [7, 7, 1, 1]


def _renumbered(lesion, lesion_id):
    return replace(lesion, id=lesion_id)


def test_arrays_that_two_lesions_share_are_counted_once(session):
    click_on(session, FIRST)
    before = session.state
    both = before.with_lesions(_renumbered(session.lesion(1), 2))
    one = sum(arrays(before).values())

    without = both.without_lesions(1, 2)
    assert difference(both, without).before == one + 2 * PER_LESION + 2 * PER_ENTRY
    assert difference(before, before) == Difference(PER_ENTRY, PER_ENTRY)


# ---- budgets -------------------------------------------------------------------------------------


def test_the_budget_for_undo_is_a_part_of_the_hosts_and_enough_for_a_while():
    assert stub_session(host_budget=80 * 2**30).history.budget == 10 * 2**30
    assert stub_session(host_budget=0).history.budget == 2**29
    assert stub_session(host_budget=0, undo_budget=3).history.budget == 3


def test_the_budget_can_change_in_the_middle_of_the_work(session):
    session.adjust(undo_budget=7)
    assert session.history.budget == 7
    session.adjust(undo_budget=None, host_budget=2**40)
    assert session.history.budget == 2**37
    assert session.embeddings.host_budget == 2**40
    with pytest.raises(BadInput, match="memory budget"):
        session.adjust(undo_budget=-1)
    assert session.history.budget == 2**37
