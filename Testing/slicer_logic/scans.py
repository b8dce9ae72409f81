"""Scans in the scene, and functions that change nodes as a user does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import slicer
import vtk
from engine_fixtures import CORONAL, SCENE, Block, scan_of
from MOISSAM2SegmentLib.scene.transforms import ijk_to_ras, numpy_to_matrix, right_handed, to_world

from mois_core.geometry import Volume
from mois_core.progress import CancelToken

PATIENCE_S = 20.0

MOST_S = 0.05
"""Longest time that anything may block the main thread."""


def volume_node(scene, array: np.ndarray, ijk_to_ras: np.ndarray, name: str = "scan"):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(numpy_to_matrix(ijk_to_ras))
    return node


def scan_node(scene, *blocks: Block, matrix: np.ndarray = CORONAL, slices: int = 12):
    return volume_node(scene, scan_of(*(blocks or SCENE), slices=slices), matrix)


def scan_as_read(scene, name: str = "scan"):
    """Add the usual scan as Slicer has it after reading a file."""
    volume = right_handed(Volume(scan_of(*SCENE), CORONAL))
    return volume_node(scene, volume.array, volume.ijk_to_ras, name)


STATION_ROWS = ((0, 18), (16, 32))
"""Rows of the usual scan that its upper and its lower station show; they overlap by two."""


def add_station(scene, number: int, name: str = "cor {} tirm", rows=None, array=None):
    """Add the upper (0) or the lower (1) part of the usual scan."""
    first, end = rows or STATION_ROWS[number]
    matrix = CORONAL.copy()
    matrix[:3, 3] = (CORONAL @ (0, first, 0, 1))[:3]
    cut = (scan_of(*SCENE) if array is None else array)[:, first:end]
    volume = right_handed(Volume(cut, matrix))
    return volume_node(scene, volume.array, volume.ijk_to_ras, name.format(number + 1))


FINER = (2, 32, 10)
"""Pixels of a scan of clinical size for each of the usual scan, along slices, rows and columns."""


def clinical_scan_node(scene, *blocks: Block):
    """Add a scan of clinical size, 40 slices of 1024 x 320 pixels, as Slicer reads it."""
    large = np.kron(scan_of(*blocks, slices=20), np.ones(FINER, dtype=np.int16))
    matrix = np.array([[-0.7, 0, 0, 0], [0, 0, 7.8, 0], [0, -0.7, 0, 0], [0, 0, 0, 1]])
    volume = right_handed(Volume(large, matrix))
    return volume_node(scene, volume.array, volume.ijk_to_ras)


def middle_of(workspace, block: Block) -> np.ndarray:
    """Return the place in the world of the middle of a lesion of a clinical scan."""
    slice_index, row, column = (s * n + s // 2 for n, s in zip(block.middle, FINER, strict=True))
    return world_of(workspace, slice_index, row, column)


class Turn(NamedTuple):
    """The time of the main thread that one call of `pump` took, in seconds."""

    passed: float
    """Time by the clock: with waiting for the worker on purpose, for the interpreter, and for other
    programs on the machine."""
    worked: float
    """Time of the processor that the main thread itself used."""


def settle(workspace, seconds: float = PATIENCE_S) -> list[Turn]:
    """Call `pump` as the module's timer does until nothing is left to do."""
    turns = []
    end = time.monotonic() + seconds
    while workspace.needs_pump:
        turns.append(timed(workspace.pump))
        assert time.monotonic() < end, "the workspace does not come to rest"
    return turns


def timed(action: Callable[[], object]) -> Turn:
    """Return the time of the main thread that a call took."""
    passed, worked = time.perf_counter(), time.thread_time()
    action()
    return Turn(time.perf_counter() - passed, time.thread_time() - worked)


def slowed_down(session, monkeypatch, seconds: float) -> None:
    """Make each step of a session take longer, without holding the interpreter."""
    for name in ("clicks", "find_similar", "move_click", "prepare"):
        method = getattr(session, name)

        def slow(*arguments, method=method, **how):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.01)
                for argument in (*arguments, *how.values()):
                    if isinstance(argument, CancelToken):
                        argument.check()
            return method(*arguments, **how)

        monkeypatch.setattr(session, name, slow)


def world_of(workspace, slice_index: float, row: float, column: float) -> np.ndarray:
    """Return the place in the world of a pixel of a slice."""
    ras = workspace.session.stack.point_to_ras(slice_index, column, row)
    return to_world(workspace.volume_node, ras)[0]


def place(workspace, block: Block, label: str = "") -> str:
    """Place a fiducial in the middle of a lesion, as a click into a slice view does."""
    return place_at(workspace, world_of(workspace, *block.middle), label)


def place_at(workspace, world, label: str = "") -> str:
    node = workspace.points_node
    index = node.AddControlPointWorld(*np.asarray(world, dtype=float).tolist(), label)
    return node.GetNthControlPointID(index)


def drag(workspace, point_id: str, world) -> None:
    node = workspace.points_node
    index = node.GetNthControlPointIndexByID(point_id)
    node.SetNthControlPointPositionWorld(index, *np.asarray(world, dtype=float).tolist())


def remove(workspace, point_id: str) -> None:
    node = workspace.points_node
    node.RemoveNthControlPoint(node.GetNthControlPointIndexByID(point_id))


def labels_in(node) -> list[str]:
    return [node.GetNthControlPointLabel(n) for n in range(node.GetNumberOfControlPoints())]


def segment_mask(workspace, lesion_id: int) -> np.ndarray:
    """Return a lesion's segment on the scan's grid, read as any other module reads it."""
    segment_id = workspace.segments.segment_of(lesion_id)
    array = slicer.util.arrayFromSegmentBinaryLabelmap(
        workspace.segments_node, segment_id, workspace.volume_node
    )
    return turned(workspace, np.array(array, dtype=bool))


def paint(workspace, lesion_id: int, box) -> np.ndarray:
    """Add a box to a segment as a script or an effect does, and return the mask it has to have."""
    mask = segment_mask(workspace, lesion_id)
    mask[box] = True
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        turned(workspace, mask).astype(np.uint8),
        workspace.segments_node,
        workspace.segments.segment_of(lesion_id),
        workspace.volume_node,
    )
    return mask


def turned(workspace, array: np.ndarray) -> np.ndarray:
    """Return an array on the node's grid as one on the session's, or the other way round.

    They differ if the node's grid is left-handed.
    """
    matrix = ijk_to_ras(workspace.volume_node)
    return array if np.linalg.det(matrix[:3, :3]) > 0 else array[::-1]


def shows_exactly_its_session(workspace) -> bool:
    """Return whether the segments are the lesions that count, each with the voxels of its label."""
    labels = workspace.session.labels()
    lesion_ids = [lesion.id for lesion in workspace.session.lesions if lesion.status.counts]
    segmentation = workspace.segments_node.GetSegmentation()
    if not all(workspace.segments.segment_of(lesion_id) for lesion_id in lesion_ids):
        return False
    if segmentation.GetNumberOfSegments() != len(lesion_ids):
        return False
    return all(np.array_equal(segment_mask(workspace, n), labels == n) for n in lesion_ids)


def linear_transform(scene, *, shift=(30.0, -20.0, 10.0), degrees: float = 25.0):
    transform = vtk.vtkTransform()
    transform.Translate(*shift)
    transform.RotateWXYZ(degrees, 0.3, 0.5, 0.8)
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    node.SetMatrixTransformToParent(transform.GetMatrix())
    return node


def warp(scene, times: float = 1.0):
    """Add a transform that is a smooth displacement of some millimetres, or more ``times``."""
    transform = vtk.vtkThinPlateSplineTransform()
    transform.SetBasisToR()
    corners = np.array([[x, y, z] for x in (-60, 60) for y in (-60, 160) for z in (-60, 60)], "d")
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for index, corner in enumerate(corners):
        source.InsertNextPoint(*corner)
        target.InsertNextPoint(*(corner + times * np.array([3 * (-1) ** index, 2.0, index % 3])))
    transform.SetSourceLandmarks(source)
    transform.SetTargetLandmarks(target)
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warped")
    node.SetAndObserveTransformToParent(transform)
    return node
