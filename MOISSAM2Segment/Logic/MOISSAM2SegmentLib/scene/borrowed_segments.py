"""Segments of the user's own that show lesions and are written by an editor, not by us.

The editor is an effect of the Segment Editor, with its masks and its undo. Borrowed segments are
separate from the shared labelmap, and may show less than the lesion: the Segment Editor's masks
decide.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MOISSAM2SegmentLib.scene.grid_images import image_of
from MOISSAM2SegmentLib.scene.segment_index import SegmentIndex
from MOISSAM2SegmentLib.scene.segment_tags import TAG, default_name, tagged_segments
from MOISSAM2SegmentLib.scene.separate_labelmaps import SeparateLabelmaps, empty_patch
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion
from MOISSAM2SegmentLib.worker.label_updates import Box, Patch
from MOISSAM2SegmentLib.worker.segment_edits import (
    Repainted,
    Restored,
    around_both,
    in_box,
    repainted_patch,
)

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.session.lesion import Lesion
    from mois_core.session.masks import Mask


@dataclass(frozen=True, eq=False)
class MaskChange:
    """A mask that is to replace the content of a segment."""

    ijk_to_ras: np.ndarray
    box: Box
    """Box around the mask and the present content of the segment."""
    mask: np.ndarray
    """The new content, inside the box."""
    present: np.ndarray
    """The content of the segment until now, inside the box."""

    def image(self, allowed: np.ndarray | None = None) -> Any:
        """Return the mask as a VTK image of the box.

        Where a change is not allowed, the present content stays, as with all masks of the Segment
        Editor.
        """
        mask = self.mask if allowed is None else np.where(allowed, self.mask, self.present)
        return image_of(self.ijk_to_ras, self.box, mask)


WriteSegment = Callable[[str, MaskChange], None]
"""Writes a mask into the segment with an id, as far as the editor's masks allow."""


@dataclass(eq=False)
class BorrowedSegment:
    """One borrowed segment and the lesion in it."""

    segment_id: str
    lesion: FreshLesion
    write: WriteSegment
    shown: Patch | None = None
    """Patch that was handed to `write` last; the segment may show less of it."""
    mask: Mask | None = None
    """Mask of the lesion that `shown` was made of. A step that leaves the lesion alone keeps the
    very same object."""


@dataclass(frozen=True, eq=False)
class Promise:
    """A segment that was given back before the lesion that began there was shown."""

    lesion: FreshLesion
    content: Patch
    """What the segment held then; what is painted there later is the user's edit."""


class BorrowedSegments:
    """The borrowed segments of one segmentation.

    A lesion that has not begun has no id yet and is found by its segment.
    """

    def __init__(self, index: SegmentIndex, separate: SeparateLabelmaps, volume: Volume) -> None:
        self.have_written = False
        """Whether a segment was written since this was last reset: editors may have changed other
        segments along with it."""
        self._index = index
        self._separate = separate
        self._volume = volume
        self._by_segment: dict[str, BorrowedSegment] = {}
        self._promised: dict[str, Promise] = {}
        self._painted: list[Repainted] = []
        """What was painted in segments before their lesions came, and is still to be reported."""

    # ---- looking up ------------------------------------------------------------------------

    def of_segment(self, segment_id: str) -> BorrowedSegment | None:
        """Return the entry of a segment; None if it is not borrowed."""
        return self._by_segment.get(segment_id)

    def items(self) -> list[tuple[int, BorrowedSegment]]:
        """Return the ids of lesions that have begun, with their borrowed segments."""
        # A copy: the worker asks while the main thread may borrow another one.
        borrowed = list(self._by_segment.values())
        return [(one.lesion.lesion_id, one) for one in borrowed if one.lesion.lesion_id is not None]

    def lesions(self) -> set[int]:
        """Return the ids of lesions in borrowed segments."""
        return {lesion_id for lesion_id, _ in self.items()}

    def lesions_apart(self) -> set[int]:
        """Return these and the ids of lesions that come into segments that were given back.

        May be called on any thread.
        """
        # The main thread may move one from here to there meanwhile, or back.
        borrowed = self.lesions()
        promised = {promise.lesion.lesion_id for promise in list(self._promised.values())}
        return (borrowed | promised | self.lesions()) - {None}

    def promised(self, segment_id: str) -> FreshLesion | None:
        """Return the lesion that comes into a segment that was given back; None if none does."""
        promise = self._promised.get(segment_id)
        return promise.lesion if promise is not None else None

    def __contains__(self, lesion_id: int) -> bool:
        return lesion_id in self.lesions()

    def __len__(self) -> int:
        return len(self._by_segment)

    # ---- borrowing and giving back ---------------------------------------------------------

    def borrow(self, segment_id: str, lesion: FreshLesion, write: WriteSegment) -> None:
        """Show a lesion, which may not have begun yet, in a segment of the user's own.

        Writing is left to the editor of the segment, by calls of ``write``.
        """
        self._by_segment[segment_id] = BorrowedSegment(segment_id, lesion, write)
        self.forget_promise(segment_id)
        with self._index.writing():
            if lesion.lesion_id not in self._index:
                self._index.segmentation.SeparateSegmentLabelmap(segment_id)
            elif lesion.lesion_id not in self._separate:
                self._separate.take_out(lesion.lesion_id)

    def give_back(self) -> list[Promise]:
        """Take the writing of all borrowed segments back from their editor.

        Voxels that the editor kept out, and names that the user gave, count as the user's edits.
        A lesion that is still being computed comes into its segment all the same: return what is
        awaited, for `forget` when all that is being computed now is done.
        """
        for segment_id, borrowed in self._by_segment.items():
            lesion_id = borrowed.lesion.lesion_id
            if lesion_id in self._index:
                self._index.expect_name(lesion_id, default_name(lesion_id))
                self._separate.patches[lesion_id] = borrowed.shown or empty_patch()
            elif self._index.segmentation.GetSegment(segment_id) is not None:
                content = self._separate.read(segment_id)
                self._promised[segment_id] = Promise(borrowed.lesion, content)
        self._by_segment.clear()
        return list(self._promised.values())

    def forget(self, promises: Collection[Promise]) -> None:
        """Await lesions no longer that have not come, as their clicks failed or were undone.

        Their ids may be given again, to lesions that do not belong there.
        """
        for segment_id, promise in list(self._promised.items()):
            if promise in promises:
                self.forget_promise(segment_id)

    def forget_promise(self, segment_id: str) -> None:
        """Let no lesion come into a segment that was given back."""
        self._promised.pop(segment_id, None)

    def bind(self, shown: Mapping[int, Lesion]) -> None:
        """Enter lesions that begin, or come back, with the segments meant for them."""
        for lesion_id, borrowed in self.items():
            segment = self._index.segmentation.GetSegment(borrowed.segment_id)
            if lesion_id not in shown or lesion_id in self._index:
                continue
            if segment is not None:
                self._enter(lesion_id, borrowed.segment_id, segment.GetName() or "")
            else:
                # It was removed meanwhile, so the lesion gets one of its own.
                del self._by_segment[borrowed.segment_id]
        for segment_id, promise in list(self._promised.items()):
            lesion_id = promise.lesion.lesion_id
            is_gone = self._index.segmentation.GetSegment(segment_id) is None
            if is_gone or lesion_id in self._index:
                self.forget_promise(segment_id)
            elif lesion_id in shown:
                # The name that the user gave counts as the user's edit, as where it is given back.
                self._enter(lesion_id, segment_id, default_name(lesion_id))
                then, now = promise.content, self._separate.patches[lesion_id]
                then = Patch(then.box, np.where(then.labels > 0, lesion_id, 0))
                self._painted += repainted_patch(then, now, lesion_id)
                self.forget_promise(segment_id)
                self.have_written = True

    def _enter(self, lesion_id: int, segment_id: str, name: str) -> None:
        self._index.enter(lesion_id, segment_id, name)
        self._index.follow_colour(lesion_id)
        if tagged_segments(self._index.node).get(lesion_id) != segment_id:
            self._index.segment(lesion_id).SetTag(TAG, str(lesion_id))
        self._separate.patches[lesion_id] = self._separate.read(segment_id, lesion_id)

    # ---- writing and reading ---------------------------------------------------------------

    def show(self, lesion_id: int, lesion: Lesion | None, patch: Patch | None) -> None:
        """Have the editor write a lesion's mask into its borrowed segment, or empty it."""
        borrowed = dict(self.items())[lesion_id]
        mask = lesion.mask if lesion is not None else None
        if mask is borrowed.mask or (mask and patch is None):
            # The latter was painted before the segment was borrowed; the next update has it.
            return
        borrowed.shown, borrowed.mask = patch, mask
        before, after = self._separate.patches[lesion_id], patch or empty_patch()
        box = around_both(before.box, after.box)
        if not np.array_equal(in_box(after, box), in_box(before, box)):
            segment_id = borrowed.segment_id
            borrowed.write(segment_id, self._change(segment_id, lesion_id, after))
            self._separate.patches[lesion_id] = self._separate.read(segment_id, lesion_id)
            self.have_written = True

    def _change(self, segment_id: str, lesion_id: int, patch: Patch) -> MaskChange:
        # The present content is read anew: a stroke may have changed it just now.
        present = self._separate.read(segment_id, lesion_id)
        box = around_both(present.box, patch.box)
        masks = (in_box(patch, box) == lesion_id, in_box(present, box) == lesion_id)
        return MaskChange(self._volume.ijk_to_ras, box, *masks)

    def painted(self) -> list[Repainted]:
        """Return what was painted in segments before their lesions came; reported once."""
        painted, self._painted = self._painted, []
        return painted

    def restored(self) -> list[Restored]:
        """Return an edit for each lesion that is gone although its segment shows voxels again."""
        edits = []
        for lesion_id, borrowed in self.items():
            segment = self._index.segmentation.GetSegment(borrowed.segment_id)
            if lesion_id not in self._index and segment is not None:
                patch = self._separate.read(borrowed.segment_id, lesion_id)
                if patch.labels.any():
                    edits.append(Restored(lesion_id, patch.box, patch.labels > 0))
        return edits
