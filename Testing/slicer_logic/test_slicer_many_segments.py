"""The segments of many new lesions are made a few at a time, and nothing is amiss in between."""

from __future__ import annotations

import numpy as np
import pytest
from MOISSAM2SegmentLib.scene.lesion_segments import LesionSegments
from scans import settle, shows_exactly_its_session

MANY = 40


@pytest.fixture
def one_at_a_time(monkeypatch):
    """Let each portion of new segments be one."""
    add_more = LesionSegments.add_more

    def one_or_all(segments, seconds=0.0):
        add_more(segments, seconds if seconds == float("inf") else 0.0)

    monkeypatch.setattr(LesionSegments, "add_more", one_or_all)


def outline_many(workspace) -> None:
    """Add lesions, and wait until the first of their segments are there."""

    def outline(session, *_):
        for number in range(MANY):
            mask = np.zeros(session.volume.array.shape, dtype=bool)
            mask[number % 10, 2 + 2 * (number // 10), 3] = True
            session.set_mask(None, mask)

    workspace.work.run("Many", outline)
    while not workspace.segments.is_adding:
        workspace.pump()


def test_all_segments_are_there_in_the_end(an_open_workspace, one_at_a_time):
    workspace = an_open_workspace
    outline_many(workspace)
    assert 0 < len(workspace.segments.index.lesions()) < MANY
    assert workspace.needs_pump

    settle(workspace)

    assert len(workspace.segments.index.lesions()) == MANY
    assert shows_exactly_its_session(workspace)


def test_no_session_is_stored_whose_segments_would_count_as_deleted(
    an_open_workspace, one_at_a_time, monkeypatch
):
    workspace = an_open_workspace
    stored = []
    monkeypatch.setattr(
        workspace.work.saver, "save", lambda: stored.append(len(workspace.segments.index.lesions()))
    )
    outline_many(workspace)
    assert stored == []

    settle(workspace)

    assert set(stored) == {MANY}


def test_an_edit_in_between_finds_all_segments(an_open_workspace, one_at_a_time):
    workspace = an_open_workspace
    outline_many(workspace)
    segmentation = workspace.segments_node.GetSegmentation()

    segmentation.RemoveSegment(workspace.segments.segment_of(MANY))
    settle(workspace)

    assert [lesion.id for lesion in workspace.session.lesions] == list(range(1, MANY))
    assert shows_exactly_its_session(workspace)


def test_work_that_ends_in_between_leaves_all_segments(an_open_workspace, one_at_a_time):
    workspace = an_open_workspace
    outline_many(workspace)
    node = workspace.segments_node

    workspace.end()

    assert node.GetSegmentation().GetNumberOfSegments() == MANY
