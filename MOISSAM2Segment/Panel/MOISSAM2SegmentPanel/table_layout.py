"""The layout of Slicer's views that shows a table, and the way back to the layout before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from MOISSAM2SegmentLib.scene.observers import Observers
from MOISSAM2SegmentLib.scene.scan_layout import (
    FOUR_UP_AND_TABLE,
    OURS_WITH_TABLE,
    show_layout,
    table_layout,
)

WITH_TABLE = (FOUR_UP_AND_TABLE, *OURS_WITH_TABLE)


class TableLayout:
    """Shows a table in the views, and remembers the layout before until the user chooses another.

    ``changed`` is called when `is_shown` changes.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._before: int | None = None
        self._observers = Observers()

    @property
    def is_shown(self) -> bool:
        """Whether there is a layout to go back to."""
        return self._before is not None

    def show(self, node: Any) -> None:
        """Show a table node in the views."""
        self._bring_table_view()
        # Only views that exist take the selection over, and the first layout makes the view.
        application = slicer.app.applicationLogic()
        application.GetSelectionNode().SetActiveTableID(node.GetID())
        application.PropagateTableSelection()

    def go_back(self) -> None:
        """Restore the layout that was there before the table."""
        before, layout = self._before, _layout_node()
        self.forget()
        if before is not None and layout is not None:
            show_layout(layout, before)

    def forget(self) -> None:
        """Leave the layout as it is."""
        self._before = None
        self._observers.clear()
        self._changed()

    def _bring_table_view(self) -> None:
        layout = _layout_node()
        if layout is None or layout.GetViewArrangement() in WITH_TABLE:
            return
        before = layout.GetViewArrangement()
        show_layout(layout, table_layout(slicer.mrmlScene))
        self._before = before
        self._observers.add(layout, vtk.vtkCommand.ModifiedEvent, self._on_layout)
        self._changed()

    def _on_layout(self, layout: Any, event: str) -> None:
        if layout.GetViewArrangement() not in WITH_TABLE:
            self.forget()


def _layout_node() -> Any:
    """Return Slicer's layout node; None if Slicer runs without a window."""
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None
