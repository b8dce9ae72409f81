"""Tests of the Segment Editor's effect, with the module's real panel beside it."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from engine_fixtures import FIRST, SECOND, painted
from PySide6 import QtCore, QtWidgets
from scans import labels_in, scan_as_read, world_of


def middle(effect, block):
    return world_of(effect.workspace, *block.middle)


def in_volume(effect, block) -> np.ndarray:
    return effect.workspace.session.stack.to_volume(painted(block))


def outlined(effect) -> np.ndarray:
    return effect.editor.mask(effect.editor.segment_id)


def test_the_effect_says_what_it_is(an_effect):
    values = an_effect.effect.values

    assert values["name"] == values["title"] == "MOISSAM2"
    assert values["perSegment"] and values["requireSegments"]
    assert "Ctrl" in an_effect.python.helpText()
    assert "research" in an_effect.python.helpText()
    assert not an_effect.python.icon().real.isNull()


def test_a_click_outlines_the_lesion_in_the_chosen_segment(an_effect):
    assert an_effect.click(middle(an_effect, FIRST))

    assert np.array_equal(outlined(an_effect), in_volume(an_effect, FIRST))
    assert an_effect.effect.saves == 1
    assert labels_in(an_effect.workspace.points_node) == ["1+"]


def test_a_double_click_is_one_click_and_does_not_maximize_the_view(an_effect):
    place = middle(an_effect, FIRST)
    an_effect.click(place)

    assert an_effect.click(place, event=vtk.vtkCommand.LeftButtonDoubleClickEvent)

    assert an_effect.effect.saves == 1
    assert labels_in(an_effect.workspace.points_node) == ["1+"]
    assert an_effect.click(place, control=True, event=vtk.vtkCommand.LeftButtonDoubleClickEvent)
    assert labels_in(an_effect.workspace.points_node) == ["1+", "1-"]


def test_a_point_under_the_mouse_is_left_to_slicer_which_drags_it(an_effect):
    world = world_of(an_effect.workspace, *FIRST.middle)
    an_effect.click(world)
    display = an_effect.workspace.points_node.GetDisplayNode()
    saves = an_effect.effect.saves

    display.SetActiveComponent(display.ComponentControlPoint, 0)
    assert not an_effect.click(world)
    assert an_effect.click(world, event=vtk.vtkCommand.LeftButtonDoubleClickEvent)
    assert labels_in(an_effect.workspace.points_node) == ["1+"]
    assert an_effect.effect.saves == saves

    outside = world_of(an_effect.workspace, 5, 7, 6)
    assert an_effect.click(outside, control=True)
    assert labels_in(an_effect.workspace.points_node) == ["1+", "1-"]
    display.SetActiveComponent(display.ComponentNone, -1)
    assert an_effect.click(world)
    assert labels_in(an_effect.workspace.points_node) == ["1+", "1-", "1+"]


def test_a_click_with_control_takes_away(an_effect):
    an_effect.click(middle(an_effect, FIRST))

    assert an_effect.click(world_of(an_effect.workspace, 5, 7, 6), control=True)

    assert labels_in(an_effect.workspace.points_node) == ["1+", "1-"]
    assert 0 < outlined(an_effect).sum() < FIRST.voxels


def test_undo_in_the_segment_editor_takes_the_click_back(an_effect):
    an_effect.click(middle(an_effect, FIRST))

    an_effect.editor.logic.Undo()
    an_effect.user.wait()

    assert not outlined(an_effect).any()
    assert labels_in(an_effect.workspace.points_node) == []


@pytest.mark.parametrize(
    "how",
    [
        {"shift": True},
        {"view": "qMRMLThreeDWidget"},
        {"event": vtk.vtkCommand.MouseMoveEvent},
        {"event": vtk.vtkCommand.RightButtonPressEvent},
    ],
    ids=["with shift", "in 3D", "moving", "right button"],
)
def test_other_events_are_left_to_slicer(an_effect, how):
    assert not an_effect.click(middle(an_effect, FIRST), **how)

    assert an_effect.effect.saves == 0
    assert labels_in(an_effect.workspace.points_node) == []


def test_a_hidden_segment_is_not_changed(an_effect):
    display = an_effect.editor.node.GetDisplayNode()
    display.SetSegmentVisibility(an_effect.editor.segment_id, False)

    assert an_effect.click(middle(an_effect, FIRST))

    assert an_effect.effect.saves == 0


def test_panel_and_effect_show_the_same_work(an_effect):
    an_effect.click(middle(an_effect, FIRST))

    assert [row[0] for row in an_effect.user.rows()] == ["Lesion 1"]
    an_effect.user.press("undoButton")
    an_effect.user.wait()
    assert not outlined(an_effect).any()
    assert an_effect.user.rows() == []


def test_similar_lesions_become_segments(an_effect):
    assert not an_effect.python.findButton.enabled
    an_effect.click(middle(an_effect, FIRST))

    an_effect.press(an_effect.python.findButton)

    assert "Found: 2" in an_effect.message
    assert an_effect.editor.node.GetSegmentation().GetNumberOfSegments() == 3
    assert an_effect.effect.saves == 2
    assert not an_effect.python.cancelButton.enabled


def test_what_the_session_tells_is_shown_until_the_next_step(an_effect):
    an_effect.workspace.notice("It is slow.")
    assert an_effect.message == "It is slow."

    an_effect.click(middle(an_effect, FIRST))

    assert an_effect.message == ""


def test_painting_that_cannot_be_taken_over_stays_and_the_click_is_not_made(an_effect, monkeypatch):
    stroke = in_volume(an_effect, FIRST)
    an_effect.editor.paint(stroke)

    def fail(*_):
        raise ValueError("a defect")

    monkeypatch.setattr(an_effect.workspace.session, "set_mask", fail)
    an_effect.click(middle(an_effect, FIRST))

    assert np.array_equal(outlined(an_effect), stroke)
    assert "the click was not made" in an_effect.message
    assert labels_in(an_effect.workspace.points_node) == []


def test_the_number_of_slices_is_kept_with_the_work(an_effect):
    box = an_effect.python.propagationSlicesBox
    assert box.value == -1 and an_effect.workspace.session.settings.propagation_slices is None

    box.real.setValue(1)
    an_effect.user.wait()
    an_effect.click(middle(an_effect, FIRST))

    assert an_effect.workspace.session.settings.propagation_slices == 1
    assert outlined(an_effect).sum() == FIRST.voxels * 3 // 5
    assert an_effect.workspace.commands.undo_name == "click"


def test_errors_are_shown_in_the_options(an_effect):
    an_effect.click(middle(an_effect, FIRST), control=True)
    assert "Click into the lesion first" in an_effect.message

    an_effect.editor.parameters.SetSelectedSegmentID("")
    display = an_effect.effect.values
    display["confirmCurrentSegmentVisible"] = lambda: an_effect.effect.ConfirmedWithoutDialog
    an_effect.click(middle(an_effect, FIRST))
    assert "Choose a segment" in an_effect.message


def test_leaving_the_effect_leaves_nothing_behind(an_effect):
    workspace = an_effect.workspace
    an_effect.click(middle(an_effect, FIRST))
    told = (workspace.message, workspace.notice, workspace.begins)
    signals = (*told, workspace.opened, workspace.changed, workspace.ended)
    before = [len(signal) for signal in signals]

    an_effect.python.deactivate()
    an_effect.user.wait()

    assert [len(signal) for signal in signals] == [count - 1 for count in before]
    assert len(workspace.segments.borrowed) == 0
    assert np.array_equal(outlined(an_effect), in_volume(an_effect, FIRST))
    an_effect.python.deactivate()
    an_effect.python.activate()
    an_effect.user.wait()
    assert [len(signal) for signal in signals] == before


def test_choosing_the_effect_prepares_the_scan(the_effect, a_panel):
    from effect_parts import EffectUser
    from segment_editor import Editor

    workspace = a_panel.workspace
    scan = scan_as_read(a_panel.scene)
    workspace.volume_node = scan
    editor = Editor(workspace)
    workspace.volume_node = None
    user = EffectUser(a_panel, the_effect, editor)

    user.python.activate()
    assert "being prepared" in user.message
    user.user.wait()

    assert workspace.is_open
    assert "Click into a lesion" in user.message
    user.click(middle(user, SECOND))
    assert np.array_equal(outlined(user), in_volume(user, SECOND))
    user.python.cleanup()


def test_another_source_volume_is_worked_on_instead(an_effect):
    workspace = an_effect.workspace
    other = scan_as_read(workspace.scene, "other")

    an_effect.editor.logic.SetSourceVolumeNode(other)
    an_effect.python.sourceVolumeNodeChanged()
    an_effect.user.wait()

    assert workspace.volume_node is other
    assert workspace.is_open


def test_without_a_source_volume_a_message_asks_for_one(an_effect):
    an_effect.python.deactivate()
    an_effect.editor.parameters.SetAndObserveSourceVolumeNode(None)

    an_effect.python.activate()

    assert "source volume" in an_effect.message


def test_without_a_model_the_way_to_the_module_is_shown(an_effect, an_engine):
    an_effect.python.deactivate()
    an_engine.unload()
    an_effect.user.wait()

    an_effect.python.activate()
    assert "There is no model yet" in an_effect.message
    an_effect.press(an_effect.python.moduleButton)

    assert an_effect.user.widget.chosen_modules == ["MOISSAM2Segment"]


def test_a_slicer_that_cannot_show_the_module_does_not_print_an_exception(
    an_effect, errors, monkeypatch
):
    """`slicer.util.selectModule` raises RuntimeError without a main window."""

    def select(name: str) -> None:
        raise RuntimeError("Could not find main window")

    monkeypatch.setattr(slicer.util, "selectModule", select)

    an_effect.press(an_effect.python.moduleButton)

    assert "went wrong" in an_effect.message


ROOM = QtCore.QSize(340, 125)
"""What a window of 1280 x 800 shows of the effect in Slicer 5.12.3: the rest is below the fold."""


def test_message_and_search_are_seen_in_a_small_window(an_effect):
    """The help is shown up to its first line break, with "... Show details." behind it."""
    teaser = an_effect.python.helpText().partition("<br>")[0]
    shown = QtWidgets.QLabel(f"{teaser}&hellip; Show details.")
    shown.setWordWrap(True)
    used = shown.heightForWidth(ROOM.width())
    frame = an_effect.effect.frame
    an_effect.python.messageLabel.text = "The scan is being prepared; click again in a moment."
    frame.resize(ROOM.width(), frame.heightForWidth(ROOM.width()))
    frame.show()
    an_effect.user.turn()

    for widget in (an_effect.python.messageLabel, an_effect.python.findButton):
        assert used + widget.real.geometry().bottom() < ROOM.height()
    assert used < 2 * shown.fontMetrics().lineSpacing()
