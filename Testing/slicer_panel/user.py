"""A user in front of the panel, who presses buttons and keys, waits and looks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import slicer
from module_panel import DESKTOP, ModulePanel, Size
from PySide6 import QtCore, QtGui, QtTest, QtWidgets
from pythonqt import wrap

PATIENCE_S = 60.0
A_MOMENT_S = 2.0
"""How long a user waits for a button to appear."""

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
    """The time that one turn of the event loop took, in seconds."""

    passed: float
    """Time by the clock: with waiting for the worker on purpose, and for other programs."""
    worked: float
    """Time of the processor that the main thread itself used."""


class User:
    """Opens the module as Slicer does, and works with its widgets."""

    def __init__(self, engine: Any = None) -> None:
        self.engine = engine
        self.window: ModulePanel | None = None
        self.clicks = 0
        """Clicks with the mouse so far."""
        self.turns: list[Turn] = []

    # ---- life ------------------------------------------------------------------------------

    def open(self, size: Size = DESKTOP) -> None:
        """Select the module for the first time, which calls constructor, `setup` and `enter`."""
        import MOISSAM2Segment

        self.window = ModulePanel(size)
        self.window.show()
        self.widget = MOISSAM2Segment.MOISSAM2SegmentWidget(wrap(self.window.module_widget))
        make = MOISSAM2Segment.MOISSAM2SegmentLogic.__init__
        MOISSAM2Segment.MOISSAM2SegmentLogic.__init__ = lambda logic: make(logic, self.engine)
        self.widget.setup()
        MOISSAM2Segment.MOISSAM2SegmentLogic.__init__ = make
        self.widget.enter()
        self.turn()

    def close(self) -> None:
        """Close the module as Slicer does before a reload and at its end."""
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
        """Run one turn of the event loop."""
        passed, worked = time.perf_counter(), time.thread_time()
        QtWidgets.QApplication.processEvents()
        self.turns.append(Turn(time.perf_counter() - passed, time.thread_time() - worked))

    def wait(self, seconds: float = PATIENCE_S) -> None:
        """Run the event loop until the panel's timer has nothing left to do."""
        end = time.monotonic() + seconds
        self.turn()
        while self._is_going_on():
            self.turn()
            time.sleep(0.001)
            assert time.monotonic() < end, "the panel does not come to rest"
        self.turn()

    def _is_going_on(self) -> bool:
        fills = self.panel.table.is_filling
        return fills or self.panel.pump_timer.is_running or self.workspace.needs_pump

    # ---- pressing --------------------------------------------------------------------------

    def find(self, name: str) -> Any:
        found = self.window.findChild(QtWidgets.QWidget, name)
        assert found is not None, f"there is no {name}"
        return found

    def press(self, name: str) -> None:
        """Click with the mouse on a button, which has to be seen and enabled."""
        button = self.find(name)
        end = time.monotonic() + A_MOMENT_S
        while not button.isVisible() and time.monotonic() < end:
            self.turn()
        assert button.isVisible(), f"{name} is not seen"
        assert button.isEnabled(), f"{name} cannot be pressed"
        menu = button.menu() if hasattr(button, "menu") else None
        assert menu is None, f"{name} opens a menu, which waits; choose an entry, as `save` does"
        self.clicks += 1
        QtTest.QTest.mouseClick(button, QtCore.Qt.MouseButton.LeftButton)
        self.turn()

    def save(self, what: str) -> None:
        """Choose an entry of the menu of *Save*, which has to be seen and enabled."""
        button = self.find("saveReportButton")
        assert button.isVisible() and button.isEnabled()
        assert button.menu() is self.panel.report.saving[what].real.parent()
        self.panel.report.saving[what].real.trigger()
        self.turn()

    def accept_all(self, percent: int = 0) -> None:
        """Accept all findings that the search is so sure of, in the two steps that it takes."""
        self.press("acceptAllButton")
        self.find("confidenceBox").setValue(percent)
        self.press("acceptSureButton")

    def key(self, key: Any, modifier: Any = QtCore.Qt.KeyboardModifier.NoModifier) -> None:
        """Press a key for the widget that has the focus."""
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
        """Click in a slice view, in the middle of a lesion."""
        from scans import place

        self.clicks += 1
        place(self.workspace, block)
        self.wait()

    def click_into_clinical(self, block: Any) -> None:
        """Click in a slice view, in the middle of a lesion of a scan of clinical size."""
        from scans import middle_of, place_at

        self.clicks += 1
        place_at(self.workspace, middle_of(self.workspace, block))
        self.wait()

    def click_at(self, slice_index: int, row: float, column: float) -> None:
        """Click in a slice view, at a pixel of a slice."""
        from scans import place_at, world_of

        self.clicks += 1
        place_at(self.workspace, world_of(self.workspace, slice_index, row, column))
        self.wait()

    # ---- looking ---------------------------------------------------------------------------

    @property
    def message(self) -> str:
        return self.find("messageLabel").text()

    @property
    def hint(self) -> str:
        """What the panel says is to be done next; empty while a message is in its place."""
        label = self.find("hintLabel")
        return label.text() if label.isVisible() else ""

    @property
    def table(self) -> QtWidgets.QTableWidget:
        return self.find("lesionTable")

    def rows(self) -> list[tuple[str, ...]]:
        """Return the texts in the rows of the table."""
        table = self.table
        columns = range(table.columnCount())
        return [
            tuple(table.item(row, column).text() for column in columns)
            for row in range(table.rowCount())
        ]

    def choose_row(self, row: int, add: bool = False) -> None:
        """Click on a row."""
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
        """Write a picture of the panel's room in Slicer, as the user sees it without scrolling."""
        path.parent.mkdir(parents=True, exist_ok=True)
        assert self.window.grab().save(str(path))


def use_palette(dark: bool) -> None:
    """Use the colours of Slicer's light or dark theme."""
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
