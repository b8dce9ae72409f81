"""The Segment Editor's editable intensity range, applied inside the box that a mask changes.

Slicer compares the whole scan and the whole segment for every mask, however small: on a whole body
that blocks the main thread for too long. Here Slicer's own comparison is switched off, and it is
given the mask that it would have made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from MOISSAM2SegmentLib.scene.borrowed_segments import MaskChange
from MOISSAM2SegmentLib.scene.transforms import view_of


@contextmanager
def limited(change: MaskChange, parameters: Any, volume_node: Any) -> Iterator[Any]:
    """Give the image that a Segment Editor is to write, with its intensity range applied already.

    ``parameters`` is its vtkMRMLSegmentEditorNode. Slicer applies no range of its own inside the
    `with` block, unless the range is meant for another scan than the mask's.
    """
    is_ours = parameters.GetSourceVolumeNode() is volume_node
    if not (parameters.GetSourceVolumeIntensityMask() and is_ours):
        yield change.image()
        return
    limits = parameters.GetSourceVolumeIntensityMaskRange()
    allowed = between(view_of(volume_node).array[change.box], *limits)
    with _switched_off(parameters):
        yield change.image(allowed)


def between(values: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """Return where values lie within limits.

    Compared by VTK, as in Slicer: it has its own way to bring limits with a fraction to whole
    numbers.
    """
    image = vtk.vtkImageData()
    image.SetDimensions(*reversed(values.shape))
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True))
    threshold = vtk.vtkImageThreshold()
    threshold.SetInputData(image)
    threshold.ThresholdBetween(lowest, highest)
    threshold.SetInValue(1)
    threshold.SetOutValue(0)
    threshold.SetOutputScalarTypeToUnsignedChar()
    threshold.Update()
    inside = vtk_to_numpy(threshold.GetOutput().GetPointData().GetScalars())
    return inside.reshape(values.shape) > 0


@contextmanager
def _switched_off(parameters: Any) -> Iterator[None]:
    """Switch the intensity range off, and cause one event when it is on again.

    The event is for the Segment Editor's widget: it reads the parameters whenever the segment is
    written, so it has seen the range switched off.
    """
    was_modifying = parameters.StartModify()
    parameters.SetSourceVolumeIntensityMask(False)
    try:
        yield
    finally:
        parameters.SetSourceVolumeIntensityMask(True)
        parameters.EndModify(was_modifying)
