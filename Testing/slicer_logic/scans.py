"""Scans in the scene, and ways to do with nodes what a user does."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import slicer
import vtk
from engine_fixtures import CORONAL, SCENE, Block, scan_of
from MOISSAM2SegmentLib.placement import ijk_to_ras, numpy_to_matrix, to_world

PATIENCE_S = 20.0


def volume_node(scene, array: np.ndarray, ijk_to_ras: np.ndarray, name: str = "scan"):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(numpy_to_matrix(ijk_to_ras))
    return node


def scan_node(scene, *blocks: Block, matrix: np.ndarray = CORONAL, slices: int = 12):
    return volume_node(scene, scan_of(*(blocks or SCENE), slices=slices), matrix)


class Turn(NamedTuple):
    """What one turn of the pump took of the main thread, in seconds."""

    passed: float
    """By the clock: with waiting for the worker on purpose, for the interpreter, and for other
    programs on the machine."""
    worked: float
    """Of the processor, by the main thread itself."""


def settle(workspace, seconds: float = PATIENCE_S) -> list[Turn]:
    """Turn the pump as the module's timer does until nothing is left to do."""
    turns = []
    end = time.monotonic() + seconds
    while workspace.needs_pump:
        passed, worked = time.perf_counter(), time.thread_time()
        workspace.pump()
        turns.append(Turn(time.perf_counter() - passed, time.thread_time() - worked))
        assert time.monotonic() < end, "the workspace does not come to rest"
    return turns


def world_of(workspace, number: int, row: float, column: float) -> np.ndarray:
    """Where in the world a pixel of a slice lies."""
    ras = workspace.session.stack.point_to_ras(number, column, row)
    return to_world(workspace.volume_node, ras)[0]


def place(workspace, block: Block, label: str = "") -> str:
    """Place a fiducial in the middle of a lesion, as a click into a slice view does."""
    return place_at(workspace, world_of(workspace, *block.middle), label)


def place_at(workspace, world, label: str = "") -> str:
    node = workspace.points_node
    index = node.AddControlPointWorld(*np.asarray(world, dtype=float).tolist(), label)
    return node.GetNthControlPointID(index)


def drag(workspace, point: str, world) -> None:
    node = workspace.points_node
    index = node.GetNthControlPointIndexByID(point)
    node.SetNthControlPointPositionWorld(index, *np.asarray(world, dtype=float).tolist())


def remove(workspace, point: str) -> None:
    node = workspace.points_node
    node.RemoveNthControlPoint(node.GetNthControlPointIndexByID(point))


def labels_in(node) -> list[str]:
    return [node.GetNthControlPointLabel(n) for n in range(node.GetNumberOfControlPoints())]


def segment_mask(workspace, number: int) -> np.ndarray:
    """A lesion's segment on the scan's grid, read the way any other module reads it."""
    identifier = workspace.segments.segment_of(number)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(
        workspace.segments_node, identifier, workspace.volume_node
    )
    return turned(workspace, np.array(array, dtype=bool))


def paint(workspace, number: int, box) -> np.ndarray:
    """Add a box to a segment as a script or an effect does; gives the mask it should have now."""
    mask = segment_mask(workspace, number)
    mask[box] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        turned(workspace, mask).astype(np.uint8),
        workspace.segments_node,
        workspace.segments.segment_of(number),
        workspace.volume_node,
    )
    return mask


def turned(workspace, array: np.ndarray) -> np.ndarray:
    """An array on the node's grid as one on the session's, and the other way round: they differ
    if the node's is left-handed."""
    matrix = ijk_to_ras(workspace.volume_node)
    return array if np.linalg.det(matrix[:3, :3]) > 0 else array[::-1]


def shows_exactly_its_session(workspace) -> bool:
    """Whether every lesion that counts is a segment with just the voxels that labels give it."""
    labels = workspace.session.labels()
    numbers = [lesion.id for lesion in workspace.session.lesions if lesion.status.counts]
    segmentation = workspace.segments_node.GetSegmentation()
    if sorted(numbers) != sorted(n for n in numbers if workspace.segments.segment_of(n)):
        return False
    if segmentation.GetNumberOfSegments() != len(numbers):
        return False
    return all(np.array_equal(segment_mask(workspace, n), labels == n) for n in numbers)


def linear_transform(scene, *, shift=(30.0, -20.0, 10.0), degrees: float = 25.0):
    transform = vtk.vtkTransform()
    transform.Translate(*shift)
    transform.RotateWXYZ(degrees, 0.3, 0.5, 0.8)
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    node.SetMatrixTransformToParent(transform.GetMatrix())
    return node


def warp(scene):
    """A smooth displacement of some millimetres."""
    transform = vtk.vtkThinPlateSplineTransform()
    transform.SetBasisToR()
    corners = np.array([[x, y, z] for x in (-60, 60) for y in (-60, 160) for z in (-60, 60)], "d")
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for index, corner in enumerate(corners):
        source.InsertNextPoint(*corner)
        target.InsertNextPoint(*(corner + [3 * (-1) ** index, 2.0, index % 3]))
    transform.SetSourceLandmarks(source)
    transform.SetTargetLandmarks(target)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warped")
    node.SetAndObserveTransformToParent(transform)
    return node
