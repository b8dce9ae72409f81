"""Stand-ins for Slicer's own widgets that the panel uses, drawn simply, on the real scene."""

# The names are Slicer's and Qt's own.
# ruff: noqa: N801, N802, N815
from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from pythonqt import refuse

ROOM_BELOW_A_CLOSED_SECTION = 14
"""What ctkCollapsibleButton.cpp adds to the title's height, in pixels."""


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A list of the scene's nodes of some classes, updated when nodes are added or removed.

    As qMRMLNodeComboBox.cxx and qMRMLSceneModel.cxx are in 5.10 and 5.12: when a scene was imported
    into the present one, the list is emptied and filled again, which tells that nothing is chosen
    and, without an entry for none, that the first node is. The last node takes the place of one
    that is removed.
    """

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._types, self._tags = None, [], []
        self._none, self._none_text, self._current = False, "None", None
        self._box = QtWidgets.QComboBox()
        self._box.setSizePolicy(
            QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed
        )
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.currentIndexChanged.connect(self._picked)
        self._nodes: list[Any] = []
        self._flags: dict[str, bool] = {}

    def _types_get(self) -> list[str]:
        return self._types

    def _types_set(self, types: list[str]) -> None:
        self._types = list(types)

    def _none_get(self) -> bool:
        return self._none

    def _none_set(self, value: bool) -> None:
        self._none = value

    def _text_get(self) -> str:
        return self._none_text

    def _text_set(self, value: str) -> None:
        self._none_text = value

    nodeTypes = QtCore.Property("QStringList", _types_get, _types_set)
    noneEnabled = QtCore.Property(bool, _none_get, _none_set)
    noneDisplay = QtCore.Property(str, _text_get, _text_set)

    def _flag(name: str) -> Any:  # noqa: N805 - makes a property, is no method
        def get(self: Any) -> bool:
            return self._flags.get(name, True)

        def put(self: Any, value: bool) -> None:
            self._flags[name] = value

        return QtCore.Property(bool, get, put)

    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    renameEnabled = _flag("renameEnabled")
    showChildNodeTypes = _flag("showChildNodeTypes")

    def let_go(self) -> None:
        """Stop observing the scene; the real widget does so when it is deleted."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags = []

    def setMRMLScene(self, scene: Any) -> None:
        self.let_go()
        self._scene = scene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent):
            self._tags.append(scene.AddObserver(event, lambda *_: self._refresh()))
        self._tags.append(scene.AddObserver(scene.EndImportEvent, lambda *_: self._fill_again()))
        self._refresh()

    def _fill_again(self) -> None:
        self._nodes = []
        self._box.blockSignals(True)
        self._box.clear()
        self._box.blockSignals(False)
        self.setCurrentNode(None)
        self._refresh()

    def _refresh(self) -> None:
        if self._scene.IsImporting():
            return
        nodes = []
        for kind in self._types:
            for index in range(self._scene.GetNumberOfNodesByClass(kind)):
                node = self._scene.GetNthNodeByClass(index, kind)
                if node.GetClassName() in self._types and not node.GetHideFromEditors():
                    nodes.append(node)
        self._nodes = nodes
        current = self._current if self._current in nodes else None
        if current is None and not self._none and nodes:
            current = nodes[0 if self._current is None else -1]
        self._box.blockSignals(True)
        self._box.clear()
        if self._none:
            self._box.addItem(self._none_text)
        self._box.addItems([node.GetName() for node in nodes])
        self._box.blockSignals(False)
        self.setCurrentNode(current)

    def _picked(self, index: int) -> None:
        index -= self._none
        self.setCurrentNode(self._nodes[index] if 0 <= index < len(self._nodes) else None)

    def setCurrentNode(self, node: Any) -> None:
        node = node if node in self._nodes else None
        index = self._nodes.index(node) + self._none if node is not None else self._none - 1
        self._box.blockSignals(True)
        self._box.setCurrentIndex(index)
        self._box.blockSignals(False)
        if node is not self._current:
            self._current = node
            self.currentNodeChanged.emit(node)

    def setCurrentNodeID(self, node_id: str) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(node_id) if node_id else None)

    def currentNode(self) -> Any:
        return self._current


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A title that opens and closes the section below it, with the measures of the real one.

    Children that were hidden on their own stay hidden when the section is opened.
    """

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        policy = QtWidgets.QSizePolicy.Policy
        self.setSizePolicy(policy.Minimum, policy.Preferred)
        self._collapsed, self._room, self._is_forcing = False, ROOM_BELOW_A_CLOSED_SECTION, False
        self._hidden: set[int] = set()
        self.setContentsMargins(0, self._title().height(), 0, 0)
        self.clicked.connect(lambda: self._collapse(not self._collapsed))

    def _title(self) -> QtCore.QSize:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        metric = QtWidgets.QStyle.PixelMetric
        sign = self.style().pixelMetric(metric.PM_IndicatorWidth, option, self)
        text = self.fontMetrics().size(QtCore.Qt.TextFlag.TextShowMnemonic, self.text() or "XXXX")
        inside = QtCore.QSize(sign + text.width(), max(sign, text.height()))
        kind = QtWidgets.QStyle.ContentsType.CT_PushButton
        return self.style().sizeFromContents(kind, option, inside, self)

    def _is_collapsed(self) -> bool:
        return self._collapsed

    def _collapse(self, value: bool) -> None:
        if value == self._collapsed:
            return
        self._collapsed = value
        self.setMaximumHeight(self.sizeHint().height() if value else 16777215)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._show_child(child)
        self.updateGeometry()
        self.contentsCollapsed.emit(value)

    def _show_child(self, child: QtWidgets.QWidget) -> None:
        self._is_forcing = True
        child.setVisible(not self._collapsed and id(child) not in self._hidden)
        self._is_forcing = False

    def _room_get(self) -> int:
        return self._room

    def _room_set(self, value: int) -> None:
        self._room = value
        self.updateGeometry()

    collapsed = QtCore.Property(bool, _is_collapsed, _collapse)
    collapsedHeight = QtCore.Property(int, _room_get, _room_set)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if event.added() and isinstance(event.child(), QtWidgets.QWidget):
            event.child().installEventFilter(self)
            if self._collapsed:
                self._show_child(event.child())
        super().childEvent(event)

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        if not self._is_forcing and event.type() == QtCore.QEvent.Type.ShowToParent:
            self._hidden.discard(id(child))
            if self._collapsed:
                self._show_child(child)
        elif not self._is_forcing and event.type() == QtCore.QEvent.Type.HideToParent:
            self._hidden.add(id(child))
        return False

    def sizeHint(self) -> QtCore.QSize:
        title = self._title()
        if self._collapsed or not self.layout():
            return title + QtCore.QSize(0, self._room)
        return self.layout().totalSizeHint().expandedTo(title + QtCore.QSize(0, self._room))

    def minimumSizeHint(self) -> QtCore.QSize:
        if self._collapsed:
            return self.sizeHint()
        if not self.layout():
            return self._title()
        return self.layout().totalMinimumSize().expandedTo(self._title())

    def hitButton(self, point: QtCore.QPoint) -> bool:
        return point.y() < self._title().height()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect.setHeight(self._title().height())
        element = QtWidgets.QStyle.ControlElement.CE_PushButtonBevel
        self.style().drawControl(element, option, painter, self)
        painter.setPen(self.palette().color(QtGui.QPalette.ColorRole.ButtonText))
        sign = "\u25b8" if self._collapsed else "\u25be"
        text = self.text().replace("&&", "&")
        place = option.rect.adjusted(8, 0, -6, 0)
        painter.drawText(place, QtCore.Qt.AlignmentFlag.AlignVCenter, f"{sign}  {text}")


class ctkSearchBox(QtWidgets.QLineEdit):
    """A line edit for a text to filter by."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setClearButtonEnabled(True)


class qSlicerMarkupsPlaceWidget(QtWidgets.QWidget):
    """Switches the scene to placing points of one list, by the nodes that Slicer has for that.

    As qSlicerMarkupsPlaceWidget.cxx is in 5.10 and 5.12: the mode belongs to the scene, not to the
    widget. Another list, or none, does not end it; with no list it cannot be ended here any more,
    and `placeModeEnabled` tells only of the present list. The widget keeps no list alive, and does
    not notice that the scene closes.
    """

    ForcePlaceSingleMarkup, ForcePlaceMultipleMarkups = 1, 2
    activeMarkupsFiducialPlaceModeChanged = QtCore.Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._node, self._last_signal = vtk.vtkWeakReference(), False
        self._buttons, self._multiple = True, 0
        self._interaction, self._tag = None, None

    def _buttons_get(self) -> bool:
        return self._buttons

    def _buttons_set(self, value: bool) -> None:
        self._buttons = value

    def _multiple_get(self) -> int:
        return self._multiple

    def _multiple_set(self, value: int) -> None:
        self._multiple = value

    def _mode_get(self) -> bool:
        node = self.currentNode()
        if node is None or self._interaction is None:
            return False
        mode, place = self._interaction.GetCurrentInteractionMode(), self._interaction.Place
        return mode == place and self._selection().GetActivePlaceNodeID() == node.GetID()

    buttonsVisible = QtCore.Property(bool, _buttons_get, _buttons_set)
    placeMultipleMarkups = QtCore.Property(int, _multiple_get, _multiple_set)

    def _selection(self) -> Any:
        return slicer.app.applicationLogic().GetSelectionNode()

    def let_go(self) -> None:
        """Stop observing the scene's node for the mouse."""
        if self._tag is not None:
            self._interaction.RemoveObserver(self._tag)
        self._interaction, self._tag = None, None

    def setMRMLScene(self, scene: Any) -> None:
        self.let_go()
        self._interaction = slicer.app.applicationLogic().GetInteractionNode()
        event = vtk.vtkCommand.ModifiedEvent
        self._tag = self._interaction.AddObserver(event, lambda *_: self._update())
        self._update()

    def setCurrentNode(self, node: Any) -> None:
        if self.currentNode() is not node:
            self._node.Set(node)
            self._update()

    def currentNode(self) -> Any:
        return self._node.Get()

    def setPlaceModeEnabled(self, wanted: bool) -> None:
        node, interaction = self.currentNode(), self._interaction
        if node is None or interaction is None:
            if wanted:
                raise refuse("qSlicerMarkupsPlaceWidget has no list, and says so in the log")
            return
        if wanted:
            self._selection().SetReferenceActivePlaceNodeClassName(node.GetClassName())
            self._selection().SetReferenceActivePlaceNodeID(node.GetID())
            if self._multiple in (self.ForcePlaceSingleMarkup, self.ForcePlaceMultipleMarkups):
                is_many = self._multiple == self.ForcePlaceMultipleMarkups
                interaction.SetPlaceModePersistence(is_many)
        mode = interaction.Place if wanted else interaction.ViewTransform
        interaction.SetCurrentInteractionMode(mode)

    def _update(self) -> None:
        is_placing = self._mode_get()
        if is_placing != self._last_signal:
            self._last_signal = is_placing
            self.activeMarkupsFiducialPlaceModeChanged.emit(is_placing)

    placeModeEnabled = QtCore.Property(bool, _mode_get, setPlaceModeEnabled)


ALL = (
    qMRMLWidget,
    qMRMLNodeComboBox,
    ctkCollapsibleButton,
    ctkSearchBox,
    qSlicerMarkupsPlaceWidget,
)
