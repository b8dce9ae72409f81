"""The hint that says what to do next, from what is there and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from MOISSAM2SegmentLib.workspace.lesion_list import LesionEntry
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.lesion_rows import FOUND, PROMPTED, REJECTED, summary_text
from MOISSAM2SegmentPanel.model_section import ModelSection
from MOISSAM2SegmentPanel.pages import Pages
from MOISSAM2SegmentPanel.scan_section import ScanSection

LONGEST_NAME = 20
"""Letters of a lesion's name."""
LINES = 2
"""Lines that are kept for the hint, so that what is below stays in its place."""


class NextStep:
    """The hint. On the sample scan it counts the steps, so that a newcomer sees the way."""

    def __init__(
        self,
        ui: Any,
        workspace: Workspace,
        model: ModelSection,
        scan: ScanSection,
        pages: Pages,
    ) -> None:
        self._ui = ui
        self._workspace = workspace
        self._model = model
        self._scan = scan
        self._pages = pages
        for label in (ui.hintLabel, ui.messageLabel):
            label.minimumHeight = LINES * label.fontMetrics().lineSpacing()

    def show(self, entries: Sequence[LesionEntry], has_packages: bool) -> None:
        """Update the hint."""
        if not has_packages:
            text = ""
        elif not self._workspace.is_open:
            text = self._before_start()
        elif self._pages.is_comparing:
            text = self._while_comparing()
        elif not self._pages.is_working:
            text = _("Back leads to the lesions. With another model or scan, the work is kept.")
        elif self._is_drawing:
            text = self._while_drawing()
        elif self._scan.is_on_sample and self._workspace.commands.can_search:
            text = self._on_sample(entries)
        else:
            text = self._at_work(entries)
        self._ui.hintLabel.text = text

    def _before_start(self) -> str:
        model = self._model.current
        if self._scan.is_starting:
            return _("The model is loaded, and the scan is opened.")
        if model is None or not model.path:
            return _("Get a model: download it or use a file. New here? Press Try it on a sample.")
        if self._ui.scanBox.currentNode() is None:
            return _("Load a scan and choose it here. New here? Press Try it on a sample.")
        return _("Press Start to work on the scan that is chosen.")

    def _on_sample(self, entries: Sequence[LesionEntry]) -> str:
        """Count the steps of a first session, whose tumours are known, until the search is done."""
        statuses = [entry.status for entry in entries]
        clicked = statuses.count(PROMPTED)
        if len(statuses) > clicked:
            step, text = 4, self._at_work(entries)
        elif clicked > 1:
            step, text = 3, _("Press Find similar lesions: the whole body is searched.")
        elif clicked and self._begins_lesion:
            step, text = 2, _("Click into the tumour in the upper arm.")
        elif clicked:
            step, text = 2, _("Press New lesion: there is another tumour in the upper arm.")
        elif self._begins_lesion:
            step, text = 1, _("Click into the bright tumour in the thigh, in a slice view.")
        else:
            step, text = 1, _("Press New lesion, to click into a tumour.")
        return _("Step {step} of 4. {text}").format(step=step, text=text)

    @property
    def _begins_lesion(self) -> bool:
        """Whether the next click begins a lesion."""
        is_placing = self._ui.placeButton.checked
        return is_placing and self._workspace.commands.active_lesion is None

    @property
    def _is_drawing(self) -> bool:
        return self._ui.boxButton.checked or self._ui.scribbleButton.checked

    def _while_drawing(self) -> str:
        if self._ui.boxButton.checked:
            return _("Draw a box around the lesion in the large view, with the mouse pressed.")
        if self._workspace.commands.positive:
            return _("Draw a line along the inside of the lesion, with the mouse pressed.")
        return _("Draw a line through what does not belong to the lesion, with the mouse pressed.")

    def _while_comparing(self) -> str:
        comparison = self._workspace.comparison
        if not comparison.is_current:
            return _("The lesions were changed since. Compare again to bring this up to date.")
        count = len(comparison.result.missing)
        if count == 1:
            return _("1 earlier lesion is not outlined here: is it gone? Propose missing helps.")
        if count:
            text = _("{count} earlier lesions are not outlined here. Propose missing finds them.")
            return text.format(count=count)
        return _("J and K go through the lesions on both scans. Save the comparison below.")

    def _at_work(self, entries: Sequence[LesionEntry]) -> str:
        statuses = [entry.status for entry in entries]
        waiting, clicked = statuses.count(FOUND), statuses.count(PROMPTED)
        has_findings = len(statuses) > clicked
        if self._workspace.views.are_lesions_hidden:
            return _("All lesions are hidden. H shows them again.")
        if self._ui.placeButton.checked:
            return self._while_placing(entries, clicked, has_findings)
        if clicked and not self._workspace.commands.can_search:
            return _("Press Propagate through the volume. Correct a slice, and propagate again.")
        if waiting == 1:
            return _("One finding to check: look at it, then accept, reject or refine it.")
        if waiting:
            text = _("{count} findings to check: look at each, then accept, reject or refine it.")
            return text.format(count=waiting)
        if has_findings:
            return self._after_review(entries)
        if clicked > 1:
            return _("Press Find similar lesions, or New lesion to outline one more.")
        if clicked:
            return _("Press New lesion and click into another one. Two or three are enough.")
        return _("Press New lesion, then click into a lesion in a slice view.")

    @staticmethod
    def _after_review(entries: Sequence[LesionEntry]) -> str:
        if any(entry.status == REJECTED for entry in entries):
            advice = _("Search again (rejections teach) or report.")
        else:
            advice = _("Save the report below, or search again.")
        return f"{summary_text(entries)} {advice}"

    def _while_placing(
        self, entries: Sequence[LesionEntry], clicked: int, has_findings: bool
    ) -> str:
        commands = self._workspace.commands
        active = commands.active_lesion
        name = next((entry.name for entry in entries if entry.lesion_id == active), None)
        if name is None:
            return _("Click into the new lesion in a slice view.")
        if not commands.positive:
            text = _("Click where the outline of {name} is too large, outside the lesion.")
        elif has_findings:
            text = _("Click where {name} is too small, or choose Outside where it is too large.")
        elif not commands.can_search:
            text = _("Click where {name} is too small. Or go on: Propagate through the volume.")
        elif clicked > 1:
            text = _("Click where {name} is too small. Or go on: Find similar lesions.")
        else:
            text = _("Click where {name} is too small. Or press New lesion for another one.")
        return text.format(name=shortened(name))


def shortened(name: str) -> str:
    """Return a name without its end if it is long."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1].rstrip()}\u2026"
