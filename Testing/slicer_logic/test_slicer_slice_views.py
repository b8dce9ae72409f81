"""Tests of slice views: which slice they show, and the whole scan or one lesion in them."""

from __future__ import annotations

import numpy as np
import pytest
import vtk
from engine_fixtures import CORONAL
from MOISSAM2SegmentLib.scene import slice_views
from MOISSAM2SegmentLib.scene.slice_views import (
    FittedViews,
    Spread,
    large_axis,
    show_lesion,
    spread_of_scan,
    turn_to_scan,
    visible_slice,
)
from MOISSAM2SegmentLib.scene.transforms import (
    matrix_to_numpy,
    numpy_to_matrix,
    right_handed,
    to_world,
)
from orientations import STORAGE_ORDERS, stored_as
from scans import linear_transform, volume_node, warp
from scipy.spatial.transform import Rotation
from slicer_window import SlicerWindow

from mois_core.geometry import SliceStack, Volume

SLICES = 12


@pytest.fixture
def a_view(a_scene):
    view = a_scene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientationToCoronal()
    return view


def a_scan(scene, matrix=CORONAL):
    array = np.zeros((SLICES, 32, 32), dtype=np.int16)
    return volume_node(scene, array, matrix), SliceStack(Volume(array, matrix))


def look_at(view, node, stack, slice_index: int) -> None:
    world = to_world(node, stack.point_to_ras(slice_index, 16, 16))[0]
    view.JumpSlice(*world.tolist())


@pytest.mark.parametrize("slice_index", [0, 4, SLICES - 1])
def test_the_view_that_looks_along_the_slices_says_which(a_scene, a_view, slice_index):
    node, stack = a_scan(a_scene)
    axial = a_scene.AddNewNodeByClass("vtkMRMLSliceNode")
    axial.SetOrientationToAxial()
    look_at(axial, node, stack, 2)

    look_at(a_view, node, stack, slice_index)

    assert visible_slice(a_scene, node) == slice_index


def test_a_scan_under_a_transform_is_looked_at_where_it_lies(a_scene, a_view):
    node, stack = a_scan(a_scene)
    node.SetAndObserveTransformNodeID(linear_transform(a_scene, degrees=8.0).GetID())

    look_at(a_view, node, stack, 7)

    assert visible_slice(a_scene, node) == 7


def test_without_a_view_on_the_scan_the_middle_is_as_good_as_any(a_scene, a_view):
    node, _ = a_scan(a_scene)
    a_view.JumpSlice(0, 9000, 0)

    assert visible_slice(a_scene, node) == SLICES // 2
    a_scene.RemoveNode(a_view)
    assert visible_slice(a_scene, node) == SLICES // 2


# ---- the plane of a scan -----------------------------------------------------------------------

PLANES = {"coronal": (0.62, 7.8, 0.62), "axial": (0.9, 0.9, 5.0), "sagittal": (4.0, 0.8, 0.8)}
"""Spacing along R, A and S of scans that were acquired in each plane."""
VIEW = {"coronal": "Green", "axial": "Red", "sagittal": "Yellow"}
TURNS = {
    "straight": np.eye(3),
    "oblique": Rotation.from_euler("xyz", [17, -12, 9], degrees=True).as_matrix(),
    "more oblique": Rotation.from_euler("xyz", [-8, 31, 14], degrees=True).as_matrix(),
}


@pytest.fixture
def a_window(a_scene, errors):
    window = SlicerWindow(a_scene)
    yield window
    window.let_go()


def a_volume(plane: str, turn: str = "straight", count=(20, 16, 24)) -> Volume:
    """Return a scan in the middle of the world, with more voxels in its plane than slices."""
    spacing = np.array(PLANES[plane])
    matrix = np.eye(4)
    matrix[:3, :3] = TURNS[turn] * spacing
    matrix[:3, 3] = -matrix[:3, :3] @ (np.array(count) - 1) / 2
    return right_handed(Volume(np.zeros(count[::-1], dtype=np.int16), matrix))


def normal_of(view) -> np.ndarray:
    return matrix_to_numpy(view.GetSliceToRAS())[:3, 2]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("plane", PLANES)
def test_the_large_view_shows_slices_as_they_were_acquired_however_stored(a_window, plane, turn):
    for order, flips in STORAGE_ORDERS:
        volume = right_handed(stored_as(a_volume(plane, turn), order, flips))
        node = volume_node(a_window.scene, volume.array, volume.ijk_to_ras)

        assert large_axis(node) == plane, (order, flips)
        turn_to_scan(a_window.scene, node)

        along = TURNS[turn][:, ("sagittal", "coronal", "axial").index(plane)]
        assert abs(normal_of(a_window.slice_view(VIEW[plane])) @ along) == pytest.approx(1)
        shown = np.abs([normal_of(view) @ TURNS[turn] for view in a_window.slice_views()])
        assert np.sort(shown, axis=None) == pytest.approx([0] * 6 + [1] * 3, abs=1e-6)
        a_window.scene.RemoveNode(node)


def test_a_scan_is_large_as_it_lies_in_the_world(a_window):
    """A transform that lays the patient down makes axial slices of coronal ones."""
    volume = a_volume("coronal")
    node = volume_node(a_window.scene, volume.array, volume.ijk_to_ras)
    lying = np.eye(4)
    lying[:3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    transform = a_window.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(numpy_to_matrix(lying))
    node.SetAndObserveTransformNodeID(transform.GetID())

    assert large_axis(node) == "axial"
    turn_to_scan(a_window.scene, node)
    assert abs(normal_of(a_window.slice_view("Red"))[2]) == pytest.approx(1)


def test_a_nearly_isotropic_scan_is_large_in_the_plane_that_is_worked_on(a_scene):
    node = volume_node(a_scene, np.zeros((9, 8, 7), dtype=np.int16), np.eye(4))
    assert large_axis(node) == "coronal"


def test_a_warped_scan_is_shown_in_the_views_own_planes(a_window):
    volume = a_volume("coronal", "oblique")
    node = volume_node(a_window.scene, volume.array, volume.ijk_to_ras)
    node.SetAndObserveTransformNodeID(warp(a_window.scene).GetID())

    turn_to_scan(a_window.scene, node)

    assert abs(normal_of(a_window.slice_view("Green"))[1]) == pytest.approx(1)
    FittedViews(spread_of_scan(node)).fit(a_window.scene, keep_slice=False)


def test_other_views_are_not_turned(a_window):
    other = a_window.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    other.SetLayoutName("Compare1")
    other.SetOrientationToSagittal()
    volume = a_volume("coronal")
    turn_to_scan(a_window.scene, volume_node(a_window.scene, volume.array, volume.ijk_to_ras))
    assert abs(normal_of(other)[0]) == pytest.approx(1)


# ---- the whole scan ----------------------------------------------------------------------------


def pixels_of(view, places) -> np.ndarray:
    """Return where places of the world are seen in a view, and how far from its slice, in mm."""
    to_xy = np.linalg.inv(matrix_to_numpy(view.GetXYToRAS()))
    xy = np.asarray(places) @ to_xy[:3, :3].T + to_xy[:3, 3]
    away = (np.asarray(places) - matrix_to_numpy(view.GetSliceToRAS())[:3, 3]) @ normal_of(view)
    return np.column_stack([xy[:, :2], away])


def fills(view, places) -> bool:
    """Return whether places are all seen, and the view could not be zoomed any closer."""
    pixels = pixels_of(view, places)[:, :2]
    room = np.array(view.GetDimensions()[:2]) - np.ptp(pixels, axis=0)
    in_middle = np.allclose(pixels.mean(axis=0), np.array(view.GetDimensions()[:2]) / 2, atol=2)
    return bool(abs(room.min()) < 1e-6 and in_middle)


@pytest.fixture
def a_body(a_window):
    """A whole-body coronal scan of clinical size, its views laid out."""
    a_window.lay_out()
    array = np.zeros((40, 1024, 320), dtype=np.int8)
    matrix = np.array([[-1.5, 0, 0, 240], [0, 0, 7.8, -150], [0, -1.5, 0, 768], [0, 0, 0, 1]])
    volume = right_handed(Volume(array, matrix))
    return volume_node(a_window.scene, volume.array, volume.ijk_to_ras)


def test_every_view_shows_the_whole_scan_as_large_as_it_can(a_window, a_body):
    spread = spread_of_scan(a_body)
    turn_to_scan(a_window.scene, a_body)
    FittedViews(spread).fit(a_window.scene, keep_slice=False)

    assert all(fills(view, spread.points) for view in a_window.slice_views())
    assert visible_slice(a_window.scene, a_body) in (19, 20)
    assert np.ptp(spread.points, axis=0) == pytest.approx([480, 312, 1536])


def test_a_fit_goes_through_the_middle_of_voxels(a_window, a_body):
    turn_to_scan(a_window.scene, a_body)
    FittedViews(spread_of_scan(a_body)).fit(a_window.scene, keep_slice=False)
    ras_to_ijk = np.linalg.inv(matrix_to_numpy(ijk_matrix(a_body)))
    for view, axis in zip(a_window.slice_views(), (1, 0, 2), strict=True):
        origin = matrix_to_numpy(view.GetSliceToRAS())[:, 3]
        position = (ras_to_ijk @ origin)[axis]
        assert position == pytest.approx(round(position), abs=1e-6)


def ijk_matrix(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_views_that_get_their_size_later_are_fitted_then(a_window, a_body):
    spread = spread_of_scan(a_body)
    fitted = FittedViews(spread)
    fitted.fit(a_window.scene, keep_slice=False)
    a_window.resize("Green", 200, 900)
    assert not fills(a_window.slice_view("Green"), spread.points)

    fitted.refit(a_window.scene)

    assert fills(a_window.slice_view("Green"), spread.points)


def test_a_new_size_leaves_the_slice_that_the_reader_has_scrolled_to(a_window, a_body):
    spread = spread_of_scan(a_body)
    fitted = FittedViews(spread)
    fitted.fit(a_window.scene, keep_slice=False)
    view = a_window.slice_view("Green")
    view.SetSliceOffset(view.GetSliceOffset() + 23.4)
    scrolled = view.GetSliceOffset()
    a_window.resize("Green", 200, 900)

    fitted.refit(a_window.scene)

    assert fills(view, spread.points)
    assert view.GetSliceOffset() == pytest.approx(scrolled)


@pytest.mark.parametrize("how", ["zoomed", "moved", "turned"])
def test_a_view_that_the_reader_has_changed_is_left_alone(a_window, a_body, how):
    fitted = FittedViews(spread_of_scan(a_body))
    fitted.fit(a_window.scene, keep_slice=False)
    view = a_window.slice_view("Green")
    if how == "zoomed":
        view.SetFieldOfView(*(part / 3 for part in view.GetFieldOfView()[:2]), 1.0)
    elif how == "moved":
        view.SetXYZOrigin(40.0, 10.0, 0.0)
    else:
        view.SetOrientationToSagittal()
    a_window.resize("Green", 200, 900)
    height = view.GetFieldOfView()[1]

    fitted.refit(a_window.scene)
    fitted.refit(a_window.scene)

    assert view.GetFieldOfView()[1] == height


# ---- one lesion --------------------------------------------------------------------------------


def a_lesion(at, size_mm: float) -> Spread:
    half = size_mm / 2
    corners = np.array([[x, y, z] for x in (-half, half) for y in (-half, half) for z in (0, half)])
    return Spread(np.array(at, dtype=float), corners + at)


def test_a_lesion_of_one_centimetre_is_in_the_middle_and_large_enough(a_window, a_body):
    FittedViews(spread_of_scan(a_body)).fit(a_window.scene, keep_slice=False)
    lesion = a_lesion((80, 20, -500), 10.0)
    for view in a_window.slice_views():
        show_lesion(view, lesion)

        (place,) = pixels_of(view, [lesion.middle])
        assert place == pytest.approx([*np.array(view.GetDimensions()[:2]) / 2, 0], abs=1)
        pixels = pixels_of(view, lesion.points)[:, :2]
        assert np.ptp(pixels, axis=0).max() > 20
        width, height = view.GetFieldOfView()[:2]
        assert width / height == pytest.approx(view.GetDimensions()[0] / view.GetDimensions()[1])


def test_a_large_lesion_is_shown_whole(a_window, a_body):
    lesion = a_lesion((0, 0, 100), 300.0)
    for view in a_window.slice_views():
        show_lesion(view, a_lesion((80, 20, -500), 10.0))
        show_lesion(view, lesion)
        pixels = pixels_of(view, lesion.points)[:, :2]
        assert (pixels > 0).all()
        assert (pixels < view.GetDimensions()[:2]).all()


def test_a_reader_who_has_zoomed_closer_keeps_that_zoom(a_window, a_body):
    view = a_window.slice_view("Green")
    small, larger = a_lesion((80, 20, -500), 10.0), a_lesion((0, 0, 100), 90.0)
    show_lesion(view, small)
    closer = [part / 2 for part in view.GetFieldOfView()[:2]]
    view.SetFieldOfView(*closer, 1.0)

    show_lesion(view, a_lesion((-60, 10, 300), 12.0))
    assert view.GetFieldOfView()[:2] == pytest.approx(closer)
    show_lesion(view, larger)
    assert view.GetFieldOfView()[0] > 90 * slice_views.ROOM * 0.99
    show_lesion(view, small)
    assert min(view.GetFieldOfView()[:2]) == pytest.approx(slice_views.LEAST_SIDE_MM)
