"""The parts of Slicer's Python that are missing in the slicer-core wheel, as far as a module's
panel needs them. Each has the names and signatures that a real Slicer was seen to have."""

# The names are Slicer's and Qt's own.
# ruff: noqa: N802
from __future__ import annotations

import sys
import types
import typing
from types import SimpleNamespace
from typing import Any

import slicer
from paths import MODULE
from PySide6 import QtCore, QtUiTools, QtWidgets
from pythonqt import QtModule, offered, wrap
from stand_ins import ALL

# ---- dialogs -------------------------------------------------------------------------------


class Dialogs:
    """Answers in the user's place, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.yes = True
        self.path = ""

    def confirm(self, text: str, windowTitle: str | None = None, parent: Any = None) -> bool:
        self.asked.append(text)
        return self.yes

    def choose(self, parent: Any, caption: str, folder: str = "", kinds: str = "") -> str:
        self.asked.append(caption)
        return self.path


# ---- loading a .ui -------------------------------------------------------------------------


class _Loader(QtUiTools.QUiLoader):
    def createWidget(self, kind: str, parent: Any = None, name: str = "") -> Any:
        for stand_in in ALL:
            if stand_in.__name__ == kind:
                widget = stand_in(parent)
                widget.setObjectName(name)
                return widget
        return super().createWidget(kind, parent, name)


class _UiLoader:
    """`qt.QUiLoader`, which in Slicer knows Slicer's widgets and makes the file's connections."""

    def load(self, file: Any) -> Any:
        import xml.etree.ElementTree as Tree

        tree = Tree.fromstring(bytes(file.real.readAll()))
        connections = tree.find("connections")
        tree.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(Tree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = _Loader().load(buffer)
        for connection in connections:
            ends = {part.tag: part.text for part in connection}
            assert ends["signal"] == "mrmlSceneChanged(vtkMRMLScene*)"
            assert ends["slot"] == "setMRMLScene(vtkMRMLScene*)"
            receiver = widget.findChild(QtWidgets.QWidget, ends["receiver"])
            widget.mrmlSceneChanged.connect(receiver.setMRMLScene)
        return wrap(widget)


# ---- slicer.ScriptedLoadableModule ---------------------------------------------------------


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, filename: str) -> str:
        return str(MODULE / "Resources" / filename)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, filename: str) -> str:
        return str(MODULE / "Resources" / filename)

    def setup(self) -> None:
        pass

    def cleanup(self) -> None:
        pass


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        kind = "vtkMRMLScriptedModuleNode"
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, kind)
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetModuleName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


# ---- slicer.parameterNodeWrapper -----------------------------------------------------------


class WithinRange:
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum


def parameterNodeWrapper(kind: type) -> type:
    """Typed values in a node, and widgets that show them."""
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        limits = getattr(hint, "__metadata__", ())
        plain = hint.__origin__ if limits else hint
        default = getattr(kind, name, None)
        setattr(kind, name, _parameter(name, plain, limits, default))
    kind.__init__ = _take_node
    kind.connectGui, kind.disconnectGui = _connect_gui, _disconnect_gui
    return kind


def _parameter(name: str, kind: type, limits: tuple, default: Any) -> property:
    def read(self: Any) -> Any:
        node = self.parameterNode
        if kind not in (int, float, str):
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        return kind(text) if text else default

    def write(self: Any, value: Any) -> None:
        node = self.parameterNode
        if kind not in (int, float, str):
            assert value is None or isinstance(value, kind)
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
            return
        for limit in limits:
            if not limit.minimum <= value <= limit.maximum:
                raise ValueError(f"{name} cannot be {value}")
        node.SetParameter(name, str(kind(value)))

    return property(read, write)


def _take_node(self: Any, parameterNode: Any) -> None:
    self.parameterNode = parameterNode
    self._shown: dict[int, dict] = {}


def _connect_gui(self: Any, gui: Any) -> int:
    tag = len(self._shown)
    widgets = {w.property("SlicerParameterName"): w for w in vars(gui).values()}
    self._shown[tag] = {name: widget for name, widget in widgets.items() if name}
    for name, widget in self._shown[tag].items():
        _show(widget, getattr(self, name))
        is_node = hasattr(widget.real, "currentNodeChanged")
        signal = widget.real.currentNodeChanged if is_node else widget.real.valueChanged
        signal.connect(lambda value, name=name: _changed(self, tag, name, value))
    return tag


def _changed(self: Any, tag: int, name: str, value: Any) -> None:
    if tag in self._shown:
        setattr(self, name, value)


def _show(widget: Any, value: Any) -> None:
    if hasattr(widget.real, "currentNodeChanged"):
        widget.real.setCurrentNode(value)
    else:
        widget.real.setValue(value)


def _disconnect_gui(self: Any, tag: int) -> None:
    self._shown.pop(tag, None)


# ---- putting it together -------------------------------------------------------------------


class _LayoutManager:
    """Has Slicer's own node for the layout, and no views. What Slicer's manager has not, neither
    has this one; `setLayout` belongs to a base class that was not looked at."""

    def __init__(self) -> None:
        self._node = slicer.vtkMRMLLayoutNode()
        # A logic would put views into the scene.
        self._node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def layoutLogic(self) -> Any:
        assert "layoutLogic" in offered("qSlicerLayoutManager")[0]
        return SimpleNamespace(GetLayoutNode=lambda: self._node)

    def setLayout(self, layout: int) -> None:
        self._node.SetViewArrangement(layout)

    def mrmlSliceLogics(self) -> Any:
        import vtk

        return vtk.vtkCollection()


class _Application:
    """`slicer.app`."""

    def __init__(self, core: Any) -> None:
        self._layout = _LayoutManager()
        self.applicationLogic = core.applicationLogic
        self.temporaryPath = core.temporaryPath
        self.at_start: list[Any] = []
        self.translated: list[str] = []

    def layoutManager(self) -> _LayoutManager:
        return self._layout

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def topLevelWidgets(self) -> tuple:
        return ()

    def connect(self, signal: str, slot: Any) -> None:
        assert signal == "startupCompleted()"
        self.at_start.append(slot)

    def translate(self, context: str, text: str) -> str:
        self.translated.append(text)
        return text


def put_in_place(monkeypatch: Any, dialogs: Dialogs, settings_file: str) -> Any:
    """Make `import qt` and what Slicer adds to its package work, for one test."""
    application = _Application(slicer.app)
    monkeypatch.setattr(slicer, "app", application)
    file_dialog = SimpleNamespace(getOpenFileName=dialogs.choose, getSaveFileName=dialogs.choose)

    def settings() -> Any:
        return wrap(QtCore.QSettings(settings_file, QtCore.QSettings.Format.IniFormat))

    qt = QtModule(QUiLoader=_UiLoader, QFileDialog=file_dialog, QSettings=settings)
    monkeypatch.setitem(sys.modules, "qt", qt)
    here = sys.modules[__name__]
    names = [f"ScriptedLoadableModule{suffix}" for suffix in ("", "Widget", "Logic", "Test")]
    _module(monkeypatch, "ScriptedLoadableModule", {n: getattr(here, n) for n in names})
    parameter_names = {"parameterNodeWrapper": parameterNodeWrapper, "WithinRange": WithinRange}
    _module(monkeypatch, "parameterNodeWrapper", parameter_names)
    _module(
        monkeypatch,
        "i18n",
        {"tr": lambda text: application.translate("", text), "translate": application.translate},
    )
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", dialogs.confirm)
    return application


def _module(monkeypatch: Any, name: str, content: dict[str, Any]) -> None:
    module = types.ModuleType(f"slicer.{name}")
    module.__dict__.update(content)
    monkeypatch.setitem(sys.modules, f"slicer.{name}", module)
    monkeypatch.setattr(slicer, name, module, raising=False)
