"""Tests of scans that are moved for good: a transform is hardened, or the geometry is changed."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from engine_fixtures import FIRST, SECOND, THIRD
from MOISSAM2SegmentLib.scene.transforms import ijk_to_ras, numpy_to_matrix, to_world
from MOISSAM2SegmentLib.workspace.step_record import CLICK
from scans import (
    labels_in,
    linear_transform,
    place,
    segment_mask,
    settle,
    shows_exactly_its_session,
    warp,
    world_of,
)
from stub_sessions import is_exactly

SEGMENTATIONS, LISTS = "vtkMRMLSegmentationNode", "vtkMRMLMarkupsFiducialNode"


@pytest.fixture
def a_transformed_scan(a_workspace, a_volume_node):
    """A scan under a linear transform, with two lesions of the user's and a finding."""
    a_volume_node.SetAndObserveTransformNodeID(linear_transform(a_workspace.scene).GetID())
    a_workspace.start(a_volume_node)
    settle(a_workspace)
    place(a_workspace, FIRST, "1+")
    place(a_workspace, SECOND, "2+")
    settle(a_workspace)
    a_workspace.commands.find_similar()
    settle(a_workspace)
    assert len(a_workspace.session.lesions) == 3
    return a_workspace


def lies_in_place(workspace) -> None:
    """Check that lesions and points lie where the scan shows them, in one set of nodes."""
    assert is_exactly(workspace.session, 1, FIRST)
    assert is_exactly(workspace.session, 2, SECOND)
    assert len(workspace.session.lesions) == 3
    assert shows_exactly_its_session(workspace)
    assert labels_in(workspace.points_node) == ["1+", "2+"]
    for index, block in enumerate((FIRST, SECOND)):
        world = workspace.points_node.GetNthControlPointPositionWorld(index)
        assert np.allclose(world, world_of(workspace, *block.middle), atol=1e-3)
    steps = [step for step in workspace.open_work().record.steps if step[0] == CLICK]
    places = [ras for _, clicks in steps for _, _, ras in clicks]
    middles = [world_of(workspace, *block.middle) for block in (FIRST, SECOND)]
    assert np.allclose(to_world(workspace.volume_node, places), middles, atol=1e-3)
    for kind in (SEGMENTATIONS, LISTS):
        assert workspace.scene.GetNumberOfNodesByClass(kind) == 1


@pytest.mark.parametrize("along", ["the scan alone", "the scan first", "the scan last"])
def test_lesions_and_points_follow_a_scan_that_is_hardened(a_transformed_scan, along, errors):
    workspace = a_transformed_scan
    scan, before = workspace.volume_node, world_of(workspace, *FIRST.middle)
    others = [workspace.segments_node, workspace.points_node]
    order = {
        "the scan alone": [scan],
        "the scan first": [scan, *others],
        "the scan last": [*others, scan],
    }

    for node in order[along]:
        assert node.HardenTransform()
    settle(workspace)

    assert workspace.is_open and workspace.messages == []
    assert np.allclose(world_of(workspace, *FIRST.middle), before, atol=1e-6)
    lies_in_place(workspace)
    place(workspace, THIRD, "3+")
    settle(workspace)
    assert is_exactly(workspace.session, 3, THIRD)


@pytest.mark.parametrize("along", ["alone", "with its lesions and points"])
def test_a_scan_that_was_hardened_in_between_goes_on(a_transformed_scan, along, errors):
    workspace = a_transformed_scan
    scan, nodes = workspace.volume_node, [workspace.segments_node, workspace.points_node]
    workspace.end()

    for node in [scan, *(nodes if along != "alone" else [])]:
        assert node.HardenTransform()
    workspace.start(scan)
    settle(workspace)

    assert workspace.messages == []
    lies_in_place(workspace)


def test_a_transform_that_is_taken_off_takes_lesions_and_points_back(a_transformed_scan):
    workspace = a_transformed_scan
    steps = len(workspace.session.history.past)

    workspace.volume_node.SetAndObserveTransformNodeID(None)
    settle(workspace)

    lies_in_place(workspace)
    assert len(workspace.session.history.past) == steps


def test_a_transform_that_was_taken_off_in_between_takes_them_back_too(a_transformed_scan):
    workspace = a_transformed_scan
    scan = workspace.volume_node
    workspace.end()

    scan.SetAndObserveTransformNodeID(None)
    workspace.start(scan)
    settle(workspace)

    assert workspace.segments_node.GetTransformNodeID() is None
    assert shows_exactly_its_session(workspace)


@pytest.mark.parametrize("when", ["while it is open", "in between"])
def test_lesions_and_points_follow_a_scan_whose_geometry_is_changed(
    an_open_workspace, when, errors
):
    """As *Center volume* in the module Volumes does."""
    workspace = an_open_workspace
    place(workspace, FIRST, "1+")
    place(workspace, SECOND, "2+")
    settle(workspace)
    workspace.commands.find_similar()
    settle(workspace)
    scan = workspace.volume_node
    if when == "in between":
        workspace.end()

    matrix = ijk_to_ras(scan)
    matrix[:3, 3] = 11.0, -7.0, 5.0
    scan.SetIJKToRASMatrix(numpy_to_matrix(matrix))
    if when == "in between":
        workspace.start(scan)
    settle(workspace)

    assert workspace.messages == []
    lies_in_place(workspace)


def test_lesions_follow_into_the_work_with_another_model(a_transformed_scan, an_engine, errors):
    """Which cannot go on with the session, but takes the outlines over."""
    from stub_network import StubNetwork

    from mois_core.network.model_info import ModelInfo

    workspace = a_transformed_scan
    scan, old = workspace.volume_node, workspace.segments_node
    masks = [workspace.session.mask(n) for n in (1, 2)]
    workspace.end()
    scan.HardenTransform()
    an_engine.use(StubNetwork(), ModelInfo("other", "other.pt", "1" * 64))

    workspace.start(scan)
    settle(workspace)

    assert "taken over" in workspace.messages[-1]
    for lesion_id, mask in enumerate(masks, start=1):
        assert np.array_equal(workspace.session.mask(lesion_id), mask)
        assert np.array_equal(segment_mask(workspace, lesion_id), mask)
    assert workspace.segments_node is not old
    assert workspace.segments_node.GetName() != old.GetName()
    assert not old.GetDisplayNode().GetVisibility()


def test_what_is_left_of_a_scan_that_is_hardened_by_a_warp_lies_where_it_was(
    a_workspace, a_volume_node
):
    """The voxels are other ones then, so the work ends."""
    workspace = a_workspace
    a_volume_node.SetAndObserveTransformNodeID(warp(workspace.scene, times=8).GetID())
    workspace.start(a_volume_node)
    settle(workspace)
    place(workspace, FIRST, "1+")
    settle(workspace)
    segments, points = workspace.segments_node, workspace.points_node
    before = np.array(points.GetNthControlPointPositionWorld(0))
    middle, half_a_slice = centre(segments), workspace.session.stack.slice_spacing / 2
    assert np.linalg.norm(middle - workspace.session.stack.point_to_ras(5, 8, 9)) > 10

    assert a_volume_node.HardenTransform()
    settle(workspace)

    assert "scan was changed" in workspace.messages[-1]
    assert segments.GetTransformNodeID() is points.GetTransformNodeID() is None
    assert np.allclose(points.GetNthControlPointPositionWorld(0), before, atol=1e-3)
    assert np.linalg.norm(centre(segments) - middle) < half_a_slice


def centre(node) -> np.ndarray:
    """Return the middle of a segmentation in the world."""
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    return bounds.reshape(3, 2).mean(axis=1)


def test_a_scan_that_is_turned_so_far_that_other_slices_are_coronal_is_begun_anew(
    a_transformed_scan, errors
):
    workspace = a_transformed_scan
    scan, mask = workspace.volume_node, workspace.session.mask(1)
    turn = slicer.vtkMRMLLinearTransformNode()
    workspace.scene.AddNode(turn)
    matrix = np.eye(4)[[0, 2, 1, 3]]
    matrix[1] *= -1
    turn.SetMatrixTransformToParent(numpy_to_matrix(matrix))
    scan.SetAndObserveTransformNodeID(turn.GetID())
    settle(workspace)

    scan.HardenTransform()
    settle(workspace)

    assert workspace.is_open
    assert np.array_equal(workspace.session.mask(1), mask)
    assert np.array_equal(segment_mask(workspace, 1), mask)
