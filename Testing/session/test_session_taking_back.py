"""Taking a click back gives what the lesion would be without it, whatever came before and after."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from engine_fixtures import FIRST, SCENE, SECOND, SIDE, painted, scan_of, volume_of
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import MOIS, lively
from stub_sessions import click_on, digest, is_exactly, ras, stack_of, stub_session

from mois_core.session import Session
from mois_core.session.lesion import Status

pytestmark = pytest.mark.usefixtures("one_thread")

SLICES = 12


def pixels(random: Random) -> tuple[int, int, int]:
    """A pixel in or near a lesion, or anywhere."""
    if random.random() < 0.2:
        return random.randrange(SLICES), random.randrange(2, SIDE), random.randrange(SIDE)
    block = random.choice(SCENE)
    return tuple(random.randrange(a, b) for a, b in (block.slices, block.rows, block.columns))


def brush(random: Random) -> tuple[int, slice, slice, bool]:
    """A square on a slice that is added to the mask, or taken from it."""
    n, row, column = pixels(random)
    rows, columns = (slice(max(at - 2, 2), at + 3) for at in (row, column))
    return n, rows, columns, random.random() < 0.6


def what_a_user_does(random: Random) -> list[tuple]:
    """Clicks, strokes of a brush and boxes on one lesion."""
    kinds = random.choices(["click", "paint", "box"], [6, 2, 1], k=random.randint(2, 6))
    steps: list[tuple] = [("click", pixels(random), True)]
    for kind in kinds:
        if kind == "click":
            steps.append(("click", pixels(random), random.random() < 0.6))
        elif kind == "paint":
            steps.append(("paint", brush(random)))
        else:
            n, row, column = pixels(random)
            steps.append(("box", (n, row, column), (n, min(row + 7, 31), min(column + 7, 31))))
    return steps


def do(session: Session, step: tuple, lesion: int) -> None:
    if step[0] == "click":
        session.click(ras(session, *step[1]), step[2], lesion)
    elif step[0] == "box":
        session.box(ras(session, *step[1]), ras(session, *step[2]), lesion)
    else:
        n, rows, columns, adds = step[1]
        stack = stack_of(session, lesion)
        stack[n, rows, columns] = adds
        session.set_mask(lesion, session.stack.to_volume(stack))


def begun(found: bool, model=None) -> tuple[Session, int]:
    """A session and a lesion that a search found, or that does not exist yet."""
    session = Session(model, volume_of(scan_of(*SCENE))) if model else stub_session()
    if not found:
        return session, session.new_lesion()
    click_on(session, FIRST)
    return session, session.find_similar()[0]


def same_as_without(seed: int, found: bool, model=None) -> None:
    random = Random(seed)
    steps = what_a_user_does(random)
    clicks = [n for n, step in enumerate(steps) if step[0] == "click"]
    gone = random.choice(clicks)
    now = random.randint(gone, len(steps) - 1)
    session, lesion = begun(found, model)
    without, same_lesion = begun(found, model)
    click_id = None
    for n, step in enumerate(steps):
        before = session.state.next_click
        do(session, step, lesion)
        if n == gone:
            click_id = before
        if n != gone:
            paintings = session.lesion(lesion).paintings
            painted_now = {p.slice for p in paintings if p.order >= before}
            if step[0] == "paint":
                # What is drawn is drawn on a slice: the rest of the mask is as it is there.
                stack = stack_of(without, same_lesion)
                for k in painted_now:
                    stack[k] = stack_of(session, lesion)[k]
                without.set_mask(same_lesion, without.stack.to_volume(stack))
            else:
                do(without, step, same_lesion)
        if n == now:
            session.delete_click(click_id)
            assert np.array_equal(stack_of(session, lesion), stack_of(without, same_lesion))
            assert session.lesion(lesion).status is without.lesion(same_lesion).status
    assert np.array_equal(stack_of(session, lesion), stack_of(without, same_lesion))


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_click_that_is_taken_back_leaves_no_trace(seed, found):
    same_as_without(seed, found)


@given(st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_a_click_that_is_taken_back_leaves_no_trace_with_a_real_network(seed):
    same_as_without(seed, False, lively(MOIS))


def test_the_finding_comes_back_when_its_only_click_is_taken_back():
    session, lesion = begun(found=True)
    before = digest(session.lesion(lesion).mask)
    confidence = session.lesion(lesion).confidence
    session.click(ras(session, 5, 23, 7), False, lesion)
    assert session.lesion(lesion).status is Status.PROMPTED
    assert digest(session.lesion(lesion).mask) != before

    session.delete_click(session.lesion(lesion).clicks[0].id)

    assert digest(session.lesion(lesion).mask) == before
    assert session.lesion(lesion).status is Status.FOUND
    assert session.lesion(lesion).confidence == confidence is not None


def test_an_accepted_finding_is_accepted_again_after_its_click_is_taken_back():
    session, lesion = begun(found=True)
    session.accept(lesion)
    session.click(ras(session, 5, 23, 7), True, lesion)

    session.delete_click(session.lesion(lesion).clicks[0].id)

    assert session.lesion(lesion).status is Status.ACCEPTED


def test_a_painted_mask_comes_back_when_the_click_on_it_is_taken_back():
    session = stub_session()
    drawn = painted(SECOND)
    drawn[5, 3:9, 20:24] = True
    lesion = session.set_mask(None, session.stack.to_volume(drawn))
    session.click(ras(session, 5, 23, 7), False, lesion)
    assert not np.array_equal(stack_of(session, lesion), drawn)

    session.delete_click(session.lesion(lesion).clicks[0].id)

    assert np.array_equal(stack_of(session, lesion), drawn)


def test_a_slice_that_was_painted_stays_so_when_the_click_before_is_taken_back():
    session = stub_session()
    lesion = click_on(session, FIRST)
    stack = stack_of(session, lesion)
    n = FIRST.middle[0]
    stack[n, 20:24, 20:24] = True
    session.set_mask(lesion, session.stack.to_volume(stack))

    session.delete_click(session.lesion(lesion).clicks[0].id)

    assert np.array_equal(stack_of(session, lesion)[n], stack[n])
    assert session.lesion(lesion).mask.slices == (n,)


def test_clicks_from_before_a_merge_go_without_a_change():
    session = stub_session()
    first, second = click_on(session, FIRST), click_on(session, SECOND)
    merged = session.merge(first, second)
    before = digest(session.lesion(merged).mask)

    for click in session.lesion(merged).clicks:
        session.delete_click(click.id)

    assert session.lesion(merged).clicks == ()
    assert digest(session.lesion(merged).mask) == before


def test_other_clicks_stay_what_they_were():
    session = stub_session()
    lesion = click_on(session, FIRST)
    session.click(ras(session, 5, 8, 8), False, lesion)
    session.delete_click(session.lesion(lesion).clicks[1].id)

    assert is_exactly(session, lesion, FIRST)
