"""The lesion report as a table in the scene, as a file, and as totals in words."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.lesion_rows import STATUSES, count_text, status_text
from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.table_layout import TableLayout

COPIED = _("The script was copied. Fill in the lines in capitals.")
COPIED_IN_PART = _(
    "The script was copied. It lacks steps that no script can repeat, such as painting; lines in "
    "it tell where."
)


class ReportSection:
    """The last row: totals, and the report as a table and as a file."""

    def __init__(self, ui: Any, workspace: Workspace, message_line: MessageLine) -> None:
        self._ui = ui
        self._workspace = workspace
        self._message_line = message_line
        self._has_lesions = False
        self._table = TableLayout(self._show_button)
        ui.reportButton.connect("clicked()", message_line.guard(self._report))
        ui.saveReportButton.connect("clicked()", message_line.guard(self._save))
        ui.scriptButton.connect("clicked()", message_line.guard(self._copy_script))

    def show(self) -> None:
        """Update the buttons."""
        is_open = self._workspace.is_open
        self._has_lesions = is_open and bool(self._workspace.state.lesions)
        self._ui.saveReportButton.enabled = self._has_lesions
        self._ui.scriptButton.enabled = is_open
        self._show_button()

    @property
    def is_shown(self) -> bool:
        """Whether the views show the table."""
        return self._table.is_shown

    def close(self) -> None:
        """Stop observing the layout, and leave it as it is."""
        self._table.forget()

    def _show_button(self) -> None:
        button, is_shown = self._ui.reportButton, self._table.is_shown
        button.enabled = self._has_lesions or is_shown
        button.text = _("Hide table") if is_shown else _("Show table")
        button.toolTip = (
            _("Have the views lie as they did before the table")
            if is_shown
            else _("Measure all lesions into a table of the scene and show it")
        )

    def _report(self) -> None:
        if self._table.is_shown:
            self._table.go_back()
        else:
            self._workspace.reports.table(self._take)

    def _take(self, node: Any, totals: Any) -> None:
        parts = [
            f"{status_text(status)} {group.count} ({group.volume_cm3:.2f})".replace(" ", "\u00a0")
            for status in STATUSES
            if (group := totals.by_status.get(status)) is not None and group.count
        ]
        text = _("{lesions}, {volume:.2f} cm\u00b3: {parts}").format(
            lesions=count_text(totals.count), volume=totals.burden_cm3, parts=", ".join(parts)
        )
        self._message_line.show(text)
        self._table.show(node)

    def _copy_script(self) -> None:
        script = self._workspace.commands.script()
        slicer.app.clipboard().setText(script.text)
        self._message_line.show(COPIED if script.is_complete else COPIED_IN_PART)

    def _save(self) -> None:
        caption = _("Save the report")
        kinds = ";;".join((_("Comma-separated values (*.csv)"), _("JSON (*.json)")))
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), caption, "lesions.csv", kinds
        )
        if path:
            message = _("The report was saved: {path}")
            self._workspace.reports.write(
                path, lambda written: self._message_line.show(message.format(path=written))
            )
