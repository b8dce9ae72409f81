"""What lesions are known by is noted beside the work: no step is made, and none forgets it."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import FIRST, SCENE, SECOND, scan_of, volume_of
from stub_network import StubNetwork

from mois_core.followup.identity import identify
from mois_core.session import Session


@pytest.fixture
def session() -> Session:
    """A session with two lesions, a step that can be undone, and one that can be redone."""
    session = Session(StubNetwork(), volume_of(scan_of(*SCENE)))
    labels = np.zeros(session.volume.array.shape, dtype=np.uint16)
    labels[FIRST.where], labels[SECOND.where] = 1, 2
    session.add_lesions(labels)
    session.rename(1, "first")
    session.rename(2, "second")
    session.undo()
    return session


def test_every_state_knows_it(session):
    masks = [lesion.mask for lesion in session.lesions]
    identify(session, {1: "2.25.1"})

    assert [lesion.uid for lesion in session.lesions] == ["2.25.1", ""]
    assert all(le.mask is mask for le, mask in zip(session.lesions, masks, strict=True))
    assert session.redo() == "rename"
    assert [lesion.name for lesion in session.lesions] == ["first", "second"]
    assert session.lesion(1).uid == "2.25.1"
    assert session.undo() == "rename"
    assert session.undo() == "rename"
    assert [(le.name, le.uid) for le in session.lesions] == [("", "2.25.1"), ("", "")]
    assert session.undo() == "add lesions"
    assert session.lesions == ()


def test_lesions_that_did_not_change_stay_the_same_objects(session):
    identify(session, {1: "2.25.1"})
    before = session.lesions
    identify(session, {1: "2.25.1"})
    assert all(one is other for one, other in zip(before, session.lesions, strict=True))
    session.undo()
    assert session.lesions[1] is before[1]
