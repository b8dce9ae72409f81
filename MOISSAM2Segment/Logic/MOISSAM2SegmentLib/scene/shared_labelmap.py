"""The label map that all lesions of a scan share: one layer, however many there are.

A view of VTK's memory is painted into, so a changed lesion costs its box and not the scan. The
Segment Editor cuts a layer down to what is on it and may change its number format; both are
undone before the next stroke of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from mois_core.geometry import Volume
from MOISSAM2SegmentLib.scene.transforms import matrix_to_numpy, numpy_to_matrix
from MOISSAM2SegmentLib.worker.label_updates import Box

BINARY_LABELMAP = "Binary labelmap"
_SAME_MATRIX_MM = 1e-3


class Canvas:
    """Memory for the label values of a whole scan, twice: what is shown, and what was written.

    A system hands memory out when it is first touched, page by page, which for a whole body takes
    longer than the main thread may be kept. So a canvas is made on the worker.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        # Not `np.zeros`, which touches nothing.
        self.written = np.full(shape, 0, dtype=np.uint16)
        # VTK owns what is shown: the segmentation may live longer than we do.
        self.scalars = _scalars(shape)
        _array_of(self.scalars, shape).fill(0)

    def clear(self) -> None:
        """Empty it for the next one that draws on it."""
        self.written.fill(0)
        _array_of(self.scalars, self.written.shape).fill(0)


class SharedLabelmap:
    """Label values on a scan's own grid, in memory that VTK and we share."""

    def __init__(self, volume: Volume, scalars: Any) -> None:
        """``scalars`` are taken over as they are, with what is in them."""
        self.shape = volume.array.shape
        self.ijk_to_ras = volume.ijk_to_ras
        self.image = slicer.vtkOrientedImageData()
        self.image.SetImageToWorldMatrix(numpy_to_matrix(volume.ijk_to_ras))
        self._take(scalars)
        self._show()

    @classmethod
    def of(cls, volume: Volume, labels: np.ndarray) -> SharedLabelmap:
        """One that shows label values, in memory of its own."""
        scalars = _scalars(labels.shape)
        _array_of(scalars, labels.shape)[:] = labels
        return cls(volume, scalars)

    def paint(self, box: Box, labels: np.ndarray) -> None:
        """Write label values into a box. Nobody is told; see `tell`."""
        if not self.is_ours:
            self._copy()
            self._show()
        self._array[box] = labels

    def tell(self) -> None:
        """Have Slicer draw what was painted."""
        self.tell_only_arrays()
        self.image.Modified()

    def tell_only_arrays(self) -> None:
        """Have the next drawing take what was painted, without an event that causes one."""
        self.image.GetPointData().GetScalars().Modified()

    def read(self) -> np.ndarray:
        """The present label values, to be looked at only."""
        if not self.is_ours:
            self._copy()
        return self._array

    @property
    def is_ours(self) -> bool:
        """Whether the image still consists of the memory that we gave it."""
        scalars = self.image.GetPointData().GetScalars()
        return scalars is self._scalars and self.image.GetExtent() == _extent(self.shape)

    @property
    def lies_in_place(self) -> bool:
        """Whether the image still lies on the scan's grid."""
        return has_matrix(self.image, self.ijk_to_ras)

    def _copy(self) -> None:
        """Bring what somebody has made of the image into our memory. The image stays as it is,
        and nobody is told."""
        found = image_labels(self.image)
        # Memory that is ours alone is used again: to get some takes longer than to fill it.
        if self._scalars.GetReferenceCount() > 1:
            self._take(_scalars(self.shape))
        self._array.fill(0)
        if found is not None:
            box, values = found
            self._array[box] = values

    def _take(self, scalars: Any) -> None:
        self._scalars, self._array = scalars, _array_of(scalars, self.shape)

    def _show(self) -> None:
        """Have the image consist of our memory."""
        self.image.SetExtent(_extent(self.shape))
        self.image.GetPointData().SetScalars(self._scalars)


def _scalars(shape: tuple[int, ...]) -> Any:
    scalars = vtk.vtkUnsignedShortArray()
    scalars.SetName("ImageScalars")
    scalars.SetNumberOfValues(int(np.prod(shape)))
    return scalars


def _array_of(scalars: Any, shape: tuple[int, ...]) -> np.ndarray:
    return vtk_to_numpy(scalars).reshape(shape)


def _extent(shape: tuple[int, ...]) -> tuple[int, ...]:
    size_k, size_j, size_i = shape
    return 0, size_i - 1, 0, size_j - 1, 0, size_k - 1


def has_matrix(image: Any, ijk_to_ras: np.ndarray) -> bool:
    """Whether an image's voxels lie where those of a scan lie."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return bool(np.abs(matrix_to_numpy(matrix) - ijk_to_ras).max() < _SAME_MATRIX_MM)


def image_labels(image: Any) -> tuple[Box, np.ndarray] | None:
    """Which box an image covers, and a view of what is in it; None if it is empty."""
    i0, i1, j0, j1, k0, k1 = image.GetExtent()
    scalars = image.GetPointData().GetScalars()
    if scalars is None or i0 > i1 or j0 > j1 or k0 > k1:
        return None
    shape = (k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    box = (slice(k0, k1 + 1), slice(j0, j1 + 1), slice(i0, i1 + 1))
    return box, vtk_to_numpy(scalars).reshape(shape)


def image_of(ijk_to_ras: np.ndarray, box: Box, mask: np.ndarray) -> Any:
    """A small image of one mask, in a box of a scan's grid."""
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(numpy_to_matrix(ijk_to_ras))
    k, j, i = box
    image.SetExtent(i.start, i.stop - 1, j.start, j.stop - 1, k.start, k.stop - 1)
    flat = np.ascontiguousarray(mask, dtype=np.uint8).ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    return image


def on_grid(
    image: Any, lesions: Mapping[int, int], ijk_to_ras: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """An image's label values as the lesions they stand for, on a scan's grid; resampled if the
    image lies on another."""
    result = np.zeros(shape, dtype=np.uint16)
    found = box_on_grid(image, lesions, ijk_to_ras, shape)
    if found is not None:
        box, labels = found
        result[box] = labels
    return result


def box_on_grid(
    image: Any, lesions: Mapping[int, int], ijk_to_ras: np.ndarray, shape: tuple[int, ...]
) -> tuple[Box, np.ndarray] | None:
    """The same for the part of the grid that the image covers; None if that is nothing."""
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
    values = found[1][tuple(part)]
    k, j, i = inside
    return (k, j, i), _renumbered(values, lesions)


def _renumbered(values: np.ndarray, lesions: Mapping[int, int]) -> np.ndarray:
    """Label values as the lesions they stand for; zero for those that stand for none."""
    if len(lesions) == 1:
        ((value, lesion),) = lesions.items()
        return np.multiply(values == value, lesion, dtype=np.uint16)
    numbers = np.zeros(max(int(values.max()), 0, *lesions) + 1, dtype=np.uint16)
    for value, lesion in lesions.items():
        numbers[value] = lesion
    result = np.empty(values.shape, dtype=np.uint16)
    # Slice by slice, since an index takes four times the memory of a value.
    for plane, renumbered in zip(values, result, strict=True):
        places = plane.astype(np.intp, copy=False)
        np.take(numbers, places, out=renumbered, mode="clip")
    return result


def _resampled(image: Any, ijk_to_ras: np.ndarray, shape: tuple[int, ...]) -> Any:
    reference = slicer.vtkOrientedImageData()
    reference.SetImageToWorldMatrix(numpy_to_matrix(ijk_to_ras))
    reference.SetExtent(_extent(shape))
    reference.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    result = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, result, False
    )
    return result
