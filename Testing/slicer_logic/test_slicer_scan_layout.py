"""Tests of the layout for a scan, on Slicer's own layout node and logic."""

from __future__ import annotations

import pytest
import slicer
import vtk
from MOISSAM2SegmentLib.scene import scan_layout
from MOISSAM2SegmentLib.scene.scan_layout import (
    SCAN,
    SCAN_AND_TABLE,
    ScanLayout,
    layout_description,
    leave_unknown_layout,
    table_layout,
)
from slicer_window import SlicerWindow

SLICER = slicer.vtkMRMLLayoutNode
AXES = ("coronal", "axial", "sagittal")


@pytest.fixture
def a_window(a_scene, errors):
    window = SlicerWindow(a_scene)
    yield window
    window.let_go()


@pytest.fixture
def a_layout(a_scene, a_window):
    return ScanLayout(a_scene)


def xml_of(scene) -> str:
    scene.SetSaveToXMLString(1)
    scene.Commit()
    scene.SetSaveToXMLString(0)
    return scene.GetSceneXMLString()


def test_the_numbers_of_slicers_own_layouts_are_those_that_slicer_has():
    assert SLICER.SlicerLayoutFourUpView == scan_layout.FOUR_UP
    assert SLICER.SlicerLayoutFourUpTableView == scan_layout.FOUR_UP_AND_TABLE
    assert max(SLICER.SlicerLayoutUserView, SLICER.SlicerLayoutFinalView) < min(scan_layout.OURS)


@pytest.mark.parametrize(
    ("axis", "large"), [("coronal", "Green"), ("axial", "Red"), ("sagittal", "Yellow")]
)
def test_the_plane_of_the_scan_comes_first_and_takes_the_larger_part(a_window, axis, large):
    ScanLayout(a_window.scene).choose(axis)

    assert a_window.arrangement == SCAN
    assert a_window.shown()[0] == large
    assert sorted(a_window.shown()) == ["1", "Green", "Red", "Yellow"]
    root = SLICER.ParseLayout(layout_description(axis))
    sizes = [int(root.GetNestedElement(n).GetAttribute("splitSize")) for n in (0, 1)]
    assert sizes[0] > sizes[1]
    assert root.GetAttribute("type") == "horizontal"


@pytest.mark.parametrize("axis", AXES)
def test_views_that_are_made_for_the_layout_look_as_those_of_slicers_own(a_scene, axis):
    """The views are shared with all other layouts, whichever comes first."""
    views = {}
    for first in ("ours", "Slicer's"):
        window = SlicerWindow(a_scene)
        if first == "ours":
            for node in window.slice_views():
                a_scene.RemoveNode(node)
            ScanLayout(a_scene).choose(axis)
        views[first] = [
            (view.GetLayoutName(), view.GetOrientation(), view.GetLayoutLabel(), view.GetName())
            + tuple(view.GetLayoutColor())
            for view in window.slice_views()
        ]
        window.let_go()

    assert views["ours"] == views["Slicer's"]


@pytest.mark.parametrize("axis", AXES)
def test_the_layout_with_a_table_has_the_same_views_and_slicers_table_view(a_window, axis):
    ScanLayout(a_window.scene).choose(axis)
    views = a_window.shown()
    a_window.layout.SetViewArrangement(SCAN_AND_TABLE)

    assert a_window.shown() == [*views, "TableView1"]


def test_the_readers_own_layout_comes_back(a_window, a_layout):
    a_window.layout.SetViewArrangement(SLICER.SlicerLayoutConventionalView)
    a_layout.choose("coronal")
    a_layout.choose("axial")
    assert a_window.shown()[0] == "Red"

    a_layout.give_back()

    assert a_window.arrangement == SLICER.SlicerLayoutConventionalView
    assert not a_layout.is_shown


def test_with_the_table_shown_the_readers_own_layout_comes_back_too(a_window, a_layout):
    a_layout.choose("coronal")
    a_window.layout.SetViewArrangement(table_layout(a_window.scene))
    assert a_window.arrangement == SCAN_AND_TABLE
    assert a_layout.is_shown

    a_layout.give_back()

    assert a_window.arrangement == SLICER.SlicerLayoutFourUpView
    assert table_layout(a_window.scene) == SLICER.SlicerLayoutFourUpTableView


def test_a_view_that_was_maximized_does_not_stay_the_only_one(a_window, a_layout):
    a_window.layout.AddMaximizedViewNode(a_window.slice_view("Green"))
    a_layout.choose("coronal")
    assert a_window.layout.GetNumberOfMaximizedViewNodes() == 0

    a_window.layout.AddMaximizedViewNode(a_window.slice_view("Green"))
    a_layout.give_back()
    assert a_window.layout.GetNumberOfMaximizedViewNodes() == 0
    assert a_window.arrangement == SLICER.SlicerLayoutFourUpView


def test_a_layout_that_the_reader_chose_in_between_stays(a_window, a_layout):
    a_layout.choose("coronal")
    a_window.layout.SetViewArrangement(SLICER.SlicerLayoutOneUpRedSliceView)
    assert not a_layout.is_shown

    a_layout.give_back()
    assert a_window.arrangement == SLICER.SlicerLayoutOneUpRedSliceView

    a_layout.choose("coronal")
    a_layout.give_back()
    assert a_window.arrangement == SLICER.SlicerLayoutOneUpRedSliceView


def test_a_scene_that_is_saved_meanwhile_does_not_name_a_layout_that_slicer_may_not_know(
    a_window, a_layout
):
    assert "<Layout" in xml_of(a_window.scene)
    a_layout.choose("coronal")
    assert "<Layout" not in xml_of(a_window.scene)
    a_layout.give_back()
    assert "<Layout" in xml_of(a_window.scene)

    a_layout.choose("coronal")
    a_window.layout.SetViewArrangement(SLICER.SlicerLayoutConventionalView)
    assert "<Layout" in xml_of(a_window.scene)


def test_a_window_that_was_closed_in_our_layout_opens_with_four_views(a_scene):
    """Slicer restores the number before the module can tell what it means: no views at all."""
    window = SlicerWindow(a_scene)
    vtk.vtkObject.GlobalWarningDisplayOff()
    window.layout.SetViewArrangement(SCAN)
    vtk.vtkObject.GlobalWarningDisplayOn()
    assert window.shown() == []

    leave_unknown_layout(a_scene)

    assert window.arrangement == SLICER.SlicerLayoutFourUpView
    assert len(window.shown()) == 4
    leave_unknown_layout(a_scene)
    assert window.arrangement == SLICER.SlicerLayoutFourUpView
    window.let_go()


def test_without_a_window_there_is_nothing_to_lay_out(a_scene, errors):
    layout = ScanLayout(a_scene)
    layout.choose("coronal")
    assert not layout.is_shown
    layout.give_back()
    leave_unknown_layout(a_scene)
    assert table_layout(a_scene) == SLICER.SlicerLayoutFourUpTableView
    assert a_scene.GetNumberOfNodesByClass("vtkMRMLLayoutNode") == 0
