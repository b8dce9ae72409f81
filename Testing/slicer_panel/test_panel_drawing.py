"""Tests of boxes and scribbles that are drawn in slice views with the panel's buttons."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from engine_fixtures import FIRST, LESION, SECOND, Block
from mouse import along, corners, view_of
from scans import labels_in, scan_node, world_of
from small_networks import SLM, lively
from stub_sessions import is_exactly

from mois_core.network.model_info import ModelInfo

DRAGGED = ["LeftButtonPressEvent", "MouseMoveEvent", "MouseMoveEvent", "LeftButtonReleaseEvent"]


@pytest.fixture
def a_coronal_view(a_started_panel):
    middle = world_of(a_started_panel.workspace, *FIRST.middle)
    return view_of("Green", middle)


def is_on(user, *names: str) -> bool:
    """Return whether the mouse does exactly this."""
    buttons = ("placeButton", "scribbleButton", "boxButton")
    return [n for n in buttons if user.find(n).isChecked()] == list(names)


def test_a_box_that_is_drawn_in_a_view_outlines_a_new_lesion(a_started_panel, a_coronal_view):
    user = a_started_panel
    user.press("boxButton")
    assert is_on(user, "boxButton")
    assert "Draw a box" in user.find("hintLabel").text()

    a_coronal_view.drag(corners(user, FIRST))
    user.wait()

    assert is_exactly(user.workspace.session, 1, FIRST)
    assert a_coronal_view.passed_on == []
    assert a_coronal_view.sliceView().rendered
    assert [row[0] for row in user.rows()] == ["Lesion 1"]
    assert is_on(user, "boxButton")
    user.press("undoButton")
    user.wait()
    assert user.rows() == []


def test_a_line_begun_by_a_quick_second_press_is_drawn(a_started_panel, a_coronal_view):
    user = a_started_panel
    user.press("scribbleButton")
    line = along(user, FIRST)

    a_coronal_view.send("LeftButtonDoubleClickEvent", line[0])
    a_coronal_view.send("MouseMoveEvent", line[-1])
    a_coronal_view.send("LeftButtonReleaseEvent", line[-1])
    user.wait()

    assert a_coronal_view.passed_on == []
    assert is_exactly(user.workspace.session, 1, FIRST)
    before = labels_in(user.workspace.points_node)
    a_coronal_view.send("LeftButtonDoubleClickEvent", line[0])
    a_coronal_view.send("LeftButtonReleaseEvent", line[0])
    user.wait()
    assert labels_in(user.workspace.points_node) == before


def test_the_demonstration_says_that_it_has_not_learned_boxes(a_panel, an_engine):
    an_engine.use(an_engine.model, ModelInfo("phantom", "phantom.safetensors", "0" * 64))
    scan_node(a_panel.scene)
    a_panel.start()

    a_panel.press("boxButton")
    assert "has not learned boxes" in a_panel.message
    a_panel.press("scribbleButton")
    assert is_on(a_panel, "scribbleButton")


def test_scribbles_are_points_inside_and_outside(a_started_panel, a_coronal_view):
    user = a_started_panel
    user.press("scribbleButton")

    a_coronal_view.drag(along(user, FIRST))
    user.wait()
    assert is_exactly(user.workspace.session, 1, FIRST)
    user.press("outsideButton")
    a_coronal_view.drag(along(user, FIRST, row=FIRST.rows[0] + 1))
    user.wait()

    assert labels_in(user.workspace.points_node) == ["1+"] * 3 + ["1-"] * 3
    assert not user.workspace.session.lesion(1).mask.image(5)[6:8, 5:12].any()


def test_new_lesion_goes_on_drawing(a_started_panel, a_coronal_view):
    user = a_started_panel
    user.press("boxButton")
    a_coronal_view.drag(corners(user, FIRST))
    user.wait()

    user.press("newLesionButton")
    assert is_on(user, "boxButton")
    a_coronal_view.drag(corners(user, SECOND))
    user.wait()

    assert sorted(user.workspace.state.lesions) == [1, 2]


def test_the_mouse_does_one_thing_at_a_time(a_started_panel, a_coronal_view):
    user = a_started_panel
    user.press("newLesionButton")
    assert is_on(user, "placeButton")
    for name in ("boxButton", "scribbleButton", "placeButton"):
        user.press(name)
        assert is_on(user, name)
    user.press("placeButton")
    user.press("boxButton")
    user.press("boxButton")
    assert is_on(user)

    a_coronal_view.drag(corners(user, FIRST))
    user.wait()

    assert user.rows() == []
    assert a_coronal_view.passed_on == DRAGGED


def test_only_what_draws_is_kept_from_slicer(a_started_panel, a_coronal_view):
    user = a_started_panel
    user.press("scribbleButton")
    line = along(user, FIRST)

    a_coronal_view.send("MouseMoveEvent", line[0])
    a_coronal_view.drag(line[:2], shift=True)
    user.wait()

    assert a_coronal_view.passed_on == ["MouseMoveEvent", *DRAGGED]
    assert user.rows() == []


@pytest.mark.parametrize("how", ["other points", "leave", "another model", "findings"])
def test_drawing_ends(a_started_panel, a_coronal_view, how):
    user = a_started_panel
    second = corners(user, SECOND)
    user.press("boxButton")
    if how == "other points":
        mode = slicer.app.applicationLogic().GetInteractionNode()
        mode.SetCurrentInteractionMode(mode.Place)
    elif how == "leave":
        user.widget.exit()
    elif how == "another model":
        user.workspace.end()
    else:
        a_coronal_view.drag(corners(user, FIRST))
        user.wait()
        user.press("searchButton")
        user.wait()
    rows = user.rows()

    a_coronal_view.passed_on.clear()
    a_coronal_view.drag(second)
    user.wait()

    assert not user.find("boxButton").isChecked()
    assert user.rows() == rows
    assert a_coronal_view.passed_on == DRAGGED


def test_the_views_of_another_layout_are_drawn_in_too(a_started_panel):
    user = a_started_panel
    user.press("boxButton")
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView)
    view = view_of("Slice5" if "Slice5" in _names() else _names()[-1], (0, 0, 0))
    view.mrmlSliceNode().SetOrientationToCoronal()
    view.mrmlSliceNode().JumpSliceByCentering(*world_of(user.workspace, *FIRST.middle))

    view.drag(corners(user, FIRST))
    user.wait()

    assert view.passed_on == []


def _names() -> tuple[str, ...]:
    return slicer.app.layoutManager().sliceViewNames()


def test_a_box_in_another_view_says_where_to_draw_and_nothing_is_lost(a_started_panel):
    user = a_started_panel
    user.click_into(FIRST)
    before = user.workspace.state
    view = view_of("Red", world_of(user.workspace, *FIRST.middle))
    user.press("boxButton")

    view.drag([world_of(user.workspace, n, 9, column) for n, column in ((3, 4), (7, 12))])
    user.wait()

    assert "lies on one slice" in user.message
    assert user.workspace.state is before
    assert is_on(user, "boxButton")


# ---- a network that cannot search ----------------------------------------------------------


def test_with_slm_sam2_propagating_takes_the_place_of_searching(a_panel, an_engine):
    user = a_panel
    an_engine.use(lively(SLM), ModelInfo("slm", "slm.pt", "0" * 64))
    scan_node(user.scene, Block((0, 12), (8, 16), (8, 16), LESION))
    user.start()

    assert user.find("propagateButton").isVisible()
    assert not user.find("searchButton").isVisible()
    assert not user.find("whereButton").isVisible()
    user.press("propagateButton")
    assert "on one slice first" in user.message
    user.click_at(2, 12, 12)
    near = np.array(sorted(user.workspace.state.lesion(1).propagated))
    user.press("propagateButton")
    user.wait()

    assert len(user.workspace.state.lesion(1).propagated) >= len(near)
    assert user.workspace.commands.undo_name == "propagate"
    assert "Propagate" in user.find("hintLabel").text()
