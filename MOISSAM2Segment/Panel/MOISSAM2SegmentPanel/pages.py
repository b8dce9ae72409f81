"""The panel's pages: choices made once for a scan, the work on its lesions, and their comparison.

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
        self._choices_wanted = self._comparison_wanted = False
        self._sections = (
            ui.modelSection,
            ui.scanSection,
            ui.searchSection,
            ui.compareSection,
            ui.advancedSection,
        )
        self.progress = ProgressRow(ui, workspace.engine.worker, message_line, self.show)
        ui.changeButton.connect("clicked()", message_line.guard(self._turn))
        ui.whereButton.connect("clicked()", message_line.guard(self._choose_where))
        opened = message_line.guard(self._section_turned)
        ui.compareSection.connect("contentsCollapsed(bool)", opened)
        workspace.opened.connect(self._begin)
        workspace.ended.connect(lambda reason: self._begin())
        self._open_sections(ui.modelSection, ui.scanSection)

    def close(self) -> None:
        """Disconnect from what outlives the panel."""
        self.progress.close()

    @property
    def is_working(self) -> bool:
        """Whether the page of the work is shown."""
        is_open = self._workspace.is_open
        return is_open and not self._choices_wanted and not self.is_comparing

    @property
    def is_comparing(self) -> bool:
        """Whether the page of the comparison is shown."""
        wanted = self._comparison_wanted and not self._choices_wanted
        return wanted and self._has_comparison

    @property
    def _has_comparison(self) -> bool:
        return self._workspace.is_open and self._workspace.comparison.result is not None

    def turn_to_comparison(self, wanted: bool) -> None:
        """Show the comparison instead of the work, or the work again."""
        self._comparison_wanted, self._choices_wanted = wanted, False
        self._turned()

    def show(self) -> None:
        """Update which page is shown, and the first row."""
        ui, is_busy = self._ui, self.progress.is_shown
        ui.setupFrame.visible = not self.is_working and not self.is_comparing
        ui.workFrame.visible = self.is_working
        ui.compareFrame.visible = self.is_comparing
        is_open = self._workspace.is_open
        ui.noticeLabel.visible = not is_busy and not is_open
        ui.summaryLabel.visible = ui.changeButton.visible = not is_busy and is_open
        ui.changeButton.text = self._way_on()
        if is_open:
            ui.summaryLabel.text, ui.summaryLabel.toolTip = self._summary()

    def _way_on(self) -> str:
        """Return where the button leads: from the work to the comparison, if there is one."""
        if self.is_working and self._has_comparison:
            return _("Comparison")
        return _("Change...") if self.is_working or self.is_comparing else _("Back")

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
        self._choices_wanted = self._comparison_wanted = False
        self._open_sections(self._ui.modelSection, self._ui.scanSection)

    def _turn(self) -> None:
        if self.is_working and self._has_comparison:
            self.turn_to_comparison(True)
            return
        self._choices_wanted = not self._choices_wanted
        self._open_sections(self._ui.modelSection, self._ui.scanSection)
        self._turned()

    def _choose_where(self) -> None:
        self._choices_wanted = True
        self._open_sections(self._ui.searchSection)
        self._turned()

    def _section_turned(self, is_collapsed: bool) -> None:
        """Close the other sections for the comparison: with them it would be too low to be seen."""
        if not is_collapsed:
            self._open_sections(self._ui.compareSection)

    def _open_sections(self, *wanted: Any) -> None:
        for section in self._sections:
            section.collapsed = section not in wanted
