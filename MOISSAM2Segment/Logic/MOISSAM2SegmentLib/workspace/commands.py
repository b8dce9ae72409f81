"""Commands on the lesions of the scan that is open, one method for each button of the panel.

A command is a step on the worker: it returns at once, and its outcome is shown when it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MOISSAM2SegmentLib.scene import exemplar_segments, regions
from MOISSAM2SegmentLib.scene.transforms import copied
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion, id_of
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace.scan_work import ScanWork
from MOISSAM2SegmentLib.workspace.script import Script
from MOISSAM2SegmentLib.workspace.step_record import ADJUST, EXEMPLARS, SEARCH, Steps, command
from MOISSAM2SegmentLib.workspace.step_runner import Then, ignore

if TYPE_CHECKING:
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session

DEMONSTRATION = "phantom"
"""The network that ships, which was trained from scratch."""


class Commands:
    """Commands on the lesions of the scan that is open; they raise `BadInput` if none is."""

    def __init__(self, open_work: Callable[[], ScanWork]) -> None:
        self._open_work = open_work

    # ---- clicks ----------------------------------------------------------------------------

    def begin_lesion(self) -> None:
        """Let the points that are placed from now on begin a new lesion."""
        clicks = self._open_work().clicks
        clicks.active = FreshLesion()
        clicks.positive = True

    def work_on(self, lesion_id: int | None) -> None:
        """Let the points that are placed from now on belong to this lesion."""
        self._open_work().clicks.active = lesion_id

    @property
    def active_lesion(self) -> int | None:
        """The id of the lesion that new points belong to; None if they begin a new one."""
        return id_of(self._open_work().clicks.active)

    @property
    def has_active_lesion(self) -> bool:
        """Whether new points belong to one lesion, begun or not, instead of a new one each."""
        return self._open_work().clicks.active is not None

    @property
    def positive(self) -> bool:
        """Whether new points lie inside the lesion; if not, they mark what is outside."""
        return self._open_work().clicks.positive

    @positive.setter
    def positive(self, value: bool) -> None:
        self._open_work().clicks.positive = value

    def point_at(self, place: Sequence[float], positive: bool = True) -> None:
        """Place a point in the world for the lesion that is worked on, inside it or outside."""
        self._open_work().place_points([place], positive)

    def scribble(self, line: Sequence[Sequence[float]], positive: bool = True) -> None:
        """Place points along a line through places in the world, as one step.

        The line goes through the lesion that is worked on or, if not ``positive``, through what
        does not belong to it.
        """
        from mois_core.session.scribble import places_along

        self._open_work().place_points(places_along(np.array(line)), positive)

    @property
    def knows_boxes(self) -> bool:
        """Whether the network was trained with boxes, as all are that begin with SAM 2.1."""
        return self._open_work().session.model_info.preset != DEMONSTRATION

    def draw_box(self, places: Sequence[Sequence[float]]) -> Job:
        """Draw a box around the lesion that is worked on: the smallest around places in the world.

        They must lie on one slice of the scan; two opposite corners are enough.
        """
        return self._open_work().draw_box(places)

    # ---- the list --------------------------------------------------------------------------

    def accept(self, *lesion_ids: int) -> Job:
        """Accept findings; without ids, all that are undecided."""
        return self._run(
            "Accept",
            lambda session, *_: session.accept(*lesion_ids),
            steps=command("accept", *lesion_ids),
        )

    def reject(self, *lesion_ids: int) -> Job:
        """Reject findings."""
        return self._run(
            "Reject",
            lambda session, *_: session.reject(*lesion_ids),
            steps=command("reject", *lesion_ids),
        )

    def reconsider(self, *lesion_ids: int) -> Job:
        """Make findings undecided again."""
        return self._run(
            "Reconsider",
            lambda session, *_: session.reconsider(*lesion_ids),
            steps=command("reconsider", *lesion_ids),
        )

    def rename(self, lesion_id: int, name: str) -> Job:
        """Give a lesion a name."""
        # A name may be a patient's, and no lesion depends on it.
        return self._run(
            "Rename",
            lambda session, *_: session.rename(lesion_id, name.strip()),
            steps=lambda _: [],
        )

    def delete(self, *lesion_ids: int) -> Job:
        """Delete lesions."""
        return self._run(
            "Delete",
            lambda session, *_: session.delete(*lesion_ids),
            steps=command("delete", *lesion_ids),
        )

    def merge(self, *lesion_ids: int, then: Then = ignore) -> Job:
        """Merge lesions into one; ``then`` is given its id."""
        steps = command("merge", *lesion_ids)
        return self._run("Merge", lambda session, *_: session.merge(*lesion_ids), then, steps)

    def split(self, lesion_id: int, then: Then = ignore) -> Job:
        """Split a lesion into its components; ``then`` is given the ids of the new lesions."""
        steps = command("split", lesion_id)
        return self._run("Split", lambda session, *_: session.split(lesion_id), then, steps)

    @property
    def undo_name(self) -> str | None:
        """The name of the step that `undo` would take back; None if there is none."""
        return self._open_work().undo_name

    @property
    def redo_name(self) -> str | None:
        """The name of the step that `redo` would do again; None if there is none."""
        return self._open_work().redo_name

    def undo(self) -> Job:
        """Undo the last step."""
        return self._run("Undo", lambda session, *_: session.undo(), steps=command("undo"))

    def redo(self) -> Job:
        """Redo the step that was undone last."""
        return self._run("Redo", lambda session, *_: session.redo(), steps=command("redo"))

    # ---- search and propagation ------------------------------------------------------------

    @property
    def can_search(self) -> bool:
        """Whether the network can search for similar lesions."""
        return self._open_work().session.can_search

    @property
    def can_propagate(self) -> bool:
        """Whether there is anything that `propagate` could follow."""
        work = self._open_work()
        active = work.clicks.active
        is_taken_over = isinstance(active, FreshLesion) and active.awaits_content
        return is_taken_over or any(le.prompted for le in work.state.lesions.values())

    def propagate(self, *lesion_ids: int) -> Job:
        """Follow lesions through the whole volume, however far a click reaches; without ids, all.

        Slices that were clicked or painted stay as they are.
        """

        def follow(session: Session, progress: Progress, cancel: CancelToken) -> None:
            chosen = lesion_ids or None
            session.propagate(chosen, progress, cancel, joined=False, whole_volume=True)

        return self._run("Propagate", follow, steps=command("propagate", *lesion_ids))

    @property
    def has_exemplars(self) -> bool:
        """Whether there is anything that a search could look for."""
        from mois_core.session.exemplars import candidates
        from mois_core.session.lesion import Status

        work = self._open_work()
        lesions, imported = work.state.lesions.values(), work.state.imported
        if candidates(lesions, imported):
            return True
        accepted = (le for le in lesions if le.status is Status.ACCEPTED)
        return work.session.settings.accepted_as_exemplars and any(le.mask for le in accepted)

    def find_similar(
        self,
        inside: Sequence[Any] = (),
        outside: Sequence[Any] = (),
        use_exemplars: bool = True,
        then: Then = ignore,
    ) -> Job:
        """Search the scan for similar lesions; ``then`` is given the ids of the findings.

        The search is limited to the regions of the nodes ``inside`` and leaves out those of the
        nodes ``outside``. Without ``use_exemplars`` the network decides by itself what a lesion is.
        """
        scan = self._open_work().volume_node
        allowed = [regions.region_of(node, scan) for node in inside]
        forbidden = [regions.region_of(node, scan) for node in outside]

        def search(session: Session, progress: Progress, cancel: CancelToken) -> list[int]:
            return session.find_similar(
                progress,
                cancel,
                regions.union(allowed),
                regions.union(forbidden),
                use_exemplars,
            )

        nodes = [[node.GetID() for node in nodes] for nodes in (inside, outside)]
        step = [SEARCH, *nodes, use_exemplars]
        return self._run("Find similar lesions", search, then, lambda _: [step])

    def add_exemplars(
        self,
        segmentation_node: Any,
        segment_ids: Sequence[str] | None = None,
        earlier_node: Any = None,
        then: Then = ignore,
    ) -> Job:
        """Import segments that were outlined on this scan, or on an earlier one, as exemplars."""
        present = self._open_work().volume_node
        scan = present if earlier_node is None else earlier_node
        segments = exemplar_segments.outlined_segments(segmentation_node, scan, segment_ids)
        is_same = scan is present
        volume = None if is_same else exemplar_segments.earlier_scan(scan, present)

        def add(session: Session, *_: Any) -> int:
            source = None if volume is None else copied(volume)
            return session.add_exemplars(segments.labels(), source)

        scan_id = None if is_same else scan.GetID()
        step = [EXEMPLARS, segmentation_node.GetID(), segment_ids is not None, scan_id]
        return self._run("Add exemplars", add, then, lambda _: [step])

    def clear_exemplars(self) -> Job:
        """Remove the imported exemplars."""
        return self._run(
            "Clear exemplars",
            lambda session, *_: session.clear_exemplars(),
            steps=command("clear_exemplars"),
        )

    # ---- settings and script ---------------------------------------------------------------

    def script(self) -> Script:
        """Return what was done so far as a script that repeats it."""
        return self._open_work().script()

    def adjust(self, **settings: Any) -> Job:
        """Change settings of the session for what is done from now on; see `Session.adjust`.

        They are stored with the session, and no undo changes them.
        """
        steps = [[ADJUST, settings]]
        return self._run(
            "Settings", lambda session, *_: session.adjust(**settings), steps=lambda _: steps
        )

    def _run(
        self,
        name: str,
        action: Callable[..., Any],
        then: Then = ignore,
        steps: Steps | None = None,
    ) -> Job:
        return self._open_work().run(name, action, then, steps)
