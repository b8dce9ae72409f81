"""What is needed less often, in a menu beside the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.lesion_table import LesionTable
from MOISSAM2SegmentPanel.notice import Notice


class MoreMenu:
    """The menu of the button *More*. Every entry is a step that can be undone."""

    def __init__(self, ui: Any, workspace: Workspace, table: LesionTable, notice: Notice) -> None:
        self._workspace = workspace
        self._table = table
        self._notice = notice
        self._menu = qt.QMenu(ui.moreButton)
        ui.moreButton.setMenu(self._menu)
        self.actions = {
            "reconsider": self._add(_("Back to \u201cto check\u201d"), self._reconsider),
            "merge": self._add(_("Merge into one lesion"), self._merge),
            "split": self._add(_("Split into separate pieces"), self._split),
            "delete": self._add(_("Delete"), self._delete),
            "rename": self._add(_("Rename..."), self._rename),
        }
        self._menu.connect("aboutToShow()", notice.guard(self._about_to_show))

    def _add(self, text: str, slot: Callable[[], None]) -> Any:
        action = qt.QAction(text, self._menu)
        action.connect("triggered()", self._notice.act(slot))
        self._menu.addAction(action)
        return action

    def _about_to_show(self) -> None:
        count = len(self._table.chosen)
        self.actions["merge"].enabled = count > 1
        self.actions["split"].enabled = count == 1
        self.actions["rename"].enabled = count == 1

    def _reconsider(self) -> None:
        self._workspace.commands.reconsider(*self._table.chosen)

    def _merge(self) -> None:
        self._workspace.commands.merge(*self._table.chosen, then=self._table.choose)

    def _split(self) -> None:
        (number,) = self._table.chosen

        def told(numbers: Sequence[int]) -> None:
            self._table.choose(*numbers)

        self._workspace.commands.split(number, then=told)

    def _delete(self) -> None:
        self._workspace.commands.delete(*self._table.chosen)

    def _rename(self) -> None:
        self._table.rename()
