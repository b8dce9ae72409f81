"""Tests of the slice that the slice views show, which is encoded first."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import CORONAL
from MOISSAM2SegmentLib.scene.slice_views import visible_slice
from MOISSAM2SegmentLib.scene.transforms import to_world
from scans import linear_transform, volume_node

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
