"""Keyboard shortcuts for commands that are given a hundred times on one scan.

They are enabled only while the panel is entered; a text field that has the focus takes letters for
itself. None of them is used elsewhere: the Segment Editor has Esc, Space, Z, Y, Q, W, I, digits,
/ * , . < >, slice views have F, B, G, R, T, V, S, arrows, [ ] { }, 3D views R, + - and the number
pad, and everything in Slicer's main window takes Ctrl.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer

NEW, KIND, UNDO, REDO, SEARCH = "N", "X", "U", "Shift+U", "M"
ACCEPT, REJECT, NEXT, PREVIOUS, PLACE = "A", "D", "J", "K", "P"
REFINE, WHOLE_SCAN, FILL, HIDE = "E", "O", "L", "H"


class Shortcuts:
    """The panel's shortcuts, which exist only while they are enabled."""

    def __init__(self, parent: Any, slots: Mapping[str, Callable[[], None]]) -> None:
        self._parent = parent
        self._slots = slots
        self._enabled: list[Any] = []

    @property
    def keys(self) -> list[str]:
        """The keys that are enabled now."""
        return [shortcut.key.toString() for shortcut in self._enabled]

    def enable(self) -> None:
        """Let the keys call their slots."""
        self.disable()
        window = slicer.util.mainWindow() or self._parent
        for key, slot in self._slots.items():
            shortcut = qt.QShortcut(window)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.connect("activated()", slot)
            self._enabled.append(shortcut)

    def disable(self) -> None:
        """Leave the keys to other panels."""
        for shortcut in self._enabled:
            shortcut.enabled = False
            shortcut.deleteLater()
        self._enabled.clear()


def add_to_tool_tips(ui: Any) -> None:
    """Add the key that does the same to the tool tip of each button."""
    for button, key in (
        (ui.newLesionButton, NEW),
        (ui.placeButton, PLACE),
        (ui.insideButton, KIND),
        (ui.outsideButton, KIND),
        (ui.searchButton, SEARCH),
        (ui.acceptButton, ACCEPT),
        (ui.rejectButton, REJECT),
        (ui.refineButton, REFINE),
        (ui.nextButton, NEXT),
        (ui.previousButton, PREVIOUS),
        (ui.nextLesionButton, NEXT),
        (ui.previousLesionButton, PREVIOUS),
    ):
        button.toolTip = f"{button.toolTip} ({key})"
