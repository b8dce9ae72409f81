"""Going through findings: the buttons below the table, which decide and go on to the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from MOISSAM2SegmentLib.workspace.lesion_list import LesionEntry
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel import lesion_rows
from MOISSAM2SegmentPanel.click_section import ClickSection
from MOISSAM2SegmentPanel.lesion_rows import FOUND
from MOISSAM2SegmentPanel.lesion_table import LesionTable
from MOISSAM2SegmentPanel.message_line import MessageLine


class ReviewSection:
    """Decisions on the lesions chosen in the table, or on all that the search is sure of."""

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        message_line: MessageLine,
        clicks: ClickSection,
        selected: Callable[[], None],
    ) -> None:
        """``selected`` is called when other lesions were chosen."""
        self._ui = ui
        self._workspace = workspace
        self._clicks = clicks
        self._statuses: dict[int, str] = {}
        self._tell_selected = selected
        self.table = LesionTable(ui, workspace, message_line, self._selected)
        guard, clear = message_line.guard, message_line.guard_and_clear
        ui.acceptButton.connect("clicked()", clear(self.accept))
        ui.rejectButton.connect("clicked()", clear(self.reject))
        ui.refineButton.connect("clicked()", clear(self.refine))
        ui.previousButton.connect("clicked()", guard(lambda: self.go_on(-1)))
        ui.nextButton.connect("clicked()", guard(lambda: self.go_on()))
        ui.acceptAllButton.connect("clicked()", guard(lambda: self._ask(True)))
        ui.cancelAcceptButton.connect("clicked()", guard(lambda: self._ask(False)))
        ui.acceptSureButton.connect("clicked()", clear(self._accept_sure))
        ui.confidenceBox.connect("valueChanged(int)", guard(lambda value: self._show_count()))
        self._ask(False)

    # ---- showing ---------------------------------------------------------------------------

    def show(self, entries: Sequence[LesionEntry]) -> None:
        """Update the table and the buttons; go to a finding whose decision was taken back."""
        before = self._statuses
        self._statuses = {entry.lesion_id: entry.status for entry in entries}
        self.table.show(entries)
        self.show_buttons()
        for entry in self.table.rows:
            if entry.status == FOUND and before.get(entry.lesion_id, FOUND) != FOUND:
                self.table.choose(entry.lesion_id)
                break

    def _selected(self) -> None:
        self.show_buttons()
        self._tell_selected()

    def show_buttons(self) -> None:
        """Enable the buttons that suit the rows that are chosen."""
        ui, is_open = self._ui, self._workspace.is_open
        chosen = self.table.chosen if is_open else []
        ui.acceptButton.enabled = ui.rejectButton.enabled = bool(chosen)
        ui.refineButton.enabled = len(chosen) == 1
        has_findings = is_open and FOUND in self._statuses.values()
        ui.acceptAllButton.enabled = has_findings
        for button in (ui.previousButton, ui.nextButton):
            button.enabled = has_findings and self.table.following(chosen=chosen) is not None
        ui.findingLabel.text = lesion_rows.left_text(self.table.entries)
        ui.moreButton.enabled = bool(chosen)
        if not has_findings:
            self._ask(False)
        self._show_count()

    # ---- one after the other ---------------------------------------------------------------

    def accept(self) -> None:
        """Accept the chosen findings, and choose the next one."""
        self._decide(self._workspace.commands.accept)

    def reject(self) -> None:
        """Reject the chosen findings, and choose the next one."""
        self._decide(self._workspace.commands.reject)

    def _decide(self, step: Callable[..., Any]) -> None:
        if not self._workspace.is_open:
            return
        chosen = self.table.chosen
        if not chosen:
            return
        following = self.table.following(chosen=chosen)
        self._end_refining()
        step(*chosen)
        if following is not None:
            self.table.choose(following)

    def go_on(self, step: int = 1) -> None:
        """Go to the next finding to be checked, or to the previous one, without a decision."""
        if self._workspace.is_open:
            self._end_refining()
            self.table.choose_next(step)

    def refine(self) -> None:
        """Begin to correct the chosen lesion with points; a decision ends that, and goes on."""
        if self._workspace.is_open:
            chosen = self.table.chosen
            if len(chosen) == 1:
                self._clicks.work_on(chosen[0])

    def _end_refining(self) -> None:
        """Let the next click not correct a lesion that is looked at no more."""
        self._clicks.place(False)
        self._workspace.commands.work_on(None)

    # ---- all that the search is sure of ----------------------------------------------------

    def _ask(self, wanted: bool) -> None:
        """Ask from which confidence on findings are to be accepted, or do not ask any more."""
        self._ui.acceptFrame.visible = wanted
        self._ui.findingFrame.visible = not wanted
        if wanted:
            self._show_count()
            self._ui.confidenceBox.setFocus()

    def _sure(self) -> list[int]:
        return lesion_rows.surer_than(self.table.entries, self._ui.confidenceBox.value)

    def _show_count(self) -> None:
        sure = self._sure()
        waiting = sum(status == FOUND for status in self._statuses.values())
        text = _("Accept {count} of {waiting}").format(count=len(sure), waiting=waiting)
        self._ui.acceptSureButton.text = text
        self._ui.acceptSureButton.enabled = bool(sure)

    def _accept_sure(self) -> None:
        sure = self._sure()
        self._ask(False)
        if sure and self._workspace.is_open:
            self._end_refining()
            self._workspace.commands.accept(*sure)
