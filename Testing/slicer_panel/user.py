"""Whoever sits in front of the panel: presses buttons and keys, looks, waits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import slicer
from PySide6 import QtCore, QtGui, QtTest, QtWidgets
from pythonqt import wrap

PATIENCE_S = 60.0
WIDTH = 400

DARK = {
    QtGui.QPalette.ColorRole.Window: "#323232",
    QtGui.QPalette.ColorRole.WindowText: "#ffffff",
    QtGui.QPalette.ColorRole.Base: "#242424",
    QtGui.QPalette.ColorRole.AlternateBase: "#2d2d2d",
    QtGui.QPalette.ColorRole.Text: "#ffffff",
    QtGui.QPalette.ColorRole.Button: "#4a4a4a",
    QtGui.QPalette.ColorRole.ButtonText: "#ffffff",
    QtGui.QPalette.ColorRole.Highlight: "#2f65ca",
    QtGui.QPalette.ColorRole.HighlightedText: "#ffffff",
    QtGui.QPalette.ColorRole.PlaceholderText: "#a0a0a0",
    QtGui.QPalette.ColorRole.ToolTipBase: "#4a4a4a",
    QtGui.QPalette.ColorRole.ToolTipText: "#ffffff",
}
FAINT = "#7d7d7d"


class Turn(NamedTuple):
    """What one turn of the event loop took, in seconds."""

    passed: float
    """By the clock: with waiting for the worker on purpose, and for other programs."""
    worked: float
    """Of the processor, by the main thread itself."""


class User:
    """Opens the module as Slicer does and works with what is on the screen."""

    def __init__(self, engine: Any = None) -> None:
        self.engine = engine
        self.window: QtWidgets.QWidget | None = None
        self.turns: list[Turn] = []

    # ---- life ------------------------------------------------------------------------------

    def open(self) -> None:
        """Select the module for the first time: constructor, `setup`, `enter`."""
        import MOISSAM2Segment

        self.window = QtWidgets.QWidget()
        QtWidgets.QVBoxLayout(self.window).setContentsMargins(4, 4, 4, 4)
        self.window.resize(WIDTH, 1000)
        self.window.show()
        self.widget = MOISSAM2Segment.MOISSAM2SegmentWidget(wrap(self.window))
        make = MOISSAM2Segment.MOISSAM2SegmentLogic.__init__
        MOISSAM2Segment.MOISSAM2SegmentLogic.__init__ = lambda logic: make(logic, self.engine)
        self.widget.setup()
        MOISSAM2Segment.MOISSAM2SegmentLogic.__init__ = make
        self.widget.enter()
        self.turn()

    def close(self) -> None:
        """What Slicer does before a reload and at its end."""
        if self.window is None:
            return
        if self.widget.panel is not None:
            self.widget.cleanup()
        for stand_in in self.window.findChildren(QtWidgets.QWidget):
            if hasattr(stand_in, "let_go"):
                stand_in.let_go()
        self.window.close()
        self.window.deleteLater()
        self.window = None
        self.turn()
        QtWidgets.QApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)

    @property
    def panel(self) -> Any:
        return self.widget.panel

    @property
    def workspace(self) -> Any:
        return self.widget.logic.workspace

    @property
    def scene(self) -> Any:
        return slicer.mrmlScene

    # ---- waiting ---------------------------------------------------------------------------

    def turn(self) -> None:
        """One turn of the event loop."""
        passed, worked = time.perf_counter(), time.thread_time()
        QtWidgets.QApplication.processEvents()
        self.turns.append(Turn(time.perf_counter() - passed, time.thread_time() - worked))

    def wait(self, seconds: float = PATIENCE_S) -> None:
        """Let the panel's own timer work until there is nothing left to do."""
        end = time.monotonic() + seconds
        self.turn()
        while self._is_going_on():
            self.turn()
            time.sleep(0.001)
            assert time.monotonic() < end, "the panel does not come to rest"
        self.turn()

    def _is_going_on(self) -> bool:
        fills = self.panel.table._later.isActive()
        return fills or self.panel.pump_timer.is_running or self.workspace.needs_pump

    # ---- pressing --------------------------------------------------------------------------

    def find(self, name: str) -> Any:
        found = self.window.findChild(QtWidgets.QWidget, name)
        assert found is not None, f"there is no {name}"
        return found

    def press(self, name: str) -> None:
        """A click with the mouse on a button, which has to be there to be clicked."""
        button = self.find(name)
        assert button.isEnabled(), f"{name} cannot be pressed"
        QtTest.QTest.mouseClick(button, QtCore.Qt.MouseButton.LeftButton)
        self.turn()

    def key(self, key: Any, modifier: Any = QtCore.Qt.KeyboardModifier.NoModifier) -> None:
        """A key for whatever has the focus."""
        target = QtWidgets.QApplication.focusWidget() or self.window
        QtTest.QTest.keyClick(target, key, modifier)
        self.turn()

    def can(self, name: str) -> bool:
        return self.find(name).isEnabled()

    def start(self) -> None:
        self.turn()
        self.panel.enter()
        self.press("startButton")
        self.wait()
        assert self.workspace.is_open, self.message

    def click_into(self, block: Any) -> None:
        """A click in a slice view, in the middle of a lesion."""
        from scans import place

        place(self.workspace, block)
        self.wait()

    def click_at(self, number: int, row: float, column: float) -> None:
        from scans import place_at, world_of

        place_at(self.workspace, world_of(self.workspace, number, row, column))
        self.wait()

    # ---- looking ---------------------------------------------------------------------------

    @property
    def message(self) -> str:
        return self.find("messageLabel").text()

    @property
    def table(self) -> QtWidgets.QTableWidget:
        return self.find("lesionTable")

    def rows(self) -> list[tuple[str, ...]]:
        """What the table shows."""
        table = self.table
        columns = range(table.columnCount())
        return [
            tuple(table.item(row, column).text() for column in columns)
            for row in range(table.rowCount())
        ]

    def choose_row(self, row: int, add: bool = False) -> None:
        """A click on a row."""
        table = self.table
        place = table.visualItemRect(table.item(row, 1)).center()
        modifier = QtCore.Qt.KeyboardModifier
        QtTest.QTest.mouseClick(
            table.viewport(),
            QtCore.Qt.MouseButton.LeftButton,
            modifier.ControlModifier if add else modifier.NoModifier,
            place,
        )
        self.turn()

    def screenshot(self, path: Path) -> None:
        """The whole panel as the user would see it by scrolling."""
        self.find("MOISSAM2Segment").layout().invalidate()
        for _ in range(4):
            height = self.window.layout().totalHeightForWidth(WIDTH)
            self.window.resize(WIDTH, max(height, self.window.minimumSizeHint().height()))
            self.turn()
        path.parent.mkdir(parents=True, exist_ok=True)
        assert self.window.grab().save(str(path))


def use_palette(dark: bool) -> None:
    """Slicer's light or dark theme."""
    application = QtWidgets.QApplication.instance()
    palette = QtGui.QPalette(application.style().standardPalette())
    if dark:
        for role, colour in DARK.items():
            palette.setColor(role, QtGui.QColor(colour))
        for role in (
            QtGui.QPalette.ColorRole.Text,
            QtGui.QPalette.ColorRole.WindowText,
            QtGui.QPalette.ColorRole.ButtonText,
        ):
            palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor(FAINT))
    else:
        palette = QtGui.QPalette(QtGui.QColor("#efefef"))
    application.setPalette(palette)
