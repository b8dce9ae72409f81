"""The user's own segments that show lesions while someone else writes them.

An effect of the Segment Editor does, with its masks and its undo. Borrowed segments count as apart
from the shared labelmap, and what they show may be less than the lesion: the Segment Editor's
masks decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MOISSAM2SegmentLib.scene.grid_images import image_of
from MOISSAM2SegmentLib.scene.segment_table import SegmentTable
from MOISSAM2SegmentLib.scene.segment_tags import TAG, default_name, tagged_segments
from MOISSAM2SegmentLib.scene.separate_labelmaps import SeparateLabelmaps, nothing
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion
from MOISSAM2SegmentLib.worker.label_updates import Box, Patch
from MOISSAM2SegmentLib.worker.segment_edits import Returned, around_both, in_box

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.session.lesion import Lesion
    from mois_core.session.masks import Mask


@dataclass(frozen=True, eq=False)
class Picture:
    """A mask that is to become a segment's content."""

    ijk_to_ras: np.ndarray
    box: Box
    """Around what is in the mask and what is in the segment until now."""
    mask: np.ndarray
    """Inside the box."""
    present: np.ndarray
    """What is in the segment until now, inside the box too."""

    def image(self, allowed: np.ndarray | None = None) -> Any:
        """Return the mask as an image as small as it may be.

        Where a change is not allowed, what is there stays, as with all masks of the Segment
        Editor.
        """
        mask = self.mask if allowed is None else np.where(allowed, self.mask, self.present)
        return image_of(self.ijk_to_ras, self.box, mask)


Write = Callable[[str, Picture], None]
"""Makes a picture a segment's content as far as masks allow."""


@dataclass(eq=False)
class Borrowed:
    """One borrowed segment and the lesion in it."""

    segment: str
    lesion: FreshLesion
    write: Write
    shown: Patch | None = None
    """What was handed to `write` last; what became of it may be less."""
    mask: Mask | None = None
    """The lesion's mask that this was. A step that leaves the lesion alone keeps the very same."""


class BorrowedSegments:
    """All borrowed segments of a segmentation.

    A lesion that has not begun has no id yet and is found by its segment.
    """

    def __init__(self, table: SegmentTable, apart: SeparateLabelmaps, volume: Volume) -> None:
        self.have_written = False
        """Whether a segment was written since somebody looked: editors may have changed others
        along with it."""
        self._table = table
        self._apart = apart
        self._volume = volume
        self._by_segment: dict[str, Borrowed] = {}

    # ---- which there are -------------------------------------------------------------------

    def of_segment(self, segment_id: str) -> Borrowed | None:
        """Return what is known of a segment if it is borrowed."""
        return self._by_segment.get(segment_id)

    def items(self) -> list[tuple[int, Borrowed]]:
        """Return the lesions that have begun, with their borrowed segments."""
        # A copy: the worker asks while the main thread may borrow another one.
        borrowed = list(self._by_segment.values())
        return [(one.lesion.lesion_id, one) for one in borrowed if one.lesion.lesion_id is not None]

    def lesions(self) -> set[int]:
        """Return the lesions in borrowed segments. May be asked on any thread."""
        return {lesion_id for lesion_id, _ in self.items()}

    def __contains__(self, lesion_id: int) -> bool:
        return lesion_id in self.lesions()

    def __len__(self) -> int:
        return len(self._by_segment)

    # ---- borrowing and giving back ---------------------------------------------------------

    def borrow(self, segment_id: str, lesion: FreshLesion, write: Write) -> None:
        """Show a lesion, which may not have begun yet, in a segment of the user's.

        The writing is left to whoever edits the segment.
        """
        self._by_segment[segment_id] = Borrowed(segment_id, lesion, write)
        with self._table.writing():
            if lesion.lesion_id not in self._table:
                self._table.segmentation.SeparateSegmentLabelmap(segment_id)
            elif lesion.lesion_id not in self._apart:
                self._apart.take_out(lesion.lesion_id)

    def give_back(self) -> None:
        """Write all segments ourselves again.

        What their editors kept out, or what the user called them, counts as the user's edit.
        """
        for lesion_id, borrowed in self.items():
            if lesion_id in self._table:
                self._table.expect_name(lesion_id, default_name(lesion_id))
                self._apart.patches[lesion_id] = borrowed.shown or nothing()
        self._by_segment.clear()

    def bind(self, shown: Mapping[int, Lesion]) -> None:
        """Have lesions that begin, or come back, shown in the segments borrowed for them."""
        for lesion_id, borrowed in self.items():
            segment = self._table.segmentation.GetSegment(borrowed.segment)
            if lesion_id in shown and lesion_id not in self._table and segment is not None:
                self._table.enter(lesion_id, borrowed.segment, segment.GetName() or "")
                self._table.follow_colour(lesion_id)
                if tagged_segments(self._table.node).get(lesion_id) != borrowed.segment:
                    segment.SetTag(TAG, str(lesion_id))
                self._apart.patches[lesion_id] = self._apart.read(borrowed.segment, lesion_id)

    # ---- writing and reading ---------------------------------------------------------------

    def show(self, lesion_id: int, lesion: Lesion | None, patch: Patch | None) -> None:
        """Have a lesion's mask written into its borrowed segment; without a lesion, empty it."""
        borrowed = dict(self.items())[lesion_id]
        mask = lesion.mask if lesion is not None else None
        if mask is borrowed.mask or (mask and patch is None):
            # The latter was painted before the segment was borrowed; the next update has it.
            return
        borrowed.shown, borrowed.mask = patch, mask
        before, after = self._apart.patches[lesion_id], patch or nothing()
        box = around_both(before.box, after.box)
        if not np.array_equal(in_box(after, box), in_box(before, box)):
            borrowed.write(borrowed.segment, self._picture(borrowed.segment, lesion_id, after))
            self._apart.patches[lesion_id] = self._apart.read(borrowed.segment, lesion_id)
            self.have_written = True

    def _picture(self, segment_id: str, lesion_id: int, patch: Patch) -> Picture:
        """Together with what is to be emptied, which a stroke may have changed just now."""
        present = self._apart.read(segment_id, lesion_id)
        box = around_both(present.box, patch.box)
        masks = (in_box(patch, box) == lesion_id, in_box(present, box) == lesion_id)
        return Picture(self._volume.ijk_to_ras, box, *masks)

    def returned(self) -> list[Returned]:
        """Return the lesions that are gone, and are in their segments nevertheless."""
        edits = []
        for lesion_id, borrowed in self.items():
            segment = self._table.segmentation.GetSegment(borrowed.segment)
            if lesion_id not in self._table and segment is not None:
                patch = self._apart.read(borrowed.segment, lesion_id)
                if patch.labels.any():
                    edits.append(Returned(lesion_id, patch.box, patch.labels > 0))
        return edits
