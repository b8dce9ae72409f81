"""The work on one scan: its session and the nodes that show it, kept in step with each other.

Changes that the user makes of nodes are gathered and become steps of the session; the outcome of a
step is shown when it is done. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mois_core.errors import BadInput
from mois_core.results.dicom_equipment import algorithm_name
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene import control_points, drawn_boxes
from MOISSAM2SegmentLib.scene.borrowed_segments import WriteSegment
from MOISSAM2SegmentLib.scene.click_points import ClickPoints
from MOISSAM2SegmentLib.scene.dicom_scan import instance_uids
from MOISSAM2SegmentLib.scene.lesion_segments import CLASS as SEGMENTATION_CLASS
from MOISSAM2SegmentLib.scene.lesion_segments import LesionSegments
from MOISSAM2SegmentLib.scene.one_change import one_change
from MOISSAM2SegmentLib.scene.scene_events import SceneEvents
from MOISSAM2SegmentLib.scene.shared_labelmap import Canvas
from MOISSAM2SegmentLib.scene.stored_session import POINTS, SEGMENTS, StoredSession
from MOISSAM2SegmentLib.scene.subject_hierarchy import put_beside, refer_to_instances
from MOISSAM2SegmentLib.scene.transforms import numpy_to_matrix, to_world, view_of
from MOISSAM2SegmentLib.signal import Signal
from MOISSAM2SegmentLib.worker import click_edits, segment_edits
from MOISSAM2SegmentLib.worker.click_edits import FreshLesion
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace.lesion_list import LesionEntry, LesionList
from MOISSAM2SegmentLib.workspace.open_scan import OpenedScan
from MOISSAM2SegmentLib.workspace.script import Script, script_of
from MOISSAM2SegmentLib.workspace.session_saver import SessionSaver
from MOISSAM2SegmentLib.workspace.step_record import (
    Step,
    StepRecord,
    Steps,
    box_steps,
    click_steps,
    segment_steps,
)
from MOISSAM2SegmentLib.workspace.step_runner import Action, Outcome, StepRunner, Then, ignore

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.lesion import Lesion
    from mois_core.session.state import State
    from MOISSAM2SegmentLib.worker.engine import Engine

STOPPED_AT_POINTS = _(
    "Stopped: the slice with the point is outlined, those beside it are as they were. Another "
    "click in the lesion goes on; Undo takes this one back."
)
BEGIN_INSIDE = _("Click into the lesion first; what does not belong to it comes afterwards.")
POINTS_REMOVED = _("The list of points was removed. A new one was made from what is known.")


class ScanChange(Enum):
    """What can become of a scan while it is open."""

    NONE = "none"
    MOVED = "moved"
    """It has the same voxels at another place, as after a linear transform was hardened."""
    OTHER_VOXELS = "changed"


class WorkSignals(NamedTuple):
    """How the work on a scan tells what happens."""

    changed: Signal
    """Called when another state is shown."""
    begins: Signal
    """Called when a step begins: what was said of the one before is no longer of interest."""
    message: Signal
    """Called with a sentence for the user when something could not be done."""
    notice: Signal
    """Called with a sentence for the user when something was done, or goes on, in another way than
    the user may expect."""


class ScanWork:
    """A session on one scan, shown in a segmentation and a list of points."""

    def __init__(
        self,
        engine: Engine,
        volume_node: Any,
        opened: OpenedScan,
        events: SceneEvents,
        signals: WorkSignals,
    ) -> None:
        """``signals`` are those of the workspace.

        Nodes that the scene holds of earlier work are used again; where they differ from the
        session, the differences become steps, as if the user made them now.
        """
        self.scene = volume_node.GetScene()
        self._engine = engine
        self.volume_node = volume_node
        self.session: Session = opened.session
        self.state: State = opened.update.state
        """The state that is shown; that of the session may be a step ahead."""
        self.undo_name: str | None = None
        self.redo_name: str | None = None
        self.events = events
        self._signals, self._message = signals, signals.message
        self._label_updates = opened.label_updates
        self._lesions = LesionList(opened.session.stack)
        self._transform_id: str | None = None
        self._points_gone = False
        self._refusals: list[str] = []
        self.record = StepRecord(self.session, opened.steps, opened.resumed is None)
        told = (signals.message, signals.notice)
        self.steps = StepRunner(engine, self.session, self._label_updates, self, *told, self.record)
        stored = opened.resumed or StoredSession.create(self.scene, volume_node)
        self.saver = SessionSaver(engine.save_worker, stored, self.session, self.record)
        self.segments_node, had_segments = self._node(stored, SEGMENTS, self._new_segmentation)
        self.points_node, had_points = self._node(stored, POINTS, self._new_points)
        self.segments = self._lesion_segments(self.segments_node, opened.canvas)
        self.clicks = self._click_points()
        events.is_ours = lambda: self.segments.index.is_writing
        if opened.place_before is not None:
            self._move_with_scan(opened.place_before)
        self._put_under_transform()
        edits = []
        if had_segments:
            edits = self.segments.adopt(opened.update)
        else:
            self.segments.show(opened.update)
        self._label_updates.separate = self.segments.separate.lesions()
        if had_points:
            self.clicks.adopt(self.state)
            removed = self.clicks.unmatched(self.state)
            self._submit_clicks([*removed, *self.clicks.edits()])
            self._tell_refusals()
        else:
            self.clicks.show(self.state)
        self._submit_segments(edits)
        events.watch_segments(self.segments_node)
        events.watch_points(self.points_node)
        self._save()

    def _node(self, stored: StoredSession, role: str, make: Callable[[], Any]) -> tuple[Any, bool]:
        """Return the node in a role, made if it is not there, and whether it was there before."""
        node = stored.referenced(role)
        if node is not None:
            return node, True
        node = make()
        stored.refer(role, node)
        return node, False

    def _new_segmentation(self) -> Any:
        name = self.scene.GenerateUniqueName(f"{self.volume_node.GetName()} lesions")
        node = self.scene.AddNewNodeByClass(SEGMENTATION_CLASS, name)
        node.CreateDefaultDisplayNodes()
        # What Slicer's own DICOM export takes patient, study and images from.
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.volume_node)
        put_beside(node, self.volume_node)
        refer_to_instances(node, instance_uids(self.volume_node))
        return node

    def _lesion_segments(self, node: Any, canvas: Canvas | None) -> LesionSegments:
        name = algorithm_name(self.session.model_info)
        return LesionSegments(node, self.session.volume, canvas, name)

    def _new_points(self) -> Any:
        name = self.scene.GenerateUniqueName(f"{self.volume_node.GetName()} clicks")
        return control_points.new_list(self.scene, name)

    def _click_points(self) -> ClickPoints:
        return ClickPoints(
            self.points_node, self.volume_node, self.session.stack, self._refusals.append
        )

    # ---- from the scene to the session -----------------------------------------------------

    @property
    def has_changes(self) -> bool:
        """Whether there is something to do for `pass_on_changes`."""
        return self.events.is_flagged or self._points_gone or self.segments.is_adding

    def pass_on_changes(self) -> None:
        """Pass changes of the points and the segments on to the session.

        Before that, make some of the segments that are still to be made.
        """
        events = self.events
        if self.segments.is_adding:
            self.segments.add_more()
            if not self.segments.is_adding:
                self._save()
                self._signals.changed()
        if self._points_gone:
            self._replace_points()
        if events.points_changed and not events.is_dragging:
            events.points_changed = False
            self._submit_clicks(self.clicks.edits())
            self._tell_refusals()
        if events.segments_changed:
            events.segments_changed = False
            self.segments.separate_foreign_segments()
            self.pass_on_segments()

    def _tell_refusals(self) -> None:
        """Tell which points were refused: after the others' step began, which clears messages."""
        while self._refusals:
            self._message(self._refusals.pop(0))

    def pass_on_segments(self) -> None:
        """Pass changes of the segments on to the session."""
        edits = self.segments.edits()
        self._update_label_updates()
        self._submit_segments(edits)

    @property
    def scan_change(self) -> ScanChange:
        """What has become of the scan since the session was opened."""
        try:
            now = view_of(self.volume_node)
        except BadInput:
            return ScanChange.OTHER_VOXELS
        volume = self.session.volume
        if not np.array_equal(now.array, volume.array):
            return ScanChange.OTHER_VOXELS
        in_place = np.array_equal(now.ijk_to_ras, volume.ijk_to_ras)
        return ScanChange.NONE if in_place else ScanChange.MOVED

    def follow_transform(self) -> None:
        """Put the segments and points under the transform of the scan.

        Points that the user put under another transform stay there. A transform that the scan was
        hardened by moves what lies under it for good, too.
        """
        now, before = self.volume_node.GetTransformNodeID(), self._transform_id
        if now == before:
            return
        is_hardened = now is None and self.scan_change is not ScanChange.NONE
        if is_hardened:
            for node in (self.segments_node, self.points_node):
                if node.GetTransformNodeID() == before:
                    node.HardenTransform()
        self._put_under_transform()

    def _put_under_transform(self) -> None:
        now = self.volume_node.GetTransformNodeID()
        self.segments_node.SetAndObserveTransformNodeID(now)
        if self.points_node.GetTransformNodeID() == self._transform_id:
            self.points_node.SetAndObserveTransformNodeID(now)
        self._transform_id = now

    def _move_with_scan(self, before: np.ndarray) -> None:
        """Have segments and points follow a scan that was moved while they were not open.

        ``before`` is the scan's matrix then. What moved along is recognised and left in place.
        """
        moved = self.session.volume.ijk_to_ras @ np.linalg.inv(before)
        if self.segments.lie_on(before):
            with self.segments.index.writing():
                self.segments_node.ApplyTransformMatrix(numpy_to_matrix(moved))
        if self.clicks.stayed_behind(moved, self.state):
            self.points_node.ApplyTransformMatrix(numpy_to_matrix(moved))
            self.points_node.SetAndObserveTransformNodeID(self._transform_id)

    def points_were_removed(self) -> None:
        """Replace the list of points at the next `pass_on_changes`: its removal is not over yet."""
        self.events.forget(self.points_node)
        self._points_gone = True

    def _replace_points(self) -> None:
        self._points_gone = False
        active, positive = self.clicks.active, self.clicks.positive
        self.points_node = self._new_points()
        self.clicks = self._click_points()
        self.clicks.active, self.clicks.positive = active, positive
        if self._transform_id is not None:
            self.points_node.SetAndObserveTransformNodeID(self._transform_id)
        self.clicks.show(self.state)
        self.saver.refer(POINTS, self.points_node)
        self.events.watch_points(self.points_node)
        self._message(POINTS_REMOVED)
        self._signals.changed()

    def use_segmentation(self, node: Any) -> None:
        """Show lesions in another segmentation; remove ours if it has no segments."""
        before = self.segments_node
        self.events.forget(before)
        self.segments_node = node
        is_free = not before.GetSegmentation().GetNumberOfSegments()
        canvas = self.segments.canvas if is_free else None
        if canvas is not None:
            canvas.clear()
        self.segments = self._lesion_segments(node, canvas)
        self._update_label_updates()
        self.saver.refer(SEGMENTS, node)
        self.events.watch_segments(node)
        if is_free:
            self.scene.RemoveNode(before)

    def borrow_segment(self, segment_id: str, lesion: FreshLesion, write: WriteSegment) -> None:
        """Show a lesion in a segment of the user's own that an editor writes."""
        self.segments.borrowed.borrow(segment_id, lesion, write)
        self._update_label_updates()

    def give_back_segments(self) -> None:
        """Take the writing of all segments back; voxels that editors kept out become an edit."""
        borrowed = self.segments.borrowed
        promises = borrowed.give_back()
        self.pass_on_segments()
        if promises:
            # Jobs are done in their order: a lesion that has not come by then will not come.
            self._engine.worker.submit(
                Job("Give back", lambda *_: promises, borrowed.forget, owner=self, always_runs=True)
            )

    # ---- steps -----------------------------------------------------------------------------

    def run(
        self,
        name: str,
        action: Action,
        then: Then = ignore,
        steps: Steps | None = None,
        failed: Then | None = None,
    ) -> Job:
        """Run a step; ``then`` is given what it returns, if that is not None.

        ``steps`` tells the record what was done, see `StepRunner.run`.

        ``failed`` is given the text if it fails or is stopped, which is shown otherwise.
        """

        def shown(outcome: Outcome) -> None:
            self._show(outcome)
            self.clicks.show(outcome.update.state)
            # Hundreds of findings take as long in the panel as they took in the views.
            self.steps.go_on(lambda: self._finish(outcome, then, failed))

        self._signals.begins()
        return self.steps.run(name, action, shown, steps)

    def script(self) -> Script:
        """Return what was done so far as a script."""

        def in_scene(place: list[float]) -> Sequence[float]:
            return to_world(self.volume_node, np.array(place))[0].tolist()

        return script_of(self.record.steps, self.session.model_info, in_scene)

    def _show(self, outcome: Outcome) -> None:
        self.segments.show(outcome.update)
        self._update_label_updates()
        if self.segments.borrowed.have_written:
            # At once: whatever is shown next would hide what an editor did to other segments.
            self.segments.borrowed.have_written = False
            self.pass_on_segments()
        self.state = outcome.update.state
        self.undo_name, self.redo_name = outcome.undo, outcome.redo

    def _save(self) -> None:
        """Store the session, but never one that has lesions whose segments are not there yet: once
        the scene is opened again, they would count as deleted."""
        if not self.segments.is_adding:
            self.saver.save()

    def _finish(self, outcome: Outcome, then: Then = ignore, failed: Then | None = None) -> None:
        self._save()
        self._signals.changed()
        if outcome.error:
            (failed or self._message)(outcome.error)
        elif outcome.stopped:
            (failed or self._signals.notice)(outcome.stopped)
        elif outcome.value is not None:
            then(outcome.value)

    def _submit_clicks(self, edits: Sequence[click_edits.ClickEdit]) -> None:
        """Make clicks as one step that shows the slices with the points before their neighbours."""
        if not edits:
            return
        settled: list[click_edits.AppliedClicks] = []
        made: list[Step] = []

        def apply(session: Session, progress: Any, cancel: Any) -> None:
            before = session.state
            applied = click_edits.apply(session, edits, progress, cancel)
            made.extend(click_steps(edits, before, applied.click_ids, session.state))
            first = self.steps.outcome(applied)
            self.steps.post(lambda: show_first(first))
            session.propagate(applied.to_propagate, progress, cancel)

        def show_first(outcome: Outcome) -> None:
            settled.append(outcome.value)
            self._show(outcome)
            self.clicks.settle(edits, outcome.value.click_ids, outcome.update.state)
            self._signals.changed()
            if outcome.value.notice:
                self._signals.notice(outcome.value.notice)

        def done(outcome: Outcome) -> None:
            self._show(outcome)
            if settled:
                self.clicks.show(outcome.update.state)
                if outcome.stopped:
                    outcome = replace(outcome, stopped=STOPPED_AT_POINTS)
            else:
                self.clicks.settle(edits, {}, outcome.update.state)
            self._finish(outcome)

        self._signals.begins()
        self.steps.run("Click", apply, done, lambda _: made)

    def place_points(self, places: Sequence[Sequence[float]], positive: bool) -> None:
        """Place points in the world for the lesion that is worked on, as if by hand, as one step.

        Raises `BadInput` if they are outside a lesion that is not begun yet.
        """
        if self.clicks.begins_lesion and not positive:
            raise BadInput(BEGIN_INSIDE)
        # Changes that are pending belong to other points, of another kind perhaps.
        self.pass_on_changes()
        if self.clicks.active is None:
            self.clicks.active = FreshLesion()
        before, self.clicks.positive = self.clicks.positive, positive
        with one_change(self.points_node):
            for place in places:
                self.points_node.AddControlPointWorld(*np.asarray(place, dtype=float).tolist())
        self.pass_on_changes()
        self.clicks.positive = before

    def draw_box(self, places: Sequence[Sequence[float]]) -> Job:
        """Draw a box for the lesion that is worked on: the smallest around places in the world.

        Its slice is shown before the neighbours. Raises `BadInput` if the places are not on one
        slice of the scan.
        """
        corners = drawn_boxes.on_slice(self.volume_node, self.session.stack, np.array(places))
        self.pass_on_changes()
        if self.clicks.active is None:
            self.clicks.active = FreshLesion()
        box = click_edits.DrawnBox(*corners, self.clicks.active)

        def draw(session: Session, progress: Any, cancel: Any) -> None:
            drawn = click_edits.draw_box(session, box)
            first = self.steps.outcome(drawn)
            self.steps.post(lambda: show_first(first))
            session.propagate(drawn.to_propagate, progress, cancel)

        def show_first(outcome: Outcome) -> None:
            self._show(outcome)
            self.clicks.show(outcome.update.state)
            self._signals.changed()
            if outcome.value.notice:
                self._signals.notice(outcome.value.notice)

        return self.run("Box", draw, steps=lambda _: box_steps(box))

    def _submit_segments(self, edits: Sequence[segment_edits.SegmentEdit]) -> None:
        if edits:
            self.run(
                "Edit",
                lambda session, *_: segment_edits.apply(session, edits),
                steps=lambda _: segment_steps(edits),
            )

    def _update_label_updates(self) -> None:
        self._label_updates.separate = self.segments.separate.lesions()
        self._label_updates.borrowed = self.segments.borrowed.lesions_apart

    def close(self, store: bool) -> None:
        """Stop all jobs, after which nothing is told or shown any more; with ``store`` store the
        present state."""
        self._engine.worker.abandon(self)
        self.steps.close()
        if store:
            self.segments.add_rest()
        self.saver.close(store)

    # ---- the table and the views -----------------------------------------------------------

    def entries(self) -> list[LesionEntry]:
        """Return the rows of the panel's table."""
        return self._lesions.entries(self.state, self.segments.index.colours)

    def middle_of(self, lesion: Lesion) -> np.ndarray | None:
        """Return a place inside a lesion, in the scan's own RAS; None if it has no voxels."""
        return self._lesions.middle(lesion)
