"""Tests of Slicer's views while the panel is used: their layout, and the lesion that they show."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from engine_fixtures import FIRST, SECOND
from MOISSAM2SegmentLib.scene.scan_layout import SCAN, SCAN_AND_TABLE
from MOISSAM2SegmentLib.scene.transforms import matrix_to_numpy, to_world
from PySide6 import QtCore
from scans import scan_node

LAYOUTS = slicer.vtkMRMLLayoutNode
OWN = LAYOUTS.SlicerLayoutConventionalView


@pytest.fixture
def a_window(a_slicer):
    """Slicer's window in a layout that is not Slicer's usual one."""
    window = a_slicer.views.window
    window.layout.SetViewArrangement(OWN)
    window.lay_out()
    return window


@pytest.fixture
def a_reader(a_window, a_panel):
    """A reader who has begun to work, and has clicked two lesions."""
    user = a_panel
    scan_node(user.scene)
    user.start()
    for block in (FIRST, SECOND):
        user.press("newLesionButton")
        user.click_into(block)
    return user


def switch_arranging(user) -> None:
    if not user.find("advancedSection").isVisible():
        user.press("changeButton")
    user.find("advancedSection").setProperty("collapsed", False)
    user.press("arrangeBox")
    user.wait()


def is_centred(user, view, lesion_id: int) -> bool:
    ras = user.workspace.work.middle_of(user.workspace.state.lesion(lesion_id))
    world = to_world(user.workspace.volume_node, ras)[0]
    pixel = np.linalg.inv(matrix_to_numpy(view.GetXYToRAS())) @ [*world, 1]
    return bool(np.allclose(pixel[:2], np.array(view.GetDimensions()[:2]) / 2, atol=1))


def zoom(view, factor: float) -> None:
    view.SetFieldOfView(*(part / factor for part in view.GetFieldOfView()[:2]), 1.0)


# ---- the layout --------------------------------------------------------------------------------


def test_start_lays_the_views_out_and_the_end_brings_the_readers_own_layout_back(
    a_window, a_reader
):
    assert a_window.arrangement == SCAN
    assert a_window.shown()[0] == "Green"

    a_reader.workspace.end()

    assert a_window.arrangement == OWN


def test_start_brings_slice_views_where_the_layout_has_none(a_window, a_panel):
    a_window.layout.SetViewArrangement(LAYOUTS.SlicerLayoutOneUp3DView)
    scan = scan_node(a_panel.scene)
    a_panel.start()

    assert {"Red", "Yellow", "Green"} < set(a_window.shown())
    for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert node.GetBackgroundVolumeID() == scan.GetID()


def test_leaving_the_module_for_another_one_leaves_the_views_as_they_are(a_window, a_reader):
    a_reader.widget.exit()
    assert a_window.arrangement == SCAN
    a_reader.widget.enter()
    assert a_window.arrangement == SCAN


def test_reload_gives_the_views_back(a_window, a_reader):
    a_reader.close()
    assert a_window.arrangement == OWN


def test_who_does_not_want_the_views_arranged_says_so_once(a_window, a_panel):
    from scene_setup import stub_engine
    from user import User

    switch_arranging(a_panel)
    a_panel.close()
    again = User(stub_engine())
    again.open()
    assert not again.find("arrangeBox").isChecked()
    scan_node(again.scene)
    again.start()

    assert a_window.arrangement == OWN
    again.close()


def test_the_setting_acts_at_once_on_a_scan_that_is_open(a_window, a_reader):
    switch_arranging(a_reader)
    assert a_window.arrangement == OWN
    assert not a_reader.workspace.views.are_arranged

    switch_arranging(a_reader)
    assert a_window.arrangement == SCAN
    assert a_reader.workspace.views.are_arranged


def test_slicer_that_was_closed_in_our_layout_shows_views_at_its_next_start(a_slicer, a_window):
    import MOISSAM2Segment

    a_window.layout.SetViewArrangement(SCAN)
    MOISSAM2Segment.MOISSAM2Segment(SimpleNamespace(path="MOISSAM2Segment.py"))
    (restore,) = [slot for slot in a_slicer.at_start if "layout" in slot.__name__]
    restore()

    assert len(a_window.shown()) == 4


def test_without_a_window_the_work_is_the_same(a_slicer, a_window, a_panel, monkeypatch):
    """As with --no-main-window: no layout manager, no layout node, no views."""
    a_window.let_go()
    monkeypatch.setattr(a_slicer, "layoutManager", lambda: None)
    scan_node(a_panel.scene)
    a_panel.start()
    a_panel.press("newLesionButton")
    a_panel.click_into(FIRST)
    a_panel.choose_row(0)
    a_panel.key(QtCore.Qt.Key.Key_O)
    assert a_panel.rows()[0][0] == "Lesion 1"
    a_panel.workspace.end()


# ---- the report's table ------------------------------------------------------------------------


def test_the_table_comes_below_the_scans_views_and_goes_again(a_window, a_reader):
    views = a_window.shown()
    a_reader.press("reportButton")
    a_reader.wait()
    assert a_window.arrangement == SCAN_AND_TABLE
    assert a_window.shown() == [*views, "TableView1"]

    a_reader.press("reportButton")
    assert a_window.arrangement == SCAN
    a_reader.press("reportButton")
    a_reader.wait()
    a_reader.workspace.end()

    assert a_window.arrangement == OWN
    assert a_reader.find("reportButton").text() == "Show table"


# ---- following ---------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [0, 1])
def test_a_chosen_row_is_in_the_middle_of_a_view_that_was_zoomed(a_window, a_reader, row):
    for view in a_window.slice_views():
        zoom(view, 6)

    a_reader.choose_row(1 - row)
    a_reader.choose_row(row)

    assert all(is_centred(a_reader, view, row + 1) for view in a_window.slice_views())
    assert a_reader.workspace.views.current == row + 1


def test_a_key_shows_the_whole_scan_and_the_lesion_again(a_window, a_reader):
    view = a_window.slice_view("Red")
    views = a_reader.workspace.views
    views.whole_scan()
    whole = view.GetFieldOfView()
    zoom(view, 2)
    a_reader.choose_row(1)
    assert not views.shows_scan

    a_reader.key(QtCore.Qt.Key.Key_O)
    assert views.shows_scan
    assert view.GetFieldOfView() == pytest.approx(whole)

    a_reader.key(QtCore.Qt.Key.Key_O)
    assert is_centred(a_reader, view, 2)
