"""Tests of nodes that are removed or changed, and of jobs that are cancelled.

There is no exception, no observer is left behind, and no lesion is lost.
"""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest
import slicer
from engine_fixtures import FIRST, SECOND, THIRD
from MOISSAM2SegmentLib.scene.stored_session import stored_session_of
from MOISSAM2SegmentLib.scene.transforms import copied, view_of
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace import open_scan
from MOISSAM2SegmentLib.workspace.workspace import SCAN_CHANGED, Workspace
from scans import (
    drag,
    labels_in,
    paint,
    place,
    scan_node,
    settle,
    shows_exactly_its_session,
    world_of,
)
from stub_sessions import digest, is_exactly

from mois_core.session.lesion import Status


@pytest.fixture
def a_slow_search(an_open_workspace, monkeypatch):
    """A search that waits in the middle until it is let go or cancelled."""
    workspace = an_open_workspace
    running, go_on = threading.Event(), threading.Event()
    find = workspace.session.find_similar

    def slow(progress, cancel, *how):
        running.set()
        while not go_on.wait(0.002):
            cancel.check()
        return find(progress, cancel, *how)

    monkeypatch.setattr(workspace.session, "find_similar", slow)
    place(workspace, FIRST)
    settle(workspace)
    workspace.commands.find_similar()
    assert running.wait(5)
    workspace.go_on = go_on
    return workspace


def observers_of(*nodes) -> int:
    """Return how many of our events are observed on the nodes."""
    events = (
        slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent,
        slicer.vtkMRMLScene.StartCloseEvent,
        slicer.vtkSegmentation.SourceRepresentationModified,
    )
    return sum(bool(node.HasObserver(event)) for node in nodes for event in events)


def test_the_scene_is_closed_in_the_middle_of_a_job(a_slow_search, an_engine, errors):
    workspace = a_slow_search
    reasons = []
    workspace.ended.connect(reasons.append)
    scene = workspace.scene

    scene.Clear(0)
    assert not workspace.is_open
    settle(workspace)
    workspace.go_on.set()
    settle(workspace)

    assert reasons == [""]
    assert workspace.messages == []
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0
    workspace.start(scan_node(scene))
    settle(workspace)
    place(workspace, FIRST)
    settle(workspace)
    assert is_exactly(workspace.session, 1, FIRST)


@pytest.mark.parametrize("moment", ["at rest", "in the middle of a job"])
def test_the_scan_is_removed(a_slow_search, errors, moment):
    workspace = a_slow_search
    if moment == "at rest":
        workspace.go_on.set()
        settle(workspace)
    segments, points = workspace.segments_node, workspace.points_node

    workspace.scene.RemoveNode(workspace.volume_node)
    settle(workspace)

    assert not workspace.is_open
    assert "removed" in workspace.messages[-1]
    assert segments.GetSegmentation().GetSegment("MOISSAM2_1") is not None
    assert labels_in(points) == ["1+"]
    assert observers_of(points, segments) == 0


def test_the_segmentation_is_removed_and_comes_back_with_the_next_start(an_open_workspace, errors):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    workspace.commands.find_similar()
    settle(workspace)
    workspace.commands.accept()
    settle(workspace)
    before, scan = digest(workspace.session.state), workspace.volume_node

    workspace.scene.RemoveNode(workspace.segments_node)
    assert not workspace.is_open
    assert "Start again" in workspace.messages[-1]
    workspace.start(scan)
    settle(workspace)

    assert digest(workspace.session.state) == before
    assert workspace.session.lesion(2).status is Status.ACCEPTED
    assert shows_exactly_its_session(workspace)


def test_the_list_of_points_is_removed_and_comes_back(an_open_workspace, errors):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    gone = workspace.points_node

    workspace.scene.RemoveNode(gone)
    settle(workspace)

    assert workspace.points_node is not gone
    assert labels_in(workspace.points_node) == ["1+"]
    assert is_exactly(workspace.session, 1, FIRST)
    drag(workspace, workspace.points_node.GetNthControlPointID(0), world_of(workspace, 10, 10, 24))
    settle(workspace)
    assert is_exactly(workspace.session, 1, THIRD)


def test_the_stored_session_is_removed_and_stored_again(an_open_workspace, errors):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    workspace.scene.RemoveNode(stored_session_of(workspace.scene, workspace.volume_node).node)

    place(workspace, SECOND, "2+")
    settle(workspace)

    stored = stored_session_of(workspace.scene, workspace.volume_node)
    assert stored.content
    assert stored.referenced("MOISSAM2.points") is workspace.points_node


def test_nodes_that_are_renamed_go_on_as_before(an_open_workspace, errors):
    workspace = an_open_workspace
    for node in (workspace.volume_node, workspace.segments_node, workspace.points_node):
        node.SetName("anders")

    place(workspace, FIRST)
    settle(workspace)

    assert is_exactly(workspace.session, 1, FIRST)
    assert shows_exactly_its_session(workspace)


def test_a_scan_whose_voxels_are_changed_ends_the_work_on_it(an_open_workspace, errors):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    node = workspace.volume_node

    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node) + 1)
    settle(workspace)

    assert not workspace.is_open
    assert "changed" in workspace.messages[-1]


def test_a_scan_that_is_edited_while_the_worker_is_busy_is_opened_as_it_is_then(
    a_workspace, a_volume_node, an_engine
):
    """Its voxels are copied on the worker: on a slow computer to do so blocks the window."""
    is_free = threading.Event()
    an_engine.worker.submit(Job("Other work", lambda *how: is_free.wait(5)))
    a_workspace.start(a_volume_node)
    slicer.util.arrayFromVolume(a_volume_node)[0] += 1
    slicer.util.arrayFromVolumeModified(a_volume_node)
    is_free.set()
    settle(a_workspace)

    voxels = a_workspace.session.volume.array
    assert np.array_equal(voxels, view_of(a_volume_node).array)
    assert not np.shares_memory(voxels, view_of(a_volume_node).array)


def test_a_scan_that_is_edited_while_it_is_copied_ends_the_work_on_it(
    a_workspace, a_volume_node, monkeypatch
):
    def torn(volume):
        copy = copied(volume)
        slicer.util.arrayFromVolume(a_volume_node)[0] += 1
        return copy

    monkeypatch.setattr(open_scan, "copied", torn)
    a_workspace.start(a_volume_node)
    slicer.util.arrayFromVolumeModified(a_volume_node)
    settle(a_workspace)

    assert not a_workspace.is_open
    assert a_workspace.messages == [SCAN_CHANGED]


def test_window_and_level_are_no_change(an_open_workspace, errors):
    workspace = an_open_workspace
    workspace.volume_node.CreateDefaultDisplayNodes()
    workspace.volume_node.GetDisplayNode().SetWindowLevel(100, 50)
    workspace.volume_node.Modified()
    settle(workspace)

    assert workspace.is_open


def test_a_job_that_is_cancelled_changes_nothing(a_slow_search, errors):
    workspace = a_slow_search
    before = digest(workspace.session.state)

    workspace.cancel()
    settle(workspace)

    assert digest(workspace.session.state) == before
    assert shows_exactly_its_session(workspace)
    assert workspace.messages == []


def test_a_click_that_is_cancelled_is_taken_back_in_the_scene(a_slow_search, errors):
    workspace = a_slow_search
    second = place(workspace, SECOND, "2+")
    workspace.pump()
    first = workspace.points_node.GetNthControlPointID(0)
    drag(workspace, first, world_of(workspace, *THIRD.middle))
    workspace.pump()
    paint(workspace, 1, np.s_[3, 15:18, 5:12])
    workspace.pump()

    workspace.cancel()
    settle(workspace)

    assert workspace.points_node.GetNthControlPointIndexByID(second) < 0
    world = workspace.points_node.GetNthControlPointPositionWorld(0)
    assert np.allclose(world, world_of(workspace, *FIRST.middle))
    assert is_exactly(workspace.session, 1, FIRST)
    assert shows_exactly_its_session(workspace)


def test_a_step_that_fails_says_why_and_puts_the_scene_right(
    an_open_workspace, monkeypatch, errors
):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)

    def broken(*_, **__):
        raise ZeroDivisionError("never shown")

    with monkeypatch.context() as patch:
        patch.setattr(workspace.session, "clicks", broken)
        place(workspace, SECOND, "2+")
        settle(workspace)

    assert len(workspace.messages) == 1
    assert "never shown" not in workspace.messages[0]
    assert labels_in(workspace.points_node) == ["1+"]
    workspace.commands.delete(99)
    settle(workspace)
    assert "no lesion 99" in workspace.messages[1]


def test_points_placed_during_a_search_do_not_get_the_id_of_a_finding(a_slow_search, errors):
    workspace = a_slow_search
    workspace.commands.begin_lesion()
    place(workspace, THIRD)
    workspace.pump()
    workspace.commands.accept()
    workspace.go_on.set()
    settle(workspace)

    lesion_id = workspace.commands.active_lesion
    assert workspace.session.lesion(lesion_id).clicks
    others = [lesion for lesion in workspace.session.lesions if lesion.id not in (1, lesion_id)]
    assert others
    assert not any(lesion.clicks for lesion in others)
    assert {lesion.status for lesion in others} == {Status.ACCEPTED}


def test_nothing_is_left_behind_when_the_module_is_reloaded(
    a_scene, an_engine, a_volume_node, errors
):
    workspace = Workspace(a_scene, an_engine)
    workspace.start(a_volume_node)
    settle(workspace)
    place(workspace, FIRST, "1+")
    place(workspace, SECOND, "2+")
    settle(workspace)
    points, segments = workspace.points_node, workspace.segments_node
    session = weakref.ref(workspace.session)
    assert observers_of(points, segments, a_scene) >= 3

    workspace.close()
    while an_engine.is_busy:
        an_engine.pump()
    gone = weakref.ref(workspace)
    del workspace
    gc.collect()

    assert gone() is None
    assert session() is None
    assert not points.HasObserver(slicer.vtkMRMLMarkupsNode.PointStartInteractionEvent)
    points.RemoveNthControlPoint(1)
    segments.GetSegmentation().GetSegment("MOISSAM2_1").SetName("still a good node")
    again = Workspace(a_scene, an_engine)
    again.start(a_volume_node)
    settle(again)
    assert again.session.lesion(1).name == "still a good node"
    assert 2 not in again.session.state.lesions
    again.close()


def test_another_scan_can_be_started_at_any_time(a_slow_search, errors):
    workspace = a_slow_search
    other = scan_node(workspace.scene, SECOND, THIRD)

    workspace.start(other)
    settle(workspace)
    place(workspace, SECOND)
    settle(workspace)

    assert is_exactly(workspace.session, 1, SECOND)
    assert workspace.volume_node is other


def test_a_search_that_is_stopped_says_what_is_left(a_slow_search):
    workspace = a_slow_search
    before = digest(workspace.session.state)

    workspace.cancel()
    settle(workspace)

    assert workspace.notices == ["Stopped; the lesions are as they were."]
    assert workspace.messages == []
    assert digest(workspace.session.state) == before


def test_a_propagation_that_is_stopped_says_how_to_go_on_and_to_take_it_back(
    an_open_workspace, monkeypatch
):
    workspace = an_open_workspace
    running = threading.Event()

    def wait(lesion_ids, progress, cancel):
        running.set()
        while True:
            cancel.check()

    with monkeypatch.context() as patch:
        patch.setattr(workspace.session, "propagate", wait)
        place(workspace, FIRST, "1+")
        workspace.pump()
        assert running.wait(5)
        workspace.cancel()
        settle(workspace)

    (notice,) = workspace.notices
    assert "Another click" in notice and "Undo" in notice
    assert list(workspace.session.lesion(1).mask.planes) == [FIRST.middle[0]]
    assert shows_exactly_its_session(workspace)
    place(workspace, FIRST, "1+")
    settle(workspace)
    assert is_exactly(workspace.session, 1, FIRST)
    for _ in range(2):
        workspace.commands.undo()
        settle(workspace)
    assert workspace.session.lesions == ()


def test_slices_that_are_no_longer_prepared_are_told_of(a_workspace, a_volume_node, monkeypatch):
    from mois_core.session import Session

    running = threading.Event()

    def wait(session, start, progress, cancel):
        running.set()
        while True:
            cancel.check()

    monkeypatch.setattr(Session, "prepare", wait)
    a_workspace.start(a_volume_node)
    while not running.is_set():
        a_workspace.pump()

    a_workspace.cancel()
    settle(a_workspace)

    assert a_workspace.notices == [
        "Stopped. A click on a slice that is not prepared takes a little longer."
    ]
    place(a_workspace, FIRST)
    settle(a_workspace)
    assert is_exactly(a_workspace.session, 1, FIRST)


def test_opening_that_is_stopped_says_how_to_begin_again(a_workspace, a_volume_node):
    # The engine does something else first: what is to be stopped must not be over before.
    go_on = threading.Event()
    a_workspace.engine.worker.submit(Job("Wait", lambda *_: go_on.wait(5), owner=go_on))
    a_workspace.start(a_volume_node)
    a_workspace.cancel()
    go_on.set()
    settle(a_workspace)

    assert not a_workspace.is_open
    assert a_workspace.messages == ["Stopped. Press Start to prepare the scan."]


def test_what_the_session_tells_arrives_on_the_main_thread(an_open_workspace):
    workspace = an_open_workspace
    threads = []
    workspace.notice.connect(lambda text: threads.append((text, threading.current_thread())))
    session = workspace.session

    workspace.open_work().run("Tell", lambda session, *_: session.on_notice("It is slow."))
    settle(workspace)

    assert threads == [("It is slow.", threading.main_thread())]
    workspace.end()
    assert session.on_notice is None


def test_all_points_that_are_removed_at_once_are_one_step(an_open_workspace):
    """As by the button of the module Markups."""
    workspace = an_open_workspace
    labels = ["1+", "2+", "3+"]
    for label, block in zip(labels, (FIRST, SECOND, THIRD), strict=True):
        place(workspace, block, label)
        settle(workspace)
    before, steps = digest(workspace.session.state), len(workspace.session.history.past)

    workspace.points_node.RemoveAllControlPoints()
    settle(workspace)

    assert workspace.entries() == []
    assert len(workspace.session.history.past) == steps + 1
    assert shows_exactly_its_session(workspace)
    workspace.commands.undo()
    settle(workspace)
    assert digest(workspace.session.state) == before
    assert sorted(labels_in(workspace.points_node)) == labels
    assert shows_exactly_its_session(workspace)


def test_a_finding_that_was_refined_stays_when_its_points_go(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST, "1+")
    settle(workspace)
    found: list[int] = []
    workspace.commands.find_similar(then=found.extend)
    settle(workspace)
    place(workspace, SECOND, f"{found[0]}+")
    settle(workspace)

    workspace.points_node.RemoveAllControlPoints()
    settle(workspace)

    assert 1 not in workspace.session.state.lesions
    assert workspace.session.lesion(found[0]).status is Status.FOUND
    assert workspace.session.lesion(found[0]).mask


def test_a_point_that_is_unselected_keeps_the_colour_of_its_kind(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST, "1+")
    settle(workspace)
    steps = len(workspace.session.history.past)

    workspace.points_node.SetNthControlPointSelected(0, False)
    settle(workspace)

    assert workspace.points_node.GetNthControlPointSelected(0)
    assert len(workspace.session.history.past) == steps


def test_a_step_that_begins_makes_what_was_said_old(an_open_workspace):
    """But not what is said of the very points that begin it."""
    workspace = an_open_workspace
    said: list[str] = []
    workspace.begins.connect(said.clear)
    workspace.message.connect(said.append)

    workspace.message("old")
    place(workspace, FIRST)
    workspace.points_node.AddControlPointWorld(9999.0, 0.0, 0.0)
    settle(workspace)

    assert said == ["The point lies outside the scan and was taken away."]
    assert is_exactly(workspace.session, 1, FIRST)
