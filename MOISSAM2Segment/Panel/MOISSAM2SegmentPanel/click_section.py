"""Buttons for new lesions, points inside and outside, undo and redo."""

from __future__ import annotations

from typing import Any

from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _

from MOISSAM2SegmentPanel.message_line import MessageLine


class ClickSection:
    """The first row of the work. Points are placed by Slicer's own place widget."""

    def __init__(self, ui: Any, workspace: Workspace, message_line: MessageLine) -> None:
        self._ui = ui
        self._workspace = workspace
        self._place = ui.placeWidget
        self._place.buttonsVisible = False
        self._place.placeMultipleMarkups = self._place.ForcePlaceMultipleMarkups
        guard = message_line.guard
        ui.newLesionButton.connect("clicked()", message_line.guard_and_clear(self.begin))
        ui.placeButton.connect("toggled(bool)", guard(self._switch_placing))
        ui.insideButton.connect("clicked()", guard(lambda: self.set_kind(True)))
        ui.outsideButton.connect("clicked()", guard(lambda: self.set_kind(False)))
        ui.undoButton.connect("clicked()", message_line.guard_and_clear(self.undo))
        ui.redoButton.connect("clicked()", message_line.guard_and_clear(self.redo))
        self._place.connect(
            "activeMarkupsFiducialPlaceModeChanged(bool)", guard(self._placing_changed)
        )

    def begin(self) -> None:
        """Let the next points begin a new lesion."""
        self._workspace.commands.begin_lesion()
        self.place(True)
        self._workspace.changed()

    def work_on(self, lesion_id: int) -> None:
        """Let the next points correct this lesion."""
        self._workspace.commands.work_on(lesion_id)
        self._workspace.commands.positive = True
        self.place(True)
        self._workspace.changed()

    def place(self, wanted: bool) -> None:
        """Switch the mouse to placing points, or back unless it places those of another module."""
        self._follow_points_node()
        wanted = wanted and self._workspace.points_node is not None
        if wanted or self._place.placeModeEnabled:
            self._place.setPlaceModeEnabled(wanted)

    def set_kind(self, positive: bool) -> None:
        """Let the next points lie inside the lesion, or outside."""
        if self._workspace.is_open:
            self._workspace.commands.positive = positive
            self._workspace.changed()

    def switch_kind(self) -> None:
        """Switch from points inside to points outside, or back."""
        if self._workspace.is_open:
            self.set_kind(not self._workspace.commands.positive)

    def undo(self) -> None:
        """Undo the last step, if there is one."""
        if self._workspace.is_open and self._workspace.commands.undo_name:
            self._workspace.commands.undo()

    def redo(self) -> None:
        """Redo the step that was undone last, if there is one."""
        if self._workspace.is_open and self._workspace.commands.redo_name:
            self._workspace.commands.redo()

    def show(self) -> None:
        """Update the buttons from the workspace."""
        ui, workspace = self._ui, self._workspace
        is_open = workspace.is_open
        for button in (ui.newLesionButton, ui.placeButton, ui.insideButton, ui.outsideButton):
            button.enabled = is_open
        commands = workspace.commands
        undo, redo = (commands.undo_name, commands.redo_name) if is_open else (None, None)
        for button, name, text in (
            (ui.undoButton, undo, _("Undo: {step} (U)")),
            (ui.redoButton, redo, _("Redo: {step} (Shift+U)")),
        ):
            button.enabled = bool(name)
            button.toolTip = text.format(step=_(name) if name else "\u2013")
        if is_open:
            (ui.insideButton if commands.positive else ui.outsideButton).checked = True
        self._follow_points_node()

    def _follow_points_node(self) -> None:
        """Have points placed in the workspace's present list, or no more if there is none.

        The mouse's mode is the scene's, and would outlive a list that the widget is only taken off.
        """
        node = self._workspace.points_node
        if node is self._place.currentNode():
            return
        was_placing = self._ui.placeButton.checked
        if self._place.placeModeEnabled:
            self._place.setPlaceModeEnabled(False)
        self._place.setCurrentNode(node)
        if was_placing and node is not None:
            self._place.setPlaceModeEnabled(True)

    def _switch_placing(self, wanted: bool) -> None:
        if wanted and not self._workspace.commands.has_active_lesion:
            self._workspace.commands.begin_lesion()
        self.place(wanted)
        self._workspace.changed()

    def _placing_changed(self, is_placing: bool) -> None:
        if self._ui.placeButton.checked != is_placing:
            self._ui.placeButton.blockSignals(True)
            self._ui.placeButton.checked = is_placing
            self._ui.placeButton.blockSignals(False)
        self._workspace.changed()
