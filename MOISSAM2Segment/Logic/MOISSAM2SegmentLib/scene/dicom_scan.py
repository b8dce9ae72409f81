"""Which DICOM images a scan of the scene was loaded from."""

from __future__ import annotations

from typing import Any

INSTANCES = "DICOM.instanceUIDs"
"""Attribute that Slicer gives a volume which comes from its DICOM database: an image's UID for each
slice, or that of a multi-frame file, separated by blanks."""


def instance_uids(volume_node: Any) -> str:
    """Return the UIDs of a scan's images; empty if it does not come from DICOM."""
    return volume_node.GetAttribute(INSTANCES) or ""
