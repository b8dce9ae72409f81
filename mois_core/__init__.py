"""MOISSAM2's engine: from a scan and a few clicks to every lesion. No Slicer, no Qt."""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "Session": "mois_core.session",
    "Settings": "mois_core.session.state",
    "Volume": "mois_core.geometry",
    "load_model": "mois_core.network.loading",
}


def __getattr__(name: str) -> object:
    """Import the public names when they are first used: ``mois --help`` needs no torch."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mois_core' has no attribute '{name}'")
