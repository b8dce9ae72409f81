"""Jobs that take time, on one thread that lives as long as the module.

One thread, because the network and its sessions are not made for several, and because a graphics
card's plans are kept per thread: a new thread for each click would make the click take ten times as
long. Results wait until the main thread asks for them, for only the main thread may touch the
scene.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mois_core.errors import Cancelled
from mois_core.progress import CancelToken, Progress
from MOISSAM2SegmentLib.messages import error_message
from MOISSAM2SegmentLib.signal import Signal

GIVE_WAY_S = 0.004
"""How long a call of `pump` lets the other thread run. Slicer's Python gives a thread time only
while the main one waits; with a 5 ms timer this was measured to give it full speed."""

ENOUGH_S = 0.02
"""When a call of `pump` has delivered results for so long, the others wait for the next call, so
that the user can do something in between. One result should take no more than 50 ms."""

Work = Callable[[Progress, CancelToken], Any]


def _nothing(*_: Any) -> None:
    pass


@dataclass(eq=False)
class Job:
    """Work for the worker thread, and what the main thread does with its result."""

    name: str
    work: Work
    done: Callable[[Any], None] = _nothing
    failed: Callable[[str], None] = _nothing
    cancelled: Callable[[], None] = _nothing
    background: bool = False
    """Whether it makes way for other jobs at once and is started again afterwards."""
    owner: object = None
    """Object by which jobs are cancelled together."""
    always_runs: bool = False
    """Whether it is run even if it was cancelled while it waited."""
    token: CancelToken = field(default_factory=CancelToken, init=False)
    made_way: bool = field(default=False, init=False)
    abandoned: bool = field(default=False, init=False)


class Worker:
    """A thread with a queue of jobs, and the delivery of their results to the main thread."""

    def __init__(self, name: str = "MOISSAM2") -> None:
        self.name = name
        self.progressed = Signal()
        """Called with (job, units done, units in total, what is being done)."""
        self.busy_changed = Signal()
        """Called with True when `pump` has to be called, and with False when it need not."""
        self._lock = threading.Condition()
        self._news = threading.Event()
        self._queue: deque[Job] = deque()
        self._background: deque[Job] = deque()
        self._current: Job | None = None
        self._finished: deque[tuple[Job, Callable[[], None]]] = deque()
        self._progress: tuple[Job, int, int, str] | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._was_busy = False
        self._goes_on = False

    # ---- main thread -----------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether any job is running, waiting, or finished and not yet delivered."""
        with self._lock:
            return self._has_work() or bool(self._finished)

    @property
    def current(self) -> Job | None:
        """The job that is running; None if there is none."""
        return self._current

    @property
    def is_closed(self) -> bool:
        """Whether the worker was closed and takes no more jobs."""
        return self._closing

    def submit(self, job: Job) -> Job:
        """Run a job as soon as those submitted before it are done, and return it."""
        with self._lock:
            if self._closing:
                raise RuntimeError("the worker is closed")
            (self._background if job.background else self._queue).append(job)
            current = self._current
            if not job.background and current is not None and current.background:
                current.made_way = True
                current.token.cancel()
            if self._thread is None:
                # A daemon: nothing that is computed may keep Slicer from closing.
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            self._lock.notify()
        self._signal_busy()
        return job

    def cancel(self, owner: object = None) -> None:
        """Cancel the job that is running and those that wait; of one owner only, if given."""
        with self._lock:
            for job in self._jobs():
                if owner is None or job.owner is owner:
                    job.made_way = False
                    job.token.cancel()

    def abandon(self, owner: object) -> None:
        """Cancel an owner's jobs, and deliver no result of them any more."""
        with self._lock:
            for job in [*self._jobs(), *(job for job, _ in self._finished)]:
                if job.owner is owner:
                    job.abandoned, job.made_way = True, False
                    job.token.cancel()

    def pump(self, give_way: float = GIVE_WAY_S) -> None:
        """Deliver finished jobs, then let the worker run for a moment if it has work.

        To be called from a timer while the worker is busy. If delivery takes long, the rest is left
        to the next call.
        """
        self._news.clear()
        progress, self._progress = self._progress, None
        if progress is not None and not progress[0].abandoned:
            self.progressed(*progress)
        end = time.perf_counter() + ENOUGH_S
        self._goes_on = False
        while self._finished and not self._goes_on and time.perf_counter() < end:
            job, deliver = self._finished.popleft()
            if self._progress is not None and self._progress[0] is job:
                # It came after the last one was told, and would hold the job from now on.
                self._progress = None
            if not job.abandoned:
                deliver()
        self._signal_busy()
        if give_way and self._was_busy and not self._finished:
            self._news.wait(give_way)

    def close(self, timeout: float = 5.0) -> bool:
        """End the thread, drop the result of its job, and return whether it ended in time."""
        with self._lock:
            self._closing = True
            for job in self._jobs():
                job.abandoned, job.made_way = True, False
                job.token.cancel()
            self._queue.clear()
            self._background.clear()
            self._finished.clear()
            self._lock.notify()
        self._signal_busy()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _signal_busy(self) -> None:
        busy = self.is_busy
        if busy != self._was_busy:
            self._was_busy = busy
            self.busy_changed(busy)

    def _has_work(self) -> bool:
        return bool(self._queue or self._background or self._current)

    def _jobs(self) -> list[Job]:
        running = [self._current] if self._current else []
        return [*running, *self._queue, *self._background]

    # ---- worker thread ---------------------------------------------------------------------

    def post(self, deliver: Callable[[], None], owner: object = None) -> None:
        """Have a function called on the main thread in the middle of a job."""
        with self._lock:
            self._finished.append((Job("", lambda *_: None, owner=owner), deliver))
        self._news.set()

    def go_on(self, deliver: Callable[[], None], owner: object = None) -> None:
        """Have the rest of a delivery called in the next `pump`, before anything else."""
        self._goes_on = True
        with self._lock:
            self._finished.appendleft((Job("", lambda *_: None, owner=owner), deliver))

    def _run(self) -> None:
        while True:
            with self._lock:
                while not (self._queue or self._background or self._closing):
                    self._lock.wait()
                if self._closing:
                    return
                job = (self._queue or self._background).popleft()
                self._current = job
            delivery = self._result_of(job)
            with self._lock:
                self._current = None
                if delivery is None:
                    job.token, job.made_way = CancelToken(), False
                    self._background.appendleft(job)
                else:
                    self._finished.append((job, delivery))
                # Held on to, a job would outlive the session that it belongs to. Whoever asks
                # whether there is work waits for the lock, and so for this.
                del job, delivery
            self._news.set()

    def _result_of(self, job: Job) -> Callable[[], None] | None:
        """Run a job, and return its delivery; None if it made way and has to start again."""

        def progress(done: int, total: int, what: str) -> None:
            self._progress = (job, done, total, what)

        try:
            if not job.always_runs:
                job.token.check()
            result = job.work(progress, job.token)
        except Cancelled:
            return None if job.made_way else job.cancelled
        except BaseException as error:
            text = error_message(error)
            return lambda: job.failed(text)
        return lambda: job.done(result)
