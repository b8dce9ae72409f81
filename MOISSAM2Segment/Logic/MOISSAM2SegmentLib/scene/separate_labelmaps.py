"""Lesions in labelmaps of their own, separate from the shared one.

The user may paint a lesion over others and keep both, and the editor of a borrowed segment writes
whatever it likes; neither fits into a labelmap in which each voxel belongs to one lesion.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from MOISSAM2SegmentLib.scene.grid_images import BINARY_LABELMAP, box_on_grid, image_of
from MOISSAM2SegmentLib.scene.segment_index import SegmentIndex
from MOISSAM2SegmentLib.scene.shared_labelmap import SharedLabelmap
from MOISSAM2SegmentLib.worker.label_updates import Box, Patch
from MOISSAM2SegmentLib.worker.segment_edits import box_around, inner_box

if TYPE_CHECKING:
    from mois_core.geometry import Volume

NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))


class SeparateLabelmaps:
    """The lesions of one segmentation that have labelmaps of their own."""

    def __init__(self, index: SegmentIndex, shared: SharedLabelmap, volume: Volume) -> None:
        self.patches: dict[int, Patch] = {}
        """What was last written of each lesion."""
        self._index = index
        self._shared = shared
        self._volume = volume

    def __contains__(self, lesion_id: int) -> bool:
        return lesion_id in self.patches

    def lesions(self) -> frozenset[int]:
        """Return the ids of lesions in labelmaps of their own."""
        return frozenset(self.patches)

    def without(self, labels: np.ndarray) -> np.ndarray:
        """Return label values from which the lesions in labelmaps of their own are left out."""
        if not self.patches:
            return labels
        return np.where(np.isin(labels, list(self.patches)), 0, labels)

    def note(self, lesion_id: int) -> Patch:
        """Note that a lesion has left the shared labelmap; return its voxels there."""
        there = self._shared.written == lesion_id
        box = box_around(there) or NOWHERE
        patch = Patch(box, np.where(there[box], lesion_id, 0).astype(np.uint16))
        self.patches[lesion_id] = patch
        if there.any():
            self._shared.write(box, np.where(there[box], 0, self._shared.written[box]))
        return patch

    def take_out(self, lesion_id: int) -> None:
        """Move a lesion from the shared labelmap into one of its own."""
        patch = self.note(lesion_id)
        image = slicer.vtkOrientedImageData()
        if patch.labels.any():
            image = image_of(self._volume.ijk_to_ras, patch.box, patch.labels > 0)
        self._set_image(lesion_id, 1, image)
        self._index.surfaces.notify(self._shared)

    def show(self, lesion_id: int, patch: Patch | None) -> None:
        """Show a lesion's mask in its own labelmap if it overlaps another lesion, else shared."""
        if patch is None:
            return
        mask = patch.labels == lesion_id
        before = self.patches[lesion_id]
        if before.box != patch.box or not np.array_equal(before.labels == lesion_id, mask):
            self._index.surfaces.change(self._index.segment_of(lesion_id))
        if self._shared.written[patch.box][mask].any():
            image = image_of(self._volume.ijk_to_ras, patch.box, mask)
            self._set_image(lesion_id, 1, image)
            self.patches[lesion_id] = patch
        else:
            written = self._shared.written[patch.box]
            self._shared.write(patch.box, np.where(mask, lesion_id, written))
            self.rejoin([lesion_id])
            self._index.surfaces.notify(self._shared)

    def rejoin(self, lesion_ids: Iterable[int]) -> None:
        """Have lesions' segments show the shared labelmap."""
        for lesion_id in lesion_ids:
            self._set_image(lesion_id, lesion_id, self._shared.image)
            self.patches.pop(lesion_id, None)

    def read(self, segment_id: str, lesion_id: int = 1) -> Patch:
        """Return a segment's present voxels as a lesion's label value, in a box around them."""
        segment = self._index.segmentation.GetSegment(segment_id)
        image, members = (
            segment.GetRepresentation(BINARY_LABELMAP),
            {segment.GetLabelValue(): lesion_id},
        )
        volume = self._volume
        found = box_on_grid(image, members, volume.ijk_to_ras, volume.array.shape)
        if found is None:
            return empty_patch()
        box, labels = found
        within = box_around(labels > 0)
        if within is None:
            return empty_patch()
        return Patch(inner_box(box, within), labels[within])

    def _set_image(self, lesion_id: int, value: int, image: Any) -> None:
        segment = self._index.segment(lesion_id)
        segment.SetLabelValue(value)
        segment.AddRepresentation(BINARY_LABELMAP, image)
        self._index.surfaces.move(self._index.segment_of(lesion_id))


def empty_patch() -> Patch:
    """Return the patch of a lesion without voxels."""
    return Patch(NOWHERE, np.zeros((0, 0, 0), dtype=np.uint16))
