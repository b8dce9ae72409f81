"""Lesions that were outlined as segments, on this scan or on an earlier one, read as exemplars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.grid_images import BINARY_LABELMAP, part_on_grid, replaced
from MOISSAM2SegmentLib.scene.segment_index import members_by_image
from MOISSAM2SegmentLib.scene.transforms import linear_between, numpy_to_matrix, view_of
from MOISSAM2SegmentLib.worker.label_updates import Box

ELSEWHERE = _(
    "The segments lie under another transform than the scan they were outlined on; put both under "
    "the same one."
)
EMPTY = _("The segments that were chosen are empty on this scan.")


@dataclass(frozen=True, eq=False)
class OutlinedSegments:
    """Segments as they are on a scan's grid, with the label values of their own images."""

    shape: tuple[int, ...]
    parts: Sequence[tuple[Box, np.ndarray, Mapping[int, int]]]
    """For each image the box that it covers, its values there, and what the segments in it are
    numbered, by value."""

    def labels(self) -> np.ndarray:
        """Return the segments as label values 1, 2, 3 ... on the grid; where they overlap, the
        later one counts.

        Raises `BadInput` if they are empty. Runs on the worker, where the memory for it keeps
        nobody waiting.
        """
        labels = np.zeros(self.shape, dtype=np.uint16)
        for box, values, numbers in self.parts:
            np.maximum(labels[box], replaced(values, numbers), out=labels[box])
        if not labels.any():
            raise BadInput(EMPTY)
        return labels


def outlined_segments(
    segmentation_node: Any, volume_node: Any, segment_ids: Sequence[str] | None = None
) -> OutlinedSegments:
    """Return segments on a scan's grid; without ``segment_ids``, all segments of the node.

    Raises `BadInput` if they lie under another transform than the scan.
    """
    if segmentation_node.GetParentTransformNode() is not volume_node.GetParentTransformNode():
        raise BadInput(ELSEWHERE)
    scan = view_of(volume_node)
    segmentation = _with_labelmaps(segmentation_node.GetSegmentation(), scan)
    wanted = segmentation.GetSegmentIDs() if segment_ids is None else segment_ids
    shape = scan.array.shape
    parts = [
        (*found, numbers)
        for image, numbers in members_by_image(segmentation, dict(enumerate(wanted, start=1)))
        if (found := part_on_grid(image, scan.ijk_to_ras, shape)) is not None
    ]
    return OutlinedSegments(shape, parts)


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

    Where they are related by a warp, the earlier scan keeps its own coordinates. The voxels are the
    node's own.
    """
    volume = view_of(earlier_node)
    between = linear_between(
        earlier_node.GetParentTransformNode(), volume_node.GetParentTransformNode()
    )
    if between is None:
        return volume
    return Volume(volume.array, between @ volume.ijk_to_ras)
