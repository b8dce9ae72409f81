"""The panel's two pages: choices that are made once for a scan, and the work on its lesions.

A page has the panel to itself, so that nothing has to be scrolled in a small window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.model_section import ModelSection
from MOISSAM2SegmentPanel.progress_row import ProgressRow

BETWEEN = " \u00b7 "
GAP = 8
"""Pixels between the summary and the button beside it, at least."""


class Pages:
    """Shows the work once a scan is open, and the choices before that or when they are asked for.

    The first row has the notice until a scan is open, and then what was chosen; while a job runs,
    it is lent to its progress. ``turned`` is called when the user has turned the page.
    """

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        message_line: MessageLine,
        model: ModelSection,
        turned: Callable[[], None],
    ) -> None:
        self._ui = ui
        self._workspace = workspace
        self._model = model
        self._turned = turned
        self._choices_wanted = False
        self._sections = (ui.modelSection, ui.scanSection, ui.searchSection, ui.advancedSection)
        self.progress = ProgressRow(ui, workspace.engine.worker, message_line, self.show)
        ui.changeButton.connect("clicked()", message_line.guard(self._turn))
        ui.whereButton.connect("clicked()", message_line.guard(self._choose_where))
        workspace.opened.connect(self._begin)
        workspace.ended.connect(lambda reason: self._begin())
        self._open_sections(ui.modelSection, ui.scanSection)

    def close(self) -> None:
        """Disconnect from what outlives the panel."""
        self.progress.close()

    @property
    def is_working(self) -> bool:
        """Whether the page of the work is shown."""
        return self._workspace.is_open and not self._choices_wanted

    def show(self) -> None:
        """Update which page is shown, and the first row."""
        ui, is_busy = self._ui, self.progress.is_shown
        ui.setupFrame.visible = not self.is_working
        ui.workFrame.visible = self.is_working
        is_open = self._workspace.is_open
        ui.noticeLabel.visible = not is_busy and not is_open
        ui.summaryLabel.visible = ui.changeButton.visible = not is_busy and is_open
        ui.changeButton.text = _("Change...") if self.is_working else _("Back")
        if is_open:
            ui.summaryLabel.text, ui.summaryLabel.toolTip = self._summary()

    def _summary(self) -> tuple[str, str]:
        """Return what was chosen, in short and at length."""
        model, device = self._model.short_title, self._model.short_device
        scan = self._workspace.volume_node.GetName()
        room = self._ui.topFrame.width - self._ui.changeButton.sizeHint.width() - GAP
        metrics = self._ui.summaryLabel.fontMetrics()
        room -= metrics.horizontalAdvance(BETWEEN.join((model, "", device)))
        # Names of scans often differ at their ends only.
        short = metrics.elidedText(scan, qt.Qt.ElideMiddle, room)
        return BETWEEN.join((model, short, device)), "\n".join((model, scan, device))

    def _begin(self) -> None:
        self._choices_wanted = False
        self._open_sections(self._ui.modelSection, self._ui.scanSection)

    def _turn(self) -> None:
        self._choices_wanted = not self._choices_wanted
        self._open_sections(self._ui.modelSection, self._ui.scanSection)
        self._turned()

    def _choose_where(self) -> None:
        self._choices_wanted = True
        self._open_sections(self._ui.searchSection)
        self._turned()

    def _open_sections(self, *wanted: Any) -> None:
        for section in self._sections:
            section.collapsed = section not in wanted
