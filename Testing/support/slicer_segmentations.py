"""Segmentation files written by Slicer's own libraries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mois_core.geometry import Volume

BINARY_LABELMAP = "Binary labelmap"


def write_in_slicer(
    path: Path, scan: Volume, masks: Sequence[np.ndarray], is_cropped: bool
) -> Path:
    """Write masks [k, j, i] of a scan as Slicer would, in as few layers as will do."""
    import slicer

    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(node)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY_LABELMAP)
    geometry = _oriented(np.zeros(scan.array.shape, dtype=np.uint8), scan.ijk_to_ras)
    segmentation.SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
        slicer.vtkSegmentationConverter.SerializeImageGeometry(geometry),
    )
    for number, mask in enumerate(masks, start=1):
        segment = slicer.vtkSegment()
        segment.SetName(f"Läsion {number}")
        segment.AddRepresentation(BINARY_LABELMAP, _oriented(mask, scan.ijk_to_ras))
        segmentation.AddSegment(segment, f"Segment_{number}")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetCropToMinimumExtent(is_cropped)
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    return path


def _oriented(mask: np.ndarray, ijk_to_ras: np.ndarray) -> object:
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*mask.shape[::-1])
    voxels = np.ascontiguousarray(mask, dtype=np.uint8).ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(voxels, deep=True))
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras.ravel().tolist())
    image.SetImageToWorldMatrix(matrix)
    return image
