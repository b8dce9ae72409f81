"""Lesions as segments of one segmentation node.

A segment knows its lesion by a tag, which survives renaming and saving. Its name and colour
belong to the user once it is there. Segments without the tag are none of ours and are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from mois_core.results.colours import Colour, lesion_colour
from MOISSAM2SegmentLib.scene.held import Holds
from MOISSAM2SegmentLib.scene.held_segments import NOWHERE, HeldSegments
from MOISSAM2SegmentLib.scene.segment_tags import TAG, default_name, tagged_segments
from MOISSAM2SegmentLib.scene.shared_labelmap import (
    BINARY_LABELMAP,
    Canvas,
    SharedLabelmap,
    has_matrix,
    image_of,
    on_grid,
)
from MOISSAM2SegmentLib.worker.label_updates import MANY, Box, Patch, Update, values_in
from MOISSAM2SegmentLib.worker.segment_edits import (
    Deleted,
    Renamed,
    Repainted,
    SegmentEdit,
    box_around,
    repainted,
    repainted_patch,
)

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.session.lesion import Lesion

CLASS = "vtkMRMLSegmentationNode"
CLOSED_SURFACE = "Closed surface"
_EVENTS = slicer.vtkSegmentation


def segment_id(number: int) -> str:
    """The segment that a lesion is shown as."""
    return f"MOISSAM2_{number}"


class LesionSegments(HeldSegments):
    """One segmentation node and the lesions it shows."""

    def __init__(self, node: Any, volume: Volume, canvas: Canvas | None = None) -> None:
        """``canvas`` is empty memory that was made ahead, of the scan's shape."""
        self.node = node
        self.volume = volume
        self.colours: dict[int, Colour] = {}
        """Colours in use, kept for lesions that come back by an undo."""
        self.is_writing = False
        """Whether the events that arrive now are of our own making."""
        self._ids: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self.canvas = canvas or Canvas(volume.array.shape)
        self._expected = self.canvas.written
        self._labelmap = SharedLabelmap(volume, self.canvas.scalars)
        self._apart: dict[int, Patch] = {}
        self.holds = Holds()
        """Segments that are written through whoever edits them, and not by us."""

    @property
    def segmentation(self) -> Any:
        """The node's vtkSegmentation."""
        return self.node.GetSegmentation()

    @property
    def apart(self) -> frozenset[int]:
        """Lesions in layers of their own: the user painted them over others, and both stay."""
        return frozenset(self._apart)

    def lesion_of(self, segment: str) -> int | None:
        """The lesion that a segment shows."""
        return next((n for n, own in self._ids.items() if own == segment), None)

    def segment_of(self, lesion: int) -> str | None:
        """The segment that shows a lesion."""
        return self._ids.get(lesion)

    # ---- from the session to the scene -----------------------------------------------------

    def show(self, update: Update) -> None:
        """Make the segments show a state, writing no more than what changed."""
        shown = {n: le for n, le in update.state.lesions.items() if le.status.counts}
        with self._writing():
            touched: set[int] = set()
            is_written = False
            self._bind(shown)
            has_surfaces = self.segmentation.ContainsRepresentation(CLOSED_SURFACE)
            has_surfaces = has_surfaces and not update.is_whole
            for patch in update.patches:
                labels = self._without_apart(patch.labels)
                if not update.is_whole:
                    changed = self._expected[patch.box] != labels
                    if not changed.any():
                        # Any event would make the Segment Editor forget what it could redo.
                        continue
                    if has_surfaces:
                        touched |= values_in(self._expected[patch.box][changed])
                        touched |= values_in(labels[changed])
                is_written = True
                self._write(patch.box, labels)
            self._remove(set(self._ids) - set(shown))
            for number in list(self._apart):
                if number in self.holds:
                    self._show_held(shown.get(number), number, update.apart.get(number))
                elif number in shown and not shown[number].mask:
                    self._rejoin([number])
                else:
                    self._show_apart(number, update.apart.get(number))
            touched &= self._ids.keys()
            if is_written and has_surfaces and len(touched) <= MANY:
                self._tell_with_surfaces(sorted(touched))
            elif is_written:
                self._labelmap.tell()
            for number, lesion in shown.items():
                if number in self._ids:
                    self._follow_name(lesion)
                else:
                    self._add(lesion)

    def _tell_with_surfaces(self, touched: Sequence[int]) -> None:
        """Have Slicer draw what was painted, with surfaces in 3D made again for the lesions
        concerned only: for hundreds of them it takes seconds."""
        segmentation = self.segmentation
        # Told by its image, a segmentation would throw all surfaces away.
        self._labelmap.tell_only_arrays()
        for number in touched:
            self._segment(number).RemoveRepresentation(CLOSED_SURFACE)
        segmentation.CreateRepresentation(CLOSED_SURFACE)
        for event in (_EVENTS.SourceRepresentationModified, _EVENTS.RepresentationModified):
            for number in touched:
                segmentation.InvokeEvent(event, self._ids[number])

    def _write(self, box: Box, labels: np.ndarray) -> None:
        self._labelmap.paint(box, labels)
        self._expected[box] = labels

    def _without_apart(self, labels: np.ndarray) -> np.ndarray:
        if not self._apart:
            return labels
        return np.where(np.isin(labels, list(self._apart)), 0, labels)

    def _show_apart(self, number: int, patch: Patch | None) -> None:
        """In its own layer as long as it overlaps another lesion, and back in the shared one."""
        if patch is None:
            return
        mask = patch.labels == number
        if self._expected[patch.box][mask].any():
            segment = self._segment(number)
            segment.SetLabelValue(1)
            image = image_of(self.volume.ijk_to_ras, patch.box, mask)
            segment.AddRepresentation(BINARY_LABELMAP, image)
            self._apart[number] = patch
        else:
            self._write(patch.box, np.where(mask, number, self._expected[patch.box]))
            self._rejoin([number])
            self._labelmap.tell()

    def _add(self, lesion: Lesion) -> None:
        number = lesion.id
        segment = slicer.vtkSegment()
        name = lesion.name or default_name(number)
        segment.SetName(name)
        segment.SetColor(*self.colours.setdefault(number, lesion_colour(number)))
        segment.SetNameAutoGenerated(False)
        segment.SetColorAutoGenerated(False)
        segment.SetTag(TAG, str(number))
        segment.SetLabelValue(number)
        segment.AddRepresentation(BINARY_LABELMAP, self._labelmap.image)
        wanted = segment_id(number)
        if self.segmentation.GetSegment(wanted) is not None:
            wanted = self.segmentation.GenerateUniqueSegmentID(wanted)
        self.segmentation.AddSegment(segment, wanted)
        self._ids[number], self._names[number] = wanted, name

    def _follow_name(self, lesion: Lesion) -> None:
        if lesion.id in self.holds and not lesion.name:
            return
        name = lesion.name or default_name(lesion.id)
        if self._names[lesion.id] != name:
            segment = self._segment(lesion.id)
            self._names[lesion.id] = name
            if segment is not None:
                segment.SetName(name)

    def _remove(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            segment = self._segment(number)
            if number in self.holds and segment is not None:
                # The segment is the user's; it stays, and takes the lesion up again after a redo.
                self._show_held(None, number, None)
                if segment.HasTag(TAG):
                    segment.RemoveTag(TAG)
                segment = None
            identifier = self._ids.pop(number)
            self._names.pop(number)
            self._apart.pop(number, None)
            if segment is not None:
                self.colours[number] = tuple(segment.GetColor())
                _take_out_of_layer(segment)
                self.segmentation.RemoveSegment(identifier)

    # ---- from the scene to the session -----------------------------------------------------

    def edits(self) -> list[SegmentEdit]:
        """What the user did to the segments since the last time; each is reported once."""
        edits: list[SegmentEdit] = []
        for number in list(self._ids):
            segment = self._segment(number)
            if segment is None:
                del self._ids[number], self._names[number]
                self._apart.pop(number, None)
                edits.append(Deleted(number))
                continue
            self.colours[number] = tuple(segment.GetColor())
            name = segment.GetName() or ""
            if name != self._names[number]:
                self._names[number] = name
                edits.append(Renamed(number, "" if name == default_name(number) else name))
        self._adopt_copy()
        return [*edits, *self._repainted(), *self._returned()]

    def _adopt_copy(self) -> None:
        """An undo of the Segment Editor puts a copy in the place of the shared layer. Ours again,
        without a change of anything: a change would make the editor forget its redo."""
        shared = [
            (image, members)
            for image, members in self._images()
            if not self._apart.keys() >= set(members.values())
        ]
        if len(shared) == 1 and shared[0][0] is not None:
            ((image, members),) = shared
            same_values = all(value == number for value, number in members.items())
            if same_values and has_matrix(image, self.volume.ijk_to_ras):
                self._labelmap.image = image

    def _repainted(self) -> list[Repainted]:
        edits: list[Repainted] = []
        strays = False
        for image, members in self._images():
            numbers = list(members.values())
            if image is self._labelmap.image and self._is_as_written(members):
                edits += self._compare(self._labelmap.read(), self._expected, numbers)
                continue
            for number in self.holds.numbers() & set(numbers):
                edits += self._repainted_apart(number)
                members = {value: n for value, n in members.items() if n != number}
            numbers = list(members.values())
            if not numbers:
                continue
            if len(numbers) == 1 and image is not self._labelmap.image:
                edits += self._repainted_apart(numbers[0])
            else:
                strays = True
                shape = self.volume.array.shape
                labels = on_grid(image, members, self.volume.ijk_to_ras, shape)
                then = np.where(np.isin(self._expected, numbers), self._expected, 0)
                edits += self._compare(labels, then, numbers)
        if strays:
            self._gather()
        return edits

    def _images(self) -> list[tuple[Any, dict[int, int]]]:
        """The label maps that lesions are in, and which value of each is which lesion; the shared
        one is first, so that what a lesion left there is seen before what it took along."""
        found: dict[int, tuple[Any, dict[int, int]]] = {id(self._labelmap.image): (None, {})}
        for number in self._ids:
            segment = self._segment(number)
            image = segment.GetRepresentation(BINARY_LABELMAP)
            _, members = found.get(id(image), (None, {}))
            members[segment.GetLabelValue()] = number
            found[id(image)] = (image, members)
        return [pair for pair in found.values() if pair[1]]

    def _is_as_written(self, members: Mapping[int, int]) -> bool:
        same = all(value == lesion for value, lesion in members.items())
        return same and self._labelmap.lies_in_place

    def _compare(
        self, labels: np.ndarray, expected: np.ndarray, numbers: Sequence[int]
    ) -> list[Repainted]:
        edits = repainted(labels, expected, numbers)
        for edit in edits:
            self._expected[edit.box][edit.removed] = 0
        for edit in edits:
            self._expected[edit.box][edit.added] = edit.lesion
        return edits

    def _repainted_apart(self, number: int) -> list[Repainted]:
        if number not in self._apart:
            there = self._expected == number
            box = box_around(there) or NOWHERE
            self._apart[number] = Patch(box, np.where(there[box], number, 0).astype(np.uint16))
            with self._writing():
                self._write(box, np.where(there[box], 0, self._expected[box]))
        then, now = self._apart[number], self._patch_of(self._ids[number], number)
        self._apart[number] = now
        return repainted_patch(then, now, number)

    def _gather(self) -> None:
        """Bring lesions back into the shared layer, after Slicer put them into another."""
        with self._writing():
            self._labelmap = SharedLabelmap.of(self.volume, self._expected)
            self._rejoin([number for number in self._ids if number not in self._apart])
            self._labelmap.tell()

    def keep_foreign_apart(self) -> None:
        """Give segments of the user's own a layer of their own, so that no lesion that comes
        later gets their label value."""
        ours = set(self._ids.values())
        with self._writing():
            for identifier in self.segmentation.GetSegmentIDs():
                segment = self.segmentation.GetSegment(identifier)
                image = segment.GetRepresentation(BINARY_LABELMAP)
                if identifier not in ours and image is self._labelmap.image:
                    self.segmentation.SeparateSegmentLabelmap(identifier)

    # ---- taking over -----------------------------------------------------------------------

    def adopt(self, update: Update) -> list[SegmentEdit]:
        """Take over the segments that came with a stored session; gives what differs from it."""
        present = tagged_segments(self.node)
        shown = {n: le for n, le in update.state.lesions.items() if le.status.counts}
        self._expected[:] = update.patches[0].labels
        for number, lesion in shown.items():
            if number in present:
                self._ids[number] = present[number]
                self._names[number] = lesion.name or default_name(number)
        edits = self.edits()
        self._gather()
        if present:
            edits += [Deleted(number) for number in shown if number not in present]
        else:
            self.show(update)
        return edits

    def _rejoin(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            segment = self._segment(number)
            segment.SetLabelValue(number)
            segment.AddRepresentation(BINARY_LABELMAP, self._labelmap.image)
            self._apart.pop(number, None)

    def let_go(self) -> None:
        """Empty all lesions' segments, because the scene is being closed: that takes Slicer ten
        seconds otherwise if there are hundreds."""
        with self._writing():
            for number in list(self._ids):
                segment = self._segment(number)
                if segment is not None:
                    _take_out_of_layer(segment)

    def _segment(self, number: int) -> Any:
        return self.segmentation.GetSegment(self._ids[number])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        was_modifying, was_writing = self.node.StartModify(), self.is_writing
        self.is_writing = True
        try:
            yield
        finally:
            # In this order: events that were held back come out now, and they are ours too.
            self.node.EndModify(was_modifying)
            self.is_writing = was_writing


def _take_out_of_layer(segment: Any) -> None:
    """A segment on its own is removed at once; out of a layer that it shares Slicer cuts it with a
    copy of everything, a tenth of a second for each."""
    segment.AddRepresentation(BINARY_LABELMAP, slicer.vtkOrientedImageData())
