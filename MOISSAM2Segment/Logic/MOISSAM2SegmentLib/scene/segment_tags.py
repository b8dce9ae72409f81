"""Tags that link segments to lesions, because a tag survives renaming and saving, and those that
tell Slicer's own DICOM export what a segment is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import slicer
import vtk

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.session.lesion import Lesion

TAG = "MOISSAM2.Lesion"

NEUROFIBROMA = "~".join(
    (
        "Segmentation category and type - DICOM master list",
        "SCT^49755003^Morphologically Altered Structure",
        "SCT^404029005^Neurofibroma",
        "^^",
        "Anatomic codes - DICOM master list",
        "^^",
        "^^",
    )
)
"""What our lesions are, as Slicer writes terminology: list, category, type, modifier; list, region,
modifier. Category and lists are Slicer's own; its lists do not have the type, which DICOM's do."""
ALGORITHM_TYPE, ALGORITHM_NAME = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"
"""Tags that Slicer's export of segmentations looks for."""


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


def describe(segment: Any, lesion: Lesion, scan: Volume, algorithm: str) -> None:
    """Have a segment tell what it is, how it came about, and what its lesion is known by.

    Terminology that the user has chosen stays. ``algorithm`` is the name of the network.
    """
    from mois_core.results.dicom_equipment import algorithm_type
    from mois_core.results.lesion_uids import uid_tags

    if segment.GetTerminology() == slicer.vtkSegment().GetTerminology():
        segment.SetTerminology(NEUROFIBROMA)
    kind = algorithm_type(lesion)
    tags = {ALGORITHM_TYPE: kind, ALGORITHM_NAME: algorithm, **uid_tags(scan, [lesion])[lesion.id]}
    for name, text in tags.items():
        segment.SetTag(name, text)


def uid_of(segment: Any) -> str:
    """Return what a segment tells that its lesion is known by; empty if it does not tell."""
    from mois_core.results import lesion_uids

    tag = vtk.reference("")
    return str(tag.get()) if segment.GetTag(lesion_uids.TAG, tag) else ""
