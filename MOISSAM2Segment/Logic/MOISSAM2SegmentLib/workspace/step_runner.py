"""Steps of the work on a scan: changes of its session that run on the worker.

The outcome of a step arrives on the main thread, with the changes of the scan's label values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mois_core.errors import Cancelled
from MOISSAM2SegmentLib.messages import error_message
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

Action = Callable[["Session", "Progress", "CancelToken"], Any]
Then = Callable[[Any], None]


def ignore(_: Any) -> None:
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


class StepRunner:
    """Runs steps of one session on the worker thread."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        label_updates: LabelUpdates,
        owner: object,
        message: Callable[[str], None],
        record: StepRecord,
    ) -> None:
        """Jobs belong to ``owner``, so that they can be cancelled together.

        ``message`` is called with a sentence for the user if slices cannot be encoded.
        """
        self.session = session
        self._engine = engine
        self._label_updates = label_updates
        self._owner = owner
        self._message = message
        self._record = record

    def run(
        self, name: str, action: Action, done: Callable[[Outcome], None], steps: Steps | None = None
    ) -> Job:
        """Run a step; ``done`` is given its outcome, also if it failed or was cancelled.

        ``steps`` tells the record what was done; without, no script can repeat it.
        """
        steps = steps or unrecorded(name)

        def work(progress: Progress, cancel: CancelToken) -> Outcome:
            value, error = None, ""
            try:
                cancel.check()
                self._engine.wake()
                self._record.interrupted(FROM_ELSEWHERE)
                value = action(self.session, progress, cancel)
                self._record.add(steps(value))
            except Cancelled:
                self._record.interrupted(name)
            except Exception as problem:
                self._record.interrupted(name)
                error = error_message(problem)
            return self.outcome(value, error)

        # A job that is cancelled while it waits still reports, so that the scene is put right.
        job = Job(name, work, done, self._message, owner=self._owner, always_runs=True)
        return self._engine.worker.submit(job)

    def outcome(self, value: Any, error: str = "") -> Outcome:
        """Return an outcome with the session's present state. Runs on the worker."""
        history = self.session.history
        undo, redo = (steps[-1][0] if steps else None for steps in (history.past, history.future))
        return Outcome(value, self._label_updates.update(), undo, redo, error)

    def post(self, deliver: Callable[[], None]) -> None:
        """Have a function called on the main thread in the middle of a step."""
        self._engine.worker.post(deliver, owner=self._owner)

    def prepare(self, look_at: int) -> Job:
        """Encode slices in the background, beginning with the one of this index.

        The job makes way for all others.
        """

        def work(progress: Progress, cancel: CancelToken) -> None:
            self._engine.wake()
            self.session.prepare(look_at, progress, cancel)

        job = Job("Encode slices", work, failed=self._message, background=True, owner=self._owner)
        return self._engine.worker.submit(job)
