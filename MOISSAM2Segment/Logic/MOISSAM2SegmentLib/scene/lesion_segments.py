"""Lesions as segments of one segmentation node: from the session to the scene, and back.

Most lesions share one labelmap (`SharedLabelmap`). Those that the user painted over others have
one of their own (`SeparateLabelmaps`), and those in the user's own segments are written by whoever
edits these (`BorrowedSegments`). `SegmentTable` says which segment shows which lesion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from mois_core.results.colours import lesion_colour
from MOISSAM2SegmentLib.scene.borrowed_segments import BorrowedSegments
from MOISSAM2SegmentLib.scene.grid_images import BINARY_LABELMAP, has_matrix, on_grid
from MOISSAM2SegmentLib.scene.segment_table import SegmentTable, members_by_image
from MOISSAM2SegmentLib.scene.segment_tags import TAG, default_name, tagged_segments
from MOISSAM2SegmentLib.scene.separate_labelmaps import SeparateLabelmaps
from MOISSAM2SegmentLib.scene.shared_labelmap import Canvas, SharedLabelmap
from MOISSAM2SegmentLib.worker.label_updates import MANY, Patch, Update, values_in
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
CLOSED_SURFACE = "Closed surface"
_EVENTS = slicer.vtkSegmentation


def segment_id(lesion_id: int) -> str:
    """Return the id that a lesion's own segment gets."""
    return f"MOISSAM2_{lesion_id}"


class LesionSegments:
    """One segmentation node and the lesions it shows."""

    def __init__(self, node: Any, volume: Volume, canvas: Canvas | None = None) -> None:
        """``canvas`` is empty memory that was made ahead, of the scan's shape."""
        self.node = node
        self.volume = volume
        self.canvas = canvas or Canvas(volume.array.shape)
        self.table = SegmentTable(node)
        self.shared = SharedLabelmap(volume, self.canvas)
        self.separate = SeparateLabelmaps(self.table, self.shared, volume)
        self.borrowed = BorrowedSegments(self.table, self.separate, volume)

    @property
    def apart(self) -> frozenset[int]:
        """Lesions that the shared labelmap leaves out."""
        return frozenset(self.separate.patches)

    def lesion_of(self, segment: str) -> int | None:
        """Return the lesion that a segment shows."""
        return self.table.lesion_of(segment)

    def segment_of(self, lesion_id: int) -> str | None:
        """Return the id of the segment that shows a lesion."""
        return self.table.segment_of(lesion_id)

    def read(self, segment: str) -> np.ndarray:
        """Return a segment's mask on the scan's grid."""
        patch = self.read_box(segment)
        mask = np.zeros(self.volume.array.shape, dtype=bool)
        mask[patch.box] = patch.labels > 0
        return mask

    def read_box(self, segment: str) -> Patch:
        """Return a segment's voxels as ones, in a box around them."""
        return self.separate.read(segment)

    # ---- from the session to the scene -----------------------------------------------------

    def show(self, update: Update) -> None:
        """Make the segments show a state, writing no more than what changed."""
        shown = {n: le for n, le in update.state.lesions.items() if le.status.counts}
        with self.table.writing():
            self.borrowed.bind(shown)
            has_surfaces = self.table.segmentation.ContainsRepresentation(CLOSED_SURFACE)
            has_surfaces = has_surfaces and not update.is_whole
            is_written, touched = self._write_patches(update, has_surfaces)
            self._remove(set(self.table.lesions()) - set(shown))
            self._show_apart(shown, update.apart)
            touched &= set(self.table.lesions())
            if is_written and has_surfaces and len(touched) <= MANY:
                self._tell_with_surfaces(sorted(touched))
            elif is_written:
                self.shared.tell()
            for lesion_id, lesion in shown.items():
                if lesion_id not in self.table:
                    self._add(lesion)
                elif lesion.name or lesion_id not in self.borrowed:
                    self.table.write_name(lesion_id, lesion.name)

    def _write_patches(self, update: Update, want_touched: bool) -> tuple[bool, set[int]]:
        """Write what changed; whether anything did, and the lesions concerned if wanted."""
        is_written, touched = False, set()
        for patch in update.patches:
            labels = self.separate.without(patch.labels)
            if not update.is_whole:
                changed = self.shared.written[patch.box] != labels
                if not changed.any():
                    # Any event would make the Segment Editor forget what it could redo.
                    continue
                if want_touched:
                    touched |= values_in(self.shared.written[patch.box][changed])
                    touched |= values_in(labels[changed])
            is_written = True
            self.shared.write(patch.box, labels)
        return is_written, touched

    def _show_apart(self, shown: Mapping[int, Lesion], patches: Mapping[int, Patch]) -> None:
        for lesion_id in list(self.separate.patches):
            if lesion_id in self.borrowed:
                self.borrowed.show(lesion_id, shown.get(lesion_id), patches.get(lesion_id))
            elif lesion_id in shown and not shown[lesion_id].mask:
                self.separate.rejoin([lesion_id])
            else:
                self.separate.show(lesion_id, patches.get(lesion_id))

    def _tell_with_surfaces(self, touched: Sequence[int]) -> None:
        """Have Slicer draw what was written, with surfaces in 3D made again for the lesions
        concerned only: for hundreds of them it takes seconds."""
        segmentation = self.table.segmentation
        # Told by its image, a segmentation would throw all surfaces away.
        self.shared.tell_only_arrays()
        for lesion_id in touched:
            self.table.segment(lesion_id).RemoveRepresentation(CLOSED_SURFACE)
        segmentation.CreateRepresentation(CLOSED_SURFACE)
        for event in (_EVENTS.SourceRepresentationModified, _EVENTS.RepresentationModified):
            for lesion_id in touched:
                segmentation.InvokeEvent(event, self.table.segment_of(lesion_id))

    def _add(self, lesion: Lesion) -> None:
        segment = slicer.vtkSegment()
        name = lesion.name or default_name(lesion.id)
        segment.SetName(name)
        segment.SetColor(*self.table.colours.setdefault(lesion.id, lesion_colour(lesion.id)))
        segment.SetNameAutoGenerated(False)
        segment.SetColorAutoGenerated(False)
        segment.SetTag(TAG, str(lesion.id))
        segment.SetLabelValue(lesion.id)
        segment.AddRepresentation(BINARY_LABELMAP, self.shared.image)
        segmentation = self.table.segmentation
        identifier = segment_id(lesion.id)
        if segmentation.GetSegment(identifier) is not None:
            identifier = segmentation.GenerateUniqueSegmentID(identifier)
        segmentation.AddSegment(segment, identifier)
        self.table.enter(lesion.id, identifier, name)

    def _remove(self, lesion_ids: Iterable[int]) -> None:
        for lesion_id in lesion_ids:
            segment, identifier = self.table.segment(lesion_id), self.table.segment_of(lesion_id)
            if lesion_id in self.borrowed and segment is not None:
                # The segment is the user's; it stays, and takes the lesion up again after a redo.
                self.borrowed.show(lesion_id, None, None)
                if segment.HasTag(TAG):
                    segment.RemoveTag(TAG)
            elif segment is not None:
                self.table.follow_colour(lesion_id)
                _take_out_of_layer(segment)
                self.table.segmentation.RemoveSegment(identifier)
            self.table.drop(lesion_id)
            self.separate.patches.pop(lesion_id, None)

    # ---- from the scene to the session -----------------------------------------------------

    def edits(self) -> list[SegmentEdit]:
        """Return what the user did to the segments since the last time; each is reported once."""
        edits: list[SegmentEdit] = []
        for lesion_id in self.table.lesions():
            if self.table.segment(lesion_id) is None:
                self.table.drop(lesion_id)
                self.separate.patches.pop(lesion_id, None)
                edits.append(Deleted(lesion_id))
                continue
            self.table.follow_colour(lesion_id)
            name = self.table.new_name(lesion_id)
            if name is not None:
                edits.append(Renamed(lesion_id, name))
        self._adopt_copy()
        return [*edits, *self._repainted(), *self.borrowed.returned()]

    def _adopt_copy(self) -> None:
        """An undo of the Segment Editor puts a copy in the place of the shared labelmap. Ours
        again, without a change of anything: a change would make the editor forget its redo."""
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
                edits += self._compare(self.shared.read(), self.shared.written, members.values())
                continue
            for lesion_id in self.borrowed.lesions() & set(members.values()):
                edits += self._repainted_apart(lesion_id)
                members = {value: n for value, n in members.items() if n != lesion_id}
            lesion_ids = list(members.values())
            if len(lesion_ids) == 1 and image is not self.shared.image:
                edits += self._repainted_apart(lesion_ids[0])
            elif lesion_ids:
                strays = True
                shape = self.volume.array.shape
                labels = on_grid(image, members, self.volume.ijk_to_ras, shape)
                written = self.shared.written
                then = np.where(np.isin(written, lesion_ids), written, 0)
                edits += self._compare(labels, then, lesion_ids)
        if strays:
            self._gather()
        return edits

    def _images(self) -> list[tuple[Any, dict[int, int]]]:
        """The labelmaps that lesions are in, the shared one first: what a lesion left there has to
        be seen before what it took along."""
        segments = self.table.segments()
        return members_by_image(self.table.segmentation, segments, self.shared.image)

    def _is_as_written(self, members: Mapping[int, int]) -> bool:
        same = all(value == lesion_id for value, lesion_id in members.items())
        return same and self.shared.lies_in_place

    def _compare(
        self, labels: np.ndarray, then: np.ndarray, lesion_ids: Iterable[int]
    ) -> list[Repainted]:
        edits = repainted(labels, then, list(lesion_ids))
        written = self.shared.written
        for edit in edits:
            written[edit.box][edit.removed] = 0
        for edit in edits:
            written[edit.box][edit.added] = edit.lesion
        return edits

    def _repainted_apart(self, lesion_id: int) -> list[Repainted]:
        if lesion_id not in self.separate:
            with self.table.writing():
                self.separate.note(lesion_id)
        then = self.separate.patches[lesion_id]
        now = self.separate.read(self.table.segment_of(lesion_id), lesion_id)
        self.separate.patches[lesion_id] = now
        return repainted_patch(then, now, lesion_id)

    def _gather(self) -> None:
        """Bring lesions back into the shared labelmap, after Slicer put them into another."""
        with self.table.writing():
            self.shared.renew()
            self.separate.rejoin([n for n in self.table.lesions() if n not in self.separate])
            self.shared.tell()

    def keep_foreign_apart(self) -> None:
        """Give segments of the user's own a labelmap of their own, so that no lesion that comes
        later gets their label value."""
        with self.table.writing():
            for identifier in self.table.segmentation.GetSegmentIDs():
                segment = self.table.segmentation.GetSegment(identifier)
                image = segment.GetRepresentation(BINARY_LABELMAP)
                if self.table.lesion_of(identifier) is None and image is self.shared.image:
                    self.table.segmentation.SeparateSegmentLabelmap(identifier)

    # ---- taking over -----------------------------------------------------------------------

    def adopt(self, update: Update) -> list[SegmentEdit]:
        """Take over the segments that came with a stored session; return what differs from it."""
        present = tagged_segments(self.node)
        shown = {n: le for n, le in update.state.lesions.items() if le.status.counts}
        self.shared.written[:] = update.patches[0].labels
        for lesion_id, lesion in shown.items():
            if lesion_id in present:
                name = lesion.name or default_name(lesion_id)
                self.table.enter(lesion_id, present[lesion_id], name)
        edits = self.edits()
        self._gather()
        if present:
            edits += [Deleted(lesion_id) for lesion_id in shown if lesion_id not in present]
        else:
            self.show(update)
        return edits

    def let_go(self) -> None:
        """Empty all lesions' segments, because the scene is being closed: that takes Slicer ten
        seconds otherwise if there are hundreds."""
        with self.table.writing():
            for lesion_id in self.table.lesions():
                segment = self.table.segment(lesion_id)
                if segment is not None:
                    _take_out_of_layer(segment)


def _take_out_of_layer(segment: Any) -> None:
    """A segment on its own is removed at once; out of a layer that it shares Slicer cuts it with a
    copy of everything, a tenth of a second for each."""
    segment.AddRepresentation(BINARY_LABELMAP, slicer.vtkOrientedImageData())
