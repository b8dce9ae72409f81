"""The segments of one segmentation node that are written by whoever edits them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from MOISSAM2SegmentLib.scene.held import Picture
from MOISSAM2SegmentLib.scene.segment_tags import TAG, default_name, tagged_segments
from MOISSAM2SegmentLib.scene.shared_labelmap import BINARY_LABELMAP, box_on_grid, image_of
from MOISSAM2SegmentLib.worker.label_updates import Box, Patch
from MOISSAM2SegmentLib.worker.segment_edits import Returned, around_both, box_around, in_box

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.results.colours import Colour
    from mois_core.session.lesion import Lesion
    from MOISSAM2SegmentLib.scene.held import Holds, Write
    from MOISSAM2SegmentLib.worker.click_edits import FreshLesion

NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))


class HeldSegments:
    """The part of `LesionSegments` that is about them. They count as apart from the shared layer,
    and what they show may be less than the lesion: the Segment Editor's masks decide."""

    node: Any
    segmentation: Any
    volume: Volume
    holds: Holds
    colours: dict[int, Colour]
    _ids: dict[int, str]
    _names: dict[int, str]
    _apart: dict[int, Patch]
    _expected: np.ndarray
    _labelmap: Any

    def _writing(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def _write(self, box: Box, labels: np.ndarray) -> None:
        raise NotImplementedError

    def hold(self, identifier: str, lesion: FreshLesion, write: Write) -> None:
        """Show a lesion, which may not have begun yet, as a segment of the user's, and leave the
        writing to whoever edits it."""
        self.holds.add(identifier, lesion, write)
        number = lesion.number
        with self._writing():
            if number not in self._ids:
                self.segmentation.SeparateSegmentLabelmap(identifier)
            elif number not in self._apart:
                self._take_out(number)

    def _take_out(self, number: int) -> None:
        """From the shared layer into one of its own."""
        there = self._expected == number
        box = box_around(there) or NOWHERE
        self._apart[number] = Patch(box, np.where(there[box], number, 0).astype(np.uint16))
        segment = self.segmentation.GetSegment(self._ids[number])
        if there.any():
            image = image_of(self.volume.ijk_to_ras, box, there[box])
            self._write(box, np.where(there[box], 0, self._expected[box]))
        else:
            image = slicer.vtkOrientedImageData()
        segment.SetLabelValue(1)
        segment.AddRepresentation(BINARY_LABELMAP, image)
        self._labelmap.tell()

    def let_go_of_holds(self) -> None:
        """Write to all segments ourselves again. What their editors kept out, or how the user
        called them, counts as an edit of the user's."""
        for number, hold in self.holds.items():
            if number in self._ids:
                self._names[number] = default_name(number)
                self._apart[number] = hold.shown or _nothing()
        self.holds.clear()

    def _bind(self, shown: Mapping[int, Lesion]) -> None:
        """Have lesions that begin, or come back, in segments that are held shown there."""
        for number, hold in self.holds.items():
            segment = self.segmentation.GetSegment(hold.segment)
            if number in shown and number not in self._ids and segment is not None:
                self._ids[number] = hold.segment
                self._names[number] = segment.GetName() or ""
                self.colours[number] = tuple(segment.GetColor())
                if tagged_segments(self.node).get(number) != hold.segment:
                    segment.SetTag(TAG, str(number))
                self._apart[number] = self._patch_of(hold.segment, number)

    def _show_held(self, lesion: Lesion | None, number: int, patch: Patch | None) -> None:
        hold = self.holds[number]
        wanted = lesion.mask if lesion is not None else None
        if wanted is hold.mask or (wanted and patch is None):
            # The latter was painted before the segment was held; the next update has it.
            return
        hold.shown, hold.mask = patch, wanted
        before, after = self._apart[number], patch or _nothing()
        box = around_both(before.box, after.box)
        if not np.array_equal(in_box(after, box), in_box(before, box)):
            hold.write(hold.segment, self._picture(hold.segment, number, after))
            self._apart[number] = self._patch_of(hold.segment, number)
            self.holds.have_written = True

    def _picture(self, identifier: str, number: int, patch: Patch) -> Picture:
        """Together with what is to be emptied, which a stroke may have changed just now."""
        present = self._patch_of(identifier, number)
        box = around_both(present.box, patch.box)
        masks = (in_box(patch, box) == number, in_box(present, box) == number)
        return Picture(self.volume.ijk_to_ras, box, *masks)

    def _returned(self) -> list[Returned]:
        """Lesions that are gone, and are in their segments nevertheless."""
        edits = []
        for number, hold in self.holds.items():
            if number not in self._ids and self.segmentation.GetSegment(hold.segment) is not None:
                patch = self._patch_of(hold.segment, number)
                if patch.labels.any():
                    edits.append(Returned(number, patch.box, patch.labels > 0))
        return edits

    def _patch_of(self, identifier: str, number: int) -> Patch:
        """What a segment shows now, as a lesion's label value, in a box around it."""
        image, members = self._image_of(identifier, number)
        volume = self.volume
        found = box_on_grid(image, members, volume.ijk_to_ras, volume.array.shape)
        if found is None:
            return _nothing()
        box, labels = found
        inner = box_around(labels > 0)
        if inner is None:
            return _nothing()
        k, j, i = (
            slice(outer.start + part.start, outer.start + part.stop)
            for outer, part in zip(box, inner, strict=True)
        )
        return Patch((k, j, i), labels[inner])

    def read(self, identifier: str) -> np.ndarray:
        """A segment's voxels on the scan's grid."""
        patch = self.read_box(identifier)
        mask = np.zeros(self.volume.array.shape, dtype=bool)
        mask[patch.box] = patch.labels > 0
        return mask

    def read_box(self, identifier: str) -> Patch:
        """A segment's voxels as ones, in a box around them."""
        return self._patch_of(identifier, 1)

    def _image_of(self, identifier: str, number: int) -> tuple[Any, dict[int, int]]:
        segment = self.segmentation.GetSegment(identifier)
        return segment.GetRepresentation(BINARY_LABELMAP), {segment.GetLabelValue(): number}


def _nothing() -> Patch:
    return Patch(NOWHERE, np.zeros((0, 0, 0), dtype=np.uint16))
