"""Lesions as segments of one segmentation node: from the session to the scene, and back.

Most lesions share one labelmap (`SharedLabelmap`). Those that the user painted over others have
one of their own (`SeparateLabelmaps`), and those in the user's own segments are written by the
editor of these (`BorrowedSegments`). `SegmentIndex` holds which segment shows which lesion.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from mois_core.results.colours import lesion_colour
from mois_core.results.dicom_equipment import NAME
from MOISSAM2SegmentLib.scene.borrowed_segments import BorrowedSegments
from MOISSAM2SegmentLib.scene.grid_images import BINARY_LABELMAP, has_matrix, image_labels, on_grid
from MOISSAM2SegmentLib.scene.segment_index import SegmentIndex, members_by_image
from MOISSAM2SegmentLib.scene.segment_tags import TAG, default_name, describe, tagged_segments
from MOISSAM2SegmentLib.scene.separate_labelmaps import SeparateLabelmaps
from MOISSAM2SegmentLib.scene.shared_labelmap import Canvas, SharedLabelmap
from MOISSAM2SegmentLib.worker.label_updates import (
    MANY,
    Box,
    Patch,
    Update,
    values_in,
    whole_box,
)
from MOISSAM2SegmentLib.worker.segment_edits import (
    Deleted,
    Renamed,
    Repainted,
    SegmentEdit,
    repainted,
    repainted_patch,
)

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.session.lesion import Lesion

CLASS = "vtkMRMLSegmentationNode"

AT_ONCE_S = 0.015
"""How long segments are made before the program may go on: in Slicer one takes 8 ms, and a search
makes hundreds."""


def own_segment_id(lesion_id: int) -> str:
    """Return the id of the segment that is made for a lesion."""
    return f"MOISSAM2_{lesion_id}"


class LesionSegments:
    """One segmentation node and the lesions that it shows."""

    def __init__(
        self, node: Any, volume: Volume, canvas: Canvas | None = None, algorithm: str = NAME
    ) -> None:
        """``canvas`` was made ahead on the worker, with the label values to begin with.
        ``algorithm`` is what outlines, as DICOM files name it."""
        self.node = node
        self.volume = volume
        self.canvas = canvas or Canvas(np.zeros(volume.array.shape, dtype=np.uint16))
        self.index = SegmentIndex(node)
        self.shared = SharedLabelmap(volume, self.canvas)
        self.separate = SeparateLabelmaps(self.index, self.shared, volume)
        self.borrowed = BorrowedSegments(self.index, self.separate, volume)
        self._algorithm = algorithm
        self._described: dict[int, Lesion] = {}
        """Lesions as their segments tell of them."""
        self._waiting: dict[int, Lesion] = {}
        """Lesions whose segments are still to be made; the labelmap has them already."""

    def lesion_of(self, segment_id: str) -> int | None:
        """Return the id of the lesion that a segment shows; None if it shows none."""
        self.add_rest()
        return self.index.lesion_of(segment_id)

    def segment_of(self, lesion_id: int) -> str | None:
        """Return the id of the segment that shows a lesion; None if there is none."""
        self.add_rest()
        return self.index.segment_of(lesion_id)

    def read(self, segment_id: str) -> np.ndarray:
        """Return a segment's mask on the scan's grid."""
        patch = self.read_box(segment_id)
        mask = np.zeros(self.volume.array.shape, dtype=bool)
        mask[patch.box] = patch.labels > 0
        return mask

    def read_box(self, segment_id: str) -> Patch:
        """Return a segment's voxels as ones, in a box around them."""
        return self.separate.read(segment_id)

    # ---- from the session to the scene -----------------------------------------------------

    def show(self, update: Update) -> None:
        """Make the segments show a state, writing no more than what changed.

        Where many segments are needed, some of them are left to `add_more`.
        """
        end = time.perf_counter() + AT_ONCE_S
        shown = {n: le for n, le in update.state.lesions.items() if le.status.counts}
        with self.index.writing():
            self.borrowed.bind(shown)
            is_written, touched = self._write_patches(update)
            if update.is_whole or len(touched) > MANY:
                self.index.surfaces.let_go()
            self._remove(set(self.index.lesions()) - set(shown))
            self._show_separate(shown, update.separate)
            for lesion_id in touched & set(self.index.lesions()):
                self.index.surfaces.change(self.index.segment_of(lesion_id))
            if is_written:
                self.index.surfaces.notify(self.shared)
            self._waiting = {n: le for n, le in shown.items() if n not in self.index}
            self.add_more(end - time.perf_counter())
            for lesion_id, lesion in shown.items():
                if lesion_id in self.index and (lesion.name or lesion_id not in self.borrowed):
                    self.index.write_name(lesion_id, lesion.name)
                self._describe(lesion)

    def _describe(self, lesion: Lesion) -> None:
        """Have a lesion's segment tell what it is, unless it is the user's or tells it already."""
        lesion_id = lesion.id
        is_ours = lesion_id in self.index and lesion_id not in self.borrowed
        if is_ours and self._described.get(lesion_id) is not lesion:
            self._described[lesion_id] = lesion
            segment = self.index.segment(lesion_id)
            if segment is not None:
                describe(segment, lesion, self.volume, self._algorithm)

    @property
    def is_adding(self) -> bool:
        """Whether some segments are still to be made."""
        return bool(self._waiting)

    def add_more(self, seconds: float = AT_ONCE_S) -> None:
        """Make segments that are still to be made, for about so long and one at least."""
        if not self._waiting:
            return
        end = time.perf_counter() + seconds
        with self.index.writing():
            while self._waiting:
                self._add(self._waiting.pop(next(iter(self._waiting))))
                if time.perf_counter() > end:
                    break

    def add_rest(self) -> None:
        """Make all segments that are still to be made."""
        self.add_more(float("inf"))

    def _write_patches(self, update: Update) -> tuple[bool, set[int]]:
        """Write what changed; return whether anything did, and the lesions that have surfaces."""
        is_written, touched = False, set()
        for patch in update.patches:
            labels = self.separate.without(patch.labels)
            if not update.is_whole:
                changed = self.shared.written[patch.box] != labels
                if not changed.any():
                    # Any event would make the Segment Editor forget what it could redo.
                    continue
                if self.index.surfaces.are_kept:
                    touched |= values_in(self.shared.written[patch.box][changed])
                    touched |= values_in(labels[changed])
            is_written = True
            self.shared.write(patch.box, labels)
        return is_written, touched

    def _show_separate(self, shown: Mapping[int, Lesion], patches: Mapping[int, Patch]) -> None:
        for lesion_id in patches.keys() & shown.keys() - self.separate.patches.keys():
            # When this update was made, the shared labelmap was not meant to have it.
            if lesion_id not in self.index:
                self._add(shown[lesion_id])
            self.separate.note(lesion_id)
        for lesion_id in list(self.separate.patches):
            if lesion_id in self.borrowed:
                self.borrowed.show(lesion_id, shown.get(lesion_id), patches.get(lesion_id))
            elif lesion_id in shown and not shown[lesion_id].mask:
                self.index.surfaces.change(self.index.segment_of(lesion_id))
                self.separate.rejoin([lesion_id])
            else:
                self.separate.show(lesion_id, patches.get(lesion_id))

    def _add(self, lesion: Lesion) -> None:
        segment = slicer.vtkSegment()
        name = lesion.name or default_name(lesion.id)
        segment.SetName(name)
        segment.SetColor(*self.index.colours.setdefault(lesion.id, lesion_colour(lesion.id)))
        segment.SetNameAutoGenerated(False)
        segment.SetColorAutoGenerated(False)
        segment.SetTag(TAG, str(lesion.id))
        segment.SetLabelValue(lesion.id)
        segment.AddRepresentation(BINARY_LABELMAP, self.shared.image)
        segmentation = self.index.segmentation
        segment_id = own_segment_id(lesion.id)
        if segmentation.GetSegment(segment_id) is not None:
            segment_id = segmentation.GenerateUniqueSegmentID(segment_id)
        describe(segment, lesion, self.volume, self._algorithm)
        self._described[lesion.id] = lesion
        segmentation.AddSegment(segment, segment_id)
        self.index.enter(lesion.id, segment_id, name)

    def _remove(self, lesion_ids: Iterable[int]) -> None:
        for lesion_id in lesion_ids:
            segment, segment_id = self.index.segment(lesion_id), self.index.segment_of(lesion_id)
            if lesion_id in self.borrowed and segment is not None:
                # The segment is the user's; it stays, and takes the lesion up again after a redo.
                self.borrowed.show(lesion_id, None, None)
                if segment.HasTag(TAG):
                    segment.RemoveTag(TAG)
            elif segment is not None:
                self.index.follow_colour(lesion_id)
                _take_out_of_layer(segment)
                self.index.segmentation.RemoveSegment(segment_id)
            self.index.drop(lesion_id)
            self.separate.patches.pop(lesion_id, None)

    # ---- from the scene to the session -----------------------------------------------------

    def edits(self) -> list[SegmentEdit]:
        """Return what the user did to the segments since the last time; each is reported once."""
        edits: list[SegmentEdit] = []
        self.add_rest()
        for lesion_id in self.index.lesions():
            if self.index.segment(lesion_id) is None:
                self.index.drop(lesion_id)
                self.separate.patches.pop(lesion_id, None)
                edits.append(Deleted(lesion_id))
                continue
            self.index.follow_colour(lesion_id)
            name = self.index.new_name(lesion_id)
            if name is not None:
                edits.append(Renamed(lesion_id, name))
        self._adopt_copy()
        edits += self._repainted()
        return [*edits, *self.borrowed.painted(), *self.borrowed.restored()]

    def _adopt_copy(self) -> None:
        """Use the copy that an undo of the Segment Editor put in the place of the shared labelmap.

        Nothing is written: any change would make the editor forget its redo.
        """
        shared = [
            (image, members)
            for image, members in self._images()
            if not self.separate.patches.keys() >= set(members.values())
        ]
        if len(shared) == 1 and shared[0][0] is not None:
            ((image, members),) = shared
            same_values = all(value == lesion_id for value, lesion_id in members.items())
            if same_values and has_matrix(image, self.volume.ijk_to_ras):
                self.shared.image = image

    def _repainted(self) -> list[Repainted]:
        edits: list[Repainted] = []
        strays = False
        for image, members in self._images():
            if image is self.shared.image and self._is_as_written(members):
                box, labels = self.shared.read()
                edits += self._compare(box, labels, self.shared.written[box], members.values())
                continue
            for lesion_id in self.borrowed.lesions() & set(members.values()):
                edits += self._repainted_separate(lesion_id)
                members = {value: n for value, n in members.items() if n != lesion_id}
            lesion_ids = list(members.values())
            if len(lesion_ids) == 1 and image is not self.shared.image:
                edits += self._repainted_separate(lesion_ids[0])
            elif lesion_ids:
                strays = True
                shape = self.volume.array.shape
                labels = on_grid(image, members, self.volume.ijk_to_ras, shape)
                written = self.shared.written
                then = np.where(np.isin(written, lesion_ids), written, 0)
                edits += self._compare(whole_box(shape), labels, then, lesion_ids)
        if strays:
            self._gather()
        return edits

    def _images(self) -> list[tuple[Any, dict[int, int]]]:
        # The shared one first: what a lesion left there has to be seen before what it took along.
        segments = self.index.segments()
        return members_by_image(self.index.segmentation, segments, self.shared.image)

    def _is_as_written(self, members: Mapping[int, int]) -> bool:
        same = all(value == lesion_id for value, lesion_id in members.items())
        return same and self.shared.lies_in_place

    def _compare(
        self, box: Box, labels: np.ndarray, then: np.ndarray, lesion_ids: Iterable[int]
    ) -> list[Repainted]:
        edits = repainted(box, labels, then, list(lesion_ids))
        written = self.shared.written
        for edit in edits:
            written[edit.box][edit.removed] = 0
        for edit in edits:
            written[edit.box][edit.added] = edit.lesion_id
        return edits

    def _repainted_separate(self, lesion_id: int) -> list[Repainted]:
        if lesion_id not in self.separate:
            with self.index.writing():
                self.separate.note(lesion_id)
        then = self.separate.patches[lesion_id]
        now = self.separate.read(self.index.segment_of(lesion_id), lesion_id)
        self.separate.patches[lesion_id] = now
        return repainted_patch(then, now, lesion_id)

    def _gather(self) -> None:
        """Bring lesions back into the shared labelmap, after Slicer put them into another."""
        with self.index.writing():
            self.shared.renew()
            self.separate.rejoin([n for n in self.index.lesions() if n not in self.separate])
            self.index.surfaces.notify(self.shared)

    def separate_foreign_segments(self) -> None:
        """Move segments that show no lesion out of the shared labelmap.

        Otherwise a lesion that comes later could get their label value.
        """
        with self.index.writing():
            for segment_id in self.index.segmentation.GetSegmentIDs():
                segment = self.index.segmentation.GetSegment(segment_id)
                image = segment.GetRepresentation(BINARY_LABELMAP)
                if self.index.lesion_of(segment_id) is None and image is self.shared.image:
                    self.index.segmentation.SeparateSegmentLabelmap(segment_id)

    # ---- stored sessions and the end of the scene ------------------------------------------

    def lie_on(self, ijk_to_ras: np.ndarray) -> bool:
        """Return whether the segments that came with a stored session lie on another grid."""
        images = members_by_image(self.index.segmentation, tagged_segments(self.node))
        filled = [image for image, _ in images if image is not None and image_labels(image)]
        return any(has_matrix(image, ijk_to_ras) for image in filled)

    def adopt(self, update: Update) -> list[SegmentEdit]:
        """Recognise the segments that came with a stored session; return what differs from it.

        The canvas has the label values of the session.
        """
        present = tagged_segments(self.node)
        shown = {n: le for n, le in update.state.lesions.items() if le.status.counts}
        for lesion_id, lesion in shown.items():
            if lesion_id in present:
                name = lesion.name or default_name(lesion_id)
                self.index.enter(lesion_id, present[lesion_id], name)
        edits = self.edits()
        self._gather()
        if present:
            edits += [Deleted(lesion_id) for lesion_id in shown if lesion_id not in present]
        else:
            self.show(update)
        return edits

    def empty_for_closing(self) -> None:
        """Empty all lesions' segments before the scene is closed.

        Otherwise Slicer takes ten seconds to close a scene with hundreds of them.
        """
        self._waiting.clear()
        with self.index.writing():
            for lesion_id in self.index.lesions():
                segment = self.index.segment(lesion_id)
                if segment is not None:
                    _take_out_of_layer(segment)


def _take_out_of_layer(segment: Any) -> None:
    """Give a segment an empty labelmap of its own, so that it can be removed quickly.

    To remove it from a layer that it shares, Slicer copies the layer: a tenth of a second each.
    """
    segment.AddRepresentation(BINARY_LABELMAP, slicer.vtkOrientedImageData())
