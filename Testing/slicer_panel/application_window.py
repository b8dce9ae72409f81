"""A stand-in for Slicer's window around the panel: its size, slice views, mouse, modules, files.

The views' nodes and arithmetic, markups and scenes are Slicer's own, from its wheel. What the mouse
does with them is what Slicer's markups widgets were read to do (vtkSlicerMarkupsWidget.cxx,
vtkSlicerPointsWidget.cxx): the pointer has to move over a point before it can be dragged or
deleted, and points are placed when the button comes up.
"""

# The names are Slicer's own.
# ruff: noqa: N802
from __future__ import annotations

import os
import zipfile
from types import SimpleNamespace
from typing import Any

import numpy as np
import slicer
import vtk
from MOISSAM2SegmentLib.scene.transforms import matrix_to_numpy
from PySide6 import QtWidgets
from pythonqt import offered, wrap
from user import User

NEAR_PIXELS, ON_SLICE = 6, 0.6
"""How far from the pointer, and from the slice in the distance of slices, a point may be."""
MODULE = "MOISSAM2Segment"
VIEW_PIXELS = (400, 500)


class qSlicerMainWindow(QtWidgets.QMainWindow):  # noqa: N801 - Slicer's name
    """The main window, which asks before it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.asks = lambda: None

    def closeEvent(self, event: Any) -> None:
        self.asks()
        event.accept()


class SliceWidget:
    """A qMRMLSliceWidget."""

    def __init__(self, scene: Any, name: str) -> None:
        self.node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        # A view's own logic makes its composite node, or takes the one that is there.
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLScene(scene)
        self.logic.SetSliceNode(self.node)
        self.composite = self.logic.GetSliceCompositeNode()
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.Enable()
        self.pointer = (0, 0)
        self.under_pointer: int | None = None
        self.node.SetDimensions(*VIEW_PIXELS, 1)

    def __getattribute__(self, name: str) -> Any:
        if name in ("mrmlSliceNode", "mrmlSliceCompositeNode", "interactorStyle", "sliceLogic"):
            assert name in offered("qMRMLSliceWidget")[0]
        return object.__getattribute__(self, name)

    def mrmlSliceNode(self) -> Any:
        return self.node

    def mrmlSliceCompositeNode(self) -> Any:
        return self.composite

    def sliceLogic(self) -> Any:
        return self.logic

    def interactorStyle(self) -> Any:
        return SimpleNamespace(GetInteractor=lambda: self.interactor)

    def world(self, pixel: tuple[int, int]) -> list[float]:
        return (matrix_to_numpy(self.node.GetXYToRAS()) @ (*pixel, 0, 1))[:3].tolist()

    def pixel(self, world: Any) -> np.ndarray:
        """Return a place as a pixel, and its distance to the slice in the distance of slices."""
        return (np.linalg.inv(matrix_to_numpy(self.node.GetXYToRAS())) @ (*world, 1))[:3]


class ApplicationWindow:
    """Puts itself in the place of what the scenarios use of Slicer, for one test."""

    def __init__(self, user: User, monkeypatch: Any) -> None:
        self.user = user
        self.module = MODULE
        self.others: dict[str, Any] = {}
        """Widgets of other modules, by name."""
        self.window = qSlicerMainWindow()
        self.window.setCentralWidget(user.window)
        self.window.show()
        self.wrapped = wrap(self.window)
        self.slices: dict[str, SliceWidget] = {}
        self.links = slicer.vtkMRMLSliceLinkLogic()
        self.links.SetMRMLScene(slicer.mrmlScene)
        manager = slicer.app.layoutManager()
        monkeypatch.setattr(manager, "sliceWidget", self.slice_widget, raising=False)
        application = {"activeModalWidget": self.modal, "arguments": lambda: ("Slicer",)}
        for name, value in application.items():
            assert name in offered("qSlicerApplication")[0]
            monkeypatch.setattr(slicer.app, name, value, raising=False)
        for name in (
            "mainWindow", "getModuleWidget", "getModuleLogic", "selectModule", "clickAndDrag",
            "forceRenderAllViews", "reloadScriptedModule", "saveScene", "loadScene",
            "setSliceViewerLayers", "findChild",
        ):  # fmt: skip
            monkeypatch.setattr(slicer.util, name, getattr(self, name), raising=False)

    def let_go(self) -> None:
        # Slicer links views as long as there is work that moves them, and needs their nodes for it.
        self.user.workspace.end()
        for widget in self.slices.values():
            slicer.mrmlScene.RemoveNode(widget.composite)
            widget.logic.SetMRMLScene(None)
        self.window.takeCentralWidget().setParent(None)
        self.window.deleteLater()

    # ---- window and modules ----------------------------------------------------------------

    def mainWindow(self) -> Any:
        return self.wrapped

    def modal(self) -> Any:
        return wrap(QtWidgets.QApplication.activeModalWidget())

    def forceRenderAllViews(self) -> None:
        pass

    def getModuleWidget(self, module: str) -> Any:
        return self.user.widget if module == MODULE else self.others[module]

    def getModuleLogic(self, module: str) -> Any:
        return self.user.widget.logic

    def selectModule(self, module: str) -> None:
        if module == self.module:
            return
        for name, call in ((self.module, "exit"), (module, "enter")):
            widget = self.user.widget if name == MODULE else self.others.get(name)
            if widget is not None:
                getattr(widget, call)()
        self.module = module

    def findChild(self, widget: Any, name: str, properties: dict | None = None) -> Any:
        return widget.children_by_name[name]

    def reloadScriptedModule(self, name: str) -> None:
        """As Slicer does: the module is not entered afterwards."""
        assert name == MODULE
        self.window.takeCentralWidget()
        self.user.close()
        self.user.engine = None
        self.user.open()
        self.user.widget.exit()
        self.window.setCentralWidget(self.user.window)

    # ---- scene -----------------------------------------------------------------------------

    def setSliceViewerLayers(self, background: Any = None, fit: bool = False, **_: Any) -> None:
        for name in ("Red", "Yellow", "Green"):
            self.slice_widget(name).composite.SetBackgroundVolumeID(background.GetID())

    def saveScene(self, filename: str) -> bool:
        slicer.mrmlScene.SetRootDirectory(os.path.dirname(filename))
        return bool(slicer.mrmlScene.WriteToMRB(filename))

    def loadScene(self, filename: str) -> None:
        assert zipfile.is_zipfile(filename)
        assert slicer.mrmlScene.ReadFromMRB(filename)

    # ---- views and mouse -------------------------------------------------------------------

    def slice_widget(self, name: str) -> SliceWidget:
        if name not in self.slices:
            widget = self.slices[name] = SliceWidget(slicer.mrmlScene, name)
            event = vtk.vtkCommand.KeyPressEvent
            widget.interactor.AddObserver(event, lambda *_: self._key(widget))
        return self.slices[name]

    @property
    def points(self) -> Any:
        return self.user.workspace.points_node

    def clickAndDrag(
        self,
        widget: Any,
        button: str = "Left",
        start=(10, 10),
        end=(10, 40),
        steps=20,
        modifiers=(),
    ) -> None:
        if button == "None":
            widget.pointer, widget.under_pointer = end, self._under(widget, end)
            return
        assert button == "Left"
        place = self.user.window.findChild(QtWidgets.QWidget, "placeWidget")
        if self.others.get(self.module) is not None:
            self.others[self.module].mouse(widget, start, modifiers)
        elif place.property("placeModeEnabled"):
            assert widget.pointer == start == end, "the pointer has to be there before"
            self.points.AddControlPointWorld(*widget.world(end))
        elif widget.under_pointer is not None:
            assert widget.pointer == start
            self.points.SetNthControlPointPositionWorld(widget.under_pointer, *widget.world(end))

    def _under(self, widget: SliceWidget, pixel: tuple[int, int]) -> int | None:
        node = self.points
        for index in range(node.GetNumberOfControlPoints() if node is not None else 0):
            x, y, away = widget.pixel(node.GetNthControlPointPositionWorld(index))
            is_shown = abs(away) < ON_SLICE
            if is_shown and np.hypot(x - pixel[0], y - pixel[1]) <= NEAR_PIXELS:
                return index
        return None

    def _key(self, widget: SliceWidget) -> None:
        is_delete = widget.interactor.GetKeySym() == "Delete"
        if is_delete and ord(widget.interactor.GetKeyCode()) == 127:
            assert widget.interactor.GetRepeatCount() == 1
            if widget.under_pointer is not None:
                self.points.RemoveNthControlPoint(widget.under_pointer)
