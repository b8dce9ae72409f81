"""Stand-ins for parts of Slicer's Python that are missing in the slicer-core wheel.

Each has the names and signatures that a real Slicer was seen to have, as far as a module's panel
needs them.
"""

# The names are Slicer's and Qt's own.
# ruff: noqa: N802
from __future__ import annotations

import sys
import types
import typing
import unittest
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import slicer
import vtk
from paths import MODULE
from PySide6 import QtCore, QtUiTools, QtWidgets
from pythonqt import QtModule, offered, wrap
from slicer_window import SlicerWindow
from stand_ins import ALL

# ---- dialogs -------------------------------------------------------------------------------


class Dialogs:
    """Answers dialogs in the user's place, and keeps a list of the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.yes = True
        self.path = ""

    def confirm(self, text: str, windowTitle: str | None = None, parent: Any = None) -> bool:
        self.asked.append(text)
        return self.yes

    def tell(self, text: str, detailedText: str = "") -> None:
        self.asked.append(text)

    def choose(self, parent: Any, caption: str, folder: str = "", kinds: str = "") -> str:
        self.asked.append(caption)
        return self.path

    def choose_folder(self, parent: Any = None, caption: str = "", folder: str = "") -> str:
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


MARGIN, MARGIN_IN_SECTION, SPACING = 6, 4, 3
"""What qSlicerStyle.cxx leaves around and between widgets, in pixels."""


def _use_slicers_distances(tree: Any) -> None:
    """Write the distances that Slicer's style uses into layouts that do not name their own."""
    import xml.etree.ElementTree as Tree

    def add(layout: Any, name: str, value: int) -> None:
        entry = Tree.Element("property", name=name)
        Tree.SubElement(entry, "number").text = str(value)
        layout.insert(0, entry)

    for parent in tree.iter():
        for layout in parent.findall("layout"):
            own = {entry.get("name") for entry in layout.findall("property")}
            is_form = layout.get("class") == "QFormLayout"
            for name in ("horizontalSpacing", "verticalSpacing") if is_form else ("spacing",):
                if name not in own:
                    add(layout, name, SPACING)
            if parent.tag == "widget" and "leftMargin" not in own:
                is_section = parent.get("class") == "ctkCollapsibleButton"
                for side in ("left", "top", "right", "bottom"):
                    add(layout, f"{side}Margin", MARGIN_IN_SECTION if is_section else MARGIN)


class _UiLoader:
    """`qt.QUiLoader`, which knows Slicer's widgets and makes the connections of a .ui file."""

    def load(self, file: Any) -> Any:
        import xml.etree.ElementTree as Tree

        tree = Tree.fromstring(bytes(file.real.readAll()))
        connections = tree.find("connections")
        tree.remove(connections)
        _use_slicers_distances(tree)
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

    def createParameterNode(self) -> Any:
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node

    def getParameterNode(self) -> Any:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        # A scene that is closed takes it away.
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def getAllParameterNodes(self) -> list:
        scene, kind = slicer.mrmlScene, "vtkMRMLScriptedModuleNode"
        nodes = [
            scene.GetNthNodeByClass(index, kind)
            for index in range(scene.GetNumberOfNodesByClass(kind))
        ]
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Runs all methods with "test" in their names, in this order of letters, when `runTest` is
    called, as *Reload and Test* does; a SkipTest ends it."""

    def runTest(self) -> None:
        for name in dir(self):
            if "test" in name and callable(getattr(self, name)):
                self.setUp()
                getattr(self, name)()
                self.tearDown()


# ---- slicer.parameterNodeWrapper -----------------------------------------------------------

_observed: list[tuple[Any, int]] = []
"""Observers that are never removed, as in Slicer up to 5.12; removed after each test."""


def _observe(node: Any, function: Callable[..., None]) -> None:
    _observed.append((node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, function)))


def remove_observers() -> None:
    """Remove the observers that wrappers have left on their parameter nodes."""
    for node, tag in _observed:
        node.RemoveObserver(tag)
    _observed.clear()


class WithinRange:
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum


class _Parameter:
    """A value in a parameter node, written with its default as soon as the node lacks it."""

    def __init__(self, node: Any, name: str, kind: type, limits: tuple, default: Any) -> None:
        self.node, self.name, self.kind = node, name, kind
        self.limits, self.default = limits, default
        self._is_writing = False
        self.value = self._read()
        _observe(node, self._modified)

    def write(self, value: Any) -> None:
        if not self._is_number and value is not None and not isinstance(value, self.kind):
            raise TypeError(f"{self.name} cannot be {value}")
        for limit in self.limits:
            if not limit.minimum <= value <= limit.maximum:
                raise ValueError(f"{self.name} cannot be {value}")
        self._is_writing, was_modifying = True, self.node.StartModify()
        self._store(value)
        self.value = self._read()
        self._is_writing = False
        self.node.EndModify(was_modifying)

    @property
    def _is_number(self) -> bool:
        return self.kind in (int, float)

    def _read(self) -> Any:
        if not self.node.HasParameter(self.name):
            self._store(self.default)
        if self._is_number:
            return self.kind(self.node.GetParameter(self.name))
        return self.node.GetNodeReference(self.name)

    def _store(self, value: Any) -> None:
        if self._is_number:
            self.node.SetParameter(self.name, str(value))
        else:
            self.node.SetParameter(self.name, "")
            self.node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)

    def _modified(self, *_: Any) -> None:
        if not self._is_writing:
            self.value = self._read()


class _Connector:
    """A widget that shows a parameter and changes it."""

    def __init__(self, widget: Any, parameter: _Parameter) -> None:
        self.widget, self.parameter = widget.real, parameter
        self.is_connected = True
        self._is_node = hasattr(self.widget, "currentNodeChanged")
        for limit in parameter.limits:
            self.widget.setRange(limit.minimum, limit.maximum)
        self.show()
        signal = self.widget.currentNodeChanged if self._is_node else self.widget.valueChanged
        signal.connect(self._changed)

    def show(self) -> None:
        if self._is_node:
            self.widget.setCurrentNode(self.parameter.value)
        else:
            self.widget.setValue(self.parameter.value)

    def _changed(self, value: Any) -> None:
        if self.is_connected:
            self.parameter.write(value)


class _Wrapper:
    """What Slicer's decorator adds to a class."""

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, list[_Connector]] = {}
        self._next_tag = 0
        self._parameters = {
            name: _Parameter(parameterNode, name, *rest) for name, *rest in self._declared
        }

    def connectGui(self, gui: Any) -> None:
        """As in Slicer up to 5.12, without the tag that `disconnectGui` needs."""
        named = {widget.property("SlicerParameterName"): widget for widget in vars(gui).values()}
        self.connectParametersToGui({name: named[name] for name in named if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        tag = self._next_tag
        self._next_tag += 1
        self._guis[tag] = [
            _Connector(widget, self._parameters[name]) for name, widget in mapping.items()
        ]
        _observe(self.parameterNode, self._show)
        return tag

    def disconnectGui(self, guiTag: int | None) -> None:
        for connector in self._guis.pop(guiTag, ()):
            connector.is_connected = False

    def _show(self, *_: Any) -> None:
        for connectors in list(self._guis.values()):
            for connector in connectors:
                connector.show()


def parameterNodeWrapper(kind: type) -> type:
    """Make a class whose annotated names are values in a parameter node."""
    declared = []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        limits = getattr(hint, "__metadata__", ())
        plain = hint.__origin__ if limits else hint
        declared.append((name, plain, limits, getattr(kind, name, None)))
    content = {name: _property(name) for name, *_ in declared}
    return type(kind.__name__, (_Wrapper,), {"_declared": declared, **content})


def _property(name: str) -> property:
    return property(
        lambda self: self._parameters[name].value,
        lambda self, value: self._parameters[name].write(value),
    )


# ---- putting it together -------------------------------------------------------------------


TABLE_VIEW = "vtkMRMLTableViewNode"


class _SliceView:
    """A qMRMLSliceView, with the invokable methods that it and ctkVTKAbstractView have in 5.10 and
    5.12."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._window = vtk.vtkRenderWindow()
        self._window.AddRenderer(vtk.vtkRenderer())
        self.rendered = 0

    def mrmlSliceNode(self) -> Any:
        return self._node

    def interactor(self) -> Any:
        return self._interactor

    def renderWindow(self) -> Any:
        return self._window

    def scheduleRender(self) -> None:
        self.rendered += 1


class SliceWidget:
    """A qMRMLSliceWidget. What its view leaves to Slicer's own interaction is in ``passed_on``."""

    EVENTS = ("LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent")

    def __init__(self, node: Any) -> None:
        self._view = _SliceView(node)
        self.passed_on: list[str] = []
        for event in (*self.EVENTS, "LeftButtonDoubleClickEvent"):
            # vtkMRMLViewInteractorStyle observes with priority 0.
            self._view.interactor().AddObserver(event, self._pass_on, 0.0)

    def _pass_on(self, caller: Any, event: str) -> None:
        self.passed_on.append(event)

    def sliceView(self) -> _SliceView:
        return self._view

    def mrmlSliceNode(self) -> Any:
        return self._view.mrmlSliceNode()

    def className(self) -> str:
        return "qMRMLSliceWidget"

    def send(self, event: str, world: Any, shift: bool = False, control: bool = False) -> None:
        """Let the mouse do something at a place of the world in the view."""
        to_view = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.mrmlSliceNode().GetXYToRAS(), to_view)
        x, y, *_ = to_view.MultiplyPoint((*[float(part) for part in world], 1.0))
        interactor = self._view.interactor()
        interactor.SetEventInformation(round(x), round(y), int(control), int(shift))
        interactor.InvokeEvent(event)

    def drag(self, places: Any, **keys: bool) -> None:
        """Press the mouse at the first place of the world, move through all, and release it."""
        press, move, release = self.EVENTS
        self.send(press, places[0], **keys)
        for place in places:
            self.send(move, place, **keys)
        self.send(release, places[-1], **keys)


class _LayoutManager:
    """A layout manager with Slicer's own logic, which puts the views of a layout into the scene.

    It has no name that Slicer's manager lacks; `setLayout` belongs to a base class that was not
    looked at.
    """

    def __init__(self, scene: Any) -> None:
        self.window = SlicerWindow(scene)
        self._slice_widgets: dict[str, SliceWidget] = {}

    def let_go(self) -> None:
        """Take the views out of the scene, where they would outlive the test."""
        self.window.let_go()

    def layoutLogic(self) -> Any:
        assert "layoutLogic" in offered("qSlicerLayoutManager")[0]
        return self.window.logic

    def setLayout(self, layout: int) -> None:
        self.window.layout.SetViewArrangement(layout)

    @property
    def tableViewCount(self) -> int:
        return self.window.scene.GetNumberOfNodesByClass(TABLE_VIEW)

    def tableWidget(self, number: int) -> Any:
        """The widget of a table view, which is shown while the layout has one."""
        node = self.window.scene.GetNthNodeByClass(number, TABLE_VIEW)
        layout = self.window.layout
        view = SimpleNamespace(
            isVisible=lambda: TABLE_VIEW in layout.GetCurrentLayoutDescription(),
            mrmlTableNode=node.GetTableNode,
        )
        return SimpleNamespace(tableView=lambda: view) if node is not None else None

    def mrmlSliceLogics(self) -> Any:
        return vtk.vtkCollection()

    def sliceViewNames(self) -> tuple[str, ...]:
        """The slice views that were made so far, also those that this layout does not show."""
        assert "sliceViewNames" in offered("qSlicerLayoutManager")[0]
        nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode", self.window.scene)
        return tuple(node.GetLayoutName() for node in nodes)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        assert "sliceWidget" in offered("qSlicerLayoutManager")[0]
        if name not in self.sliceViewNames():
            return None
        if name not in self._slice_widgets:
            self._slice_widgets[name] = SliceWidget(self.window.slice_view(name))
        return self._slice_widgets[name]


class _Application:
    """`slicer.app`."""

    def __init__(self, core: Any, settings_file: str) -> None:
        self.views = _LayoutManager(slicer.mrmlScene)
        self.applicationLogic = core.applicationLogic
        self.temporaryPath = core.temporaryPath
        self.at_start: list[Any] = []
        self.translated: list[str] = []
        self.copied = ""
        self.slicerUserSettingsFilePath = settings_file
        self.cursors: list[Any] = []
        """Cursors that were put over the others and are still there."""

    def layoutManager(self) -> _LayoutManager:
        return self.views

    def clipboard(self) -> Any:
        return SimpleNamespace(setText=lambda text: setattr(self, "copied", text))

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()
        self.views.window.lay_out()

    def testingEnabled(self) -> bool:
        return False

    def setOverrideCursor(self, cursor: Any) -> None:
        self.cursors.append(cursor)

    def restoreOverrideCursor(self) -> None:
        self.cursors.pop()

    def topLevelWidgets(self) -> tuple:
        return ()

    def connect(self, signal: str, slot: Any) -> None:
        assert signal == "startupCompleted()"
        self.at_start.append(slot)

    def translate(self, context: str, text: str) -> str:
        self.translated.append(text)
        return text


def put_in_place(monkeypatch: Any, dialogs: Dialogs, settings_file: str) -> Any:
    """Make `import qt` and the missing parts of the package `slicer` importable, for one test."""
    application = _Application(slicer.app, settings_file)
    monkeypatch.setattr(slicer, "app", application)
    file_dialog = SimpleNamespace(
        getOpenFileName=dialogs.choose,
        getSaveFileName=dialogs.choose,
        getExistingDirectory=dialogs.choose_folder,
    )

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
    monkeypatch.setattr(slicer.util, "errorDisplay", dialogs.tell)
    return application


def _module(monkeypatch: Any, name: str, content: dict[str, Any]) -> None:
    module = types.ModuleType(f"slicer.{name}")
    module.__dict__.update(content)
    monkeypatch.setitem(sys.modules, f"slicer.{name}", module)
    monkeypatch.setattr(slicer, name, module, raising=False)
