"""A scan being worked on in the scene: its session, and the nodes that show it.

The scene and the session follow each other through two queues. What the user does to nodes is
gathered and becomes steps on the worker; what comes of a step is shown when it is done. Whoever
owns a workspace calls `pump` from a timer while `needs_pump` says so; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from mois_core.errors import BadInput, Cancelled
from MOISSAM2SegmentLib.messages import words_for
from MOISSAM2SegmentLib.scene import control_points
from MOISSAM2SegmentLib.scene.click_points import ClickPoints
from MOISSAM2SegmentLib.scene.lesion_segments import CLASS as SEGMENTATION_CLASS
from MOISSAM2SegmentLib.scene.lesion_segments import LesionSegments
from MOISSAM2SegmentLib.scene.scene_events import SceneEvents
from MOISSAM2SegmentLib.scene.stored_session import POINTS, SEGMENTS, StoredSession
from MOISSAM2SegmentLib.scene.transforms import to_world, view_of, volume_of
from MOISSAM2SegmentLib.signal import Signal
from MOISSAM2SegmentLib.worker import click_edits, segment_edits
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.worker.label_updates import LabelUpdates, Update
from MOISSAM2SegmentLib.workspace.commands import Action, Steps, Then
from MOISSAM2SegmentLib.workspace.lesion_list import Entry, LesionList
from MOISSAM2SegmentLib.workspace.open_scan import (
    TAKEN_OVER,
    Earlier,
    Opened,
    earlier_sessions,
    open_scan,
    outlined_lesions,
    take_over,
)
from MOISSAM2SegmentLib.workspace.report import Reporting
from MOISSAM2SegmentLib.workspace.segment_editing import NO_SCAN, Editing
from MOISSAM2SegmentLib.workspace.session_saver import SessionSaver

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.state import Settings, State
    from MOISSAM2SegmentLib.worker.engine import Engine

SCAN_REMOVED = "The scan was removed, so work on it ended. Its lesions are still there."
SCAN_CHANGED = "The scan was changed, so work on it ended. Its lesions are still there."
SEGMENTS_REMOVED = (
    "The segmentation with the lesions was removed, so work on the scan ended. Start again to get "
    "them back."
)
POINTS_REMOVED = "The list of points was removed. A new one was made from what is known."
CLOSED = ""
"""The scene was closed: there is nothing left to talk about."""


@dataclass(frozen=True, eq=False)
class _Outcome:
    value: Any
    update: Update
    undo: str | None
    redo: str | None
    error: str = ""


class Workspace(Steps, Reporting, Editing):
    """One scan at a time."""

    def __init__(self, scene: Any, engine: Engine) -> None:
        self.scene = scene
        self.engine = engine
        self.opened = Signal()
        """Called when a scan is ready to be worked on."""
        self.changed = Signal()
        """Called when `state` is another one, and shown."""
        self.message = Signal()
        """Called with a sentence for the user."""
        self.ended = Signal()
        """Called with the reason, which is empty if the user knows it."""
        self.pump_requested = Signal()
        """Called when `pump` should be called again although nothing is running."""
        self._is_pumping = False
        self._forget()

    def _forget(self) -> None:
        self.volume_node: Any = None
        self.segments_node: Any = None
        self.points_node: Any = None
        self.segments: LesionSegments | None = None
        self.clicks: ClickPoints | None = None
        self.session: Session | None = None
        self.state: State | None = None
        """The state that is shown; the session may be a step ahead."""
        self.undo_name: str | None = None
        self.redo_name: str | None = None
        self._events: SceneEvents | None = None
        self._painter: LabelUpdates | None = None
        self._saver: SessionSaver | None = None
        self._list: LesionList | None = None
        self._transform: str | None = None
        self._points_gone = False

    # ---- opening and ending ----------------------------------------------------------------

    def start(self, volume_node: Any, settings: Settings | None = None, look_at: int = 0) -> Job:
        """Open a scan, going on where the scene says so; then encode its slices in the background,
        nearest to the slice number ``look_at`` first. Raises `BadInput` for what is no scan."""
        self.end()
        volume = volume_of(volume_node)
        earlier = earlier_sessions(self.scene, volume_node)
        self.volume_node = volume_node
        self._events = SceneEvents(self.scene)
        self._events.on_removed = self._on_removed
        self._events.on_closing = self._on_closing
        self._events.on_pump_requested = self.pump_requested
        self._events.on_moved = self._follow_transform
        self._events.watch_scan(volume_node)

        def work(progress: Any, cancel: Any) -> Opened:
            return open_scan(self.engine, volume, settings, earlier, progress)

        def take(opened: Opened) -> None:
            self._begin(opened)
            if opened.problem:
                self._take_over(opened.problem, earlier)
            self.prepare(look_at)

        def give_up(text: str = "") -> None:
            self.end(text, store=False)
            if text:
                self.message(text)

        return self.engine.worker.submit(
            Job("Open the scan", work, take, give_up, give_up, owner=self)
        )

    def _begin(self, opened: Opened) -> None:
        self.session, self._painter = opened.session, opened.painter
        volume = opened.session.volume
        stored = opened.resumed or StoredSession.create(self.scene, self.volume_node)
        self._saver = SessionSaver(self.engine.save_worker, stored, opened.session, self)
        self._list = LesionList(opened.session.stack)
        self.segments_node, had_segments = self._node(stored, SEGMENTS, self._new_segmentation)
        self.points_node, had_points = self._node(stored, POINTS, self._new_points)
        self.segments = LesionSegments(self.segments_node, volume, opened.canvas)
        self.clicks = self._clicks_of(self.points_node)
        self._events.is_ours = lambda: self.segments.is_writing
        self._follow_transform()
        self.state = opened.update.state
        edits = []
        if had_segments:
            edits = self.segments.adopt(opened.update)
        else:
            self.segments.show(opened.update)
        self._painter.apart = self.segments.apart
        if had_points:
            self.clicks.adopt(self.state)
            removed = self.clicks.unmatched(self.state)
            self._submit_clicks([*removed, *self.clicks.edits()])
        else:
            self.clicks.show(self.state)
        self._submit_segments(edits)
        self._events.watch_segments(self.segments_node)
        self._events.watch_points(self.points_node)
        self._keep()
        self.opened()
        self.changed()

    def _take_over(self, problem: str, earlier: Sequence[Earlier]) -> None:
        lesions = outlined_lesions(earlier, self.volume_node)
        self.message(TAKEN_OVER.format(reason=problem) if lesions else problem)
        self.segments.colours.update({lesion.number: lesion.colour for lesion in lesions})
        if lesions:
            self._step("Take over", lambda session, *how: take_over(session, lesions, *how))

    def _node(self, stored: StoredSession, role: str, make: Callable[[], Any]) -> tuple[Any, bool]:
        node = stored.referenced(role)
        if node is not None:
            return node, True
        node = make()
        stored.refer(role, node)
        return node, False

    def _new_segmentation(self) -> Any:
        node = self.scene.AddNewNodeByClass(
            SEGMENTATION_CLASS, f"{self.volume_node.GetName()} lesions"
        )
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.volume_node)
        return node

    def _new_points(self) -> Any:
        return control_points.new_list(self.scene, f"{self.volume_node.GetName()} clicks")

    def _clicks_of(self, node: Any) -> ClickPoints:
        assert self.session is not None
        return ClickPoints(node, self.volume_node, self.session.stack, self.message)

    def end(self, reason: str = "", store: bool = True) -> None:
        """Stop working on the scan. What is shown stays in the scene, and what is stored too."""
        if self.volume_node is None:
            return
        self.engine.worker.abandon(self)
        if self._events is not None:
            self._events.clear()
        if self._saver is not None:
            self._saver.close(store and self.session is not None)
        self._forget()
        self.engine.tidy()
        self.ended(reason)

    def close(self) -> None:
        """End for good; nobody is told anything any more."""
        self.end()
        for signal in (self.opened, self.changed, self.message, self.ended, self.pump_requested):
            signal.clear()

    @property
    def is_open(self) -> bool:
        """Whether there is a session to work with."""
        return self.session is not None

    # ---- the turn of the wheel -------------------------------------------------------------

    @property
    def needs_pump(self) -> bool:
        """Whether `pump` has something to do, or to wait for."""
        flagged = self._events is not None and self._events.is_flagged and self.is_open
        return self.engine.is_busy or flagged or self._points_gone

    def pump(self) -> None:
        """Show what is finished, and pass on what the user did. Never calls itself: a listener
        may open a dialog, whose event loop goes on turning the timer that calls this."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            self.engine.pump()
            self.follow()
        finally:
            self._is_pumping = False

    def follow(self) -> None:
        """Pass on what the user did to the nodes."""
        watch = self._events
        if watch is None or not self.is_open or self.scene.IsBatchProcessing():
            return
        if watch.scan_changed:
            watch.scan_changed = False
            if not self._is_same_scan():
                self.end(SCAN_CHANGED)
                self.message(SCAN_CHANGED)
                return
        if self._points_gone:
            self._replace_points()
        if watch.points_changed and not watch.is_dragging:
            watch.points_changed = False
            self._submit_clicks(self.clicks.edits())
        if watch.segments_changed:
            watch.segments_changed = False
            self.segments.keep_foreign_apart()
            self._pass_on_segments()

    def _pass_on_segments(self) -> None:
        edits = self.segments.edits()
        self._tell_painter()
        self._submit_segments(edits)

    def _is_same_scan(self) -> bool:
        try:
            now = view_of(self.volume_node)
        except BadInput:
            return False
        volume = self.session.volume
        in_place = np.array_equal(now.ijk_to_ras, volume.ijk_to_ras)
        return in_place and np.array_equal(now.array, volume.array)

    def _follow_transform(self) -> None:
        """Results lie where the scan lies. So do the points, unless the user put them under
        another transform."""
        now = self.volume_node.GetTransformNodeID()
        if not self.is_open or now == self._transform:
            return
        self.segments_node.SetAndObserveTransformNodeID(now)
        if self.points_node.GetTransformNodeID() == self._transform:
            self.points_node.SetAndObserveTransformNodeID(now)
        self._transform = now

    # ---- steps -----------------------------------------------------------------------------

    def _step(self, name: str, action: Action, then: Then = lambda value: None) -> Job:
        return self._submit(name, action, lambda outcome: self._shown(outcome, then))

    def _submit(self, name: str, action: Action, done: Callable[[_Outcome], None]) -> Job:
        session = self.session
        if session is None:
            raise BadInput(NO_SCAN)

        def work(progress: Any, cancel: Any) -> _Outcome:
            value, error = None, ""
            try:
                cancel.check()
                self.engine.wake()
                value = action(session, progress, cancel)
            except Cancelled:
                pass
            except Exception as problem:
                error = words_for(problem)
            return outcome_of(value, error)

        outcome_of = self._outcome_maker()
        # A job that is cancelled while it waits still reports, so that the scene is put right.
        job = Job(name, work, done, self.message, owner=self, always_runs=True)
        return self.engine.worker.submit(job)

    def _outcome_maker(self) -> Callable[..., _Outcome]:
        session, painter = self.session, self._painter
        assert session is not None and painter is not None

        def outcome_of(value: Any, error: str = "") -> _Outcome:
            past, future = session.history.past, session.history.future
            undo, redo = (steps[-1][0] if steps else None for steps in (past, future))
            return _Outcome(value, painter.update(), undo, redo, error)

        return outcome_of

    def _shown(self, outcome: _Outcome, then: Then = lambda value: None) -> None:
        self._show(outcome)
        self.clicks.show(outcome.update.state)
        self._finish(outcome, then)

    def _show(self, outcome: _Outcome) -> None:
        self.segments.show(outcome.update)
        self._tell_painter()
        if self.segments.holds.have_written:
            # At once: whatever is shown next would hide what an editor did to other segments.
            self.segments.holds.have_written = False
            self._pass_on_segments()
        self.state = outcome.update.state
        self.undo_name, self.redo_name = outcome.undo, outcome.redo

    def _finish(self, outcome: _Outcome, then: Then = lambda value: None) -> None:
        self._keep()
        if outcome.error:
            self.message(outcome.error)
        elif outcome.value is not None:
            then(outcome.value)
        self.changed()

    def _submit_clicks(self, edits: Sequence[click_edits.Edit]) -> None:
        """The slices with the points are shown as soon as they are there, then the others."""
        if not edits:
            return
        outcome_of = self._outcome_maker()
        settled: list[click_edits.Applied] = []

        def apply(session: Session, progress: Any, cancel: Any) -> None:
            applied = click_edits.apply(session, edits, progress, cancel)
            first = outcome_of(applied)
            self.engine.worker.post(lambda: show_first(first), owner=self)
            session.propagate(applied.to_propagate, progress, cancel)

        def show_first(outcome: _Outcome) -> None:
            settled.append(outcome.value)
            self._show(outcome)
            self.clicks.settle(edits, outcome.value.became, outcome.update.state)
            self.changed()

        def done(outcome: _Outcome) -> None:
            self._show(outcome)
            if settled:
                self.clicks.show(outcome.update.state)
            else:
                self.clicks.settle(edits, {}, outcome.update.state)
            self._finish(outcome)

        self._submit("Click", apply, done)

    def _submit_segments(self, edits: Sequence[segment_edits.SegmentEdit]) -> None:
        if edits:
            self._step("Edit", lambda session, *_: segment_edits.apply(session, edits))

    def prepare(self, look_at: int = 0) -> Job:
        """Encode slices ahead of the clicks; makes way for everything else."""
        session = self.session
        assert session is not None

        def work(progress: Any, cancel: Any) -> None:
            self.engine.wake()
            session.prepare(look_at, progress, cancel)

        return self.engine.worker.submit(
            Job("Encode slices", work, failed=self.message, background=True, owner=self)
        )

    def cancel(self) -> None:
        """Stop what is running and what waits. Everything that was finished stays."""
        self.engine.worker.cancel(self)

    def _keep(self) -> None:
        if self._saver is not None:
            self._saver.keep()

    # ---- looking ---------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """The rows of the panel's table."""
        if self.state is None or self._list is None:
            return []
        return self._list.entries(self.state, self.segments.colours)

    def jump_to(self, number: int) -> bool:
        """Have all slice views show a lesion; False if there is nothing of it to show."""
        ras = self._list.middle(self.state.lesion(number)) if self.state and self._list else None
        if ras is None:
            return False
        place = to_world(self.volume_node, ras)[0].tolist()
        slicer.vtkMRMLSliceNode.JumpAllSlices(self.scene, *place)
        return True

    # ---- nodes that go ---------------------------------------------------------------------

    def _on_removed(self, node: Any) -> None:
        """Called in the middle of a removal, when the node can still be let go of."""
        if node is self.volume_node:
            self.end(SCAN_REMOVED, store=False)
            self.message(SCAN_REMOVED)
        elif node is self.segments_node:
            self.end(SEGMENTS_REMOVED)
            self.message(SEGMENTS_REMOVED)
        elif node is self.points_node:
            self._events.forget(node)
            self._points_gone = True
            self.pump_requested()
        elif self._saver is not None and self._saver.is_in(node):
            self._saver.lose()

    def _on_closing(self) -> None:
        segments = self.segments
        self.end(CLOSED, store=False)
        if segments is not None:
            segments.let_go()

    def _tell_painter(self) -> None:
        self._painter.apart = self.segments.apart
        self._painter.held = self.segments.holds.numbers

    def _use_segmentation(self, node: Any) -> None:
        before = self.segments_node
        self._events.forget(before)
        self.segments_node = node
        is_free = not before.GetSegmentation().GetNumberOfSegments()
        canvas = self.segments.canvas if is_free else None
        if canvas is not None:
            canvas.clear()
        self.segments = LesionSegments(node, self.session.volume, canvas)
        self._tell_painter()
        self._saver.refer(SEGMENTS, node)
        self._events.watch_segments(node)
        if is_free:
            self.scene.RemoveNode(before)

    def _replace_points(self) -> None:
        self._points_gone = False
        active, positive = self.clicks.active, self.clicks.positive
        self.points_node = self._new_points()
        self.clicks = self._clicks_of(self.points_node)
        self.clicks.active, self.clicks.positive = active, positive
        self._follow_transform()
        self.clicks.show(self.state)
        self._saver.refer(POINTS, self.points_node)
        self._events.watch_points(self.points_node)
        self.message(POINTS_REMOVED)
