"""The panel as a whole: its sections, and what concerns several of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from MOISSAM2SegmentLib.worker.engine import Engine
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel import icons, shortcuts
from MOISSAM2SegmentPanel.advanced_section import AdvancedSection
from MOISSAM2SegmentPanel.click_section import ClickSection
from MOISSAM2SegmentPanel.compare_section import CompareSection
from MOISSAM2SegmentPanel.install_section import InstallSection
from MOISSAM2SegmentPanel.lesion_menu import LesionMenu
from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.model_section import ModelSection
from MOISSAM2SegmentPanel.next_step import NextStep
from MOISSAM2SegmentPanel.pages import Pages
from MOISSAM2SegmentPanel.pump_timer import PumpTimer
from MOISSAM2SegmentPanel.recovery_line import RecoveryLine
from MOISSAM2SegmentPanel.report_section import ReportSection
from MOISSAM2SegmentPanel.review_section import ReviewSection
from MOISSAM2SegmentPanel.scan_section import ScanSection
from MOISSAM2SegmentPanel.search_section import SearchSection
from MOISSAM2SegmentPanel.shortcuts import Shortcuts, add_to_tool_tips


class Panel:
    """The panel of one module widget, with the engine and the workspace of the module's logic."""

    def __init__(self, ui: Any, parent: Any, icon_folder: Path, logic: Any) -> None:
        self.ui = ui
        self.engine: Engine = logic.engine
        self.workspace: Workspace = logic.workspace
        self.message_line = MessageLine(ui.messageLabel, ui.hintLabel)
        self._parent = parent
        self._icon_folder = icon_folder
        guard, clear = self.message_line.guard, self.message_line.guard_and_clear
        line = self.message_line
        self.pump_timer = PumpTimer(self.workspace, guard)
        self.install = InstallSection(ui, line, self._installed)
        self.model = ModelSection(ui, self.engine, line, self._model_unloads)
        self.advanced = AdvancedSection(ui, self.workspace, line, self._compute_on)
        self.scan = ScanSection(ui, self.workspace, line, self.model, self.advanced)
        self.clicks = ClickSection(ui, self.workspace, line)
        self.review = ReviewSection(ui, self.workspace, line, self.clicks, self._show_hint)
        self.table = self.review.table
        self.pages = Pages(ui, self.workspace, line, self.model, self.show)
        self.next_step = NextStep(ui, self.workspace, self.model, self.scan, self.pages)
        self.menu = LesionMenu(ui, self.workspace, self.table, line, self.switch_lesions)
        self.search = SearchSection(ui, self.workspace, line, self._found)
        self.compare = CompareSection(ui, self.workspace, line, self.pages, self._found)
        self.report = ReportSection(ui, self.workspace, line, self.pages)
        self.recovery = RecoveryLine(ui, self.workspace, line, self.scan.start)
        self.shortcuts = Shortcuts(
            parent,
            {
                shortcuts.NEW: clear(self._at_work(self._begin)),
                shortcuts.PLACE: guard(self._at_work(self._switch_placing)),
                shortcuts.KIND: guard(self._at_work(self.clicks.switch_kind)),
                shortcuts.UNDO: clear(self.clicks.undo),
                shortcuts.REDO: clear(self.clicks.redo),
                shortcuts.SEARCH: clear(self._at_work(self.search.search)),
                shortcuts.ACCEPT: clear(self._at_work(self.review.accept)),
                shortcuts.REJECT: clear(self._at_work(self.review.reject)),
                shortcuts.REFINE: clear(self._at_work(self.review.refine)),
                shortcuts.NEXT: guard(lambda: self._go_on(1)),
                shortcuts.PREVIOUS: guard(lambda: self._go_on(-1)),
                shortcuts.WHOLE_SCAN: guard(self.workspace.views.switch),
                shortcuts.FILL: guard(self.workspace.views.switch_fill),
                shortcuts.HIDE: guard(self.switch_lesions),
            },
        )
        add_to_tool_tips(ui)
        self.has_packages = False
        self._is_entered = False
        for signal in (self.workspace.message, self.workspace.notice):
            signal.connect(self.message_line.show)
        self.workspace.begins.connect(self.message_line.clear)
        for signal in (self.workspace.opened, self.workspace.changed, self.engine.changed):
            signal.connect(self.show)
        self.workspace.comparison.changed.connect(self._show_pages)
        self.workspace.opened.connect(self._opened)
        self.workspace.ended.connect(self._ended)
        icons.set_icons(ui, parent, icon_folder)
        self._look_for_packages()
        self.show()

    # ---- life ------------------------------------------------------------------------------

    def enter(self) -> None:
        """Make the panel ready when the user opens the module."""
        icons.set_icons(self.ui, self._parent, self._icon_folder)
        self._look_for_packages()
        self.recovery.look()
        self.scan.preselect()
        self.shortcuts.enable()
        self._is_entered = True
        self.show()

    def leave(self) -> None:
        """Give keys, mouse and graphics memory back when the user leaves the module."""
        self._is_entered = False
        self.shortcuts.disable()
        self.clicks.place(False)
        if not self.engine.worker.is_closed:
            self.engine.rest()

    def close(self) -> None:
        """End the work, and disconnect from everything that outlives the widget."""
        self.shortcuts.disable()
        self.clicks.place(False)
        self.workspace.end()
        self.scan.close()
        self.pages.close()
        self.report.close()
        self.recovery.close()
        self.pump_timer.close()

    # ---- showing ---------------------------------------------------------------------------

    def show(self, *_: object) -> None:
        """Update all sections from the workspace and the engine."""
        entries = self.workspace.entries()
        for button in (self.ui.fileButton, self.ui.modelBox):
            button.enabled = self.has_packages
        if self.has_packages:
            self.model.show()
        else:
            self.ui.downloadButton.enabled = self.ui.removeButton.enabled = False
        self.scan.show(self.has_packages)
        self.clicks.show()
        self.search.show()
        self.review.show(entries)
        self.compare.show()
        self._show_pages()
        self.recovery.show()

    def _show_pages(self) -> None:
        if self.pages.is_comparing:
            # What is shown there is no place for points.
            self.clicks.place(False)
        self.report.show()
        self.pages.show()
        # A table that is shown can be hidden again after the work has ended, too.
        is_at_lesions = self.pages.is_working or self.pages.is_comparing
        self.ui.reportFrame.visible = is_at_lesions or self.report.is_shown
        self._show_hint()

    def _show_hint(self) -> None:
        self.next_step.show(self.table.entries, self.has_packages)

    def _look_for_packages(self) -> None:
        had, self.has_packages = self.has_packages, self.install.refresh()
        if self.has_packages and not had:
            self.model.refresh()

    def _installed(self) -> None:
        self._look_for_packages()
        self.show()

    def _opened(self) -> None:
        self.message_line.clear()
        if self.workspace.state.lesions:
            text = _("The work that is stored with this scan goes on; undo begins anew.")
            self.message_line.show(text)
        elif self.scan.is_on_sample and self._is_entered:
            self.clicks.begin()
        warning = self.workspace.session.stack.acquisition_warning()
        if warning:
            self.message_line.show(warning)

    def _ended(self, reason: str) -> None:
        self.message_line.clear()
        self.show()

    # ---- what concerns several sections ----------------------------------------------------

    def switch_lesions(self) -> None:
        """Hide all lesions, or show them again."""
        self.workspace.views.switch_lesions()
        self._show_hint()

    def _at_work(self, slot: Callable[[], None]) -> Callable[[], None]:
        """Return a slot that does nothing while lesions are compared, where it would be unseen."""

        def at_work() -> None:
            if not self.pages.is_comparing:
                slot()

        return at_work

    def _go_on(self, step: int) -> None:
        if self.pages.is_comparing:
            self.compare.go_on(step)
        else:
            self.review.go_on(step)

    def _begin(self) -> None:
        if self.workspace.is_open:
            self.clicks.begin()

    def _switch_placing(self) -> None:
        if self.workspace.is_open:
            self.ui.placeButton.click()

    def _found(self, lesion_ids: Sequence[int]) -> None:
        self.clicks.place(False)
        if lesion_ids:
            self.table.choose_first()

    def _model_unloads(self) -> None:
        if self.workspace.volume_node is not None:
            self.workspace.end()
            text = _("The work is kept. Press Start to go on with the other model.")
            self.message_line.show(text)

    def _compute_on(self, device: str, precision: str) -> None:
        changed = (device or None, precision or None) != (self.model.device, self.model.precision)
        self.model.device, self.model.precision = device or None, precision or None
        if changed and self.workspace.is_open:
            self.message_line.show(_("The work goes on as before. The next start uses this."))
        elif changed:
            self.model.unload()
