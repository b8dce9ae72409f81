"""The Segment Editor's effect: a click in a slice view outlines the lesion in the chosen segment.

Everything is done by the workspace of the module MOISSAM2 Segment, so both show the same work. The
effect adds the chosen segment, and has the Segment Editor write it.

Slicer reads this file at every start, whether or not the effect is ever chosen, so what it needs
is imported where it is used.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NoReturn

import qt
import slicer
import vtk
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

MODULE = "MOISSAM2Segment"
SLICE_VIEW = "qMRMLSliceWidget"
PRESS = vtk.vtkCommand.LeftButtonPressEvent
PRESS_AGAIN = vtk.vtkCommand.LeftButtonDoubleClickEvent
"""A quick second press, by which Slicer maximizes the view."""
DRAG = (vtk.vtkCommand.MouseMoveEvent, vtk.vtkCommand.LeftButtonReleaseEvent)
SHAPES = (None, "scribble", "box")
"""What the mouse draws, in the order of the choices; None if it clicks."""
BY_DISTANCE = -1
"""Shown for a lesion that is followed by distance instead of a number of slices."""
MOST_SLICES = 50


def help_text() -> str:
    """Return the text that Slicer shows above the options.

    Slicer (ctkFittedTextBrowser) shows what is before the first line break, and the rest on demand,
    so that the options are seen in a small window.
    """
    return "<html>{}<br><p>{}</p><p>{}</p></html>".format(
        _("Click into a lesion to outline it"),
        _(
            "It is outlined on this slice and on the neighbouring ones. Where the outline is too "
            "large, hold Ctrl (Command on a Mac) and click. <b>Mouse</b> chooses scribbles or "
            "boxes instead of clicks. <b>Find similar</b> searches the scan for lesions that look "
            "alike; each becomes a segment."
        ),
        _(
            "Points can be dragged and deleted. Masking, overwriting, undo and redo work as for "
            "other effects. For research use only; not a medical device."
        ),
    )


def refuse(text: str) -> NoReturn:
    """Raise the error whose text is shown to the user."""
    from mois_core.errors import BadInput

    raise BadInput(text)


class SegmentEditorEffect(AbstractScriptedSegmentEditorEffect):
    """The effect MOISSAM2: one object that is registered, and a clone for every Segment Editor."""

    def __init__(self, scriptedEffect: Any) -> None:
        scriptedEffect.name = "MOISSAM2"
        scriptedEffect.title = "MOISSAM2"
        scriptedEffect.perSegment = True
        scriptedEffect.requireSegments = True
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self._workspace: Any = None
        self._drawing: Any = None
        self._was_positive = True
        """Whether the mouse was last pressed for what is inside."""
        self._is_showing = False

    # ---- called by Slicer ------------------------------------------------------------------

    def clone(self) -> Any:
        """Return a copy of the effect for another Segment Editor."""
        from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect

        clone = qSlicerSegmentEditorScriptedEffect(None)
        clone.setPythonSource(Path(__file__).as_posix())
        return clone

    def icon(self) -> Any:
        """Return the icon of the effect's button."""
        path = Path(__file__).with_name("SegmentEditorEffect.png")
        return qt.QIcon(str(path)) if path.is_file() else qt.QIcon()

    def helpText(self) -> str:
        """Return the text that is shown above the options."""
        return help_text()

    def setupOptionsFrame(self) -> None:
        """Make the options. Called once, before the effect is used."""
        self.messageLabel = qt.QLabel()
        self.messageLabel.wordWrap = True
        self.findButton = qt.QPushButton(_("Find similar lesions"))
        self.findButton.toolTip = _("Search the scan for lesions that look like those so far")
        self.propagateButton = qt.QPushButton(_("Propagate through the volume"))
        self.propagateButton.toolTip = _(
            "Follow the lesions through all slices, from those that you clicked or painted"
        )
        self.mouseBox = qt.QComboBox()
        for text in (_("Clicks"), _("Scribbles along a lesion"), _("Draws a box around a lesion")):
            self.mouseBox.addItem(text)
        self.mouseBox.toolTip = _("What the mouse does in slice views; with Ctrl it is outside")
        self.cancelButton = qt.QPushButton(_("Cancel"))
        self.cancelButton.toolTip = _("Stop what is being computed; what is finished stays")
        self.propagationSlicesBox = qt.QSpinBox()
        self.propagationSlicesBox.minimum = BY_DISTANCE
        self.propagationSlicesBox.maximum = MOST_SLICES
        self.propagationSlicesBox.specialValueText = _("By distance (24 mm)")
        self.propagationSlicesBox.toolTip = _("Number of slices that a lesion is followed each way")
        self.moduleButton = qt.QPushButton(_("Open MOISSAM2 Segment"))
        self.moduleButton.toolTip = _("Model, lesion table and report are in the module's panel")
        add = self.scriptedEffect.addOptionsWidget
        add(self.findButton)
        add(self.propagateButton)
        add(self.messageLabel)
        add(self.cancelButton)
        labelled = self.scriptedEffect.addLabeledOptionsWidget
        labelled(_("Mouse:"), self.mouseBox)
        labelled(_("Slices each way:"), self.propagationSlicesBox)
        add(self.moduleButton)
        self.findButton.connect("clicked()", self._guarded(self.find_similar))
        self.propagateButton.connect("clicked()", self._guarded(self.propagate))
        self.mouseBox.connect("currentIndexChanged(int)", self._guarded(self._mouse_chosen))
        self.cancelButton.connect("clicked()", self._guarded(self._cancel))
        self.propagationSlicesBox.connect(
            "valueChanged(int)", self._guarded(self._set_propagation_slices)
        )
        self.moduleButton.connect("clicked()", self._guarded(self._open_module))

    def activate(self) -> None:
        """Begin to work on the source volume. Called when the effect is chosen."""
        self._guarded(self._begin)()

    def deactivate(self) -> None:
        """Give segments back, and disconnect from the workspace.

        Called when another effect is chosen, the module is left, or the segmentation is gone.
        """
        if self._drawing is not None:
            self._drawing.cancel()
        workspace, self._workspace = self._workspace, None
        if workspace is not None:
            for signal, slot in self._connections(workspace):
                signal.disconnect(slot)
            if workspace.is_open:
                workspace.effect_segments.give_back()

    def cleanup(self) -> None:
        """Disconnect from the workspace. Called when the Segment Editor is deleted."""
        self.deactivate()

    def sourceVolumeNodeChanged(self) -> None:
        """Open the scan that was chosen as the source volume."""
        if self._workspace is not None:
            self._guarded(self._open_scan)()

    def updateGUIFromMRML(self) -> None:
        """Update the options from the workspace."""
        self.show()

    def updateMRMLFromGUI(self) -> None:
        """Do nothing: the options belong to the work on a scan, and are stored with it."""

    def processInteractionEvents(
        self, callerInteractor: Any, eventId: int, viewWidget: Any
    ) -> bool:
        """Handle clicks and drawing in a slice view; all other events are left to Slicer."""
        if viewWidget.className() != SLICE_VIEW:
            return False
        if eventId not in (PRESS, PRESS_AGAIN):
            # As all that the mouse and the keys do comes here, most of it is turned away at once.
            return eventId in DRAG and self._goes_on_drawing(callerInteractor, eventId, viewWidget)
        # Slicer's views use clicks with these keys themselves.
        if callerInteractor.GetShiftKey() or callerInteractor.GetAltKey():
            return False
        positive = not callerInteractor.GetControlKey()
        clicks = SHAPES[self.mouseBox.currentIndex] is None
        if eventId == PRESS and positive and clicks and self._is_on_point():
            # Slicer drags it. What a second press does there (it opens another module) is kept off.
            self._was_positive = True
            return False
        effect = self.scriptedEffect
        if effect.confirmCurrentSegmentVisible() != effect.ConfirmedWithoutDialog:
            return True
        if self._drawing is not None and not clicks:
            self._was_positive = positive
            return self._goes_on_drawing(callerInteractor, eventId, viewWidget)
        is_repeated = eventId == PRESS_AGAIN and positive == self._was_positive
        self._was_positive = positive
        if not is_repeated:
            world = self.xyToRas(callerInteractor.GetEventPosition(), viewWidget)
            self._guarded(lambda: self.click(world, positive))()
        return True

    def _is_on_point(self) -> bool:
        """Return whether the mouse is on a point of ours, as Slicer's views have noted."""
        points = self._workspace.points_node if self._workspace is not None else None
        display = points.GetDisplayNode() if points is not None else None
        if display is None:
            return False
        return display.GetActiveComponentType() == display.ComponentControlPoint

    def _goes_on_drawing(self, interactor: Any, event: int, widget: Any) -> bool:
        """Return whether an event of the mouse belongs to a line that is being drawn."""
        shape = SHAPES[self.mouseBox.currentIndex]
        if self._drawing is None or shape is None:
            return False
        from MOISSAM2SegmentLib.scene.view_drawing import Shape, View

        effect = self.scriptedEffect
        render = functools.partial(effect.scheduleRender, widget)
        view = View(effect.viewNode(widget), effect.renderer(widget), render)
        return self._drawing.process(Shape(shape), event, interactor.GetEventPosition(), view)

    # ---- commands and display --------------------------------------------------------------

    def click(self, world: Any, positive: bool) -> None:
        """Place a point for the chosen segment."""
        workspace = self._workspace_on_segment()
        self.scriptedEffect.saveStateForUndo()
        workspace.commands.point_at(world, positive)

    def draw(self, shape: Any, places: Any) -> None:
        """Scribble or draw a box for the chosen segment."""
        workspace = self._workspace_on_segment()
        self.scriptedEffect.saveStateForUndo()
        if shape.value == "box":
            workspace.commands.draw_box(places)
        else:
            workspace.commands.scribble(places, self._was_positive)

    def propagate(self) -> None:
        """Follow the lesions, that of the chosen segment too, through the whole volume."""
        workspace = self._workspace_on_segment()
        if not workspace.commands.can_propagate:
            refuse(_("Click into or paint a lesion on one slice first: it is followed from there."))
        self.scriptedEffect.saveStateForUndo()
        workspace.commands.propagate()

    def _workspace_on_segment(self) -> Any:
        """Return the workspace after it has begun to work on the chosen segment."""
        from MOISSAM2SegmentLib.scene import intensity_range

        workspace = self._ready_workspace()
        node, segment_id = self._chosen_segment()
        effect = self.scriptedEffect

        def write(segment_id: str, change: Any) -> None:
            parameters = effect.parameterSetNode()
            with intensity_range.limited(change, parameters, workspace.volume_node) as image:
                effect.modifySegmentByLabelmap(node, segment_id, image, effect.ModificationModeSet)

        workspace.effect_segments.edit_segment(node, segment_id, write)
        return workspace

    def find_similar(self) -> None:
        """Search for similar lesions; findings become segments beside the chosen one."""
        workspace = self._ready_workspace()
        self.scriptedEffect.saveStateForUndo()
        workspace.commands.find_similar(then=self._found)

    def show(self) -> None:
        """Update the options from the workspace."""
        workspace = self._workspace
        is_open = workspace is not None and workspace.is_open
        self.findButton.enabled = is_open and workspace.commands.has_exemplars
        can_search = not is_open or workspace.commands.can_search
        self.findButton.visible = can_search
        self.propagateButton.visible = not can_search
        self.propagateButton.enabled = is_open
        self.cancelButton.enabled = is_open and workspace.engine.worker.is_busy
        self.propagationSlicesBox.enabled = is_open
        if is_open:
            self._is_showing = True
            slices = workspace.session.settings.propagation_slices
            self.propagationSlicesBox.value = BY_DISTANCE if slices is None else slices
            self._is_showing = False

    def _begin(self) -> None:
        self.deactivate()
        logic = slicer.util.getModuleLogic(MODULE)
        self._show_message("")
        if not logic.engine.is_ready:
            refuse(_("There is no model yet. Open MOISSAM2 Segment, get one there, and come back."))
        from MOISSAM2SegmentLib.scene.view_drawing import ViewDrawing

        self._workspace = logic.workspace
        self._drawing = ViewDrawing(self._guarded(self.draw), self._show_message)
        for signal, slot in self._connections(self._workspace):
            signal.connect(slot)
        self._open_scan()
        self.show()

    def _connections(self, workspace: Any) -> list[tuple[Any, Any]]:
        return [
            (workspace.message, self._show_message),
            (workspace.notice, self._show_message),
            (workspace.begins, self._clear_message),
            (workspace.opened, self._opened),
            (workspace.changed, self.show),
            (workspace.ended, self._ended),
            (workspace.engine.worker.busy_changed, self._busy),
        ]

    def _open_scan(self) -> None:
        scan = self.scriptedEffect.parameterSetNode().GetSourceVolumeNode()
        if scan is None:
            refuse(_("Choose the scan as the source volume first."))
        if self._workspace.volume_node is not scan:
            self._show_message(_("The scan is being prepared..."))
            self._workspace.start(scan)

    def _opened(self) -> None:
        text = _("Click into a lesion. Ctrl and click where the outline is too large.")
        self._show_message(text)
        self.show()

    def _ended(self, reason: str) -> None:
        self._clear_message()
        self.show()

    def _busy(self, is_busy: bool) -> None:
        self.show()

    def _ready_workspace(self) -> Any:
        # The module may have been reloaded meanwhile, and has another workspace then.
        if self._workspace is not slicer.util.getModuleLogic(MODULE).workspace:
            self._begin()
        if self._workspace.volume_node is None:
            self._open_scan()
        if not self._workspace.is_open:
            refuse(_("The scan is being prepared; click again in a moment."))
        return self._workspace

    def _chosen_segment(self) -> tuple[Any, str]:
        parameters = self.scriptedEffect.parameterSetNode()
        node, segment_id = parameters.GetSegmentationNode(), parameters.GetSelectedSegmentID()
        if node is None or not segment_id:
            refuse(_("Choose a segment first."))
        return node, segment_id

    def _found(self, lesion_ids: Any) -> None:
        text = _("Found: {count}. Each is a segment now.").format(count=len(lesion_ids))
        self._show_message(text)

    def _mouse_chosen(self, index: int) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
        workspace = self._workspace
        if workspace is None or not workspace.is_open:
            return
        if SHAPES[index] is None:
            self._show_message("")
        elif SHAPES[index] == "scribble":
            self._show_message(
                _("Draw a line along the inside of the lesion, with Ctrl outside, mouse pressed.")
            )
        elif not workspace.commands.knows_boxes:
            self._show_message(
                _("The demonstration network has not learned boxes: click or scribble with it.")
            )
        else:
            self._show_message(_("Draw a box around the lesion in the large view, mouse pressed."))

    def _cancel(self) -> None:
        if self._workspace is not None:
            self._workspace.cancel()

    def _set_propagation_slices(self, value: int) -> None:
        workspace = self._workspace
        if self._is_showing or workspace is None or not workspace.is_open:
            return
        slices = None if value == BY_DISTANCE else value
        if slices != workspace.session.settings.propagation_slices:
            workspace.commands.adjust(propagation_slices=slices)

    def _open_module(self) -> None:
        slicer.util.selectModule(MODULE)

    def _show_message(self, text: str) -> None:
        self.messageLabel.text = text

    def _clear_message(self) -> None:
        self._show_message("")

    def _guarded(self, action: Any) -> Any:
        """Return a slot whose errors are shown in the options: Slicer would only print them."""

        def guarded(*arguments: Any) -> None:
            try:
                action(*arguments)
            except Exception as error:
                from MOISSAM2SegmentLib.messages import error_message

                self._show_message(error_message(error))

        return guarded
