"""The lowest confidence that findings of a search must have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_fixtures import FIRST, SECOND, THIRD, volume_of
from small_networks import MOIS
from stub_sessions import click_on, stub_session

from mois_core.errors import BadInput
from mois_core.network.exemplar import MoisSam2
from mois_core.session import Session
from mois_core.session.masks import Mask
from mois_core.session.search import (
    MOST_CONFIDENT,
    Marked,
    heights,
)
from mois_core.session.session_file import restore, to_bytes
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")


def marked(found: np.ndarray, logits: np.ndarray) -> Marked:
    return Marked(found, heights(logits, found))


def test_findings_that_the_search_is_nowhere_confident_of_are_left_out():
    found = np.zeros((3, 8, 20), dtype=bool)
    found[0, 1:4, 1:4] = found[1, 4:7, 4:7] = True
    found[1, 1:3, 10:14] = True
    found[2, 5:8, 15:20] = True
    logits = np.where(found, 0.5, 0).astype(np.float16)
    logits[1, 4:7, 4:7] = 10
    logits[1, 1, 11], logits[2, 6, 16] = 6, 5.5
    for least, kept in ((0.0, [2, 11, 16]), (0.5, [2, 11, 16]), (0.58, [2, 11]), (1.0, [2])):
        confident = marked(found, logits).confident(least).found
        assert not (confident & ~found).any()
        assert [x for x in (2, 11, 16) if confident[:, :, x].any()] == kept
    # Slices 0 and 1 share a corner: the part without a confident voxel stays with the other.
    assert confident.sum() == 18


def test_one_voxel_that_a_search_is_oddly_confident_of_decides_nothing():
    found = np.zeros((2, 40, 40), dtype=bool)
    found[0, :10, :10] = found[0, 20:30, 20:30] = True
    logits = np.where(found, 8, 0).astype(np.float16)
    logits[0, 5, 5] = MOST_CONFIDENT
    assert (marked(found, logits).confident(1.0).found == found).all()


def test_a_search_that_marks_nothing_is_confident_of_nothing():
    found = np.zeros((3, 8, 20), dtype=bool)
    nothing = marked(found, found.astype(np.float16))
    assert not nothing.confident(0.5).found.any()
    assert nothing.confidence_in(Mask((8, 20))) == 0


def test_a_finding_is_as_confident_as_its_most_confident_voxel():
    found = np.zeros((2, 40, 40), dtype=bool)
    found[0, :10, :10] = found[1, 20:30, 20:30] = True
    logits = np.where(found, 2, 0).astype(np.float16)
    logits[0, :10, :10] = 8
    logits[0, 5, 5] = MOST_CONFIDENT
    logits[1, 25, 25] = 4
    sure, doubtful = found.copy(), found.copy()
    sure[1] = doubtful[0] = False
    both = marked(found, logits)
    assert both.confidence_in(Mask.from_stack(sure)) == 1
    assert both.confidence_in(Mask.from_stack(doubtful)) == pytest.approx(0.5)


def test_a_search_tells_how_confident_it_is_of_each_finding_and_a_file_keeps_it():
    session = stub_session(FIRST, SECOND, THIRD)
    lesion = click_on(session, FIRST)
    findings = session.find_similar()
    assert findings
    for lesion_id in findings:
        assert 0 < session.lesion(lesion_id).confidence <= 1
    assert session.lesion(lesion).confidence is None
    again = restore(to_bytes(session), session.model, session.volume)
    for lesion_id in (lesion, *findings):
        assert again.lesion(lesion_id).confidence == session.lesion(lesion_id).confidence


def test_the_network_says_which_confidence_findings_must_have_unless_the_user_does():
    model = MoisSam2(replace(MOIS, exemplars=replace(MOIS.exemplars, min_confidence=0.7))).eval()
    volume = volume_of(np.arange(4 * 32 * 32, dtype=np.float32).reshape(4, 32, 32))
    assert Session(model, volume).settings.min_confidence == 0.7
    assert Session(model, volume, Settings(min_confidence=0.0)).settings.min_confidence == 0
    assert Session(model, volume, Settings(min_confidence=0.2)).settings.min_confidence == 0.2
    assert Session(model, volume, reference=True).settings.min_confidence == 0
    for wrong in (-0.1, 1.5, float("nan")):
        with pytest.raises(BadInput, match="lowest confidence"):
            Settings(min_confidence=wrong)
