"""Scans as the engine's `Volume`, and coordinates of the world in those of a scan.

The engine works on the scan's own grid. A scan under a transform is not resampled: points are
transformed from the world to the scan, and the results, which lie on the scan's grid, are put under
the same transform.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from MOISSAM2SegmentLib.messages import tr as _

NO_IMAGE = _("{name} has no image; choose a scan that is loaded.")

Points = np.ndarray
"""Positions [n, 3] in RAS millimetres."""


def matrix_to_numpy(matrix: Any) -> np.ndarray:
    """Return a vtkMatrix4x4 as an array."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def numpy_to_matrix(array: np.ndarray) -> Any:
    """Return an array as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=np.float64).ravel().tolist())
    return matrix


def ijk_to_ras(node: Any) -> np.ndarray:
    """Return the matrix from a volume node's voxels to its own RAS, without parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix_to_numpy(matrix)


def copied(volume: Volume) -> Volume:
    """Return a volume with voxels of its own, which no edit of the scan can reach.

    Runs on the worker: memory that is new takes tens of milliseconds to fill on some computers.
    """
    return Volume(volume.array.copy(), volume.ijk_to_ras)


def view_of(node: Any) -> Volume:
    """Return a scan as the engine's volume, with the node's own voxels.

    Raises `BadInput` if the node has no image.
    """
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise BadInput(NO_IMAGE.format(name=node.GetName()))
    array = vtk_to_numpy(image.GetPointData().GetScalars())
    shape = tuple(reversed(image.GetDimensions()))
    components = image.GetNumberOfScalarComponents()
    array = array.reshape(shape if components == 1 else (*shape, components))
    return right_handed(Volume(array, ijk_to_ras(node)))


def right_handed(volume: Volume) -> Volume:
    """Return a volume whose axes i, j and k are right-handed, with the same voxels in place.

    Slicer turns left-handed scans round when it reads them from a file. They can be in the scene
    nevertheless, made by a script; saved and opened again they would be another scan to us.
    """
    if np.linalg.det(volume.ijk_to_ras[:3, :3]) > 0:
        return volume
    turn = np.diag([1.0, 1.0, -1.0, 1.0])
    turn[2, 3] = volume.array.shape[0] - 1
    return Volume(volume.array[::-1], volume.ijk_to_ras @ turn)


def in_node_order(array: np.ndarray, node: Any) -> np.ndarray:
    """Return an array in the voxel order of a scan's node, given in the engine's order.

    They differ if the node is left-handed, see `right_handed`.
    """
    return array if np.linalg.det(ijk_to_ras(node)[:3, :3]) > 0 else array[::-1]


def transform_between(source: Any, target: Any) -> Any:
    """Return the transform from the coordinates inside one transform node to those inside another.

    None stands for the world.
    """
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return transform


def linear_between(source: Any, target: Any) -> np.ndarray | None:
    """Return the transform between two transform nodes as a matrix; None if it is not linear."""
    for node in (source, target):
        if node is not None and not node.IsTransformToWorldLinear():
            return None
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, matrix)
    return matrix_to_numpy(matrix)


def transformed(points: Points, transform: Any) -> Points:
    """Apply a VTK transform to points [n, 3]."""
    return np.array([transform.TransformPoint(point) for point in np.asarray(points).tolist()])


def from_world(node: Any, points: Points) -> Points:
    """Return points of the world in a node's own coordinates."""
    return _through(points, None, node.GetParentTransformNode())


def to_world(node: Any, points: Points) -> Points:
    """Return points in a node's own coordinates as points of the world."""
    return _through(points, node.GetParentTransformNode(), None)


def _through(points: Points, source: Any, target: Any) -> Points:
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    if source is target or not len(points):
        return points
    return transformed(points, transform_between(source, target))
