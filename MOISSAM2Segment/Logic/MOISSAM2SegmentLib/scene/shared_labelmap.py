"""The labelmap that all lesions of a scan share: one layer, however many lesions there are.

Label values are written into a view of VTK's memory, so a changed lesion costs its box and not the
scan. The Segment Editor cuts a layer down to its content and may change its number format; both
are undone before we write again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from mois_core.geometry import Volume
from MOISSAM2SegmentLib.scene.grid_images import extent_of, has_matrix, image_labels
from MOISSAM2SegmentLib.scene.transforms import numpy_to_matrix
from MOISSAM2SegmentLib.worker.label_updates import Box, whole_box


class Canvas:
    """Memory for the label values of a whole scan, twice: as shown, and as written by us.

    A system hands memory out when it is first touched, page by page, which for a whole body would
    block the main thread for too long. So a canvas is made on the worker.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.written = np.array(labels, dtype=np.uint16, order="C")
        # VTK owns this part: the segmentation may live longer than we do.
        self.scalars = _scalars(labels.shape)
        _array_of(self.scalars, labels.shape)[:] = labels

    def clear(self) -> None:
        """Empty the canvas, so that another labelmap can use it."""
        self.written.fill(0)
        _array_of(self.scalars, self.written.shape).fill(0)


class SharedLabelmap:
    """Label values on a scan's own grid, in memory shared with VTK."""

    def __init__(self, volume: Volume, canvas: Canvas) -> None:
        """``canvas`` is of the scan's shape; its label values are shown."""
        self.shape = volume.array.shape
        self.ijk_to_ras = volume.ijk_to_ras
        self.written = canvas.written
        """The label values that we wrote, to be compared with what the image holds now."""
        self._begin(canvas.scalars)

    def _begin(self, scalars: Any) -> None:
        self.image = slicer.vtkOrientedImageData()
        self.image.SetImageToWorldMatrix(numpy_to_matrix(self.ijk_to_ras))
        self._take(scalars)
        self._show()

    def renew(self) -> None:
        """Replace the image by one that shows what was written, in memory of its own."""
        scalars = _scalars(self.shape)
        _array_of(scalars, self.shape)[:] = self.written
        self._begin(scalars)

    def write(self, box: Box, labels: np.ndarray) -> None:
        """Write label values into a box, without an event; see `notify`.

        Those of the whole scan are kept as they are, for a copy less, and must not change.
        """
        if not self.is_ours:
            self._copy()
            self._show()
        self._array[box] = labels
        if labels.shape == self.shape:
            self.written = np.require(labels, np.uint16, ("C", "W"))
        else:
            self.written[box] = labels

    def notify(self) -> None:
        """Have Slicer draw what was written."""
        self.notify_arrays()
        self.image.Modified()

    def notify_arrays(self) -> None:
        """Have the next drawing use what was written, without an event that causes one."""
        self.image.GetPointData().GetScalars().Modified()

    def read(self) -> tuple[Box, np.ndarray]:
        """Return the present label values, not to be written into, and the box that they are of.

        Outside of it there are none, and none were written.
        """
        found = image_labels(self.image)
        if found is not None and found[1].dtype == np.uint16 and self._is_all_written_in(found[0]):
            return found
        if not self.is_ours:
            self._copy()
        return whole_box(self.shape), self._array

    def _is_all_written_in(self, box: Box) -> bool:
        """Return whether no label values were written outside a box."""
        k, j, i = box
        outside = (
            self.written[: k.start],
            self.written[k.stop :],
            self.written[k, : j.start],
            self.written[k, j.stop :],
            self.written[k, j, : i.start],
            self.written[k, j, i.stop :],
        )
        return not any(part.size and part.max() for part in outside)

    @property
    def is_ours(self) -> bool:
        """Whether the image still consists of the memory that we gave it."""
        scalars = self.image.GetPointData().GetScalars()
        return scalars is self._memory and self.image.GetExtent() == extent_of(self.shape)

    @property
    def lies_in_place(self) -> bool:
        """Whether the image still lies on the scan's grid."""
        return has_matrix(self.image, self.ijk_to_ras)

    def _copy(self) -> None:
        """Copy the image, which another module has changed, into our memory.

        The image stays as it is, and there is no event.
        """
        found = image_labels(self.image)
        # Memory that is ours alone is used again: to get some takes longer than to fill it.
        if self._memory.GetReferenceCount() > 1:
            self._take(_scalars(self.shape))
        self._array.fill(0)
        if found is not None:
            box, values = found
            self._array[box] = values

    def _take(self, scalars: Any) -> None:
        self._memory, self._array = scalars, _array_of(scalars, self.shape)

    def _show(self) -> None:
        """Make the image consist of our memory."""
        self.image.SetExtent(extent_of(self.shape))
        self.image.GetPointData().SetScalars(self._memory)


def _scalars(shape: tuple[int, ...]) -> Any:
    scalars = vtk.vtkUnsignedShortArray()
    scalars.SetName("ImageScalars")
    scalars.SetNumberOfValues(int(np.prod(shape)))
    return scalars


def _array_of(scalars: Any, shape: tuple[int, ...]) -> np.ndarray:
    return vtk_to_numpy(scalars).reshape(shape)
