"""The mouse and the keyboard in Slicer's slice views.

Events go to the interactor of a view, as those of VTK's own widget do: from there on everything is
as with a hand on the mouse. The pointer has to be at a place before a button is pressed there:
markups find out under the moving pointer what can be dragged or deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from MOISSAM2SegmentLib.scene.transforms import matrix_to_numpy

VIEWS = {"Red": "axial", "Yellow": "sagittal", "Green": "coronal"}
DRAG_STEPS = 10
DELETE, DELETE_KEY = "Delete", "\x7f"
"""As VTK names the key, and its character."""


def slice_widget_of(view: str) -> Any:
    """Return the widget of a slice view."""
    return slicer.app.layoutManager().sliceWidget(view)


def slice_node_of(view: str) -> Any:
    """Return the node of a slice view."""
    slice_widget = slice_widget_of(view)
    return slice_widget.mrmlSliceNode()


def look_at(view: str, world: Sequence[float]) -> None:
    """Bring a place of the world into the middle of a slice view."""
    slice_node_of(view).JumpSliceByCentering(*(float(part) for part in world))
    slicer.app.processEvents()


def turn(view: str, degrees: float) -> None:
    """Turn a slice view about both of its own axes, so that it lies across all of the scan's."""
    node = slice_node_of(view)
    turned = vtk.vtkTransform()
    turned.SetMatrix(node.GetSliceToRAS())
    turned.RotateX(degrees)
    turned.RotateY(degrees)
    node.GetSliceToRAS().DeepCopy(turned.GetMatrix())
    node.UpdateMatrices()
    slicer.app.processEvents()


def pixel_of(view: str, world: Sequence[float]) -> tuple[int, int]:
    """Return the pixel of a slice view that shows a place of the world."""
    to_xy = np.linalg.inv(matrix_to_numpy(slice_node_of(view).GetXYToRAS()))
    x, y = (to_xy @ np.append(world, 1.0))[:2]
    return round(float(x)), round(float(y))


def world_of(view: str, pixel: tuple[int, int]) -> np.ndarray:
    """Return the place of the world that a pixel of a slice view shows."""
    to_ras = matrix_to_numpy(slice_node_of(view).GetXYToRAS())
    return (to_ras @ (*pixel, 0.0, 1.0))[:3]


def pixel_size_mm(view: str) -> float:
    """Return the diagonal of a slice view's pixel."""
    return float(np.linalg.norm(world_of(view, (1, 1)) - world_of(view, (0, 0))))


def move_to(view: str, pixel: tuple[int, int]) -> None:
    """Move the pointer to a pixel of a slice view, with no button pressed."""
    slicer.util.clickAndDrag(slice_widget_of(view), button="None", start=pixel, end=pixel, steps=1)
    slicer.app.processEvents()


def click(view: str, world: Sequence[float], modifiers: Sequence[str] = ()) -> None:
    """Click with the left button; modifiers are "Shift" and "Control"."""
    pixel = pixel_of(view, world)
    move_to(view, pixel)
    slicer.util.clickAndDrag(
        slice_widget_of(view), start=pixel, end=pixel, steps=1, modifiers=list(modifiers)
    )
    slicer.app.processEvents()


def drag(view: str, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag with the left button from a pixel of a slice view to another."""
    move_to(view, start)
    slicer.util.clickAndDrag(slice_widget_of(view), start=start, end=end, steps=DRAG_STEPS)
    slicer.app.processEvents()


def press_delete(view: str, world: Sequence[float]) -> None:
    """Press the key Delete while the pointer is at a place."""
    move_to(view, pixel_of(view, world))
    slice_widget = slice_widget_of(view)
    interactor = slice_widget.interactorStyle().GetInteractor()
    interactor.SetKeyEventInformation(0, 0, DELETE_KEY, 1, DELETE)
    interactor.KeyPressEvent()
    interactor.KeyReleaseEvent()
    slicer.app.processEvents()
