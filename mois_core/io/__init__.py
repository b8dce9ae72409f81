"""Files in and out: scans, label maps, clicks and segmentations."""

from __future__ import annotations

import importlib

_PUBLIC = {
    "ComposedVolume": "mois_core.io.compose_stations",
    "RasClick": "mois_core.io.points",
    "atomic_write": "mois_core.io.atomic",
    "check_segmentation_path": "mois_core.io.segmentation",
    "read_labels": "mois_core.io.scan",
    "read_points": "mois_core.io.points",
    "read_scan": "mois_core.io.scan",
    "write_image": "mois_core.io.images",
    "write_points": "mois_core.io.points",
    "write_segmentation": "mois_core.io.segmentation",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: click labels need no SimpleITK."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mois_core.io' has no attribute '{name}'")
