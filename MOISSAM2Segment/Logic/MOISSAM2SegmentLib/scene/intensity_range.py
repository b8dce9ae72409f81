"""The Segment Editor's editable intensity range, applied inside the box that a mask changes.

Slicer compares the whole scan and the whole segment for every mask, however small: more than the
main thread may be kept on a whole body. Here it is asked not to, and gets what it would have made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from MOISSAM2SegmentLib.scene.borrowed_segments import Picture
from MOISSAM2SegmentLib.scene.transforms import view_of


@contextmanager
def limited(picture: Picture, parameters: Any, volume_node: Any) -> Iterator[Any]:
    """A picture's image for a Segment Editor to write, whose limits it respects already. Slicer
    applies none inside the `with`, unless they are meant for another scan than the picture's."""
    is_ours = parameters.GetSourceVolumeNode() is volume_node
    if not (parameters.GetSourceVolumeIntensityMask() and is_ours):
        yield picture.image()
        return
    limits = parameters.GetSourceVolumeIntensityMaskRange()
    allowed = between(view_of(volume_node).array[picture.box], *limits)
    with _switched_off(parameters):
        yield picture.image(allowed)


def between(values: np.ndarray, lowest: float, highest: float) -> np.ndarray:
    """Where values lie within limits. Compared by VTK, as in Slicer: it has its own way to bring
    limits with a fraction to whole numbers."""
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
    """The one event that comes of it says that the limits are on again: the Segment Editor's
    widget, which follows the segment that is written, has seen them off."""
    was_modifying = parameters.StartModify()
    parameters.SetSourceVolumeIntensityMask(False)
    try:
        yield
    finally:
        parameters.SetSourceVolumeIntensityMask(True)
        parameters.EndModify(was_modifying)
