"""Tests of segments that the Segment Editor leaves while their lesion is still being computed."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import FIRST, SECOND
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion
from scans import labels_in, scan_as_read, settle, world_of
from segment_editor import click, in_volume, outlined
from stub_sessions import is_exactly


@pytest.fixture
def a_volume_node(a_scene):
    """The usual scan the way Slicer has it after reading a file."""
    return scan_as_read(a_scene)


def begin(editor, block) -> None:
    """Click into a lesion, and go on before the result is there."""
    editor.click_at_once(world_of(editor.workspace, *block.middle))


def segments(editor) -> dict[str, int]:
    """Return the voxels of all segments by name."""
    segmentation = editor.node.GetSegmentation()
    ids = segmentation.GetSegmentIDs()
    return {segmentation.GetSegment(n).GetName(): int(editor.mask(n).sum()) for n in ids}


def test_a_lesion_comes_into_its_segment_although_the_effect_was_left(an_editor):
    begin(an_editor, FIRST)
    an_editor.leave()

    assert segments(an_editor) == {"Mine": FIRST.voxels}
    assert np.array_equal(outlined(an_editor), in_volume(an_editor, FIRST))
    (lesion,) = an_editor.workspace.session.lesions
    assert lesion.name == "Mine"
    assert an_editor.workspace.segments.segment_of(lesion.id) == an_editor.segment_id
    assert an_editor.workspace.messages == []


def test_each_lesion_comes_into_the_segment_that_was_chosen_for_it(an_editor):
    workspace = an_editor.workspace
    first, second = an_editor.segment_id, an_editor.add("Two")
    begin(an_editor, FIRST)
    an_editor.select(second)
    begin(an_editor, SECOND)
    settle(workspace)

    assert segments(an_editor) == {"Mine": FIRST.voxels, "Two": SECOND.voxels}
    assert workspace.segments.lesion_of(first) == 1 and workspace.segments.lesion_of(second) == 2
    assert labels_in(workspace.points_node) == ["1+", "2+"]
    an_editor.leave()
    assert [lesion.name for lesion in workspace.session.lesions] == ["Mine", "Two"]


def test_back_in_the_segment_before_the_result_the_lesion_goes_on(an_editor):
    workspace = an_editor.workspace
    first, second = an_editor.segment_id, an_editor.add("Two")
    begin(an_editor, FIRST)
    an_editor.select(second)
    begin(an_editor, SECOND)
    an_editor.select(first)
    click(an_editor, FIRST)

    assert labels_in(workspace.points_node) == ["1+", "2+", "1+"]
    assert segments(an_editor) == {"Mine": FIRST.voxels, "Two": SECOND.voxels}
    assert len(workspace.session.lesions) == 2


def test_further_clicks_on_a_lesion_that_came_later_are_as_usual(an_editor):
    begin(an_editor, FIRST)
    an_editor.leave()
    click(an_editor, SECOND)

    assert segments(an_editor) == {"Mine": FIRST.voxels + SECOND.voxels}
    an_editor.undo()
    assert is_exactly(an_editor.workspace.session, 1, FIRST)


def test_a_lesion_whose_segment_was_removed_meanwhile_gets_one_of_its_own(an_editor):
    begin(an_editor, FIRST)
    an_editor.node.GetSegmentation().RemoveSegment(an_editor.segment_id)
    an_editor.leave()

    assert list(segments(an_editor).values()) == [FIRST.voxels]
    assert is_exactly(an_editor.workspace.session, 1, FIRST)


def test_a_click_that_fails_leaves_the_segment_to_what_is_painted_there(an_editor, monkeypatch):
    workspace = an_editor.workspace
    whole = workspace.session.clicks

    def fail(*_, **__):
        raise MemoryError("no memory is left")

    monkeypatch.setattr(workspace.session, "clicks", fail)
    begin(an_editor, FIRST)
    an_editor.leave()
    assert workspace.session.lesions == () and segments(an_editor) == {"Mine": 0}

    monkeypatch.setattr(workspace.session, "clicks", whole)
    an_editor.paint(in_volume(an_editor, SECOND))
    click(an_editor, FIRST)
    assert outlined(an_editor)[in_volume(an_editor, SECOND)].all()
    assert outlined(an_editor)[in_volume(an_editor, FIRST)].any()


def test_no_lesion_is_awaited_once_it_came(an_editor):
    begin(an_editor, FIRST)
    an_editor.leave()
    borrowed = an_editor.workspace.segments.borrowed
    assert borrowed.promised(an_editor.segment_id) is None
    assert borrowed.lesions_apart() == set()

    borrowed.borrow(an_editor.segment_id, FreshLesion(1), an_editor.write_change)
    assert borrowed.lesions_apart() == {1}
