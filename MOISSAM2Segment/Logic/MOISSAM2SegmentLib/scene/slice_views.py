"""The slice of a scan that the slice views show, so that it is encoded first."""

from __future__ import annotations

from typing import Any

import numpy as np

from mois_core.geometry import SliceStack
from MOISSAM2SegmentLib.scene.transforms import from_world, matrix_to_numpy, view_of

_VIEWS = "vtkMRMLSliceNode"


def visible_slice(scene: Any, volume_node: Any, axis: str = "coronal") -> int:
    """Return the index of the slice shown by the view that looks along the axis most.

    The middle slice if no view shows the scan.
    """
    stack = SliceStack(view_of(volume_node), axis)
    across = stack.to_ras[:3, 0] / np.linalg.norm(stack.to_ras[:3, 0])
    best, slice_index = 0.0, stack.count // 2
    for index in range(scene.GetNumberOfNodesByClass(_VIEWS)):
        to_ras = matrix_to_numpy(scene.GetNthNodeByClass(index, _VIEWS).GetSliceToRAS())
        alike = abs(float(to_ras[:3, 2] @ across))
        seen = round(float(stack.point_from_ras(from_world(volume_node, to_ras[:3, 3]))[0][0]))
        if alike > best and 0 <= seen < stack.count:
            best, slice_index = alike, seen
    return slice_index
