"""Drawing with the mouse in a slice view: a box around a lesion, or a scribble through it.

Markups have no line that is drawn by hand, so this takes the mouse's own events, as Slicer's
scissors do: pressed, moved and released. What is being drawn is shown in the view meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import vtk

from MOISSAM2SegmentLib.messages import tr as _

PRESS, PRESS_AGAIN, MOVE, RELEASE = (
    vtk.vtkCommand.LeftButtonPressEvent,
    vtk.vtkCommand.LeftButtonDoubleClickEvent,
    vtk.vtkCommand.MouseMoveEvent,
    vtk.vtkCommand.LeftButtonReleaseEvent,
)
EVENTS = (PRESS, PRESS_AGAIN, MOVE, RELEASE)
"""A quick second press comes as a double click alone, by which Slicer maximizes the view."""

SMALLEST = 4
"""Pixels of the view; a hand that only clicks moves the mouse less."""
COLOUR = (1.0, 0.85, 0.2)
LINE_WIDTH = 2

DRAG_FOR_BOX = _("Draw the box with the mouse pressed, from one corner to the opposite one.")


class Shape(Enum):
    """What is drawn."""

    BOX = "box"
    SCRIBBLE = "scribble"


class View(NamedTuple):
    """A slice view, without its widget."""

    node: Any
    """vtkMRMLSliceNode"""
    renderer: Any
    render: Callable[[], None]


class ViewDrawing:
    """What is drawn with the mouse in slice views, one line at a time."""

    def __init__(
        self, drawn: Callable[[Shape, np.ndarray], None], message: Callable[[str], None]
    ) -> None:
        """``drawn`` is called with the places in the world [n, 3] of a shape that is complete: the
        four corners of a box, or all along a scribble. ``message`` is called with text for the
        user if there is not enough of it.
        """
        self._drawn, self._message = drawn, message
        self._line: _Line | None = None

    def process(self, shape: Shape, event: int, position: tuple[int, int], view: View) -> bool:
        """Handle an event of the mouse; return whether nobody else should.

        ``position`` is that of the mouse in the view.
        """
        if event in (PRESS, PRESS_AGAIN):
            self.cancel()
            self._line = _Line(shape, view, position, event == PRESS_AGAIN)
            return True
        if self._line is None or self._line.view.node is not view.node:
            return False
        if event == MOVE:
            self._line.add(position)
        elif event == RELEASE:
            line, self._line = self._line, None
            line.add(position)
            line.remove()
            self._finish(line)
        return event in EVENTS

    def _finish(self, line: _Line) -> None:
        if line.is_box and min(line.extent) < SMALLEST:
            self._message(DRAG_FOR_BOX)
        elif not (line.is_again and max(line.extent) < SMALLEST):
            # A quick second press without a line is about the place of the first one.
            self._drawn(line.shape, line.places())

    def cancel(self) -> None:
        """Forget what is being drawn."""
        if self._line is not None:
            self._line.remove()
            self._line = None


class _Line:
    """What is being drawn in one view, shown there."""

    def __init__(
        self, shape: Shape, view: View, start: tuple[int, int], is_again: bool = False
    ) -> None:
        """``is_again`` tells that it was begun by a quick second press."""
        self.shape, self.view, self.is_again = shape, view, is_again
        self.is_box = shape is Shape.BOX
        self.positions = [start]
        self._data = vtk.vtkPolyData()
        mapper = vtk.vtkPolyDataMapper2D()
        mapper.SetInputData(self._data)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(mapper)
        self._actor.GetProperty().SetColor(*COLOUR)
        self._actor.GetProperty().SetLineWidth(LINE_WIDTH)
        view.renderer.AddViewProp(self._actor)

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height in pixels of the view."""
        (x0, y0), (x1, y1) = self.positions[0], self.positions[-1]
        return abs(x1 - x0), abs(y1 - y0)

    @property
    def corners(self) -> list[tuple[int, int]]:
        """The positions that say what the shape is, in the view."""
        if not self.is_box:
            return self.positions
        (x0, y0), (x1, y1) = self.positions[0], self.positions[-1]
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]

    def add(self, position: tuple[int, int]) -> None:
        if position != self.positions[-1]:
            self.positions.append(position)
            self._show()

    def places(self) -> np.ndarray:
        """Return the corners, or all positions, in the world [n, 3]."""
        to_world = self.view.node.GetXYToRAS()
        return np.array([to_world.MultiplyPoint((x, y, 0, 1))[:3] for x, y in self.corners])

    def remove(self) -> None:
        self.view.renderer.RemoveViewProp(self._actor)
        self.view.render()

    def _show(self) -> None:
        corners = [*self.corners, self.corners[0]] if self.is_box else self.corners
        points = vtk.vtkPoints()
        lines = vtk.vtkCellArray()
        lines.InsertNextCell(len(corners))
        for x, y in corners:
            lines.InsertCellPoint(points.InsertNextPoint(x, y, 0))
        self._data.SetPoints(points)
        self._data.SetLines(lines)
        self.view.render()
