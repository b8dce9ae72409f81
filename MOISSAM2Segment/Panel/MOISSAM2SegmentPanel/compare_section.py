"""The comparison with an earlier scan: the section that begins it, and the page that shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from MOISSAM2SegmentLib.scene.earlier_lesions import segments_outlined_on
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel import comparison_rows
from MOISSAM2SegmentPanel.comparison_table import ComparisonTable
from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.pages import Pages

LINES = 2
"""Lines that are kept for what is told of one lesion, so that what is below stays in its place."""


class CompareSection:
    """Chooses an earlier scan and its lesions, and goes through what became of them.

    ``found`` is called with the ids of lesions that are proposed as findings.
    """

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        message_line: MessageLine,
        pages: Pages,
        found: Callable[[Sequence[int]], None],
    ) -> None:
        self._ui = ui
        self._workspace = workspace
        self._message_line = message_line
        self._pages = pages
        self._found = found
        self._shown: Any = None
        self.table = ComparisonTable(ui, message_line, self._show_lesion)
        label = ui.comparisonLabel
        label.minimumHeight = LINES * label.fontMetrics().lineSpacing()
        guard, clear = message_line.guard, message_line.guard_and_clear
        for box in (ui.earlierScanBox, ui.earlierLesionsBox):
            box.connect("currentNodeChanged(vtkMRMLNode*)", guard(lambda node: self.show()))
        ui.earlierScanBox.connect("currentNodeChanged(vtkMRMLNode*)", guard(self._scan_chosen))
        ui.agreementBox.connect("valueChanged(double)", guard(lambda value: self.show()))
        # The section shows all that is in it when it is opened.
        ui.compareSection.connect("contentsCollapsed(bool)", guard(lambda closed: self.show()))
        ui.compareButton.connect("clicked()", clear(self.compare))
        ui.uncheckedButton.connect("clicked()", clear(lambda: self.compare(checked=False)))
        ui.compareAgainButton.connect("clicked()", clear(self.compare))
        ui.previousLesionButton.connect("clicked()", guard(lambda: self.table.go_on(-1)))
        ui.nextLesionButton.connect("clicked()", guard(lambda: self.table.go_on(1)))
        ui.proposeButton.connect("clicked()", clear(self._propose))
        ui.editLesionsButton.connect("clicked()", clear(lambda: pages.turn_to_comparison(False)))
        ui.endComparisonButton.connect("clicked()", clear(self._end))
        workspace.comparison.changed.connect(self.show)

    def show(self) -> None:
        """Update the section and the page from the workspace."""
        ui, comparison, is_open = self._ui, self._workspace.comparison, self._workspace.is_open
        ui.compareSection.visible = is_open
        ui.uncheckedButton.visible = is_open and comparison.is_refused
        result = comparison.result if is_open else None
        if result is not self._shown:
            self._shown = result
            rows = [] if result is None else comparison_rows.rows_of(result, comparison.colour)
            self.table.show(rows)
        if result is None:
            return
        count = len(result.missing)
        ui.proposeButton.enabled = count > 0
        is_other = result.dice != ui.agreementBox.value
        ui.compareAgainButton.enabled = is_other or not comparison.is_current
        place = self.table.position
        ui.comparisonLabel.text = (
            "" if place is None else comparison_rows.detail_text(self.table.rows[place])
        )
        ui.comparedLabel.text = _("{place} of {count}").format(
            place=comparison_rows.NONE if place is None else place + 1, count=len(self.table.rows)
        )

    def go_on(self, step: int) -> None:
        """Show the next lesion on both scans, or the previous one."""
        self.table.go_on(step)

    # ---- buttons ---------------------------------------------------------------------------

    def _scan_chosen(self, node: Any) -> None:
        """Choose the lesions of the earlier scan too, where Slicer knows them."""
        lesions = segments_outlined_on(node) if node is not None else None
        if lesions is not None and lesions is not self._workspace.segments_node:
            self._ui.earlierLesionsBox.setCurrentNode(lesions)

    def compare(self, checked: bool = True) -> None:
        """Compare with the scan and the lesions that are chosen."""
        scan = self._ui.earlierScanBox.currentNode()
        lesions = self._ui.earlierLesionsBox.currentNode()
        if scan is None or lesions is None:
            self._message_line.show(_("Choose an earlier scan, and the lesions outlined on it."))
            return
        dice = self._ui.agreementBox.value
        self._workspace.comparison.compare(scan, lesions, checked, self._begin, dice)

    def _begin(self, result: Any) -> None:
        self._pages.turn_to_comparison(True)
        then, now = (point.burden_cm3 for point in result.follow_up.points)
        self._message_line.show(comparison_rows.summary_text(result.changes, then, now))
        if self.table.rows:
            self.table.choose(0)

    def _show_lesion(self, number: int) -> None:
        self._workspace.comparison.show(number)

    def _propose(self) -> None:
        self._workspace.comparison.propose(self._show_proposals)

    def _show_proposals(self, lesion_ids: Sequence[int]) -> None:
        if not lesion_ids:
            text = _("Nothing is proposed: what is missing lies outside this scan, or in a lesion.")
            self._message_line.show(text)
            return
        self._pages.turn_to_comparison(False)
        count = len(lesion_ids)
        one, several = _("1 earlier lesion"), _("{count} earlier lesions")
        told = one if count == 1 else several.format(count=count)
        text = _(
            "{lesions} proposed. Look at each: accept, reject or refine it, then compare again."
        )
        self._message_line.show(text.format(lesions=told))
        self._found(lesion_ids)

    def _end(self) -> None:
        self._workspace.comparison.end()
        self._pages.turn_to_comparison(False)
