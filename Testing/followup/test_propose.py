"""The lesions of an earlier scan as findings on the new one, with the stub network."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import FIRST, SCENE, SECOND, SIDE, THIRD, Block, scan_of, volume_of
from stub_network import StubNetwork

from mois_core.errors import Cancelled
from mois_core.followup.propose import propose
from mois_core.followup.time_point import TimePoint
from mois_core.geometry import Volume
from mois_core.progress import CancelToken
from mois_core.session import Session
from mois_core.session.lesion import Status

BRIGHT = (FIRST, SECOND, THIRD)
"""Of the scene, what the stub network outlines."""


class InPlace:
    """A registration of scans that lie on each other already, a given number of voxels off."""

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def labels_on_later(self, labels: Volume, later: Volume) -> np.ndarray:
        return np.roll(labels.array, self.shift, axis=2)


@pytest.fixture
def earlier() -> TimePoint:
    labels = np.zeros((12, SIDE, SIDE), dtype=np.uint16)
    for value, block in enumerate(BRIGHT, start=1):
        labels[block.where] = value
    return TimePoint(volume_of(scan_of(*SCENE)), labels, names={1: "plexus"})


def test_each_lesion_becomes_a_finding_that_the_network_outlined(earlier):
    session = Session(StubNetwork(), earlier.scan)
    proposals = propose(session, earlier, InPlace(1))
    assert [proposal.earlier for proposal in proposals] == list(earlier.lesions)
    assert {le.status for le in session.lesions} == {Status.FOUND}
    assert session.lesions[0].name == "plexus"
    for proposal in proposals:
        outlined = session.mask(proposal.finding)
        there = earlier.labels == proposal.earlier
        shared = np.count_nonzero(outlined & there)
        assert shared > 0.5 * max(np.count_nonzero(outlined), np.count_nonzero(there))
        assert proposal.uid == earlier.uid(proposal.earlier)


def test_it_is_one_step(earlier):
    session = Session(StubNetwork(), earlier.scan)
    propose(session, earlier, InPlace())
    assert session.undo() == "propose lesions"
    assert session.lesions == ()


def test_lesions_that_the_session_has_are_left_out(earlier):
    session = Session(StubNetwork(), earlier.scan)
    known = np.where(earlier.labels == 1, 1, 0)
    session.add_lesions(known)
    proposals = propose(session, earlier, InPlace())
    assert 1 not in [proposal.earlier for proposal in proposals]
    assert propose(session, earlier, InPlace()) == []


def test_cancelling_leaves_the_session_as_it_was(earlier):
    session = Session(StubNetwork(), earlier.scan)
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        propose(session, earlier, InPlace(), cancel=cancel)
    assert session.lesions == ()


def test_where_the_network_outlines_nothing_the_earlier_outline_stands_in(earlier):
    """In a scan without contrast the stub network finds nothing at all."""
    session = Session(StubNetwork(), volume_of(scan_of()))
    proposals = propose(session, earlier, InPlace())
    assert len(proposals) == len(BRIGHT)
    for proposal in proposals:
        assert np.array_equal(session.mask(proposal.finding), earlier.labels == proposal.earlier)


def test_an_outline_of_the_whole_surroundings_is_not_taken(earlier):
    everything = Block((0, 12), (2, SIDE), (0, SIDE))
    session = Session(StubNetwork(), volume_of(scan_of(everything)))
    proposals = propose(session, earlier, InPlace())
    assert [proposal.earlier for proposal in proposals] == [1, 2, 3]
    for proposal in proposals:
        assert np.array_equal(session.mask(proposal.finding), earlier.labels == proposal.earlier)
