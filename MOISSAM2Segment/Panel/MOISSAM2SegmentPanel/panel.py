"""The panel as a whole: its parts, and what they have to do with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from MOISSAM2SegmentLib.worker.engine import Engine
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel import icons, shortcuts
from MOISSAM2SegmentPanel.click_box import ClickBox
from MOISSAM2SegmentPanel.install_row import InstallRow
from MOISSAM2SegmentPanel.lesion_table import LesionTable
from MOISSAM2SegmentPanel.model_row import ModelRow
from MOISSAM2SegmentPanel.more_menu import MoreMenu
from MOISSAM2SegmentPanel.notice import Notice
from MOISSAM2SegmentPanel.pump import Pump
from MOISSAM2SegmentPanel.report_box import ReportBox
from MOISSAM2SegmentPanel.scan_row import ScanRow
from MOISSAM2SegmentPanel.search_box import SearchBox
from MOISSAM2SegmentPanel.settings_box import SettingsBox
from MOISSAM2SegmentPanel.shortcuts import Shortcuts, tell_in_tool_tips


class Panel:
    """The panel of one life of the module's widget; engine and workspace are those of a logic."""

    def __init__(self, ui: Any, parent: Any, icon_folder: Path, logic: Any) -> None:
        self.ui = ui
        self.engine: Engine = logic.engine
        self.workspace: Workspace = logic.workspace
        self.notice = Notice(ui.messageLabel)
        self._parent = parent
        self._icon_folder = icon_folder
        guard, act = self.notice.guard, self.notice.act
        self.pump = Pump(self.workspace, guard)
        self.install = InstallRow(ui, self.notice, self._installed)
        self.model = ModelRow(ui, self.engine, self.notice, self._model_goes)
        self.settings = SettingsBox(ui, self.workspace, self.notice, self._compute_on)
        self.scan = ScanRow(ui, self.workspace, self.notice, self.model, self.settings)
        self.clicks = ClickBox(ui, self.workspace, self.notice)
        self.table = LesionTable(ui, self.workspace, self.notice, self.clicks.work_on)
        self.more = MoreMenu(ui, self.workspace, self.table, self.notice)
        self.search = SearchBox(ui, self.workspace, self.notice, self._found)
        self.report = ReportBox(ui, self.workspace, self.notice)
        self.shortcuts = Shortcuts(
            parent,
            {
                shortcuts.NEW: act(self._begin),
                shortcuts.PLACE: guard(self._switch_placing),
                shortcuts.KIND: guard(self.clicks.switch_kind),
                shortcuts.UNDO: act(self.clicks.undo),
                shortcuts.REDO: act(self.clicks.redo),
                shortcuts.SEARCH: act(self.search.search),
                shortcuts.ACCEPT: act(self.table.accept),
                shortcuts.REJECT: act(self.table.reject),
                shortcuts.NEXT: guard(self.table.choose_next),
                shortcuts.PREVIOUS: guard(lambda: self.table.choose_next(-1)),
            },
        )
        tell_in_tool_tips(ui)
        self.has_packages = False
        self.workspace.message.connect(self.notice.say)
        for signal in (self.workspace.opened, self.workspace.changed, self.engine.changed):
            signal.connect(self.show)
        self.workspace.opened.connect(self._opened)
        self.workspace.ended.connect(lambda reason: self.show())
        icons.dress(ui, parent, icon_folder)
        self._look_for_packages()
        self.show()

    # ---- life ------------------------------------------------------------------------------

    def enter(self) -> None:
        """The user comes to the panel."""
        icons.dress(self.ui, self._parent, self._icon_folder)
        self._look_for_packages()
        self.scan.preselect()
        self.shortcuts.bring()
        self.show()

    def leave(self) -> None:
        """The user goes elsewhere: keys, mouse and graphics memory are given back."""
        self.shortcuts.take_away()
        self.clicks.place(False)
        if not self.engine.worker.is_closed:
            self.engine.rest()

    def close(self) -> None:
        """The widget goes."""
        self.shortcuts.take_away()
        self.clicks.place(False)
        self.workspace.end()
        self.scan.close()
        self.report.close()
        self.pump.close()

    # ---- showing ---------------------------------------------------------------------------

    def show(self, *_: object) -> None:
        """Bring everything up to date."""
        entries = self.workspace.entries()
        for button in (self.ui.fileButton, self.ui.modelBox):
            button.enabled = self.has_packages
        if self.has_packages:
            self.model.show()
        else:
            self.ui.downloadButton.enabled = self.ui.removeButton.enabled = False
        self.scan.show(self.has_packages)
        self.clicks.show(entries)
        self.search.show()
        self.table.show(entries)
        self.report.show()

    def _look_for_packages(self) -> None:
        had, self.has_packages = self.has_packages, self.install.refresh()
        if self.has_packages and not had:
            self.model.refresh()

    def _installed(self) -> None:
        self._look_for_packages()
        self.show()

    def _opened(self) -> None:
        if self.workspace.state.lesions:
            self.notice.say(_("The work that is stored with this scan goes on."))
        else:
            self.notice.say(_("Press New lesion, then click into a lesion in a slice view."))
        warning = self.workspace.session.stack.acquisition_warning()
        if warning:
            self.notice.say(warning)

    # ---- what concerns several parts -------------------------------------------------------

    def _begin(self) -> None:
        if self.workspace.is_open:
            self.clicks.begin()

    def _switch_placing(self) -> None:
        if self.workspace.is_open:
            self.ui.placeButton.click()

    def _found(self, numbers: Any) -> None:
        self.clicks.place(False)
        if numbers:
            self.table.choose(numbers[0])

    def _model_goes(self) -> None:
        if self.workspace.volume_node is not None:
            self.workspace.end()
            self.notice.say(_("The work is kept. Press Start to go on with the other model."))

    def _compute_on(self, device: str, precision: str) -> None:
        changed = (device or None, precision or None) != (self.model.device, self.model.precision)
        self.model.device, self.model.precision = device or None, precision or None
        if changed and not self.workspace.is_open:
            self.model.unload()
