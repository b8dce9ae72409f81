"""Lesions that were outlined as segments, on this scan or on an earlier one, read as exemplars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.grid_images import BINARY_LABELMAP, on_grid
from MOISSAM2SegmentLib.scene.transforms import (
    linear_between,
    numpy_to_matrix,
    view_of,
    volume_of,
)

ELSEWHERE = _(
    "The segments lie under another transform than the scan they were outlined on; put both under "
    "the same one."
)
EMPTY = _("The segments that were chosen are empty on this scan.")


def segment_labels(
    segmentation_node: Any, volume_node: Any, segment_ids: Sequence[str] | None = None
) -> np.ndarray:
    """Return segments as label values 1, 2, 3 ... on a scan's grid.

    Without ``segment_ids``, all segments of the node. Raises `BadInput` if they are empty or lie
    under another transform than the scan.
    """
    if segmentation_node.GetParentTransformNode() is not volume_node.GetParentTransformNode():
        raise BadInput(ELSEWHERE)
    scan = view_of(volume_node)
    segmentation = _with_labelmaps(segmentation_node.GetSegmentation(), scan)
    wanted = segmentation.GetSegmentIDs() if segment_ids is None else segment_ids
    labels = np.zeros(scan.array.shape, dtype=np.uint16)
    for value, segment_id in enumerate(wanted, start=1):
        segment = segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation(BINARY_LABELMAP)
        found = on_grid(image, {segment.GetLabelValue(): value}, scan.ijk_to_ras, labels.shape)
        labels[found > 0] = value
    if not labels.any():
        raise BadInput(EMPTY)
    return labels


def _with_labelmaps(segmentation: Any, scan: Volume) -> Any:
    """Return a segmentation, or a copy of one that has surfaces only with labelmaps made of them.

    Slicer makes none by itself, and logs an error when it is asked for one that is not there.
    """
    if segmentation.ContainsRepresentation(BINARY_LABELMAP):
        return segmentation
    copy, converter = slicer.vtkSegmentation(), slicer.vtkSegmentationConverter
    copy.DeepCopy(segmentation)
    size_k, size_j, size_i = scan.array.shape
    extent = [0, size_i - 1, 0, size_j - 1, 0, size_k - 1]
    grid = converter.SerializeImageGeometry(numpy_to_matrix(scan.ijk_to_ras), extent)
    copy.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), grid)
    if not copy.CreateRepresentation(BINARY_LABELMAP):
        raise BadInput(EMPTY)
    return copy


def earlier_scan(earlier_node: Any, volume_node: Any) -> Volume:
    """Return an earlier scan in the coordinates of the present one, as transforms relate them.

    Where they are related by a warp, the earlier scan keeps its own coordinates.
    """
    volume = volume_of(earlier_node)
    between = linear_between(
        earlier_node.GetParentTransformNode(), volume_node.GetParentTransformNode()
    )
    if between is None:
        return volume
    return Volume(volume.array, between @ volume.ijk_to_ras)
