"""The module's workspace: the scan that is being worked on, from its opening to its end.

The owner of a workspace calls `pump` from a timer while `needs_pump` is true; nothing here waits.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.comparison_display import show_everywhere
from MOISSAM2SegmentLib.scene.lesion_segments import LesionSegments
from MOISSAM2SegmentLib.scene.scene_events import SceneEvents
from MOISSAM2SegmentLib.scene.slice_views import visible_slice
from MOISSAM2SegmentLib.scene.transforms import view_of
from MOISSAM2SegmentLib.signal import Signal
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace.commands import Commands
from MOISSAM2SegmentLib.workspace.comparison import REMOVED, Comparisons
from MOISSAM2SegmentLib.workspace.dicom_export import DicomExport
from MOISSAM2SegmentLib.workspace.effect_segments import EffectSegments
from MOISSAM2SegmentLib.workspace.lesion_list import LesionEntry
from MOISSAM2SegmentLib.workspace.open_scan import (
    TAKEN_OVER,
    EarlierSession,
    OpenedScan,
    earlier_sessions,
    hide,
    open_scan,
    outlined_lesions,
    take_over,
)
from MOISSAM2SegmentLib.workspace.recovery import Recovery
from MOISSAM2SegmentLib.workspace.report import Reports
from MOISSAM2SegmentLib.workspace.scan_work import ScanChange, ScanWork, WorkSignals
from MOISSAM2SegmentLib.workspace.stations import Stations
from MOISSAM2SegmentLib.workspace.views import Views

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.state import Settings, State
    from MOISSAM2SegmentLib.worker.engine import Engine

LITTLE_S = 0.005
"""If the main thread was busy for longer with what the worker delivered, all else waits for the
next turn. Waiting for the worker does not count."""

NO_SCAN = _("Open a scan first.")
SCAN_REMOVED = _("The scan was removed, so work on it ended. Its lesions are still there.")
SCAN_CHANGED = _("The scan was changed, so work on it ended. Its lesions are still there.")
SEGMENTS_REMOVED = _(
    "The segmentation with the lesions was removed, so work on the scan ended. Start again to get "
    "them back."
)
STOPPED_OPENING = _("Stopped. Press Start to prepare the scan.")
CLOSED = ""
"""The reason when the scene was closed: there is nothing left to explain."""


class Workspace:
    """The scan that is open, if any, and everything that can be done with it.

    `commands` holds the commands of the panel's buttons, `editing` those of the Segment Editor's
    effect, `reports` makes lesion reports, `dicom` writes DICOM files, `views` show the scan and
    its lesions, `comparison` is that with an earlier scan, `stations` joins volumes, `recovery`
    keeps what is lost if Slicer dies. `work` is the work on the open scan, None if none is.
    """

    def __init__(self, scene: Any, engine: Engine) -> None:
        self.scene = scene
        self.engine = engine
        self.opened = Signal()
        """Called when a scan is ready to be worked on."""
        self.changed = Signal()
        """Called when another state is shown."""
        self.begins = Signal()
        """Called when a step begins: what was said of the one before is no longer of interest."""
        self.message = Signal()
        """Called with a sentence for the user when something could not be done, or has ended."""
        self.notice = Signal()
        """Called with a sentence for the user when something was done, or goes on, in another way
        than the user may expect."""
        self.ended = Signal()
        """Called with the reason when the work ends; it is empty if the user knows it."""
        self.pump_requested = Signal()
        """Called when `pump` has to be called although no job is running."""
        self.volume_node: Any = None
        """The scan that is open or being opened."""
        self.work: ScanWork | None = None
        self.commands = Commands(self.open_work)
        self.effect_segments = EffectSegments(self.open_work, self.message)
        self.reports = Reports(self.open_work, engine, self.message)
        self.dicom = DicomExport(self.open_work, engine, self.message)
        self.stations = Stations(scene, engine, self.message)
        self.recovery = Recovery(scene, engine, self.message)
        self.views = Views(scene, engine, lambda: self.work)
        self.comparison = Comparisons(self.open_work, engine, self.views, self.message)
        self.changed.connect(self.views.update)
        self._events: SceneEvents | None = None
        self._is_pumping = False

    # ---- the scan that is open -------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a scan is open."""
        return self.work is not None

    def open_work(self) -> ScanWork:
        """Return the work on the scan that is open; raises `BadInput` if none is."""
        if self.work is None:
            raise BadInput(NO_SCAN)
        return self.work

    @property
    def session(self) -> Session:
        """The session of the scan that is open."""
        return self.open_work().session

    @property
    def state(self) -> State:
        """The state that is shown; that of the session may be a step ahead."""
        return self.open_work().state

    @property
    def segments(self) -> LesionSegments:
        """The segments of the lesions."""
        return self.open_work().segments

    @property
    def segments_node(self) -> Any:
        """The segmentation that shows the lesions; None if no scan is open."""
        return self.work.segments_node if self.work is not None else None

    @property
    def points_node(self) -> Any:
        """The list of points that holds the clicks; None if no scan is open."""
        return self.work.points_node if self.work is not None else None

    def entries(self) -> list[LesionEntry]:
        """Return the rows of the panel's table; none if no scan is open."""
        return self.work.entries() if self.work is not None else []

    # ---- opening and ending ----------------------------------------------------------------

    def start(
        self,
        volume_node: Any,
        settings: Settings | None = None,
        resume: bool = True,
        arrange_views: bool = False,
    ) -> Job:
        """Open a scan, resuming a session that the scene holds, and encode its slices.

        Without ``resume`` a new session is begun beside the stored one. With ``arrange_views``
        Slicer's views are laid out for the scan until the work ends. Slices are encoded in the
        background, beginning with the one that the views show. Raises `BadInput` if the node is no
        scan.
        """
        self.end()
        # A scene that was saved during a comparison.
        show_everywhere(self.scene)
        volume = view_of(volume_node)
        earlier = earlier_sessions(self.scene, volume_node) if resume else []
        self.volume_node = volume_node
        self._events = SceneEvents(self.scene)
        self._events.on_removed = self._on_removed
        self._events.on_closing = self._on_closing
        self._events.on_pump_requested = self.pump_requested
        self._events.watch_scan(volume_node)
        if arrange_views:
            self.views.arrange(volume_node)

        def work(progress: Any, cancel: Any) -> OpenedScan:
            return open_scan(self.engine, volume, settings, earlier, progress)

        def take(opened: OpenedScan) -> None:
            self._begin(opened)
            if opened.problem:
                self._take_over(opened.problem, earlier)
            axis = self.session.settings.axis
            self.work.steps.prepare(visible_slice(self.scene, volume_node, axis))

        def give_up(text: str = STOPPED_OPENING) -> None:
            self.end(text, store=False)
            self.message(text)

        job = Job("Open the scan", work, take, give_up, give_up, owner=self)
        return self.engine.worker.submit(job)

    def _begin(self, opened: OpenedScan) -> None:
        assert self._events is not None
        signals = WorkSignals(self.changed, self.begins, self.message, self.notice)
        self.work = ScanWork(self.engine, self.volume_node, opened, self._events, signals)
        self._events.on_moved = self._follow_transform
        self.work.saver.on_stored = self.recovery.files.follow(
            self.volume_node, opened.session, opened.resumed
        )
        self.views.begin(self.work)
        self.opened()
        self.changed()

    def _follow_transform(self) -> None:
        self.open_work().follow_transform()
        self.views.follow_transform()
        self.comparison.follow_transform()

    def _take_over(self, problem: str, earlier: Sequence[EarlierSession]) -> None:
        work = self.open_work()
        lesions = outlined_lesions(earlier, self.volume_node)
        hide(earlier)
        work.segments.index.colours.update({le.lesion_id: le.colour for le in lesions})
        if lesions:
            work.run("Take over", lambda session, *how: take_over(session, lesions, *how))
        self.message(TAKEN_OVER.format(reason=problem) if lesions else problem)

    def end(self, reason: str = "", store: bool = True) -> None:
        """End the work on the scan. Its nodes and its stored session stay in the scene."""
        if self.volume_node is None:
            return
        self.comparison.end()
        self.comparison.forget()
        work, events = self.work, self._events
        self.work = self.volume_node = self._events = None
        self.engine.worker.abandon(self)
        if events is not None:
            events.clear()
        if work is not None:
            work.close(store)
        self.views.end()
        self.engine.tidy()
        self.ended(reason)

    def close(self) -> None:
        """End the work for good, and call no connected function any more."""
        self.end()
        self.stations.close()
        self.recovery.close()
        self.comparison.changed.clear()
        signals = (self.opened, self.changed, self.begins, self.message, self.notice, self.ended)
        for signal in (*signals, self.pump_requested):
            signal.clear()

    # ---- pumping ---------------------------------------------------------------------------

    @property
    def needs_pump(self) -> bool:
        """Whether `pump` has something to do, or to wait for."""
        return self.engine.is_busy or (self.work is not None and self.work.has_changes)

    def pump(self) -> None:
        """Deliver the results of jobs, and pass changes of nodes on to the session.

        Calls from within itself do nothing: a connected function may open a dialog, whose event
        loop keeps the timer running that calls this.
        """
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            end = time.thread_time() + LITTLE_S
            self.engine.pump()
            self.views.settle()
            if time.thread_time() < end:
                self._pass_on_changes()
        finally:
            self._is_pumping = False

    def _pass_on_changes(self) -> None:
        work = self.work
        if work is None or self.scene.IsBatchProcessing():
            return
        if work.events.scan_changed:
            work.events.scan_changed = False
            if work.scan_change is ScanChange.MOVED:
                # Its nodes have moved along, or will when it is opened at its new place.
                self.start(self.volume_node, arrange_views=self.views.are_arranged)
                return
            if work.scan_change is ScanChange.OTHER_VOXELS:
                self.end(SCAN_CHANGED)
                self.message(SCAN_CHANGED)
                return
        work.pass_on_changes()

    def cancel(self) -> None:
        """Cancel the jobs of the work that run or wait. What was finished stays."""
        self.engine.worker.cancel(self)
        if self.work is not None:
            self.engine.worker.cancel(self.work)

    # ---- removed nodes ---------------------------------------------------------------------

    def _on_removed(self, node: Any) -> None:
        """Called just before a node is removed, when references to it can still be dropped."""
        work = self.work
        if self.comparison.is_in(node):
            self.comparison.end()
            self.message(REMOVED)
        if node is self.volume_node:
            self.end(SCAN_REMOVED, store=False)
            self.message(SCAN_REMOVED)
        elif work is None:
            return
        elif node is work.segments_node:
            self.end(SEGMENTS_REMOVED)
            self.message(SEGMENTS_REMOVED)
        elif node is work.points_node:
            work.points_were_removed()
            self.pump_requested()
        elif work.saver.is_in(node):
            work.saver.forget_node()

    def _on_closing(self) -> None:
        work = self.work
        self.comparison.end(is_closing=True)
        self.views.end(is_closing=True)
        self.end(CLOSED, store=False)
        if work is not None:
            work.segments.empty_for_closing()
