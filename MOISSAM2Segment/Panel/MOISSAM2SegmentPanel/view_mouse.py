"""The mouse in Slicer's slice views, while it draws boxes or scribbles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk
from MOISSAM2SegmentLib.scene.observers import Observers
from MOISSAM2SegmentLib.scene.view_drawing import EVENTS, Shape, View, ViewDrawing

FIRST, LAST = 1.0, -1.0
"""Priorities of observers: before Slicer's own, which have 0, as the Segment Editor's, or after."""


class ViewMouse:
    """Takes the mouse's events in all slice views while something is to be drawn."""

    def __init__(
        self,
        drawn: Callable[[Shape, np.ndarray], None],
        message: Callable[[str], None],
        taken: Callable[[], None],
    ) -> None:
        """``drawn`` and ``message`` are those of `ViewDrawing`.

        ``taken`` is called when the mouse is to place points while it draws.
        """
        self.shape: Shape | None = None
        """What is to be drawn; None if nothing is."""
        self._drawing = ViewDrawing(drawn, message)
        self._taken = taken
        self._observers = Observers()
        self._views: list[tuple[Any, Any]] = []
        """Interactors and the views that they belong to."""
        self._tags: dict[tuple[int, int], int] = {}
        """Tags of observers by the index of the view and the event."""

    def draw(self, shape: Shape | None) -> None:
        """Draw from now on, or with None leave the mouse to Slicer again."""
        self._leave_views()
        self.shape = shape
        if shape is not None:
            self._take_views()

    def _take_views(self) -> None:
        manager = slicer.app.layoutManager()
        if manager is None:
            return
        # After the manager itself, which makes the views of another layout then.
        layout = manager.layoutLogic().GetLayoutNode()
        self._observers.add(layout, vtk.vtkCommand.ModifiedEvent, self._layout_changed, LAST)
        for index, name in enumerate(manager.sliceViewNames()):
            view = manager.sliceWidget(name).sliceView()
            interactor = view.interactor()
            self._views.append((interactor, view))
            for event in EVENTS:
                tag = self._observers.add(interactor, event, self._mouse_event, FIRST)
                self._tags[index, event] = tag
        mode = slicer.app.applicationLogic().GetInteractionNode()
        if mode is not None:
            self._observers.add(mode, mode.InteractionModeChangedEvent, self._mode_changed)

    def _leave_views(self) -> None:
        self._drawing.cancel()
        self._observers.clear()
        self._views.clear()
        self._tags.clear()

    def _layout_changed(self, layout: Any, event: str) -> None:
        self.draw(self.shape)

    def _mode_changed(self, mode: Any, event: str) -> None:
        if mode.GetCurrentInteractionMode() == mode.Place:
            self._taken()

    def _mouse_event(self, interactor: Any, name: str) -> None:
        event = vtk.vtkCommand.GetEventIdFromString(name)
        for index, (own, widget) in enumerate(self._views):
            if own is interactor:
                renderer = widget.renderWindow().GetRenderers().GetFirstRenderer()
                view = View(widget.mrmlSliceNode(), renderer, widget.scheduleRender)
                # Slicer uses these keys itself.
                is_free = not (interactor.GetShiftKey() or interactor.GetAltKey())
                position = interactor.GetEventPosition()
                if is_free and self._drawing.process(self.shape, event, position, view):
                    interactor.GetCommand(self._tags[index, event]).SetAbortFlag(1)
                return
