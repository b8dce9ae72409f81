"""A reader who compares two visits' scans in the panel."""

from __future__ import annotations

from typing import Any

from compared_scans import labels_of_visit, outline_again, scan_of_visit, segments_of
from PySide6 import QtCore, QtTest
from user import User

LAID_OUT_MS = 100
"""Sections, the page and the panel each ask for their room in a turn of their own."""


class ComparingUser:
    """A user at work on the second visit's scan; the first one is in the scene with its lesions."""

    def __init__(self, user: User, window: Any) -> None:
        self.user, self.window = user, window
        self.scan = scan_of_visit(user.scene, 1, "Whole body 2024")
        self.earlier = scan_of_visit(user.scene, 0, "Whole body 2023")
        self.segments = segments_of(user.scene, self.earlier, labels_of_visit(0))
        self.earlier.CreateDefaultDisplayNodes()
        user.panel.enter()
        user.find("scanBox").setCurrentNode(self.scan)
        user.start()
        outline_again(user.workspace)
        user.wait()
        user.window.activateWindow()
        QtTest.QTest.qWaitForWindowActive(user.window)

    def open_section(self) -> None:
        """Open the section in which the earlier scan is chosen."""
        if not self.user.find("setupFrame").isVisible():
            self.user.press("changeButton")
        self.user.find("compareSection").setProperty("collapsed", False)
        self.user.turn()

    def choose(self) -> None:
        """Choose the earlier scan and its lesions."""
        self.open_section()
        self.user.find("earlierScanBox").setCurrentNode(self.earlier)
        self.user.find("earlierLesionsBox").setCurrentNode(self.segments)
        QtTest.QTest.qWait(LAID_OUT_MS)

    def compare(self) -> None:
        """Compare, and wait for what comes out."""
        self.choose()
        self.user.press("compareButton")
        self.user.wait()
        assert self.user.workspace.comparison.result is not None, self.user.message

    def key(self, key: Any) -> None:
        """Press a key while the table has the focus."""
        self.table.setFocus()
        self.user.key(key)
        self.user.wait()

    @property
    def table(self) -> Any:
        """The table of the comparison."""
        return self.user.find("comparisonTable")

    def rows(self) -> list[tuple[str, ...]]:
        """Return the texts in the rows of the table."""
        table = self.table
        columns = range(table.columnCount())
        return [
            tuple(table.item(row, column).text() for column in columns)
            for row in range(table.rowCount())
        ]

    def choose_row(self, row: int) -> None:
        """Click on a row."""
        table = self.table
        place = table.visualItemRect(table.item(row, 1)).center()
        button, modifier = QtCore.Qt.MouseButton.LeftButton, QtCore.Qt.KeyboardModifier.NoModifier
        QtTest.QTest.mouseClick(table.viewport(), button, modifier, place)
        self.user.turn()
