"""Tags that link segments to lesions, because a tag survives renaming and saving."""

from __future__ import annotations

from typing import Any

import vtk

TAG = "MOISSAM2.Lesion"


def default_name(lesion_id: int) -> str:
    """Return the name that a lesion has until the user gives it one."""
    return f"Lesion {lesion_id}"


def tagged_segments(node: Any) -> dict[int, str]:
    """Return segment ids by lesion, as the tags in a segmentation node say."""
    segmentation = node.GetSegmentation()
    found: dict[int, str] = {}
    for segment_id in segmentation.GetSegmentIDs():
        tag = vtk.reference("")
        segment = segmentation.GetSegment(segment_id)
        if segment.GetTag(TAG, tag) and str(tag.get()).isdigit():
            found.setdefault(int(tag.get()), segment_id)
    return found
