"""What the user can do to the lesions, one method for each button.

Each is a step on the worker: it returns at once, and what came of it is shown when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.scene import exemplar_segments, regions
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion
from MOISSAM2SegmentLib.worker.jobs import Job

if TYPE_CHECKING:
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session

Action = Callable[["Session", "Progress", "CancelToken"], Any]
Then = Callable[[Any], None]


def _nothing(_: Any) -> None:
    pass


class Steps:
    """The steps of a workspace, which says how one is done."""

    clicks: Any
    volume_node: Any

    def _step(self, name: str, action: Action, then: Then = _nothing) -> Job:
        raise NotImplementedError

    # ---- clicks ----------------------------------------------------------------------------

    def begin_lesion(self) -> None:
        """The points that are placed from now on belong to a lesion of their own."""
        if self.clicks is None:
            raise BadInput("Open a scan first.")
        self.clicks.active = FreshLesion()
        self.clicks.positive = True

    def work_on(self, lesion: int | None) -> None:
        """The points that are placed from now on belong to this lesion."""
        self.clicks.active = lesion

    @property
    def active_lesion(self) -> int | None:
        """The lesion that new points belong to; None if they begin a new one."""
        active = self.clicks.active
        return active.number if isinstance(active, FreshLesion) else active

    @property
    def positive(self) -> bool:
        """Whether new points belong to the lesion, or say what does not."""
        return self.clicks.positive

    @positive.setter
    def positive(self, value: bool) -> None:
        self.clicks.positive = value

    # ---- the list --------------------------------------------------------------------------

    def accept(self, *numbers: int) -> Job:
        """Agree with findings; without numbers, with all undecided ones."""
        return self._step("Accept", lambda session, *_: session.accept(*numbers))

    def reject(self, *numbers: int) -> Job:
        """Disagree with findings."""
        return self._step("Reject", lambda session, *_: session.reject(*numbers))

    def reconsider(self, *numbers: int) -> Job:
        """Make findings undecided again."""
        return self._step("Reconsider", lambda session, *_: session.reconsider(*numbers))

    def rename(self, number: int, name: str) -> Job:
        """Give a lesion a name."""
        return self._step("Rename", lambda session, *_: session.rename(number, name.strip()))

    def delete(self, *numbers: int) -> Job:
        """Remove lesions."""
        return self._step("Delete", lambda session, *_: session.delete(*numbers))

    def merge(self, *numbers: int, then: Then = _nothing) -> Job:
        """Make several lesions one; ``then`` is given its number."""
        return self._step("Merge", lambda session, *_: session.merge(*numbers), then)

    def split(self, number: int, then: Then = _nothing) -> Job:
        """Make each piece of a lesion a lesion; ``then`` is given their numbers."""
        return self._step("Split", lambda session, *_: session.split(number), then)

    def undo(self) -> Job:
        """Take back the last step."""
        return self._step("Undo", lambda session, *_: session.undo())

    def redo(self) -> Job:
        """Do again what was taken back last."""
        return self._step("Redo", lambda session, *_: session.redo())

    # ---- search ----------------------------------------------------------------------------

    def find_similar(
        self,
        inside: Sequence[Any] = (),
        outside: Sequence[Any] = (),
        use_exemplars: bool = True,
        then: Then = _nothing,
    ) -> Job:
        """Search the scan, limited to and by region nodes; ``then`` is given the findings."""
        allowed = [regions.region_of(node, self.volume_node) for node in inside]
        forbidden = [regions.region_of(node, self.volume_node) for node in outside]

        def search(session: Session, progress: Progress, cancel: CancelToken) -> list[int]:
            return session.find_similar(
                progress,
                cancel,
                regions.union(allowed),
                regions.union(forbidden),
                use_exemplars,
            )

        return self._step("Find similar lesions", search, then)

    def add_exemplars(
        self,
        segmentation_node: Any,
        segment_ids: Sequence[str] | None = None,
        earlier_node: Any = None,
        then: Then = _nothing,
    ) -> Job:
        """Bring in segments that were outlined on this scan, or on an earlier one."""
        scan = self.volume_node if earlier_node is None else earlier_node
        labels = exemplar_segments.segment_labels(segmentation_node, scan, segment_ids)
        is_same = scan is self.volume_node
        volume = None if is_same else exemplar_segments.earlier_scan(scan, self.volume_node)

        def add(session: Session, *_: Any) -> int:
            return session.add_exemplars(labels, volume)

        return self._step("Add exemplars", add, then)

    def clear_exemplars(self) -> Job:
        """Forget the lesions that were brought in."""
        return self._step("Clear exemplars", lambda session, *_: session.clear_exemplars())

    # ---- choices ---------------------------------------------------------------------------

    def adjust(self, propagation_slices: int, smallest_cm3: float, exemplars: int) -> Job:
        """Choices that can change in the middle of the work. What was done stays as it is; they
        are kept with the session, and no step that can be undone."""
        choices = {
            "propagation_slices": propagation_slices,
            "smallest_cm3": smallest_cm3,
            "exemplars": exemplars,
        }
        return self._step("Settings", lambda session, *_: session.adjust(**choices))
