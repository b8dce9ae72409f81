"""Tests of the views on the open scan: laid out for it, and following the reader."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from engine_fixtures import CORONAL, FIRST, SCENE, SECOND, SIDE, Block, scan_of
from MOISSAM2SegmentLib.scene import control_points, slice_views
from MOISSAM2SegmentLib.scene.scan_layout import SCAN
from MOISSAM2SegmentLib.scene.transforms import matrix_to_numpy, to_world
from MOISSAM2SegmentLib.workspace import views as views_module
from scans import linear_transform, place, scan_node, settle, volume_node
from slicer_window import SlicerWindow

MODELS = ("Body", "Lesions", "Mark")
PATIENT = np.diag([20.0, 1.0, 20.0, 1.0]) @ CORONAL
"""The usual small scan, as large as a body."""


@pytest.fixture
def a_window(a_scene, errors):
    window = SlicerWindow(a_scene)
    window.lay_out()
    yield window
    window.let_go()


@pytest.fixture
def an_arranged(a_window, a_workspace):
    """A workspace whose views are laid out for a scan with two lesions."""
    node = scan_node(a_window.scene, matrix=PATIENT)
    node.CreateDefaultDisplayNodes()
    a_workspace.start(node, arrange_views=True)
    settle(a_workspace)
    for block in (FIRST, SECOND):
        place(a_workspace, block)
        settle(a_workspace)
    return a_workspace


def model(scene, name: str):
    found = slicer.util.getNodesByClass("vtkMRMLModelNode", scene)
    return next((node for node in found if node.GetName() == name), None)


def models(scene) -> list[str]:
    """Return which of our models are in the scene; each slice logic has one of its own."""
    return [name for name in MODELS if model(scene, name) is not None]


def is_visible(scene, name: str) -> bool:
    node = model(scene, name)
    return node is not None and bool(node.GetDisplayNode().GetVisibility())


def pixel_of(view, world) -> np.ndarray:
    to_xy = np.linalg.inv(matrix_to_numpy(view.GetXYToRAS()))
    return (to_xy @ [*world, 1])[:2]


def away_from(view, world) -> float:
    to_ras = matrix_to_numpy(view.GetSliceToRAS())
    return float(abs((world - to_ras[:3, 3]) @ to_ras[:3, 2]))


def corners_of(workspace, block: Block) -> np.ndarray:
    """Return the corners of a lesion's voxels in the world."""
    ends = [(first - 0.5, last - 0.5) for first, last in (block.slices, block.rows, block.columns)]
    at = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    ras = workspace.session.stack.point_to_ras(at[0], at[2], at[1])
    return to_world(workspace.volume_node, ras)


def middle_of(workspace, lesion_id: int) -> np.ndarray:
    ras = workspace.work.middle_of(workspace.state.lesion(lesion_id))
    return to_world(workspace.volume_node, ras)[0]


def height_of(view) -> float:
    return view.GetFieldOfView()[1]


def bounds_of(node) -> np.ndarray:
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    return np.array(bounds)


# ---- start and end -----------------------------------------------------------------------------


def test_a_start_lays_the_views_out_for_the_scan_and_the_end_gives_them_back(a_window, an_arranged):
    assert a_window.arrangement == SCAN
    assert a_window.shown()[0] == "Green"

    assert len(models(a_window.scene)) > 0

    an_arranged.end()

    assert a_window.arrangement == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert models(a_window.scene) == []


def test_a_start_without_the_arrangement_leaves_the_views_alone(a_window, a_workspace):
    node = scan_node(a_window.scene, matrix=PATIENT)
    node.CreateDefaultDisplayNodes()
    before = [matrix_to_numpy(view.GetSliceToRAS()) for view in a_window.slice_views()]
    a_workspace.start(node)
    settle(a_workspace)

    after = [matrix_to_numpy(view.GetSliceToRAS()) for view in a_window.slice_views()]
    assert np.array_equal(before, after)
    assert a_window.arrangement == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert node.GetDisplayNode().GetAutoWindowLevel()
    assert not is_visible(a_window.scene, "Body")


def test_a_start_that_fails_gives_the_views_back(a_window, a_workspace, monkeypatch):
    def fail(*how):
        raise RuntimeError("no memory")

    monkeypatch.setattr("MOISSAM2SegmentLib.workspace.workspace.open_scan", fail)
    a_workspace.start(scan_node(a_window.scene), arrange_views=True)
    assert a_window.arrangement == SCAN
    settle(a_workspace)

    assert not a_workspace.is_open
    assert a_window.arrangement == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_a_scene_that_is_closed_leaves_the_readers_layout_and_nothing_of_ours(
    a_window, an_arranged
):
    an_arranged.views.follow(1)

    a_window.scene.Clear(0)

    assert a_window.arrangement == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert a_window.layout.GetSaveWithScene()
    assert models(a_window.scene) == []


def test_the_slice_that_is_seen_is_encoded_first(a_window, a_workspace, monkeypatch):
    first = []
    node = scan_node(a_window.scene)
    view = a_window.slice_view("Green")
    view.SetOrientationToCoronal()
    view.JumpSlice(0, 9 * 7.8, 0)
    from mois_core.session import Session

    monkeypatch.setattr(Session, "prepare", lambda session, look_at, *how: first.append(look_at))
    a_workspace.start(node)
    settle(a_workspace)

    assert first[0] == slice_views.visible_slice(a_window.scene, node)
    position = a_workspace.session.stack.point_from_ras(np.array([0, 9 * 7.8, 0]))[0]
    assert position == pytest.approx(first[0])


def test_views_that_get_their_size_while_the_scan_is_opened_show_all_of_it(a_window, a_workspace):
    a_workspace.start(scan_node(a_window.scene, matrix=PATIENT), arrange_views=True)
    a_window.resize("Green", 100, 800)
    settle(a_workspace)

    view = a_window.slice_view("Green")
    assert view.GetFieldOfView()[0] == pytest.approx(SIDE * 0.62 * 20)


# ---- following ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lesion_id", [1, 2])
def test_a_chosen_lesion_is_in_the_middle_of_all_views_even_of_zoomed_ones(
    a_window, an_arranged, lesion_id
):
    for view in a_window.slice_views():
        view.SetFieldOfView(*(part / 6 for part in view.GetFieldOfView()[:2]), 1.0)

    assert an_arranged.views.follow(lesion_id)

    for view in a_window.slice_views():
        centre = np.array(view.GetDimensions()[:2]) / 2
        assert pixel_of(view, middle_of(an_arranged, lesion_id)) == pytest.approx(centre, abs=1)
        assert away_from(view, middle_of(an_arranged, lesion_id)) < 1e-6
        for corner in corners_of(an_arranged, FIRST if lesion_id == 1 else SECOND):
            assert (pixel_of(view, corner) > 0).all()
            assert (pixel_of(view, corner) < view.GetDimensions()[:2]).all()


def test_views_that_were_not_laid_out_are_centred_but_not_zoomed(a_window, an_open_workspace):
    place(an_open_workspace, FIRST)
    settle(an_open_workspace)
    heights = [height_of(view) for view in a_window.slice_views()]

    assert an_open_workspace.views.follow(1)

    assert [height_of(view) for view in a_window.slice_views()] == heights
    view = a_window.slice_view("Red")
    centre = np.array(view.GetDimensions()[:2]) / 2
    assert pixel_of(view, middle_of(an_open_workspace, 1)) == pytest.approx(centre, abs=1)


def test_the_whole_scan_comes_back_at_the_slice_of_the_lesion(a_window, an_arranged):
    views = an_arranged.views
    assert views.shows_scan
    whole = [height_of(view) for view in a_window.slice_views()]
    views.follow(2)
    assert not views.shows_scan
    assert height_of(a_window.slice_view("Green")) < whole[2]

    views.whole_scan()

    assert views.shows_scan
    assert [height_of(view) for view in a_window.slice_views()] == pytest.approx(whole)
    for view in a_window.slice_views():
        assert away_from(view, middle_of(an_arranged, 2)) < 1e-6


def test_under_a_transform_lesions_are_where_the_scan_is(a_window, an_arranged):
    move = linear_transform(a_window.scene)
    an_arranged.views.follow(1)
    an_arranged.volume_node.SetAndObserveTransformNodeID(move.GetID())
    settle(an_arranged)
    for name in MODELS:
        assert model(a_window.scene, name).GetTransformNodeID() == move.GetID()

    an_arranged.views.follow(1)
    view = a_window.slice_view("Green")
    centre = np.array(view.GetDimensions()[:2]) / 2
    assert pixel_of(view, middle_of(an_arranged, 1)) == pytest.approx(centre, abs=1)


def test_nothing_is_followed_without_a_lesion_or_a_scan(an_arranged):
    views = an_arranged.views
    views.follow(1)
    assert not views.follow(99)
    assert views.current is None
    an_arranged.end()
    assert not views.follow(1)
    views.whole_scan()
    views.unmark()
    views.update()


def test_points_are_smaller_than_slicers_own(an_arranged):
    display = an_arranged.points_node.GetDisplayNode()
    assert display.GetUseGlyphScale()
    assert display.GetGlyphScale() == control_points.GLYPH_SCALE
    assert display.GetTextScale() == control_points.TEXT_SCALE
    slicers = slicer.vtkMRMLMarkupsDisplayNode()
    assert slicers.GetGlyphScale() == slicers.GetTextScale() == 3
    full_hd = np.hypot(1920, 1080)
    assert full_hd * 0.2 * display.GetGlyphScale() / 100 < 7


# ---- what is drawn -----------------------------------------------------------------------------


def test_the_current_lesion_is_drawn_bold_in_its_colour_in_slices(a_window, an_arranged):
    an_arranged.views.follow(2)

    node = model(a_window.scene, "Mark")
    display = node.GetDisplayNode()
    assert is_visible(a_window.scene, "Mark")
    assert display.GetVisibility2D()
    outlines = an_arranged.segments_node.GetDisplayNode().GetSliceIntersectionThickness()
    assert display.GetSliceIntersectionThickness() > outlines
    assert display.GetColor() == pytest.approx(an_arranged.entries()[1].colour)
    assert not display.GetScalarVisibility()


def test_surfaces_lie_where_the_lesions_are(a_window, an_arranged):
    """They pass between the voxels of a lesion and those beside it."""
    stack = an_arranged.session.stack
    for lesion_id in (1, 2):
        an_arranged.views.follow(lesion_id)
        where = np.argwhere(stack.from_volume(an_arranged.session.mask(lesion_id)))
        ends = np.array([where.min(axis=0) - 0.5, where.max(axis=0) + 0.5])
        ras = stack.point_to_ras(ends[:, 0], ends[:, 2], ends[:, 1])
        expected = np.sort(ras, axis=0).T.ravel()
        assert bounds_of(model(a_window.scene, "Mark")) == pytest.approx(expected)


def test_the_mark_follows_its_lesion_and_goes_with_it(a_window, an_arranged):
    views = an_arranged.views
    views.follow(1)
    before = bounds_of(model(a_window.scene, "Mark"))
    mask = an_arranged.session.mask(1).copy()
    mask[:] = False
    mask[4:6, 2:5, 2:6] = True
    an_arranged.work.run("Paint", lambda session, *_: session.set_mask(1, mask))
    settle(an_arranged)
    assert not np.allclose(bounds_of(model(a_window.scene, "Mark")), before)

    an_arranged.commands.delete(1)
    settle(an_arranged)
    assert not is_visible(a_window.scene, "Mark")
    an_arranged.commands.undo()
    settle(an_arranged)
    assert is_visible(a_window.scene, "Mark")
    views.unmark()
    assert not is_visible(a_window.scene, "Mark")


def test_all_lesions_are_drawn_in_3d_in_their_colours(a_window, an_arranged):
    surface = model(a_window.scene, "Lesions").GetPolyData()
    colours = slicer.util.arrayFromModelPointData(model(a_window.scene, "Lesions"), "Colour")
    expected = {
        tuple(np.round(255 * np.array(e.colour)).astype(int)) for e in an_arranged.entries()
    }
    assert {tuple(colour) for colour in colours.tolist()} == expected
    assert surface.GetNumberOfPoints() > 0
    assert is_visible(a_window.scene, "Lesions")


def test_slicers_own_surfaces_take_the_place_of_ours(a_window, an_arranged):
    an_arranged.segments_node.CreateClosedSurfaceRepresentation()
    an_arranged.commands.rename(1, "Knee")
    settle(an_arranged)
    assert not is_visible(a_window.scene, "Lesions")


def test_what_is_drawn_is_not_saved_nor_listed_nor_clicked_on(a_window, an_arranged):
    an_arranged.views.follow(1)
    a_window.scene.SetSaveToXMLString(1)
    a_window.scene.Commit()
    a_window.scene.SetSaveToXMLString(0)
    for name in MODELS:
        node = model(a_window.scene, name)
        assert node.GetHideFromEditors()
        assert not node.GetSelectable()
        assert node.GetID() not in a_window.scene.GetSceneXMLString()
        assert node.GetDisplayNodeID() not in a_window.scene.GetSceneXMLString()


def test_a_drawing_that_was_removed_is_drawn_again(a_window, an_arranged):
    views = an_arranged.views
    views.follow(1)
    a_window.scene.RemoveNode(model(a_window.scene, "Mark"))
    views.follow(2)
    assert is_visible(a_window.scene, "Mark")


def test_a_drawing_that_fails_leaves_the_work_alone(a_window, an_arranged, monkeypatch):
    def fail(*how):
        raise ValueError("no surface")

    monkeypatch.setattr(views_module, "coloured", fail)
    place(an_arranged, Block((9, 11), (8, 12), (22, 27)))
    settle(an_arranged)
    assert len(an_arranged.entries()) == 3
    assert an_arranged.messages == []


def test_the_body_is_drawn_around_the_lesions_and_decides_what_is_black_and_white(
    a_window, a_workspace
):
    scan = np.pad(scan_of(*SCENE)[:, 2:], ((0, 0), (20, 20), (20, 20)))
    scan[5, 30:40, 30:40] = 4000
    node = volume_node(a_window.scene, scan, PATIENT)
    node.CreateDefaultDisplayNodes()
    assert node.GetDisplayNode().GetWindowLevelMax() == pytest.approx(4000, rel=0.01)
    a_workspace.start(node, arrange_views=True)
    settle(a_workspace)

    display = node.GetDisplayNode()
    assert not display.GetAutoWindowLevel()
    assert 0 <= display.GetWindowLevelMin() <= 20
    assert display.GetWindowLevelMax() == pytest.approx(180)
    block = 3 * 12.4
    there = corners_of(a_workspace, Block((0, 12), (20, 50), (20, 52)))
    low, high = bounds_of(model(a_window.scene, "Body")).reshape(3, 2).T
    assert low == pytest.approx(there.min(axis=0), abs=block)
    assert high == pytest.approx(there.max(axis=0), abs=block)


def test_a_window_that_the_reader_has_set_stays(a_window, a_workspace):
    scan = np.pad(scan_of(*SCENE)[:, 2:], ((0, 0), (20, 20), (20, 20)))
    node = volume_node(a_window.scene, scan, PATIENT)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevelMinMax(33, 44)
    a_workspace.start(node, arrange_views=True)
    settle(a_workspace)
    assert node.GetDisplayNode().GetWindowLevelMax() == 44


def test_the_camera_faces_the_patient_and_sees_all_of_the_body(a_window, a_workspace):
    camera = a_window.scene.AddNewNodeByClass("vtkMRMLCameraNode")
    scan = np.pad(scan_of(*SCENE)[:, 2:], ((0, 0), (20, 20), (20, 20)))
    a_workspace.start(volume_node(a_window.scene, scan, PATIENT), arrange_views=True)
    settle(a_workspace)

    bounds = bounds_of(model(a_window.scene, "Body")).reshape(3, 2)
    assert camera.GetFocalPoint() == pytest.approx(bounds.mean(axis=1))
    away = np.array(camera.GetPosition()) - camera.GetFocalPoint()
    assert away[0] == away[2] == 0
    half = np.tan(np.radians(camera.GetViewAngle()) / 2) * (away[1] - np.ptp(bounds[1]) / 2)
    assert half > np.ptp(bounds[2]) / 2
    assert camera.GetViewUp() == (0, 0, 1)
    a_window.scene.RemoveNode(camera)
