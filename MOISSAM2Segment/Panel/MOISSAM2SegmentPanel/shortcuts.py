"""Keys for what is done a hundred times on one scan.

They live only while the panel is entered, and leave alone what Slicer and its Segment Editor have:
Esc, Space, Z, Y, Q, W, I, digits, / * , . < > and, in slice views, F, B, G, R, T, V and S.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer

NEW, KIND, UNDO, REDO, SEARCH = "N", "X", "U", "Shift+U", "M"
ACCEPT, REJECT, NEXT, PREVIOUS, PLACE = "A", "D", "J", "K", "P"


class Shortcuts:
    """Made on entering the panel, gone on leaving it."""

    def __init__(self, parent: Any, slots: Mapping[str, Callable[[], None]]) -> None:
        self._parent = parent
        self._slots = slots
        self._living: list[Any] = []

    @property
    def keys(self) -> list[str]:
        """The keys that are alive now."""
        return [shortcut.key.toString() for shortcut in self._living]

    def bring(self) -> None:
        """Let the keys work."""
        self.take_away()
        window = slicer.util.mainWindow() or self._parent
        for key, slot in self._slots.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.connect("activated()", slot)
            self._living.append(shortcut)

    def take_away(self) -> None:
        """Let other panels have the keys."""
        for shortcut in self._living:
            shortcut.enabled = False
            shortcut.deleteLater()
        self._living.clear()


def tell_in_tool_tips(ui: Any) -> None:
    """Say at each button which key does the same."""
    for button, key in (
        (ui.newLesionButton, NEW),
        (ui.placeButton, PLACE),
        (ui.insideButton, KIND),
        (ui.outsideButton, KIND),
        (ui.searchButton, SEARCH),
        (ui.acceptButton, ACCEPT),
        (ui.rejectButton, REJECT),
    ):
        button.toolTip = f"{button.toolTip} ({key})"
