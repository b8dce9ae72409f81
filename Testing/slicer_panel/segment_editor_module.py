"""A stand-in for Slicer's module Segment Editor, with its keys and the effects MOISSAM2 and Paint.

Undo, masks and the writing of segments are Slicer's own, from its wheel.
"""

# The names are Slicer's own.
# ruff: noqa: N802
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import qt
import slicer
import vtk
from effect_parts import FOLDER, EffectObject
from pythonqt import offered
from segment_editor import Editor

PAINT = "Paint"


class SegmentEditorModule:
    """The module's widget."""

    def __init__(self, user: Any, window: Any) -> None:
        self.editor = EditorWidget(user)
        self._window = window
        self._keys: list[Any] = []

    def enter(self) -> None:
        for key, slot in (("Z", self.editor.undo), ("Y", self.editor.redo)):
            shortcut = qt.QShortcut(self._window)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.connect("activated()", slot)
            self._keys.append(shortcut)

    def exit(self) -> None:
        self.editor.setActiveEffectByName("")
        for shortcut in self._keys:
            shortcut.enabled = False
            shortcut.deleteLater()
        self._keys.clear()

    def mouse(self, slice_widget: Any, pixel: tuple[int, int], modifiers: Any) -> None:
        self.editor.click(np.array(slice_widget.world(pixel)), "Control" in modifiers)


class _Paint:
    """The effect Paint, as far as its brush is set."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def setCommonParameter(self, name: str, value: float) -> None:
        self.values[name] = value


class EditorWidget:
    """The qMRMLSegmentEditorWidget."""

    OWN = ("user", "click", "children_by_name")

    def __init__(self, user: Any) -> None:
        self.user = user
        self._effect = EffectObject()
        path = FOLDER / "SegmentEditorMOISSAM2Lib" / "SegmentEditorEffect.py"
        self._effect.setPythonSource(path.as_posix())
        self._effect.self().setupOptionsFrame()
        self._paint = _Paint()
        self._active: Any = None
        self._node = self._volume = self._editor = None
        self.children_by_name = {
            name: SimpleNamespace(enabled=True, click=slot)
            for name, slot in (
                ("UndoButton", self.undo),
                ("RedoButton", self.redo),
                ("Show3DButton", self._show_3d),
            )
        }

    def __getattribute__(self, name: str) -> Any:
        is_own = name.startswith("_") or name in object.__getattribute__(self, "OWN")
        assert is_own or name == "OWN" or name in offered("qMRMLSegmentEditorWidget")[0], name
        return object.__getattribute__(self, name)

    def setSegmentationNode(self, node: Any) -> None:
        self._node, self._editor = node, None

    def setSourceVolumeNode(self, node: Any) -> None:
        self._volume = node

    def setCurrentSegmentID(self, segment_id: str) -> None:
        if self._editor is None:
            place = SimpleNamespace(scene=slicer.mrmlScene, volume_node=self._volume)
            self._editor = Editor(place, self._node, segment_id)
            self._editor.workspace = self.user.workspace
            self._effect.editor = self._editor
        self._editor.select(segment_id)

    def mrmlSegmentEditorNode(self) -> Any:
        return self._editor.parameters

    def setActiveEffectByName(self, name: str) -> None:
        if self._active is self._effect:
            self._effect.self().deactivate()
        self._active = {"MOISSAM2": self._effect, PAINT: self._paint, "": None}[name]
        if self._active is self._effect:
            self._effect.self().activate()

    def activeEffect(self) -> Any:
        return self._active

    def undo(self) -> None:
        self._editor.logic.Undo()

    def redo(self) -> None:
        self._editor.logic.Redo()

    def _show_3d(self) -> None:
        names = slicer.vtkSegmentationConverter
        self._node.GetSegmentation().CreateRepresentation(
            names.GetSegmentationClosedSurfaceRepresentationName()
        )

    def click(self, world: np.ndarray, control: bool) -> None:
        if self._active is self._effect:
            interactor = vtk.vtkGenericRenderWindowInteractor()
            interactor.SetEventInformation(50, 50, int(control), 0)
            view = SimpleNamespace(className=lambda: "qMRMLSliceWidget", world=world)
            event = vtk.vtkCommand.LeftButtonPressEvent
            assert self._effect.self().processInteractionEvents(interactor, event, view)
        elif self._active is self._paint:
            self._stroke(world)

    def _stroke(self, world: np.ndarray) -> None:
        from MOISSAM2SegmentLib.scene.transforms import ijk_to_ras

        assert self._paint.values["BrushDiameterIsRelative"] == 0
        mask = self._editor.mask(self._editor.segment_id)
        ijk = np.stack(np.indices(mask.shape)[::-1], axis=-1)
        ras = ijk @ ijk_to_ras(self._volume)[:3, :3].T + ijk_to_ras(self._volume)[:3, 3]
        radius = self._paint.values["BrushAbsoluteDiameter"] / 2
        mask |= np.linalg.norm(ras - world, axis=-1) <= radius
        self._editor.paint(mask)
