"""Stand-ins for the objects that the Segment Editor gives to a scripted effect.

They have only names that a real Slicer was seen to have, listed in ``data/effect-api.json``. Masks,
undo and the writing of segments are Slicer's own, from its wheel.
"""

# The names are Slicer's own.
# ruff: noqa: N802
from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
import vtk
from paths import DATA, MODULE
from PySide6 import QtWidgets
from pythonqt import refuse, wrap
from segment_editor import Editor
from slicer_parts import SliceWidget

FOLDER = MODULE / "SegmentEditorMOISSAM2"
API = json.loads((DATA / "effect-api.json").read_text(encoding="utf-8"))
OWN = ("editor", "source", "python", "frame", "saves", "values", "registered")


class EffectObject:
    """A qSlicerSegmentEditorScriptedEffect.

    A name that Slicer has and this class does not implement fails too, so a test would notice.
    """

    registered: list[EffectObject] = []

    def __init__(self, parent: Any = None) -> None:
        self.editor: Editor | None = None
        self.saves = 0
        self.values: dict[str, Any] = {}
        self.frame = QtWidgets.QWidget()
        QtWidgets.QFormLayout(self.frame)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__") or name in OWN:
            return object.__getattribute__(self, name)
        if name not in API:
            raise refuse(f"qSlicerSegmentEditorScriptedEffect has no attribute named '{name}'")
        values = object.__getattribute__(self, "values")
        return values[name] if name in values else object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OWN:
            object.__setattr__(self, name, value)
        elif API.get(name, "missing") is not None:
            raise refuse(f"qSlicerSegmentEditorScriptedEffect.{name} cannot be set")
        else:
            self.values[name] = value

    ConfirmedWithoutDialog, ConfirmedWithDialog, NotConfirmed = 0, 1, 2
    ModificationModeSet = 0

    def setPythonSource(self, path: str) -> bool:
        """Load an effect; its module is named after the folder, its class after the file."""
        file = Path(path)
        assert path == file.as_posix() and file.suffix == ".py"
        name = file.parent.name
        kind = file.stem if file.stem.endswith("Effect") else f"{file.stem}Effect"
        specification = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        self.python = getattr(module, kind)(self)
        self.source = path
        return True

    def self(self) -> Any:
        return self.python

    def parameterSetNode(self) -> Any:
        return self.editor.parameters

    def addOptionsWidget(self, widget: Any) -> None:
        self.frame.layout().addRow(widget.real)

    def addLabeledOptionsWidget(self, label: str, widget: Any) -> Any:
        self.frame.layout().addRow(label, widget.real)
        return widget

    def confirmCurrentSegmentVisible(self) -> int:
        display = self.editor.node.GetDisplayNode()
        visible = display.GetSegmentVisibility(self.editor.segment_id)
        return self.ConfirmedWithoutDialog if visible else self.NotConfirmed

    def viewNode(self, widget: Any) -> Any:
        return widget.mrmlSliceNode()

    def renderer(self, widget: Any) -> Any:
        return widget.sliceView().renderWindow().GetRenderers().GetItemAsObject(0)

    def scheduleRender(self, widget: Any) -> None:
        widget.sliceView().scheduleRender()

    def saveStateForUndo(self) -> None:
        self.saves += 1
        self.editor.logic.SaveStateForUndo()

    def modifySegmentByLabelmap(self, node: Any, segment_id: str, image: Any, mode: int) -> None:
        assert node is self.editor.node
        assert mode == self.ModificationModeSet
        self.editor.write(segment_id, image)


class AbstractScriptedSegmentEditorEffect:
    """The part of Slicer's base class that is used."""

    def __init__(self, scriptedEffect: Any) -> None:
        self.scriptedEffect = scriptedEffect

    def register(self) -> None:
        EffectObject.registered.append(self.scriptedEffect)

    def xyToRas(self, xy: Any, viewWidget: Any) -> Any:
        assert len(xy) == 2
        if isinstance(viewWidget, SliceWidget):
            to_world = viewWidget.mrmlSliceNode().GetXYToRAS()
            return list(to_world.MultiplyPoint((*xy, 0, 1))[:3])
        return viewWidget.world


def put_in_place(monkeypatch: Any, widget: Any) -> None:
    """Make the imports of an effect and the look-up of the module work, for one test."""
    base = types.ModuleType("SegmentEditorEffects")
    base.AbstractScriptedSegmentEditorEffect = AbstractScriptedSegmentEditorEffect
    monkeypatch.setitem(sys.modules, "SegmentEditorEffects", base)
    python_qt = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    python_qt.qSlicerSegmentEditorScriptedEffect = EffectObject
    monkeypatch.setitem(sys.modules, python_qt.__name__, python_qt)
    monkeypatch.setattr(EffectObject, "registered", [])
    monkeypatch.syspath_prepend(str(FOLDER))
    modules = {"MOISSAM2Segment": widget}
    monkeypatch.setattr(slicer.util, "getModuleWidget", modules.__getitem__)
    monkeypatch.setattr(slicer.util, "getModuleLogic", lambda name: modules[name].logic)
    chosen: list[str] = []
    monkeypatch.setattr(slicer.util, "selectModule", chosen.append, raising=False)
    widget.chosen_modules = chosen


class EffectUser:
    """A user who has chosen the effect and clicks into the views."""

    def __init__(self, user: Any, effect: EffectObject, editor: Editor) -> None:
        self.user = user
        self.effect = effect
        self.python = effect.self()
        self.editor = editor
        effect.editor = editor

    @property
    def message(self) -> str:
        return self.python.messageLabel.text

    @property
    def workspace(self) -> Any:
        return self.user.workspace

    def click(
        self,
        world: Any,
        control: bool = False,
        shift: bool = False,
        event: int = vtk.vtkCommand.LeftButtonPressEvent,
        view: str = "qMRMLSliceWidget",
    ) -> bool:
        """Send a mouse event in a view; return whether the effect handled it."""
        interactor = vtk.vtkGenericRenderWindowInteractor()
        interactor.SetEventInformation(50, 50, int(control), int(shift))
        widget = SimpleNamespace(className=lambda: view, world=world)
        taken = self.python.processInteractionEvents(interactor, event, widget)
        assert isinstance(taken, bool)
        self.user.wait()
        return taken

    def drag(self, widget: Any, places: Any, control: bool = False) -> list[bool]:
        """Drag the mouse through places in a view; return which events the effect handled."""
        taken = []

        def handle(interactor: Any, name: str) -> None:
            event = vtk.vtkCommand.GetEventIdFromString(name)
            taken.append(self.python.processInteractionEvents(interactor, event, widget))

        # The Segment Editor observes with priority 1.
        interactor = widget.sliceView().interactor()
        tags = [interactor.AddObserver(event, handle, 1.0) for event in widget.EVENTS]
        widget.drag(places, control=control)
        for tag in tags:
            interactor.RemoveObserver(tag)
        self.user.wait()
        return taken

    def press(self, button: Any) -> None:
        assert button.enabled
        wrap(button.real).click()
        self.user.wait()


class EditorWidget:
    """The part of a qMRMLSegmentEditorWidget that the self test uses."""

    def __init__(self, user: Any) -> None:
        self.user = user
        self.effect = EffectObject()
        self.effect.setPythonSource(
            (FOLDER / "SegmentEditorMOISSAM2Lib" / "SegmentEditorEffect.py").as_posix()
        )
        self.effect.self().setupOptionsFrame()
        self.is_deleted = False
        self._active = False
        self._node = self._volume = None

    def setMRMLScene(self, scene: Any) -> None:
        assert scene is slicer.mrmlScene

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        pass

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node

    def setSourceVolumeNode(self, node: Any) -> None:
        self._volume = node

    def setCurrentSegmentID(self, segment_id: str) -> None:
        place = SimpleNamespace(scene=slicer.mrmlScene, volume_node=self._volume)
        self.effect.editor = Editor(place, self._node, segment_id)

    def setActiveEffectByName(self, name: str) -> None:
        assert name in ("", "MOISSAM2")
        python = self.effect.self()
        if name and not self._active:
            python.activate()
        elif self._active and not name:
            python.deactivate()
        self._active = bool(name)

    def activeEffect(self) -> Any:
        return self.effect if self._active else None

    def undo(self) -> None:
        self.effect.editor.logic.Undo()

    def redo(self) -> None:
        self.effect.editor.logic.Redo()

    def deleteLater(self) -> None:
        self.is_deleted = True
