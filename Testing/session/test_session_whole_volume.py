"""Propagation through the whole volume, as users of a network without a search work."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import Block, painted, scan_of, volume_of
from small_networks import SLM, lively
from stub_sessions import digest, ras, stack_of, stub_session

from mois_core.errors import Cancelled
from mois_core.progress import CancelToken
from mois_core.session import Session
from mois_core.session.propagation import is_propagated_beyond
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

LONG = Block((0, 12), (8, 16), (8, 16))


def test_a_lesion_is_followed_to_both_ends_of_the_volume_as_a_step_of_its_own():
    session = stub_session(LONG)
    lesion_id = session.click(ras(session, 6, 12, 12))
    near = session.lesion(lesion_id)
    assert near.mask.slices == tuple(range(3, 10))
    assert not is_propagated_beyond(near, 3)

    session.propagate(joined=False, whole_volume=True)

    assert np.array_equal(stack_of(session, lesion_id), painted(LONG))
    assert is_propagated_beyond(session.lesion(lesion_id), 3)
    assert session.undo() == "propagate"
    assert session.lesion(lesion_id) is near


def test_it_ends_where_the_lesion_is_lost():
    session = stub_session(Block((2, 7), (8, 16), (8, 16)), Block((9, 12), (8, 16), (8, 16)))
    lesion_id = session.click(ras(session, 3, 12, 12))

    session.propagate(whole_volume=True)

    assert session.lesion(lesion_id).mask.slices == tuple(range(2, 7))


def test_painted_slices_stay_as_they_are_and_are_followed_from():
    session = stub_session(LONG)
    drawn = np.zeros((12, 32, 32), dtype=bool)
    drawn[6, 8:16, 8:14] = True
    lesion_id = session.set_mask(None, session.stack.to_volume(drawn))

    session.propagate([lesion_id], joined=False, whole_volume=True)

    stack = stack_of(session, lesion_id)
    assert np.array_equal(stack[6], drawn[6])
    assert stack.any(axis=(1, 2)).all()


def test_cancelling_it_changes_nothing():
    session = stub_session(LONG)
    session.click(ras(session, 6, 12, 12))
    before, cancel = digest(session.state), CancelToken()
    cancel.cancel()

    with pytest.raises(Cancelled):
        session.propagate(joined=False, whole_volume=True, cancel=cancel)

    assert digest(session.state) == before


def test_slm_sam2_follows_a_lesion_takes_a_correction_and_follows_it_again():
    volume = volume_of(scan_of(LONG))
    session = Session(lively(SLM), volume, Settings(connected=False, propagation_slices=1))
    assert not session.can_search
    lesion_id = session.click(ras(session, 2, 12, 12))
    session.propagate(joined=False, whole_volume=True)
    followed = session.lesion(lesion_id)
    assert set(followed.propagated) == set(range(12)) - {2}

    session.click(ras(session, 8, 12, 12), lesion=lesion_id, propagate=False)
    corrected = session.lesion(lesion_id)
    others = [n for n in range(12) if n != 8]
    kept = [np.array_equal(corrected.mask.image(n), followed.mask.image(n)) for n in others]
    assert all(kept)

    session.propagate(joined=False, whole_volume=True)
    again = session.lesion(lesion_id)
    assert set(again.propagated) == set(range(12)) - {2, 8}
    assert np.array_equal(again.mask.image(8), corrected.mask.image(8))
    assert any(
        not np.array_equal(again.mask.image(n), corrected.mask.image(n)) for n in again.propagated
    )
