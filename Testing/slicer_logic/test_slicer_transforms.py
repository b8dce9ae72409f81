"""Tests of points and the masks they make, wherever and however the scan lies in the world.

The mask that the scene shows must be the one that a session gives for the same clicks, made of
the same voxels in the same places of the patient.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
import slicer
import vtk
from engine_fixtures import CORONAL, FIRST, SCENE, SECOND, THIRD, scan_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from scans import (
    drag,
    labels_in,
    linear_transform,
    place,
    place_at,
    remove,
    settle,
    shows_exactly_its_session,
    volume_node,
    warp,
    world_of,
)
from stub_network import StubNetwork

from mois_core.geometry import Volume
from mois_core.session import Session

ORIENTATIONS = [
    (axes, flips) for axes in permutations(range(3)) for flips in product((False, True), repeat=3)
]
"""The 48 ways in which the voxels of one and the same scan can be stored."""


def stored(axes, flips) -> tuple[np.ndarray, np.ndarray]:
    """Return the scan with its array axes exchanged and turned round, in the same place."""
    array, shape = scan_of(*SCENE), (12, 32, 32)
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        # Array axes are k, j, i and matrix columns i, j, k.
        to_old[2 - old, 2 - new] = -1 if flip else 1
        to_old[2 - old, 3] = shape[old] - 1 if flip else 0
    turned = np.flip(array.transpose(axes), [n for n, flip in enumerate(flips) if flip])
    return np.ascontiguousarray(turned), CORONAL @ to_old


def tilted(matrix: np.ndarray, angles) -> np.ndarray:
    """Turn a matrix about the patient's axes, by less than would exchange them."""
    result = np.eye(4)
    for axis, angle in enumerate(np.radians(angles)):
        turn = np.eye(4)
        first, second = (n for n in range(3) if n != axis)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    result[:3, 3] = (13.0, -40.0, 300.0)
    return result @ matrix


def in_own_coordinates(workspace) -> list[tuple[int, bool, np.ndarray]]:
    """Return the points of the scene as lesion, kind and RAS of the scan."""
    general = vtk.vtkGeneralTransform()
    parent = workspace.volume_node.GetParentTransformNode()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, parent, general)
    node = workspace.points_node
    clicks = []
    for index, label in enumerate(labels_in(node)):
        ras = general.TransformPoint(*node.GetNthControlPointPositionWorld(index))
        clicks.append((int(label[:-1]), label.endswith("+"), np.array(ras)))
    return clicks


def masks_of_a_session(workspace) -> dict[int, np.ndarray]:
    """Return the masks that a new session makes of the points that are in the scene now."""
    volume = Volume(workspace.session.volume.array, workspace.session.volume.ijk_to_ras)
    session = Session(StubNetwork(), volume)
    for lesion_id, positive, ras in in_own_coordinates(workspace):
        session.click(ras, positive, lesion_id)
    return {lesion.id: session.mask(lesion.id) for lesion in session.lesions}


def check_against_a_session(workspace) -> None:
    expected = masks_of_a_session(workspace)
    for lesion_id, mask in expected.items():
        assert np.array_equal(workspace.session.mask(lesion_id), mask)
    assert shows_exactly_its_session(workspace)


TRANSFORMS = {"none": lambda scene: None, "linear": linear_transform, "warp": warp}


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    angles=st.tuples(*[st.floats(-20, 20)] * 3),
    kind=st.sampled_from(sorted(TRANSFORMS)),
    offset=st.floats(-0.4, 0.4),
)
def test_a_fiducial_placed_dragged_and_deleted_changes_the_mask(
    a_scene, an_engine, orientation, angles, kind, offset
):
    a_scene.Clear(0)
    array, matrix = stored(*orientation)
    node = volume_node(a_scene, array, tilted(matrix, angles))
    transform = TRANSFORMS[kind](a_scene)
    if transform is not None:
        node.SetAndObserveTransformNodeID(transform.GetID())
    workspace = Workspace(a_scene, an_engine)
    workspace.start(node)
    settle(workspace)

    place(workspace, FIRST, "1+")
    slice_index, row, column = SECOND.middle
    point = place_at(workspace, world_of(workspace, slice_index + offset, row, column), "2+")
    settle(workspace)
    assert workspace.session.lesion(1).mask.voxels == FIRST.voxels
    assert workspace.session.lesion(2).mask.voxels == SECOND.voxels
    check_against_a_session(workspace)

    drag(workspace, point, world_of(workspace, *THIRD.middle))
    settle(workspace)
    assert workspace.session.lesion(2).mask.voxels == THIRD.voxels
    check_against_a_session(workspace)

    remove(workspace, point)
    settle(workspace)
    assert list(workspace.session.state.lesions) == [1]
    assert workspace.segments.segment_of(2) is None
    assert workspace.session.lesion(1).mask.voxels == FIRST.voxels
    workspace.close()


@pytest.mark.parametrize("kind", ["linear", "warp"])
def test_results_lie_where_the_scan_is_seen(a_workspace, a_volume_node, kind):
    scene = a_workspace.scene
    a_volume_node.SetAndObserveTransformNodeID(TRANSFORMS[kind](scene).GetID())
    a_workspace.start(a_volume_node)
    settle(a_workspace)
    place(a_workspace, FIRST)
    settle(a_workspace)

    for node in (a_workspace.segments_node, a_workspace.points_node):
        assert node.GetTransformNodeID() == a_volume_node.GetTransformNodeID()
    assert labels_in(a_workspace.points_node) == ["1+"]


def test_a_scan_that_is_moved_takes_its_results_along(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    steps = len(workspace.session.history.past)

    transform = linear_transform(workspace.scene)
    workspace.volume_node.SetAndObserveTransformNodeID(transform.GetID())
    settle(workspace)
    turn = vtk.vtkTransform()
    turn.RotateWXYZ(40, 0.1, 0.2, 0.9)
    transform.ApplyTransformMatrix(turn.GetMatrix())
    settle(workspace)

    assert workspace.segments_node.GetTransformNodeID() == transform.GetID()
    assert len(workspace.session.history.past) == steps
    world = workspace.points_node.GetNthControlPointPositionWorld(0)
    assert np.allclose(world, world_of(workspace, *FIRST.middle), atol=1e-3)
    place(workspace, SECOND, "2+")
    settle(workspace)
    assert workspace.session.lesion(2).mask.voxels == SECOND.voxels


def test_points_moved_by_a_transform_of_their_own_are_dragged(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    start, end = (world_of(workspace, *block.middle) for block in (FIRST, THIRD))

    transform = linear_transform(workspace.scene, shift=end - start, degrees=0)
    workspace.points_node.SetAndObserveTransformNodeID(transform.GetID())
    settle(workspace)

    assert workspace.session.lesion(1).mask.voxels == THIRD.voxels
    workspace.commands.undo()
    settle(workspace)
    assert workspace.session.lesion(1).mask.voxels == FIRST.voxels
    world = workspace.points_node.GetNthControlPointPositionWorld(0)
    assert np.allclose(world, start, atol=1e-3)
    workspace.volume_node.SetAndObserveTransformNodeID(linear_transform(workspace.scene).GetID())
    settle(workspace)
    assert workspace.points_node.GetTransformNodeID() == transform.GetID()
