"""Icons of the buttons, each drawn for light and for dark themes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt

BUTTONS = (
    "place", "scribble", "box", "undo", "redo", "search", "previous", "next", "accept", "reject",
    "refine",
)  # fmt: skip
SAME = {"previousLesion": "previous", "nextLesion": "next"}
"""Buttons that have the icons of others."""
MIDDLE = 128
"""Lightness between a dark background and a light one, of 0 to 255."""


def set_icons(ui: Any, widget: Any, folder: Path) -> None:
    """Give the buttons the icons that suit the present theme."""
    theme = "dark" if is_dark(widget) else "light"
    for name, icon in {**{name: name for name in BUTTONS}, **SAME}.items():
        getattr(ui, f"{name}Button").icon = qt.QIcon(str(folder / f"{icon}-{theme}.svg"))


def is_dark(widget: Any) -> bool:
    """Return whether a widget has light text on a dark background."""
    return widget.palette.color(qt.QPalette.Window).lightness() < MIDDLE
