"""The lesion report as a table in the scene, as a file, and as totals in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from MOISSAM2SegmentLib.setup import install
from MOISSAM2SegmentLib.workspace.comparison import is_picture
from MOISSAM2SegmentLib.workspace.dicom_export import DicomResult
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.lesion_rows import STATUSES, count_text, status_text
from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.pages import Pages
from MOISSAM2SegmentPanel.table_layout import TableLayout

COPIED = _("The script was copied. Fill in the lines in capitals.")
COPIED_IN_PART = _(
    "The script was copied. It lacks steps that no script can repeat, such as painting; lines in "
    "it tell where."
)


class ReportSection:
    """The last row: totals, the report as a table and as a file, and results as DICOM.

    While lesions are compared, the table that is shown and saved is the comparison.
    """

    def __init__(
        self, ui: Any, workspace: Workspace, message_line: MessageLine, pages: Pages
    ) -> None:
        self._ui = ui
        self._workspace = workspace
        self._message_line = message_line
        self._pages = pages
        self._has_lesions = False
        self._table = TableLayout(self._show_button)
        ui.reportButton.connect("clicked()", message_line.guard(self._report))
        self._menu = qt.QMenu(ui.saveReportButton)
        ui.saveReportButton.setMenu(self._menu)
        self.saving = {
            "table": self._add(_("As table..."), self._save),
            "dicom": self._add(_("As DICOM, for the archive..."), self._save_dicom),
        }
        """The entries of the button *Save*."""
        ui.scriptButton.connect("clicked()", message_line.guard(self._copy_script))

    def show(self) -> None:
        """Update the buttons."""
        is_open = self._workspace.is_open
        has_lesions = is_open and bool(self._workspace.state.lesions)
        self._has_lesions = has_lesions or self._pages.is_comparing
        self._ui.saveReportButton.enabled = self._has_lesions
        self._ui.saveReportButton.toolTip = (
            _("Save the comparison as a CSV or JSON file, or as a picture of both scans")
            if self._pages.is_comparing
            else _("Save the table as a CSV or JSON file")
        )
        self._ui.scriptButton.enabled = is_open
        self._show_button()

    @property
    def is_shown(self) -> bool:
        """Whether the views show the table."""
        return self._table.is_shown

    def close(self) -> None:
        """Stop observing the layout, and leave it as it is."""
        self._table.forget()

    def _add(self, text: str, slot: Callable[[], None]) -> Any:
        action = qt.QAction(text, self._menu)
        action.connect("triggered()", self._message_line.guard(slot))
        self._menu.addAction(action)
        return action

    def _show_button(self) -> None:
        button, is_shown = self._ui.reportButton, self._table.is_shown
        button.enabled = self._has_lesions or is_shown
        button.text = _("Hide table") if is_shown else _("Show table")
        button.toolTip = (
            _("Have the views lie as they did before the table")
            if is_shown
            else _("Write the comparison into a table of the scene and show it")
            if self._pages.is_comparing
            else _("Measure all lesions into a table of the scene and show it")
        )

    def _report(self) -> None:
        if self._table.is_shown:
            self._table.go_back()
        elif self._pages.is_comparing:
            self._table.show(self._workspace.comparison.table())
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

    def _save_comparison(self) -> None:
        tables = (_("Comma-separated values (*.csv)"), _("JSON (*.json)"))
        kinds = ";;".join((*tables, _("Picture of both scans (*.png)")))
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save the comparison"), "comparison.csv", kinds
        )
        if not path or (is_picture(path) and not self._has(install.install_for_pictures)):
            return
        message = _("The comparison was saved: {path}")
        self._workspace.comparison.write(
            path, lambda written: self._message_line.show(message.format(path=written))
        )

    def _has(self, installed: Callable[..., bool]) -> bool:
        """Return whether what a kind of file needs is installed, or could be installed now."""

        def report(text: str) -> None:
            self._message_line.show(text)
            slicer.app.processEvents()

        try:
            return installed(self._message_line.ask, report)
        except install.InstallFailed as failure:
            self._message_line.show(str(failure))
            return False

    def _save(self) -> None:
        if self._pages.is_comparing:
            self._save_comparison()
            return
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

    def _save_dicom(self) -> None:
        # What refuses the scan comes first: nobody should install anything in vain.
        self._workspace.dicom.check()
        if not self._has(install.install_for_dicom):
            return
        caption = _("Save as DICOM: choose a folder. The files name the patient as the scan does.")
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), caption)
        if folder:
            self._workspace.dicom.write(folder, self._dicom_written)

    def _dicom_written(self, result: DicomResult) -> None:
        text = _("DICOM files were saved, with the patient's name in them: {folder}")
        self._message_line.show(text.format(folder=result.folder))
