"""Conversion between VTK images on a scan's grid and arrays of label values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from MOISSAM2SegmentLib.scene.transforms import matrix_to_numpy, numpy_to_matrix
from MOISSAM2SegmentLib.worker.label_updates import Box

BINARY_LABELMAP = "Binary labelmap"
_SAME_MATRIX_MM = 1e-3


def has_matrix(image: Any, ijk_to_ras: np.ndarray) -> bool:
    """Return whether an image lies on the grid that a matrix describes."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return bool(np.abs(matrix_to_numpy(matrix) - ijk_to_ras).max() < _SAME_MATRIX_MM)


def image_labels(image: Any) -> tuple[Box, np.ndarray] | None:
    """Return the box that an image covers and a view of its values; None if it is empty."""
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    scalars = image.GetPointData().GetScalars()
    if scalars is None or i0 > i1 or j0 > j1 or k0 > k1:
        return None
    shape = (k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    box = (slice(k0, k1 + 1), slice(j0, j1 + 1), slice(i0, i1 + 1))
    return box, vtk_to_numpy(scalars).reshape(shape)


def image_of(ijk_to_ras: np.ndarray, box: Box, mask: np.ndarray) -> Any:
    """Return one mask as an image that covers a box of a scan's grid."""
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(numpy_to_matrix(ijk_to_ras))
    k, j, i = box
    image.SetExtent(i.start, i.stop - 1, j.start, j.stop - 1, k.start, k.stop - 1)
    flat = np.ascontiguousarray(mask, dtype=np.uint8).ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    return image


def moved_image(image: Any, transform: Any) -> Any:
    """Return a copy of an image with a VTK transform applied to it."""
    copy = slicer.vtkOrientedImageData()
    copy.DeepCopy(image)
    slicer.vtkOrientedImageDataResample.TransformOrientedImage(copy, transform)
    return copy


def on_grid(
    image: Any, lesion_ids: Mapping[int, int], ijk_to_ras: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Return an image's label values, replaced by lesions' ids, on a scan's grid.

    ``lesion_ids`` are by label value. An image on another grid is resampled.
    """
    result = np.zeros(shape, dtype=np.uint16)
    found = box_on_grid(image, lesion_ids, ijk_to_ras, shape)
    if found is not None:
        box, labels = found
        result[box] = labels
    return result


def box_on_grid(
    image: Any, lesion_ids: Mapping[int, int], ijk_to_ras: np.ndarray, shape: tuple[int, ...]
) -> tuple[Box, np.ndarray] | None:
    """Return the box of a scan's grid that an image covers, and lesions' ids inside it.

    ``lesion_ids`` are by label value. None if the image covers nothing of the grid.
    """
    found = part_on_grid(image, ijk_to_ras, shape)
    return None if found is None else (found[0], replaced(found[1], lesion_ids))


def part_on_grid(
    image: Any, ijk_to_ras: np.ndarray, shape: tuple[int, ...]
) -> tuple[Box, np.ndarray] | None:
    """Return the box of a scan's grid that an image covers, and its own label values inside it.

    None if it covers nothing of the grid. Those of an image on another grid are resampled.
    """
    if image is None or image_labels(image) is None:
        return None
    if not has_matrix(image, ijk_to_ras):
        image = _resampled(image, ijk_to_ras, shape)
    found = image_labels(image)
    if found is None:
        return None
    inside, part = [], []
    for along, count in zip(found[0], shape, strict=True):
        first, last = max(along.start, 0), min(along.stop, count)
        if first >= last:
            return None
        inside.append(slice(first, last))
        part.append(slice(first - along.start, last - along.start))
    k, j, i = inside
    return (k, j, i), found[1][tuple(part)]


def replaced(values: np.ndarray, lesion_ids: Mapping[int, int]) -> np.ndarray:
    """Replace label values by lesions' ids; zero for values that stand for no lesion."""
    if len(lesion_ids) == 1:
        ((value, lesion_id),) = lesion_ids.items()
        return np.multiply(values == value, lesion_id, dtype=np.uint16)
    id_of_value = np.zeros(max(int(values.max()), 0, *lesion_ids) + 1, dtype=np.uint16)
    for value, lesion_id in lesion_ids.items():
        id_of_value[value] = lesion_id
    result = np.empty(values.shape, dtype=np.uint16)
    # Slice by slice, since an index takes four times the memory of a value.
    for plane, replaced in zip(values, result, strict=True):
        indices = plane.astype(np.intp, copy=False)
        np.take(id_of_value, indices, out=replaced, mode="clip")
    return result


def extent_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the VTK extent of an array [k, j, i] that begins at the grid's first voxel."""
    size_k, size_j, size_i = shape
    return 0, size_i - 1, 0, size_j - 1, 0, size_k - 1


def _resampled(image: Any, ijk_to_ras: np.ndarray, shape: tuple[int, ...]) -> Any:
    reference = slicer.vtkOrientedImageData()
    reference.SetImageToWorldMatrix(numpy_to_matrix(ijk_to_ras))
    reference.SetExtent(extent_of(shape))
    reference.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    result = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, result, False
    )
    return result
