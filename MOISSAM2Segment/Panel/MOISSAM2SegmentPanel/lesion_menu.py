"""The menu of the button *More*, with commands on lesions that are needed less often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.lesion_table import LesionTable
from MOISSAM2SegmentPanel.message_line import MessageLine


class LesionMenu:
    """Commands on the lesions whose rows are chosen. Every entry is a step that can be undone."""

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        table: LesionTable,
        message_line: MessageLine,
        switch_lesions: Callable[[], None],
    ) -> None:
        self._workspace = workspace
        self._table = table
        self._message_line = message_line
        self._menu = qt.QMenu(ui.moreButton)
        ui.moreButton.setMenu(self._menu)
        self.actions = {
            "reconsider": self._add(_("Back to \u201cto check\u201d"), self._reconsider),
            "merge": self._add(_("Merge into one lesion"), self._merge),
            "split": self._add(_("Split into separate pieces"), self._split),
            "delete": self._add(_("Delete"), self._delete),
            "rename": self._add(_("Rename..."), self._rename),
            "whole_scan": self._add(_("Whole scan, or the lesion again (O)"), self._switch_views),
            "fill": self._add(_("Outlines only, or filled again (L)"), self._switch_fill),
            "hide": self._add(_("Hide all lesions, or show them again (H)"), switch_lesions),
        }
        self._menu.connect("aboutToShow()", message_line.guard(self._about_to_show))

    def _add(self, text: str, slot: Callable[[], None]) -> Any:
        action = qt.QAction(text, self._menu)
        action.connect("triggered()", self._message_line.guard_and_clear(slot))
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
        (lesion_id,) = self._table.chosen

        def choose(lesion_ids: Sequence[int]) -> None:
            self._table.choose(*lesion_ids)

        self._workspace.commands.split(lesion_id, then=choose)

    def _delete(self) -> None:
        self._workspace.commands.delete(*self._table.chosen)

    def _rename(self) -> None:
        self._table.rename()

    def _switch_fill(self) -> None:
        self._workspace.views.switch_fill()

    def _switch_views(self) -> None:
        self._workspace.views.switch()
