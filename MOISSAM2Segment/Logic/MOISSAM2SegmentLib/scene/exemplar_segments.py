"""Segments that someone outlined, as exemplars: on this scan or on an earlier one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from MOISSAM2SegmentLib.scene.grid_images import image_labels, on_grid
from MOISSAM2SegmentLib.scene.transforms import linear_between, view_of, volume_of

ELSEWHERE = (
    "The segments lie under another transform than the scan they were outlined on; put both under "
    "the same one."
)


def segment_labels(
    segmentation_node: Any, volume_node: Any, segment_ids: Sequence[str] | None = None
) -> np.ndarray:
    """Segments as label values 1, 2, 3 ... on a scan's grid; all of them if none are named."""
    segmentation = segmentation_node.GetSegmentation()
    if segmentation_node.GetParentTransformNode() is not volume_node.GetParentTransformNode():
        raise BadInput(ELSEWHERE)
    scan = view_of(volume_node)
    wanted = segmentation.GetSegmentIDs() if segment_ids is None else segment_ids
    labels = np.zeros(scan.array.shape, dtype=np.uint16)
    for number, identifier in enumerate(wanted, start=1):
        image = slicer.vtkOrientedImageData()
        segmentation_node.GetBinaryLabelmapRepresentation(identifier, image)
        if image_labels(image) is not None:
            found = on_grid(image, {1: number}, scan.ijk_to_ras, labels.shape)
            labels[found > 0] = number
    if not labels.any():
        raise BadInput("The segments that were chosen are empty on this scan.")
    return labels


def earlier_scan(earlier_node: Any, volume_node: Any) -> Volume:
    """An earlier scan, placed in the coordinates of the present one as far as transforms say."""
    volume = volume_of(earlier_node)
    between = linear_between(
        earlier_node.GetParentTransformNode(), volume_node.GetParentTransformNode()
    )
    if between is None:
        return volume
    return Volume(volume.array, between @ volume.ijk_to_ras)
