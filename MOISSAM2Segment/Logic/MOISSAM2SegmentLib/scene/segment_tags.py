"""How a segment knows its lesion: by a tag, which survives renaming and saving."""

from __future__ import annotations

from typing import Any

import vtk

TAG = "MOISSAM2.Lesion"


def default_name(number: int) -> str:
    """What a lesion is called until someone gives it a name."""
    return f"Lesion {number}"


def tagged_segments(node: Any) -> dict[int, str]:
    """Lesion -> segment, as the segments' tags say."""
    segmentation = node.GetSegmentation()
    found: dict[int, str] = {}
    for identifier in segmentation.GetSegmentIDs():
        tag = vtk.reference("")
        segment = segmentation.GetSegment(identifier)
        if segment.GetTag(TAG, tag) and str(tag.get()).isdigit():
            found.setdefault(int(tag.get()), identifier)
    return found
