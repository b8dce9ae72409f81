"""Buttons for new lesions, what the mouse does in slice views, undo and redo."""

from __future__ import annotations

from typing import Any

import numpy as np
from MOISSAM2SegmentLib.scene.view_drawing import Shape
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from slicer.i18n import tr as _
from slicer.i18n import translate

from MOISSAM2SegmentPanel.message_line import MessageLine
from MOISSAM2SegmentPanel.view_mouse import ViewMouse


class ClickSection:
    """The first rows of the work. Points are placed by Slicer's own place widget."""

    def __init__(self, ui: Any, workspace: Workspace, message_line: MessageLine) -> None:
        self._ui = ui
        self._workspace = workspace
        self._place = ui.placeWidget
        self._place.buttonsVisible = False
        self._place.placeMultipleMarkups = self._place.ForcePlaceMultipleMarkups
        self._message_line = message_line
        guard = message_line.guard
        self._mouse = ViewMouse(
            message_line.guard_and_clear(self._drawn),
            message_line.show,
            guard(lambda: self._draw(None)),
        )
        self._draw_buttons = {Shape.SCRIBBLE: ui.scribbleButton, Shape.BOX: ui.boxButton}
        ui.scribbleButton.connect(
            "toggled(bool)", guard(lambda wanted: self._switch_drawing(Shape.SCRIBBLE, wanted))
        )
        ui.boxButton.connect(
            "toggled(bool)", guard(lambda wanted: self._switch_drawing(Shape.BOX, wanted))
        )
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
        """Let what is placed or drawn next begin a new lesion."""
        self._workspace.commands.begin_lesion()
        self._place_unless_drawing()
        self._workspace.changed()

    def work_on(self, lesion_id: int) -> None:
        """Let what is placed or drawn next correct this lesion."""
        self._workspace.commands.work_on(lesion_id)
        self._workspace.commands.positive = True
        self._place_unless_drawing()
        self._workspace.changed()

    def place(self, wanted: bool) -> None:
        """Switch the mouse to placing points, or back unless it places those of another module.

        It draws no more in either case.
        """
        self._draw(None)
        self._follow_points_node()
        wanted = wanted and self._workspace.points_node is not None
        if wanted or self._place.placeModeEnabled:
            self._place.setPlaceModeEnabled(wanted)

    def _place_unless_drawing(self) -> None:
        if self._mouse.shape is None:
            self.place(True)

    def _switch_drawing(self, shape: Shape, wanted: bool) -> None:
        if wanted and not self._workspace.commands.has_active_lesion:
            self._workspace.commands.begin_lesion()
        self._draw(shape if wanted else None)
        self._workspace.changed()
        if wanted and shape is Shape.BOX and not self._workspace.commands.knows_boxes:
            text = _("The demonstration network has not learned boxes: click or scribble with it.")
            self._message_line.show(text)

    def _draw(self, shape: Shape | None) -> None:
        """Have the mouse draw in slice views, or with None no more."""
        if shape is not None and self._place.placeModeEnabled:
            self._place.setPlaceModeEnabled(False)
        if shape is not self._mouse.shape:
            self._mouse.draw(shape)
        for own, button in self._draw_buttons.items():
            _check(button, own is shape)

    def _drawn(self, shape: Shape, places: np.ndarray) -> None:
        commands = self._workspace.commands
        if shape is Shape.BOX:
            commands.draw_box(places)
        else:
            commands.scribble(places, commands.positive)

    def set_kind(self, positive: bool) -> None:
        """Let the next points and scribbles lie inside the lesion, or outside."""
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
        buttons = (ui.newLesionButton, ui.placeButton, ui.insideButton, ui.outsideButton)
        for button in (*buttons, *self._draw_buttons.values()):
            button.enabled = is_open
        if not is_open:
            self._draw(None)
        commands = workspace.commands
        undo, redo = (commands.undo_name, commands.redo_name) if is_open else (None, None)
        for button, name, text in (
            (ui.undoButton, undo, _("Undo: {step} (U)")),
            (ui.redoButton, redo, _("Redo: {step} (Shift+U)")),
        ):
            button.enabled = bool(name)
            # The engine's own words, which have the module's context wherever they are shown.
            step = translate("MOISSAM2Segment", name) if name else "\u2013"
            button.toolTip = text.format(step=step)
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
        if is_placing:
            self._draw(None)
        _check(self._ui.placeButton, is_placing)
        self._workspace.changed()


def _check(button: Any, checked: bool) -> None:
    """Show a button as pressed or not, without doing what it does."""
    if button.checked != checked:
        button.blockSignals(True)
        button.checked = checked
        button.blockSignals(False)
