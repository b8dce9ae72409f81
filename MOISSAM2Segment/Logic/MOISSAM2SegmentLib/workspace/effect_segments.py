"""Work on segments of the user's own segmentation, as the Segment Editor's effect needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.borrowed_segments import WriteSegment
from MOISSAM2SegmentLib.scene.exemplar_segments import ELSEWHERE
from MOISSAM2SegmentLib.scene.node_names import told_apart
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion
from MOISSAM2SegmentLib.workspace.scan_work import ScanWork

if TYPE_CHECKING:
    from mois_core.session import Session
    from MOISSAM2SegmentLib.worker.label_updates import Patch

ANOTHER_SEGMENTATION = _(
    "The lesions of this scan are in the segmentation {name}. Choose that one to go on with them."
)
NOT_TAKEN_OVER = _("{reason} The segment was not changed, and the click was not made.")


class EffectSegments:
    """Work on the segments that an effect of the Segment Editor has chosen.

    A segment that is being worked on is borrowed: its editor writes it, so that masks of the
    Segment Editor hold. Voxels that these leave out come to the session when the segment is given
    back, as one edit; until then further clicks correct the network's whole mask.
    """

    def __init__(self, open_work: Callable[[], ScanWork], message: Callable[[str], None]) -> None:
        """``message`` is called with a sentence for the user if a click could not be made."""
        self._open_work = open_work
        self._message = message

    def edit_segment(self, segmentation_node: Any, segment_id: str, write: WriteSegment) -> None:
        """Let the points that are placed from now on belong to a segment, and borrow it.

        It may be a segment that shows no lesion yet. Raises `BadInput` if the segmentation cannot
        be used for this scan.
        """
        work = self._open_work()
        if segmentation_node is not work.segments_node:
            _show_in(work, segmentation_node)
        borrowed = work.segments.borrowed.of_segment(segment_id)
        if borrowed is None:
            self.give_back(work)
            promised = work.segments.borrowed.promised(segment_id)
            lesion = promised or FreshLesion(work.segments.lesion_of(segment_id))
            present = work.segments.read_box(segment_id)
            work.borrow_segment(segment_id, lesion, write)
            is_new = lesion.lesion_id is None and not lesion.awaits_content
            if is_new and present.labels.any():
                self._take_over(work, segment_id, lesion, present)
            borrowed = work.segments.borrowed.of_segment(segment_id)
        work.clicks.active = borrowed.lesion

    def give_back(self, work: ScanWork | None = None) -> None:
        """Take the writing of all segments back, because the Segment Editor leaves them.

        Voxels that its masks kept out of a segment stay out.
        """
        work = work or self._open_work()
        if len(work.segments.borrowed):
            work.pass_on_changes()
            work.give_back_segments()
            work.clicks.active = None

    def _take_over(
        self, work: ScanWork, segment_id: str, lesion: FreshLesion, present: Patch
    ) -> None:
        """Begin a lesion with what its segment holds; until then no click can begin it."""
        lesion.awaits_content = True

        def take(session: Session, *_: Any) -> None:
            mask = np.zeros(session.volume.array.shape, dtype=bool)
            mask[present.box] = present.labels > 0
            if lesion.lesion_id is not None:
                # By a click that was being computed when the user painted here.
                mask |= session.mask(lesion.lesion_id)
            lesion.lesion_id = session.set_mask(lesion.lesion_id, mask)
            lesion.awaits_content = False

        def failed(reason: str) -> None:
            # Given back, the segment is taken over anew with the next click.
            self.give_back(work)
            work.segments.borrowed.forget_promise(segment_id)
            self._message(NOT_TAKEN_OVER.format(reason=reason))

        work.run("Take over", take, failed=failed)


def _show_in(work: ScanWork, node: Any) -> None:
    """Show lesions in a segmentation of the user's own, as long as there are none elsewhere."""
    if work.state.lesions:
        raise BadInput(ANOTHER_SEGMENTATION.format(name=told_apart(work.segments_node)))
    if node.GetParentTransformNode() is not work.volume_node.GetParentTransformNode():
        raise BadInput(ELSEWHERE)
    work.use_segmentation(node)
