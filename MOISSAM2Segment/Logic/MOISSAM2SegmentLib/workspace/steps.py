"""Steps of the work on a scan: each runs on the worker, and what came of it is then shown.

A step is one change of the session. It returns at once; its outcome arrives on the main thread,
together with how the label values of the scan differ from those before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mois_core.errors import Cancelled
from MOISSAM2SegmentLib.messages import words_for
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.worker.label_updates import LabelUpdates, Update

if TYPE_CHECKING:
    from mois_core.progress import CancelToken, Progress
    from mois_core.session import Session
    from MOISSAM2SegmentLib.worker.engine import Engine

Action = Callable[["Session", "Progress", "CancelToken"], Any]
Then = Callable[[Any], None]


def ignore(_: Any) -> None:
    """Do nothing with what came of a step."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a step, or of the first part of one."""

    value: Any
    update: Update
    undo: str | None
    """The name of the step that an undo takes back."""
    redo: str | None
    error: str = ""
    """What went wrong, in words for the user."""


class StepRunner:
    """Runs steps of one session on the worker thread."""

    def __init__(
        self,
        engine: Engine,
        session: Session,
        label_updates: LabelUpdates,
        owner: object,
        say: Callable[[str], None],
    ) -> None:
        """Jobs belong to ``owner``, so that they can be cancelled together."""
        self.session = session
        self._engine = engine
        self._label_updates = label_updates
        self._owner = owner
        self._say = say

    def run(self, name: str, action: Action, done: Callable[[Outcome], None]) -> Job:
        """Run a step; ``done`` is given its outcome, also if it failed or was cancelled."""

        def work(progress: Progress, cancel: CancelToken) -> Outcome:
            value, error = None, ""
            try:
                cancel.check()
                self._engine.wake()
                value = action(self.session, progress, cancel)
            except Cancelled:
                pass
            except Exception as problem:
                error = words_for(problem)
            return self.outcome(value, error)

        # A job that is cancelled while it waits still reports, so that the scene is put right.
        job = Job(name, work, done, self._say, owner=self._owner, always_runs=True)
        return self._engine.worker.submit(job)

    def outcome(self, value: Any, error: str = "") -> Outcome:
        """Return the session's present state as an outcome. Runs on the worker."""
        history = self.session.history
        undo, redo = (steps[-1][0] if steps else None for steps in (history.past, history.future))
        return Outcome(value, self._label_updates.update(), undo, redo, error)

    def post(self, deliver: Callable[[], None]) -> None:
        """Deliver something to the main thread in the middle of a step."""
        self._engine.worker.post(deliver, owner=self._owner)

    def prepare(self, look_at: int) -> Job:
        """Encode slices ahead of the clicks; makes way for everything else."""

        def work(progress: Progress, cancel: CancelToken) -> None:
            self._engine.wake()
            self.session.prepare(look_at, progress, cancel)

        job = Job("Encode slices", work, failed=self._say, background=True, owner=self._owner)
        return self._engine.worker.submit(job)
