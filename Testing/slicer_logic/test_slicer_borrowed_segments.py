"""Tests of lesions in segments of the user's own that the Segment Editor writes.

The Segment Editor is Slicer's own, without its widget.
"""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from engine_fixtures import FIRST, SECOND
from MOISSAM2SegmentLib.scene.exemplar_segments import ELSEWHERE
from MOISSAM2SegmentLib.scene.segment_surfaces import CLOSED_SURFACE
from MOISSAM2SegmentLib.scene.segment_tags import TAG
from MOISSAM2SegmentLib.workspace.effect_segments import ANOTHER_SEGMENTATION
from scans import (
    labels_in,
    linear_transform,
    place,
    scan_as_read,
    segment_mask,
    settle,
    world_of,
)
from segment_editor import Editor, click, in_volume, outlined
from stub_sessions import is_exactly

from mois_core.errors import BadInput


@pytest.fixture
def a_volume_node(a_scene):
    """The usual scan the way Slicer has it after reading a file."""
    return scan_as_read(a_scene)


def test_a_click_fills_the_users_own_segment(an_editor):
    workspace = an_editor.workspace

    click(an_editor, FIRST)

    assert is_exactly(workspace.session, 1, FIRST)
    assert np.array_equal(outlined(an_editor), in_volume(an_editor, FIRST))
    segmentation = an_editor.node.GetSegmentation()
    assert list(segmentation.GetSegmentIDs()) == [an_editor.segment_id]
    assert segmentation.GetSegment(an_editor.segment_id).GetName() == "Mine"
    assert workspace.segments_node is an_editor.node
    assert labels_in(workspace.points_node) == ["1+"]
    assert workspace.messages == []


def test_no_second_segmentation_stays_behind(an_editor):
    scene = an_editor.workspace.scene
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2

    click(an_editor, FIRST)

    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_a_click_outside_corrects_the_mask(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)

    an_editor.click(world_of(workspace, 5, 7, 6), positive=False)

    assert labels_in(workspace.points_node) == ["1+", "1-"]
    assert outlined(an_editor).sum() < FIRST.voxels
    assert np.array_equal(outlined(an_editor), workspace.session.mask(1))


def test_the_first_click_of_a_segment_has_to_lie_inside(an_editor):
    with pytest.raises(BadInput, match="Click into the lesion first"):
        click(an_editor, FIRST, positive=False)

    assert an_editor.workspace.session.lesions == ()


def test_each_segment_is_a_lesion_of_its_own(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    first = an_editor.segment_id

    an_editor.select(an_editor.add("Another"))
    click(an_editor, SECOND)

    assert is_exactly(workspace.session, 1, FIRST)
    assert is_exactly(workspace.session, 2, SECOND)
    assert np.array_equal(an_editor.mask(first), in_volume(an_editor, FIRST))
    assert np.array_equal(outlined(an_editor), in_volume(an_editor, SECOND))
    assert [entry.name for entry in workspace.entries()] == ["Mine", "Lesion 2"]
    an_editor.select(first)
    click(an_editor, FIRST)
    assert len(workspace.session.lesions) == 2


def test_what_a_segment_holds_already_becomes_the_lesion(an_editor):
    workspace = an_editor.workspace
    stroke = in_volume(an_editor, SECOND).copy()
    stroke[:6] = False
    assert 0 < stroke.sum() < SECOND.voxels
    an_editor.paint(stroke)

    click(an_editor, SECOND)

    assert len(workspace.session.lesions) == 1
    assert workspace.session.mask(1)[stroke].all()
    assert np.array_equal(outlined(an_editor), workspace.session.mask(1))


@pytest.fixture
def a_painted_segment(an_editor):
    """A segment with a stroke in it that covers more than one lesion; and the stroke."""
    stroke = in_volume(an_editor, SECOND) | in_volume(an_editor, FIRST)
    an_editor.paint(stroke)
    settle(an_editor.workspace)
    return an_editor, stroke


def test_where_content_cannot_be_taken_over_the_click_does_not_happen(
    a_painted_segment, monkeypatch
):
    editor, stroke = a_painted_segment
    workspace = editor.workspace

    def fail(*_):
        raise ValueError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(workspace.session, "set_mask", fail)
        click(editor, SECOND)

    assert np.array_equal(outlined(editor), stroke)
    assert workspace.session.lesions == ()
    assert labels_in(workspace.points_node) == []
    (message,) = workspace.messages
    assert message.endswith("The segment was not changed, and the click was not made.")
    assert "ValueError" in message and "The lesions are as they were" in message
    click(editor, SECOND)
    assert workspace.session.mask(1)[in_volume(editor, FIRST)].any()
    assert labels_in(workspace.points_node) == ["1+"]


def test_where_taking_content_over_is_cancelled_the_click_does_not_happen(a_painted_segment):
    editor, stroke = a_painted_segment
    workspace = editor.workspace

    editor.click_at_once(world_of(workspace, *SECOND.middle))
    workspace.cancel()
    settle(workspace)

    assert np.array_equal(outlined(editor), stroke)
    assert workspace.session.lesions == ()
    assert labels_in(workspace.points_node) == []
    assert "not made" in workspace.messages[-1]
    click(editor, SECOND)
    assert labels_in(workspace.points_node) == ["1+"]


def test_a_click_leaves_what_was_painted(a_painted_segment):
    editor, stroke = a_painted_segment

    click(editor, SECOND)

    assert np.array_equal(outlined(editor), stroke)
    assert editor.workspace.notices == []


def test_a_click_on_what_was_painted_too_much_takes_it_away(a_painted_segment):
    editor, stroke = a_painted_segment
    click(editor, SECOND)

    click(editor, FIRST, positive=False)

    assert (stroke & ~outlined(editor)).any()
    editor.undo()
    assert np.array_equal(outlined(editor), stroke)


def test_where_editing_is_not_allowed_nothing_changes(an_editor):
    """Inside one other segment only, which covers half of the lesion."""
    allowed = in_volume(an_editor, FIRST).copy()
    allowed[:, :9] = False
    assert 0 < allowed.sum() < FIRST.voxels
    other = an_editor.add("Allowed")
    an_editor.select(other)
    an_editor.paint(allowed)
    an_editor.select("mine")
    an_editor.parameters.SetOverwriteMode(an_editor.parameters.OverwriteNone)
    an_editor.parameters.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    an_editor.parameters.SetMaskSegmentID(other)

    click(an_editor, FIRST)

    assert np.array_equal(outlined(an_editor), allowed)
    assert is_exactly(an_editor.workspace.session, 1, FIRST)
    an_editor.leave()
    assert np.array_equal(an_editor.workspace.session.mask(1), allowed)
    assert np.array_equal(segment_mask(an_editor.workspace, 1), allowed)


def test_a_segment_that_may_be_overwritten_loses_what_the_click_takes(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    first = an_editor.segment_id
    an_editor.select(an_editor.add("Another"))
    an_editor.parameters.SetOverwriteMode(an_editor.parameters.OverwriteAllSegments)

    click(an_editor, FIRST)

    assert np.array_equal(outlined(an_editor), in_volume(an_editor, FIRST))
    assert not an_editor.mask(first).any()
    assert not workspace.session.mask(1).any()


def test_the_segment_editors_undo_takes_back_the_click_with_its_point(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    before = outlined(an_editor)
    an_editor.click(world_of(workspace, 5, 7, 6), positive=False)
    after = outlined(an_editor)

    an_editor.undo()
    assert labels_in(workspace.points_node) == ["1+"]
    assert np.array_equal(outlined(an_editor), before)
    assert np.array_equal(workspace.session.mask(1), before)

    an_editor.redo()
    assert labels_in(workspace.points_node) == ["1+", "1-"]
    assert np.array_equal(outlined(an_editor), after)
    assert np.array_equal(workspace.session.mask(1), after)


def test_undo_of_the_first_click_leaves_an_empty_segment(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)

    an_editor.undo()

    assert workspace.session.lesions == ()
    assert workspace.points_node.GetNumberOfControlPoints() == 0
    assert not outlined(an_editor).any()
    segment = an_editor.node.GetSegmentation().GetSegment(an_editor.segment_id)
    assert not segment.HasTag(TAG)
    an_editor.redo()
    assert np.array_equal(outlined(an_editor), in_volume(an_editor, FIRST))
    assert labels_in(workspace.points_node) == ["1+"]
    an_editor.undo()
    click(an_editor, SECOND)
    assert np.array_equal(outlined(an_editor), in_volume(an_editor, SECOND))


@pytest.mark.parametrize("together", [False, True])
def test_clicks_that_are_one_step_to_the_segment_editor_are_taken_back_together(
    an_editor, together
):
    """It has no step of a click that changes nothing, nor of one before the last one's result."""
    workspace = an_editor.workspace
    blocks = (FIRST, SECOND) if together else (FIRST, FIRST)
    for block in blocks:
        an_editor.click_at_once(world_of(workspace, *block.middle))
        if not together:
            settle(workspace)
    settle(workspace)
    after = outlined(an_editor)
    assert np.array_equal(after, workspace.session.mask(1))

    an_editor.undo()
    assert workspace.session.lesions == ()
    assert labels_in(workspace.points_node) == []
    assert not outlined(an_editor).any()

    an_editor.redo()
    assert np.array_equal(outlined(an_editor), after)
    assert np.array_equal(workspace.session.mask(1), after)
    an_editor.undo()
    click(an_editor, SECOND)
    assert np.array_equal(outlined(an_editor), in_volume(an_editor, SECOND))


def test_undo_of_a_stroke_after_a_click_that_changed_nothing_takes_back_the_stroke(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    click(an_editor, FIRST)
    an_editor.paint(in_volume(an_editor, FIRST) | in_volume(an_editor, SECOND))
    settle(workspace)
    assert workspace.session.mask(1).sum() == FIRST.voxels + SECOND.voxels

    an_editor.undo()
    assert is_exactly(workspace.session, 1, FIRST)
    assert labels_in(workspace.points_node) == ["1+", "1+"]


def test_the_segment_editors_redo_works_beside_other_lesions(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    workspace.commands.find_similar()
    settle(workspace)
    an_editor.click(world_of(workspace, 5, 7, 6), positive=False)
    after = outlined(an_editor)

    an_editor.undo()
    assert np.array_equal(outlined(an_editor), in_volume(an_editor, FIRST))
    assert labels_in(workspace.points_node) == ["1+"]
    an_editor.redo()

    assert np.array_equal(outlined(an_editor), after)
    assert labels_in(workspace.points_node) == ["1+", "1-"]


def test_our_own_undo_and_redo_reach_the_segment(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)

    workspace.commands.undo()
    settle(workspace)
    assert not outlined(an_editor).any()
    workspace.commands.redo()
    settle(workspace)

    assert np.array_equal(outlined(an_editor), in_volume(an_editor, FIRST))
    assert an_editor.node.GetSegmentation().GetNumberOfSegments() == 1


def test_a_stroke_between_two_clicks_is_kept(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    stroke = outlined(an_editor)
    stroke[10, 25:30, 12:16] = True

    an_editor.paint(stroke)
    settle(workspace)

    assert np.array_equal(workspace.session.mask(1), stroke)
    assert np.array_equal(outlined(an_editor), stroke)


def test_similar_lesions_come_into_the_same_segmentation(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    found = []

    workspace.commands.find_similar(then=found.extend)
    settle(workspace)

    assert len(found) == 2
    assert an_editor.node.GetSegmentation().GetNumberOfSegments() == 3
    assert np.array_equal(outlined(an_editor), in_volume(an_editor, FIRST))
    for lesion_id in found:
        assert np.array_equal(segment_mask(workspace, lesion_id), workspace.session.mask(lesion_id))


def test_a_lesion_of_the_panel_can_be_edited_and_given_back(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST, "1+")
    place(workspace, SECOND, "2+")
    settle(workspace)
    editor = Editor(workspace, node=workspace.segments_node, segment_id="MOISSAM2_1")

    editor.click(world_of(workspace, 5, 7, 6), positive=False)
    corrected = workspace.session.mask(1)
    editor.leave()
    workspace.commands.accept()
    settle(workspace)

    assert 0 < corrected.sum() < FIRST.voxels
    assert np.array_equal(segment_mask(workspace, 1), corrected)
    assert np.array_equal(segment_mask(workspace, 2), in_volume(editor, SECOND))
    assert [entry.name for entry in workspace.entries()] == ["Lesion 1", "Lesion 2"]
    workspace.commands.delete(1)
    settle(workspace)
    assert list(workspace.segments_node.GetSegmentation().GetSegmentIDs()) == ["MOISSAM2_2"]


def test_lesions_are_not_torn_apart_over_two_segmentations(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    own = workspace.segments_node
    editor = Editor(workspace)

    with pytest.raises(BadInput) as refusal:
        click(editor, SECOND)

    assert str(refusal.value) == ANOTHER_SEGMENTATION.format(name=own.GetName())
    assert workspace.segments_node is own


def test_segmentations_of_one_name_are_told_apart(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    editor = Editor(workspace)
    editor.node.SetName(workspace.segments_node.GetName())

    with pytest.raises(BadInput, match=r"scan lesions \(number 1 of 2 with this name\)"):
        click(editor, SECOND)


def test_a_segmentation_that_lies_elsewhere_is_refused(an_editor):
    transform = linear_transform(an_editor.workspace.scene)
    an_editor.node.SetAndObserveTransformNodeID(transform.GetID())

    with pytest.raises(BadInput) as refusal:
        click(an_editor, FIRST)

    assert str(refusal.value) == ELSEWHERE


def test_a_segment_that_is_deleted_while_it_is_worked_on_takes_its_lesion_along(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)

    an_editor.node.GetSegmentation().RemoveSegment(an_editor.segment_id)
    settle(workspace)

    assert workspace.session.lesions == ()
    assert workspace.messages == []


def surfaces_of(node) -> dict:
    segmentation = node.GetSegmentation()
    segments = {n: segmentation.GetSegment(n) for n in segmentation.GetSegmentIDs()}
    return {n: one.GetRepresentation(CLOSED_SURFACE) for n, one in segments.items()}


@pytest.mark.parametrize("where", ["the user's own segment", "a lesion of the panel"])
def test_surfaces_in_3d_stay_when_the_effect_clicks(an_open_workspace, where):
    """As Slicer's own paint effect keeps them: that of the segment follows, others stay."""
    workspace = an_open_workspace
    if where == "a lesion of the panel":
        place(workspace, FIRST, "1+")
        place(workspace, SECOND, "2+")
        settle(workspace)
        editor = Editor(workspace, node=workspace.segments_node, segment_id="MOISSAM2_1")
        mine, other = "MOISSAM2_1", "MOISSAM2_2"
    else:
        editor = Editor(workspace)
        click(editor, FIRST)
        mine, other = editor.segment_id, editor.add("Another")
        editor.select(other)
        click(editor, SECOND)
        editor.select(mine)
    editor.node.CreateClosedSurfaceRepresentation()
    before = surfaces_of(editor.node)
    size = before[mine].GetNumberOfCells()

    editor.click(world_of(workspace, 5, 7, 6), positive=False)

    now = surfaces_of(editor.node)
    assert now[other] is before[other]
    assert 0 < now[mine].GetNumberOfCells() != size
    editor.leave()
    place(workspace, FIRST, "1+")
    settle(workspace)
    assert all(surface is not None for surface in surfaces_of(editor.node).values())
    assert surfaces_of(editor.node)[other] is before[other]


def test_the_work_goes_on_after_it_was_stored(an_editor, a_volume_node):
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    an_editor.leave()
    workspace.end()

    workspace.start(a_volume_node)
    settle(workspace)

    assert workspace.segments_node is an_editor.node
    assert [entry.name for entry in workspace.entries()] == ["Mine"]
    assert np.array_equal(segment_mask(workspace, 1), in_volume(an_editor, FIRST))
    assert an_editor.node.GetSegmentation().GetNumberOfSegments() == 1
