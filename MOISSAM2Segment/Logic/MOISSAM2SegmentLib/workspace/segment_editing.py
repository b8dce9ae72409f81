"""Working on a segment of somebody else's segmentation: what the Segment Editor's effect needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.scene.exemplar_segments import ELSEWHERE
from MOISSAM2SegmentLib.scene.held import Write
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion
from MOISSAM2SegmentLib.worker.jobs import Job

if TYPE_CHECKING:
    from mois_core.session import Session
    from MOISSAM2SegmentLib.worker.label_updates import Patch

NO_SCAN = "Open a scan first."
ANOTHER_SEGMENTATION = (
    "The lesions of this scan are in the segmentation {name}. Choose that one to go on with them."
)
BEGIN_INSIDE = "Click into the lesion first; what does not belong to it comes afterwards."


class Editing:
    """The part of a workspace that works inside the user's own segments.

    A segment that is being worked on is written through whoever edits it, so that masks of the
    Segment Editor hold. What those leave out comes to the session when the segment is let go of,
    as one edit; until then the network's whole mask is what further clicks correct.
    """

    scene: Any
    volume_node: Any
    segments_node: Any
    segments: Any
    clicks: Any
    points_node: Any
    state: Any
    is_open: bool
    _step: Callable[..., Job]
    _submit_segments: Callable[..., None]
    follow: Callable[[], None]

    def edit_segment(self, segmentation_node: Any, identifier: str, write: Write) -> None:
        """Points that are placed from now on belong to this segment, which need not have been
        ours before. Raises `BadInput` where that cannot be."""
        if not self.is_open:
            raise BadInput(NO_SCAN)
        if segmentation_node is not self.segments_node:
            self._show_in(segmentation_node)
        hold = self.segments.holds.of_segment(identifier)
        if hold is None:
            self.let_go_of_segments()
            lesion = FreshLesion(self.segments.lesion_of(identifier))
            present = self.segments.read_box(identifier)
            self.segments.hold(identifier, lesion, write)
            self._tell_painter()
            if lesion.number is None and present.labels.any():
                self._take_over_segment(lesion, present)
            hold = self.segments.holds.of_segment(identifier)
        self.clicks.active = hold.lesion

    def point_into_segment(self, world: Any, positive: bool) -> None:
        """Place a point for the segment that is worked on, as if it were placed by hand."""
        active = self.clicks.active
        is_new = isinstance(active, FreshLesion) and active.number is None
        if is_new and not positive:
            raise BadInput(BEGIN_INSIDE)
        # What is pending belongs to another point, with a kind of its own.
        self.follow()
        self.clicks.positive = positive
        self.points_node.AddControlPointWorld(*np.asarray(world, dtype=float).tolist())
        self.follow()
        self.clicks.positive = True

    def let_go_of_segments(self) -> None:
        """The Segment Editor turns to something else; what it kept out stays out."""
        if not self.is_open or not len(self.segments.holds):
            return
        self.follow()
        self.segments.let_go_of_holds()
        edits = self.segments.edits()
        self._tell_painter()
        self._submit_segments(edits)
        self.clicks.active = None

    def _take_over_segment(self, lesion: FreshLesion, present: Patch) -> None:
        def take(session: Session, *_: Any) -> None:
            mask = np.zeros(session.volume.array.shape, dtype=bool)
            mask[present.box] = present.labels > 0
            lesion.number = session.set_mask(None, mask)

        self._step("Take over", take)

    def _show_in(self, node: Any) -> None:
        """Have lesions shown in a segmentation of the user's, as long as there are none yet."""
        if self.state.lesions:
            raise BadInput(ANOTHER_SEGMENTATION.format(name=self.segments_node.GetName()))
        if node.GetParentTransformNode() is not self.volume_node.GetParentTransformNode():
            raise BadInput(ELSEWHERE)
        self._use_segmentation(node)

    def _use_segmentation(self, node: Any) -> None:
        raise NotImplementedError

    def _tell_painter(self) -> None:
        raise NotImplementedError
