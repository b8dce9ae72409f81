"""The 3-D views' cameras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_CAMERA = "vtkMRMLCameraNode"
_ROOM = 1.1


def look_from_front(scene: Any, bounds: Sequence[float]) -> None:
    """Have the 3-D views show what lies between bounds of the world, as if facing the patient."""
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    middle, size = (low + high) / 2, high - low
    for index in range(scene.GetNumberOfNodesByClass(_CAMERA)):
        camera = scene.GetNthNodeByClass(index, _CAMERA)
        angle = np.radians(camera.GetViewAngle())
        distance = _ROOM * max(size[0], size[2]) / 2 / np.tan(angle / 2) + size[1] / 2
        was_modifying = camera.StartModify()
        camera.SetFocalPoint(*middle.tolist())
        camera.SetPosition(*(middle + [0.0, distance, 0.0]).tolist())
        camera.SetViewUp(0.0, 0.0, 1.0)
        camera.SetParallelScale(_ROOM * max(size[0], size[2]) / 2)
        camera.ResetClippingRange()
        camera.EndModify(was_modifying)
