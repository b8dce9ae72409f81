"""Tests of the report's table in Slicer's views, and of the way back to the layout before."""

from __future__ import annotations

import pytest
import slicer
from engine_fixtures import FIRST, SECOND

LAYOUTS = slicer.vtkMRMLLayoutNode


@pytest.fixture
def a_lesion(a_started_panel):
    """A user who has clicked one lesion, in a layout that is not Slicer's usual one."""
    user = a_started_panel
    layout().SetViewArrangement(LAYOUTS.SlicerLayoutOneUpRedSliceView)
    user.press("newLesionButton")
    user.click_into(FIRST)
    return user


def layout():
    return slicer.app.layoutManager().layoutLogic().GetLayoutNode()


def show_table(user) -> None:
    user.press("reportButton")
    user.wait()


def shown_table(user) -> object:
    """The table in Slicer's table view; None if there is no such view, or nothing in it."""
    views = "vtkMRMLTableViewNode"
    if not user.scene.GetNumberOfNodesByClass(views):
        return None
    return user.scene.GetNthNodeByClass(0, views).GetTableNode()


def text_of(user) -> str:
    return user.find("reportButton").text()


def test_the_button_shows_the_table_and_says_how_to_go_back(a_lesion):
    assert text_of(a_lesion) == "Show table"

    show_table(a_lesion)

    assert layout().GetViewArrangement() == LAYOUTS.SlicerLayoutFourUpTableView
    assert text_of(a_lesion) == "Hide table"
    assert "as they did before" in a_lesion.find("reportButton").toolTip()


def test_the_table_view_shows_the_table_the_first_time_already(a_lesion):
    """The view is not there before the layout is: only then can it take the selection over."""
    assert a_lesion.scene.GetNumberOfNodesByClass("vtkMRMLTableViewNode") == 0

    show_table(a_lesion)

    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert shown_table(a_lesion) is table
    assert table.GetNumberOfRows() == 1


def test_pressing_again_brings_the_layout_back_that_was_there(a_lesion):
    show_table(a_lesion)
    a_lesion.press("reportButton")

    assert layout().GetViewArrangement() == LAYOUTS.SlicerLayoutOneUpRedSliceView
    assert text_of(a_lesion) == "Show table"
    assert "1 lesion" in a_lesion.message
    assert not a_lesion.workspace.engine.worker.is_busy


def test_the_next_time_the_table_is_measured_again(a_lesion):
    show_table(a_lesion)
    a_lesion.press("reportButton")
    a_lesion.press("newLesionButton")
    a_lesion.click_into(SECOND)

    show_table(a_lesion)

    assert "2 lesions" in a_lesion.message
    assert layout().GetViewArrangement() == LAYOUTS.SlicerLayoutFourUpTableView


def test_a_layout_that_the_user_chooses_meanwhile_stays(a_lesion):
    show_table(a_lesion)

    layout().SetViewArrangement(LAYOUTS.SlicerLayoutConventionalView)

    assert text_of(a_lesion) == "Show table"
    show_table(a_lesion)
    a_lesion.press("reportButton")
    assert layout().GetViewArrangement() == LAYOUTS.SlicerLayoutConventionalView


def test_a_layout_with_a_table_that_was_there_already_is_left_alone(a_lesion):
    layout().SetViewArrangement(LAYOUTS.SlicerLayoutFourUpTableView)

    show_table(a_lesion)

    assert text_of(a_lesion) == "Show table"
    assert "1 lesion" in a_lesion.message
    assert shown_table(a_lesion) is not None


def test_the_way_back_is_there_when_the_work_has_ended(a_lesion):
    show_table(a_lesion)

    a_lesion.scene.RemoveNode(a_lesion.workspace.volume_node)
    a_lesion.wait()

    assert not a_lesion.can("saveReportButton")
    a_lesion.press("reportButton")
    assert layout().GetViewArrangement() == LAYOUTS.SlicerLayoutOneUpRedSliceView
    assert not a_lesion.can("reportButton")


def test_a_closed_panel_does_not_follow_the_layout_any_more(a_lesion, errors):
    show_table(a_lesion)
    kept_alive = a_lesion.panel.report

    a_lesion.close()

    assert layout().GetViewArrangement() == LAYOUTS.SlicerLayoutFourUpTableView
    layout().SetViewArrangement(LAYOUTS.SlicerLayoutConventionalView)
    assert kept_alive is not None
    assert errors == []


def test_without_views_there_is_the_table_in_the_scene_all_the_same(a_lesion, monkeypatch):
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: None)

    show_table(a_lesion)

    assert a_lesion.scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1
    assert text_of(a_lesion) == "Show table"
