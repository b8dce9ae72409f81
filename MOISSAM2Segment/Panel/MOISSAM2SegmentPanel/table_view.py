"""Showing a table in Slicer's views, and the way back to the views as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from MOISSAM2SegmentLib.scene.observers import Observers

WITH_TABLE = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView


class TableView:
    """Remembers the layout that a table took the place of, until the user chooses another one."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._before: int | None = None
        self._observers = Observers()

    @property
    def is_shown(self) -> bool:
        """Whether there is a way back."""
        return self._before is not None

    def show(self, node: Any) -> None:
        """Have the views show a table node."""
        application = slicer.app.applicationLogic()
        application.GetSelectionNode().SetReferenceActiveTableID(node.GetID())
        application.PropagateTableSelection()
        layout = _layout_node()
        if layout is None or layout.GetViewArrangement() == WITH_TABLE:
            return
        before = layout.GetViewArrangement()
        layout.SetViewArrangement(WITH_TABLE)
        self._before = before
        self._observers.add(layout, vtk.vtkCommand.ModifiedEvent, self._on_layout)
        self._changed()

    def go_back(self) -> None:
        """Have the views lie as before."""
        before, layout = self._before, _layout_node()
        self.forget()
        if before is not None and layout is not None:
            layout.SetViewArrangement(before)

    def forget(self) -> None:
        """Leave the layout to the user."""
        self._before = None
        self._observers.clear()
        self._changed()

    def _on_layout(self, layout: Any, event: str) -> None:
        if layout.GetViewArrangement() != WITH_TABLE:
            self.forget()


def _layout_node() -> Any:
    """None if Slicer runs without a window."""
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None
