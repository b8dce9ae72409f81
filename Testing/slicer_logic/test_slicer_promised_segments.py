"""Tests of segments that the Segment Editor leaves while their lesion is still being computed."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from engine_fixtures import FIRST, SECOND
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion
from MOISSAM2SegmentLib.worker.jobs import Job
from scans import labels_in, place, scan_as_read, settle, world_of
from segment_editor import click, in_volume, outlined
from stub_sessions import is_exactly

from mois_core.errors import Cancelled


@pytest.fixture
def a_volume_node(a_scene):
    """The usual scan the way Slicer has it after reading a file."""
    return scan_as_read(a_scene)


def begin(editor, block) -> None:
    """Click into a lesion, and go on before the result is there."""
    editor.click_at_once(world_of(editor.workspace, *block.middle))


def begin_two(editor) -> tuple[str, str]:
    """Begin a lesion in each of two segments before any result is there; return the segments."""
    first, second = editor.segment_id, editor.add("Two")
    begin(editor, FIRST)
    editor.select(second)
    begin(editor, SECOND)
    return first, second


def compute(workspace) -> None:
    """Let the worker do all that it has to before the main thread hears of any of it."""
    is_done = threading.Event()
    workspace.engine.worker.submit(Job("Last", lambda *_: is_done.set()))
    assert is_done.wait(60)


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
    first, second = begin_two(an_editor)
    settle(workspace)

    assert segments(an_editor) == {"Mine": FIRST.voxels, "Two": SECOND.voxels}
    assert workspace.segments.lesion_of(first) == 1 and workspace.segments.lesion_of(second) == 2
    assert labels_in(workspace.points_node) == ["1+", "2+"]
    an_editor.leave()
    assert [lesion.name for lesion in workspace.session.lesions] == ["Mine", "Two"]


def test_back_in_the_segment_before_the_result_the_lesion_goes_on(an_editor):
    workspace = an_editor.workspace
    first, _ = begin_two(an_editor)
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


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_lesion_that_was_computed_at_once_comes_into_its_segment(an_editor, goes_on):
    """Both parts of the click are done before the first one is shown, as on a graphics card."""
    workspace = an_editor.workspace
    second = an_editor.add("Two")
    begin(an_editor, FIRST)
    if goes_on:
        an_editor.select(second)
        begin(an_editor, SECOND)
    else:
        workspace.effect_segments.give_back()
    compute(workspace)
    settle(workspace)

    assert segments(an_editor) == {"Mine": FIRST.voxels, "Two": SECOND.voxels if goes_on else 0}
    assert is_exactly(workspace.session, 1, FIRST)


def test_a_further_click_is_shown_although_the_effect_was_left(an_editor):
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    begin(an_editor, SECOND)
    workspace.effect_segments.give_back()
    compute(workspace)
    settle(workspace)

    assert segments(an_editor) == {"Mine": FIRST.voxels + SECOND.voxels}
    assert workspace.session.mask(1).sum() == FIRST.voxels + SECOND.voxels


def test_what_is_painted_before_the_lesion_comes_is_kept(an_editor):
    workspace = an_editor.workspace
    begin(an_editor, FIRST)
    workspace.effect_segments.give_back()
    an_editor.paint(in_volume(an_editor, SECOND))
    settle(workspace)

    assert segments(an_editor) == {"Mine": FIRST.voxels + SECOND.voxels}
    assert np.array_equal(workspace.session.mask(1), outlined(an_editor))


@pytest.mark.parametrize("is_left", [False, True])
def test_a_segment_that_is_removed_meanwhile_is_not_missed(an_editor, is_left):
    workspace = an_editor.workspace
    begin(an_editor, FIRST)
    if is_left:
        workspace.effect_segments.give_back()
    an_editor.node.GetSegmentation().RemoveSegment(an_editor.segment_id)
    compute(workspace)
    settle(workspace)

    assert segments(an_editor) == {"Lesion 1": FIRST.voxels}
    assert workspace.messages == []


@pytest.mark.parametrize("how", ["ours", "the Segment Editor's"])
def test_after_an_undo_the_next_lesion_does_not_come_into_that_segment(an_editor, how):
    """It gets the number of the lesion that was taken back."""
    workspace = an_editor.workspace
    click(an_editor, FIRST)
    if how == "ours":
        workspace.commands.undo()
        settle(workspace)
    else:
        an_editor.undo()
    an_editor.leave()

    place(workspace, SECOND)
    settle(workspace)

    assert segments(an_editor) == {"Mine": 0, "Lesion 1": SECOND.voxels}


@pytest.mark.parametrize("problem", [MemoryError, Cancelled])
def test_no_lesion_is_awaited_after_a_click_that_failed_or_was_cancelled(
    an_editor, monkeypatch, problem
):
    workspace = an_editor.workspace

    def fail(*_, **__):
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(workspace.session, "clicks", fail)
        begin(an_editor, FIRST)
        an_editor.leave()
    assert workspace.segments.borrowed.promised(an_editor.segment_id) is None

    place(workspace, SECOND)
    settle(workspace)
    assert segments(an_editor) == {"Mine": 0, "Lesion 1": SECOND.voxels}


def test_what_a_segment_held_comes_back_with_the_lesion_although_the_effect_was_left(an_editor):
    workspace = an_editor.workspace
    an_editor.paint(in_volume(an_editor, SECOND))
    settle(workspace)
    begin(an_editor, SECOND)
    workspace.effect_segments.give_back()
    compute(workspace)
    settle(workspace)

    assert segments(an_editor) == {"Mine": SECOND.voxels}
    assert labels_in(workspace.points_node) == ["1+"]


def test_the_work_goes_on_after_the_lesion_came_later(an_editor, a_volume_node):
    workspace = an_editor.workspace
    begin(an_editor, FIRST)
    an_editor.leave()
    workspace.end()

    workspace.start(a_volume_node)
    settle(workspace)

    assert [entry.name for entry in workspace.entries()] == ["Mine"]
    assert segments(an_editor) == {"Mine": FIRST.voxels}
