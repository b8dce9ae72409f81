"""An earlier scan of the scene with the segments that are its lesions, read for a comparison."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import slicer
import vtk

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.exemplar_segments import ELSEWHERE
from MOISSAM2SegmentLib.scene.grid_images import BINARY_LABELMAP, image_labels
from MOISSAM2SegmentLib.scene.segment_index import members_by_image
from MOISSAM2SegmentLib.scene.segment_tags import default_name, tagged_segments, uid_of
from MOISSAM2SegmentLib.scene.transforms import copied, matrix_to_numpy, view_of
from MOISSAM2SegmentLib.worker.comparison import EMPTY, EarlierScan, LabelLayer

SURFACES_ONLY = _(
    "The earlier lesions are there as surfaces only. Create a binary labelmap of them in the "
    "module Segmentations first."
)
_REFERENCE = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()


def segments_outlined_on(volume_node: Any) -> Any:
    """Return the newest segmentation that was outlined on a scan, with segments; None if none is.

    Slicer keeps with a segmentation which scan it was made on.
    """
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", volume_node.GetScene())
    own = [
        node
        for node in nodes
        if node.GetNodeReference(_REFERENCE) is volume_node
        and node.GetSegmentation().GetNumberOfSegments()
    ]
    return own[-1] if own else None


def earlier_scan(
    volume_node: Any, segmentation_node: Any, day: date | None
) -> tuple[EarlierScan, dict[int, str]]:
    """Return a scan with its lesions, and the ids of the segments by the lesions' numbers.

    Voxels and label values are the nodes' own, see `copied_scan`. A lesion that this module
    outlined keeps its number. Raises `BadInput` if there is nothing that could be lesions of the
    scan.
    """
    if segmentation_node.GetParentTransformNode() is not volume_node.GetParentTransformNode():
        raise BadInput(ELSEWHERE)
    segmentation = segmentation_node.GetSegmentation()
    if not segmentation.GetNumberOfSegments():
        raise BadInput(EMPTY)
    if not segmentation.ContainsRepresentation(BINARY_LABELMAP):
        raise BadInput(SURFACES_ONLY)
    segments = _numbered(segmentation_node)
    names, uids = {}, {}
    for number, segment_id in segments.items():
        segment = segmentation.GetSegment(segment_id)
        name, uid = segment.GetName() or "", uid_of(segment)
        if name != default_name(number):
            # The present scan has lesions of its own that are called by their numbers.
            names[number] = name
        if uid:
            uids[number] = uid
    # A segment and its copy share one: then it tells nothing.
    times = Counter(uids.values())
    uids = {number: uid for number, uid in uids.items() if times[uid] == 1}
    layers = [
        layer
        for image, numbers in members_by_image(segmentation, segments)
        if (layer := _layer(image, numbers)) is not None
    ]
    return EarlierScan(view_of(volume_node), layers, names, uids, day), segments


def copied_scan(scan: EarlierScan) -> EarlierScan:
    """Return an earlier scan with voxels and label values of its own, as they are now. Runs on the
    worker, where the memory for them keeps nobody waiting."""
    layers = [replace(layer, values=layer.values.copy()) for layer in scan.layers]
    return replace(scan, volume=copied(scan.volume), layers=layers)


def _numbered(segmentation_node: Any) -> dict[int, str]:
    found = tagged_segments(segmentation_node)
    known = set(found.values())
    number = max(found, default=0)
    for segment_id in segmentation_node.GetSegmentation().GetSegmentIDs():
        if segment_id not in known:
            number += 1
            found[number] = segment_id
    return found


def _layer(image: Any, numbers: dict[int, int]) -> LabelLayer | None:
    found = image_labels(image) if image is not None else None
    if found is None:
        return None
    box, values = found
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_image = np.eye(4)
    to_image[:3, 3] = [along.start for along in reversed(box)]
    return LabelLayer(values, matrix_to_numpy(matrix) @ to_image, numbers)
