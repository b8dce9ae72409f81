"""Tests of the panel when nodes are removed, scans or models exchanged, or jobs interrupted.

The panel is updated, and no work is lost.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest
import slicer
from engine_fixtures import FIRST, SECOND
from scans import scan_node, shows_exactly_its_session
from stub_sessions import is_exactly

from mois_core.session.lesion import Status

pytestmark = pytest.mark.usefixtures("errors")


def test_the_scene_is_closed_in_the_middle_of_a_search(a_search):
    user = a_search

    user.scene.Clear(0)
    user.wait()

    assert user.rows() == []
    assert not user.workspace.is_open
    for name in ("newLesionButton", "searchButton", "startButton", "undoButton", "reportButton"):
        assert not user.can(name)
    assert not user.find("placeButton").isChecked()
    scan_node(user.scene)
    user.start()
    user.press("newLesionButton")
    user.click_into(SECOND)
    assert is_exactly(user.workspace.session, 1, SECOND)


def test_the_scan_is_deleted_in_the_middle_of_a_search(a_search):
    user = a_search

    user.scene.RemoveNode(user.workspace.volume_node)
    user.wait()

    assert "scan was removed" in user.message
    assert user.find("scanBox").currentNode() is None
    assert user.rows() == []


def test_the_segmentation_is_deleted_and_comes_back_at_the_next_start(a_search):
    user = a_search
    user.go_on.set()
    user.wait()

    user.scene.RemoveNode(user.workspace.segments_node)
    user.wait()
    assert "Start again" in user.message
    user.press("startButton")
    user.wait()

    assert len(user.rows()) > 1
    assert shows_exactly_its_session(user.workspace)


def test_the_list_of_points_is_deleted_and_points_can_be_placed_on(a_started_panel):
    user = a_started_panel
    user.press("newLesionButton")
    user.click_into(FIRST)

    user.scene.RemoveNode(user.workspace.points_node)
    user.wait()
    user.press("newLesionButton")
    user.click_into(SECOND)

    assert len(user.rows()) == 2
    assert user.find("placeWidget").currentNode() is user.workspace.points_node


def test_another_scan_is_chosen_and_the_first_one_goes_on_later(a_started_panel):
    user = a_started_panel
    user.press("newLesionButton")
    user.click_into(FIRST)
    first = user.workspace.volume_node
    second = scan_node(user.scene)

    user.find("scanBox").setCurrentNode(second)
    user.wait()
    assert "scan (number 1 of 2 with this name) is kept" in user.message
    assert user.rows() == []
    assert not user.workspace.is_open
    user.press("startButton")
    user.wait()
    assert user.workspace.volume_node is second
    user.find("scanBox").setCurrentNode(first)
    user.wait()
    user.press("startButton")
    user.wait()

    assert "goes on; undo begins anew" in user.message
    assert [row[0] for row in user.rows()] == ["Lesion 1"]
    assert is_exactly(user.workspace.session, 1, FIRST)


def test_work_that_was_begun_elsewhere_is_followed_and_not_ended(a_panel):
    """As the Segment Editor's effect opens another scan in the same workspace."""
    user = a_panel
    mine, other = scan_node(user.scene), scan_node(user.scene)
    user.find("scanBox").setCurrentNode(mine)

    user.workspace.start(other)
    user.scene.RemoveNode(mine)
    user.wait()

    assert user.workspace.volume_node is other
    assert user.find("scanBox").currentNode() is other
    user.press("newLesionButton")
    user.click_into(FIRST)
    assert len(user.rows()) == 1


def test_leaving_gives_keys_mouse_and_memory_back_and_coming_back_works_on(a_started_panel):
    user = a_started_panel
    user.press("newLesionButton")
    user.click_into(FIRST)
    assert len(user.panel.shortcuts.keys) == 14

    user.widget.exit()
    user.wait()
    assert user.panel.shortcuts.keys == []
    assert not user.find("placeButton").isChecked()
    assert user.panel.engine._is_resting
    user.widget.enter()
    user.press("newLesionButton")
    user.click_into(SECOND)

    assert not user.panel.engine._is_resting
    assert is_exactly(user.workspace.session, 2, SECOND)


def test_the_keys_are_none_of_those_that_others_have(a_panel):
    taken = {"Esc", "Space", "Z", "Y", "Q", "W", "I", "/", "*", ",", ".", "<", ">"}
    taken |= {*"0123456789", *"FBGRTVS", *"[]{}+-", "Left", "Right", "Up", "Down"}

    assert not taken & set(a_panel.panel.shortcuts.keys)
    assert len(set(a_panel.panel.shortcuts.keys)) == 14


def test_a_reload_in_the_middle_of_a_search_keeps_the_work(a_search, an_engine):
    from user import User

    user = a_search
    node = user.workspace.volume_node
    user.widget.cleanup()
    assert not [t for t in threading.enumerate() if t.name.startswith("MOISSAM2")]
    user.close()
    again = User()
    again.open()
    again.panel.engine.use(an_engine_of_its_own(), a_model_info())
    again.find("scanBox").setCurrentNode(node)
    again.start()

    assert [row[:2] for row in again.rows()] == [("Lesion 1", "\u25cf Clicked")]
    assert is_exactly(again.workspace.session, 1, FIRST)
    again.close()


def an_engine_of_its_own():
    from stub_network import StubNetwork

    return StubNetwork()


def a_model_info():
    from mois_core.network.model_info import ModelInfo

    return ModelInfo("stub", "stub.pt", "0" * 64)


def test_nothing_of_a_closed_panel_is_held_by_the_scene(a_started_panel):
    user = a_started_panel
    user.press("newLesionButton")
    user.click_into(FIRST)
    panel, workspace = weakref.ref(user.panel), weakref.ref(user.workspace)
    points = user.workspace.points_node

    user.close()
    user.widget.ui = user.widget.logic = None
    gc.collect()

    assert workspace() is None
    assert panel() is None
    points.AddControlPointWorld(0, 0, 0)
    user.scene.Clear(0)


def test_accepted_lesions_are_in_the_scene_whatever_ends_the_work(a_search):
    user = a_search
    user.go_on.set()
    user.wait()
    user.accept_all()
    user.wait()
    accepted = [e.lesion_id for e in user.workspace.entries() if e.status == Status.ACCEPTED.value]
    node = user.workspace.segments_node
    assert accepted

    user.widget.cleanup()

    segment_ids = node.GetSegmentation().GetSegmentIDs()
    assert {f"MOISSAM2_{lesion_id}" for lesion_id in accepted} <= set(segment_ids)


def test_an_unexpected_error_becomes_a_message_and_the_work_goes_on(a_started_panel, monkeypatch):
    user = a_started_panel

    def broken(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(user.workspace.session, "accept", broken)
    monkeypatch.setattr(user.workspace.commands, "begin_lesion", broken)
    user.press("newLesionButton")
    assert "should not have (ZeroDivisionError)" in user.message
    assert "Traceback" not in user.message
    monkeypatch.undo()
    user.press("newLesionButton")
    user.click_into(FIRST)

    assert is_exactly(user.workspace.session, 1, FIRST)


def test_a_region_limits_the_search_and_segments_can_be_examples(a_started_panel):
    user = a_started_panel
    user.press("newLesionButton")
    user.click_into(FIRST)
    roi = user.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "somewhere else")
    roi.SetXYZ(1000, 1000, 1000)
    roi.SetSize(1, 1, 1)

    user.find("insideBox").setCurrentNode(roi)
    user.press("searchButton")
    user.wait()
    assert "leaves nothing" in user.message
    user.find("insideBox").setCurrentNode(None)
    user.find("outsideBox").setCurrentNode(roi)
    user.press("whereButton")
    user.find("exampleBox").setCurrentNode(user.workspace.segments_node)
    user.press("addExamplesButton")
    user.wait()
    assert "brought-in" in user.find("exampleLabel").text()
    user.press("changeButton")
    assert user.find("whereButton").text() == "In a region +1..."
    user.press("searchButton")
    user.wait()
    assert "finding" in user.message
    user.press("whereButton")
    user.press("clearExamplesButton")
    user.wait()
    assert not user.can("clearExamplesButton")


def test_a_search_without_any_example_says_what_is_missing(a_started_panel):
    a_started_panel.press("searchButton")
    a_started_panel.wait()

    assert "at least one lesion" in a_started_panel.message
    assert a_started_panel.rows() == []


def test_findings_that_nobody_accepted_are_no_examples(a_started_panel):
    user = a_started_panel
    user.press("newLesionButton")
    user.click_into(FIRST)
    user.press("searchButton")
    user.wait()
    found = user.rows()
    user.workspace.commands.delete(1)
    user.wait()

    user.press("searchButton")
    user.wait()

    assert "at least one lesion" in user.message
    assert len(user.rows()) == len(found) - 1 > 0


def test_choices_go_with_the_scene_and_into_the_session(a_started_panel):
    user = a_started_panel
    box = user.find("propagationSlicesBox")
    box.setValue(1)
    user.wait()

    assert user.workspace.session.settings.propagation_slices == 1
    assert user.widget.parameters.propagationSlices == 1
    user.press("newLesionButton")
    user.click_into(FIRST)
    slices = user.workspace.entries()[0].slices
    assert slices == 3
    assert user.widget.parameters.scan is user.workspace.volume_node


def test_memory_is_what_this_computer_can_spare_unless_the_user_says_so(a_panel):
    user = a_panel
    scan_node(user.scene)
    user.start()
    settings = user.workspace.session.settings
    assert (settings.device_budget, settings.host_budget) == (None, None)
    user.find("scanBox").setCurrentNode(None)
    user.wait()

    user.find("hostMemoryBox").setValue(3)
    user.start()

    assert user.workspace.session.embeddings.host_budget == 3 * 2**30


def test_a_scan_that_is_none_is_refused_in_words(a_panel):
    user = a_panel
    user.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    user.panel.enter()
    user.press("startButton")
    user.wait()

    assert "no image" in user.message
    assert user.can("startButton")


@pytest.mark.alone
def test_the_main_thread_is_never_held_for_long_while_the_engine_works(
    a_started_panel, monkeypatch, record_property
):
    """With an engine that takes its time, as torch does: mostly without the interpreter."""
    user = a_started_panel
    session = user.workspace.session
    find, propagate = session.find_similar, session.propagate

    def slow(action):
        def slowly(*how):
            time.sleep(0.3)
            return action(*how)

        return slowly

    monkeypatch.setattr(session, "find_similar", slow(find))
    monkeypatch.setattr(session, "propagate", slow(propagate))
    user.turns.clear()
    for block in (FIRST, SECOND):
        user.press("newLesionButton")
        user.click_into(block)
    user.press("searchButton")
    user.wait()
    user.accept_all()
    user.wait()

    worked = max(turn.worked for turn in user.turns)
    passed = sorted(turn.passed for turn in user.turns)
    figures = {
        "longest turn of the event loop in ms": round(1000 * passed[-1], 1),
        "most work of the main thread in a turn in ms": round(1000 * worked, 1),
        "turns": len(passed),
    }
    record_property("figures", figures)
    print(figures)
    assert len(user.turns) > 50
    assert worked < 0.05
    # By the clock only most of them: other programs may have the processor now and then.
    assert passed[len(passed) * 9 // 10] < 0.05


def import_scene(scene) -> None:
    """Add what a file holds to the scene, here another scan, with the events that Slicer sends."""
    scene.StartState(scene.ImportState)
    scan_node(scene).SetName("Imported")
    scene.EndState(scene.ImportState)


@pytest.mark.parametrize("is_here", [True, False], ids=["in the module", "elsewhere in Slicer"])
def test_the_work_goes_on_when_a_scene_is_added_to_the_present_one(a_panel, is_here):
    """Slicer's list of scans is filled again then, as if somebody had chosen another one."""
    user = a_panel
    before = scan_node(user.scene)
    mine = scan_node(user.scene)
    user.find("scanBox").setCurrentNode(mine)
    user.start()
    user.press("newLesionButton")
    user.click_into(FIRST)
    region = user.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    user.find("insideBox").setCurrentNode(region)
    if not is_here:
        user.widget.exit()

    import_scene(user.scene)
    user.wait()

    assert user.workspace.volume_node is mine is not before
    assert is_exactly(user.workspace.session, 1, FIRST)
    assert user.find("scanBox").currentNode() is mine
    if not is_here:
        user.widget.enter()
    assert user.find("scanBox").currentNode() is mine
    assert user.find("insideBox").currentNode() is region
    assert user.workspace.is_open


def test_another_scan_can_be_chosen_after_a_scene_was_added(a_started_panel):
    user = a_started_panel
    import_scene(user.scene)
    user.wait()
    other = slicer.util.getNode("Imported")

    user.find("scanBox").setCurrentNode(other)
    user.wait()

    assert not user.workspace.is_open
    assert "is kept" in user.find("messageLabel").text()
