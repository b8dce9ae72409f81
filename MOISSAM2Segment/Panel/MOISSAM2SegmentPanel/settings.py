"""Choices that belong to this computer, kept in Slicer's application settings."""

from __future__ import annotations

from typing import Any

import qt

PREFIX = "MOISSAM2Segment"


def read_setting(key: str, default: str = "") -> str:
    """Return a choice of this computer as text, which is how Qt returns all of them."""
    return str(qt.QSettings().value(f"{PREFIX}/{key}", default) or default)


def write_setting(key: str, value: Any) -> None:
    """Keep a choice for the next time on this computer."""
    qt.QSettings().setValue(f"{PREFIX}/{key}", str(value))
