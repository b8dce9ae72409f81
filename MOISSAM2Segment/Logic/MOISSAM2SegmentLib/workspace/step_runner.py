"""Steps of the work on a scan: changes of its session that run on the worker.

The outcome of a step arrives on the main thread, with the changes of the scan's label values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mois_core.errors import BadInput, Cancelled
from MOISSAM2SegmentLib.messages import error_message
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.worker.label_updates import LabelUpdates, Update
from MOISSAM2SegmentLib.workspace.step_record import (
    FROM_ELSEWHERE,
    StepRecord,
    Steps,
    unrecorded,
)

if TYPE_CHECKING:
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session
    from MOISSAM2SegmentLib.worker.engine import Engine

ENCODING_STOPPED = _("Stopped. A click on a slice that is not prepared takes a little longer.")
STOPPED = _("Stopped; the lesions are as they were.")
STOPPED_HALF_WAY = _("Stopped; what was finished is kept. Undo takes it back.")
UNCHANGED = _("{problem} The lesions are as they were.")

Action = Callable[["Session", "Progress", "CancelToken"], Any]
Then = Callable[[Any], None]


def ignore(result: Any) -> None:
    """Do nothing with the result of a step."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """The outcome of a step, or of the first part of one."""

    value: Any
    """What the step returned."""
    update: Update
    undo: str | None
    """The name of the step that an undo would take back."""
    redo: str | None
    """The name of the step that a redo would do again."""
    error: str = ""
    """What went wrong, in words for the user; empty if nothing did."""
    stopped: str = ""
    """What is left of a step that the user stopped, in words; empty if nobody did."""


class StepRunner:
    """Runs steps of one session on the worker thread."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        label_updates: LabelUpdates,
        owner: object,
        message: Callable[[str], None],
        notice: Callable[[str], None],
        record: StepRecord,
    ) -> None:
        """Jobs belong to ``owner``, so that they can be cancelled together.

        ``message`` is called with a sentence for the user if slices cannot be encoded, ``notice``
        with what the session tells in the middle of a step that goes on, and if encoding is
        stopped.
        """
        self.session = session
        self._engine = engine
        self._label_updates = label_updates
        self._owner = owner
        self._message, self._notice = message, notice
        self._record = record
        session.on_notice = self._tell

    def close(self) -> None:
        """Let the session tell nobody any more."""
        self.session.on_notice = None

    def _tell(self, text: str) -> None:
        # The session tells on the worker; the panel may be touched on the main thread only.
        self.post(lambda: self._notice(text))

    def run(
        self, name: str, action: Action, done: Callable[[Outcome], None], steps: Steps | None = None
    ) -> Job:
        """Run a step; ``done`` is given its outcome, also if it failed or was cancelled.

        ``steps`` tells the record what was done; without, no script can repeat it.
        """
        steps = steps or unrecorded(name)

        def work(progress: Progress, cancel: CancelToken) -> Outcome:
            before = self.session.state
            try:
                cancel.check()
                self._engine.wake()
                self._record.interrupted(FROM_ELSEWHERE)
                value = action(self.session, progress, cancel)
                self._record.add(steps(value))
                return self.outcome(value)
            except Cancelled:
                self._record.interrupted(name)
                is_unchanged = self.session.state is before
                return self.outcome(stopped=STOPPED if is_unchanged else STOPPED_HALF_WAY)
            except Exception as problem:
                self._record.interrupted(name)
                error = error_message(problem)
                if self.session.state is before and not isinstance(problem, BadInput):
                    error = UNCHANGED.format(problem=error)
                return self.outcome(error=error)

        # A job that is cancelled while it waits still reports, so that the scene is put right.
        job = Job(name, work, done, self._message, owner=self._owner, always_runs=True)
        return self._engine.worker.submit(job)

    def outcome(self, value: Any = None, error: str = "", stopped: str = "") -> Outcome:
        """Return an outcome with the session's present state. Runs on the worker."""
        history = self.session.history
        undo, redo = (steps[-1][0] if steps else None for steps in (history.past, history.future))
        update = self._label_updates.update()
        return Outcome(value, update, undo, redo, error, stopped)

    def post(self, deliver: Callable[[], None]) -> None:
        """Have a function called on the main thread in the middle of a step."""
        self._engine.worker.post(deliver, owner=self._owner)

    def go_on(self, deliver: Callable[[], None]) -> None:
        """Have the rest of what follows a step called next, in a turn of its own if need be."""
        self._engine.worker.go_on(deliver, owner=self._owner)

    def prepare(self, look_at: int) -> Job:
        """Encode slices in the background, beginning with the one of this index.

        The job makes way for all others.
        """

        is_running = False

        def work(progress: Progress, cancel: CancelToken) -> None:
            nonlocal is_running
            is_running = True
            self._engine.wake()
            try:
                self.session.prepare(look_at, progress, cancel)
            except Cancelled:
                is_running = not job.made_way
                raise

        def cancelled() -> None:
            # One that only waited was stopped with another job, which tells the user more.
            if is_running:
                self._notice(ENCODING_STOPPED)

        job = Job("Encode slices", work, ignore, self._message, cancelled, True, self._owner)
        return self._engine.worker.submit(job)
