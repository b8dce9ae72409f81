"""Surfaces of masks as VTK's polygons, and models of the scene that show them.

The models are ours alone: they are computed again when they are needed, are in no list, are not
saved, and cannot be clicked on. Polygons are made on a worker, nodes on the main thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from MOISSAM2SegmentLib.scene.transforms import numpy_to_matrix

Colour = Sequence[float]
_MODEL, _DISPLAY = "vtkMRMLModelNode", "vtkMRMLModelDisplayNode"
_COLOURS = "Colour"


def contour(mask: np.ndarray, to_ras: np.ndarray, smoothing: float = 0.0) -> Any:
    """Return the surface of a mask [k, j, i], given the matrix from (i, j, k, 1) to RAS.

    It is closed at the ends of the array too. With ``smoothing`` the mask is blurred before, by
    that many voxels. Runs on a worker.
    """
    from scipy.ndimage import gaussian_filter

    values = np.pad(mask, 1).astype(np.float32)
    if smoothing:
        values = gaussian_filter(values, smoothing)
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(values.shape))
    image.SetOrigin(-1.0, -1.0, -1.0)
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=True))
    edges = vtk.vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()
    edges.ComputeScalarsOff()
    transform = vtk.vtkTransform()
    transform.SetMatrix(numpy_to_matrix(to_ras))
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetTransform(transform)
    placed.SetInputConnection(edges.GetOutputPort())
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(placed.GetOutputPort())
    normals.SplittingOff()
    normals.ConsistencyOff()
    normals.Update()
    return normals.GetOutput()


def in_one(surfaces: Sequence[tuple[Any, Colour]]) -> Any:
    """Return surfaces as one, each in its colour. Runs on a worker."""
    append = vtk.vtkAppendPolyData()
    for surface, colour in surfaces:
        coloured = vtk.vtkPolyData()
        coloured.ShallowCopy(surface)
        rgb = np.round(255 * np.array(colour)).astype(np.uint8)
        values = numpy_to_vtk(np.tile(rgb, (surface.GetNumberOfPoints(), 1)), deep=True)
        values.SetName(_COLOURS)
        coloured.GetPointData().SetScalars(values)
        append.AddInputData(coloured)
    if surfaces:
        append.Update()
    return append.GetOutput()


class SurfaceModel:
    """A model in the scene that shows one surface at a time."""

    def __init__(self, scene: Any, name: str, opacity: float = 1.0, outline: int = 0) -> None:
        """With ``outline`` the surface is shown in slices too, as a line of so many pixels."""
        self._scene = scene
        self._name, self._opacity, self._outline = name, opacity, outline
        self.node: Any = None

    def show(self, surface: Any, transform_id: str | None, colour: Colour | None = None) -> None:
        """Show a surface under a transform, in one colour or in those of `in_one`."""
        if self.node is None or self.node.GetScene() is None:
            self.node = self._new_node()
        display = self.node.GetDisplayNode()
        was_modifying = display.StartModify()
        if colour is not None:
            display.SetColor(*colour)
        display.SetScalarVisibility(colour is None)
        display.SetVisibility(True)
        display.EndModify(was_modifying)
        if self.node.GetPolyData() is not surface:
            self.node.SetAndObservePolyData(surface)
        self.follow(transform_id)

    def hide(self) -> None:
        """Show nothing."""
        if self.node is not None and self.node.GetDisplayNode() is not None:
            self.node.GetDisplayNode().SetVisibility(False)

    def follow(self, transform_id: str | None) -> None:
        """Put the surface under a transform."""
        if self.node is not None:
            self.node.SetAndObserveTransformNodeID(transform_id)

    def remove(self) -> None:
        """Take the model out of the scene."""
        node, self.node = self.node, None
        if node is not None and node.GetScene() is not None:
            display = node.GetDisplayNode()
            self._scene.RemoveNode(node)
            if display is not None:
                self._scene.RemoveNode(display)

    def forget(self) -> None:
        """Leave the model to a scene that is being closed."""
        self.node = None

    def _new_node(self) -> Any:
        display = self._scene.CreateNodeByClass(_DISPLAY)
        display.UnRegister(None)
        display.SetOpacity(self._opacity)
        display.SetVisibility2D(self._outline > 0)
        display.SetSliceIntersectionThickness(max(self._outline, 1))
        display.SetBackfaceCulling(False)
        display.SetActiveScalarName(_COLOURS)
        display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseDirectMapping)
        node = self._scene.CreateNodeByClass(_MODEL)
        node.UnRegister(None)
        node.SetName(self._name)
        # A point that is placed in the 3-D view must not stick to it.
        node.SetSelectable(False)
        for one in (display, node):
            one.SetHideFromEditors(True)
            one.SetSaveWithScene(False)
            one.SetUndoEnabled(False)
            self._scene.AddNode(one)
        node.SetAndObserveDisplayNodeID(display.GetID())
        return node
