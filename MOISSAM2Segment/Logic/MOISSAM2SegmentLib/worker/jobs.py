"""Work that takes time, on one thread that lives as long as the module.

One thread, because the network and its sessions are not made for several, and because a graphics
card's plans are kept per thread: a new one for each click would make the click ten times dearer.
Results wait until the main thread asks for them, for only the main thread may touch the scene.
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
from MOISSAM2SegmentLib.messages import words_for
from MOISSAM2SegmentLib.signal import Signal

GIVE_WAY_S = 0.004
"""How long a turn of the pump lets the other thread run. Slicer's Python gives a thread time only
while the main one waits; with a 5 ms timer this was measured to give it full speed."""

ENOUGH_S = 0.02
"""When a turn has delivered for so long, whatever else is finished waits for the next one, so that
the user can do something in between. One result should take no more than 50 ms."""

Work = Callable[[Progress, CancelToken], Any]


def _nothing(*_: Any) -> None:
    pass


@dataclass(eq=False)
class Job:
    """Something to do on the worker, and what to do with its result on the main thread."""

    name: str
    work: Work
    done: Callable[[Any], None] = _nothing
    failed: Callable[[str], None] = _nothing
    cancelled: Callable[[], None] = _nothing
    background: bool = False
    """Makes way for others at once and goes on afterwards; it must be able to start again."""
    owner: object = None
    always_runs: bool = False
    """Is run even if it was cancelled while it waited, because it has more to do than the work."""
    token: CancelToken = field(default_factory=CancelToken, init=False)
    made_way: bool = field(default=False, init=False)
    abandoned: bool = field(default=False, init=False)


class Worker:
    """The thread, its queue, and the way back."""

    def __init__(self, name: str = "MOISSAM2") -> None:
        self.name = name
        self.progressed = Signal()
        """Called with (job, units done, units in total, what is being done)."""
        self.busy_changed = Signal()
        """Called with True when there is something to wait for, and with False afterwards."""
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

    # ---- main thread -----------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether anything is running, waiting, or finished and not yet delivered."""
        with self._lock:
            return self._has_work() or bool(self._finished)

    @property
    def current(self) -> Job | None:
        """What is running now."""
        return self._current

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be submitted any more."""
        return self._closing

    def submit(self, job: Job) -> Job:
        """Do something as soon as what was submitted before is done."""
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
        self._tell_if_busy()
        return job

    def cancel(self, owner: object = None) -> None:
        """Stop what is running and forget what waits; of one owner only, if one is given."""
        with self._lock:
            for job in self._jobs():
                if owner is None or job.owner is owner:
                    job.made_way = False
                    job.token.cancel()

    def abandon(self, owner: object) -> None:
        """Cancel an owner's jobs and deliver nothing of them any more."""
        with self._lock:
            for job in [*self._jobs(), *(job for job, _ in self._finished)]:
                if job.owner is owner:
                    job.abandoned, job.made_way = True, False
                    job.token.cancel()

    def pump(self, give_way: float = GIVE_WAY_S) -> None:
        """Deliver what is finished, in several turns if that takes long, then let the worker run
        for a moment if it has work.

        To be called from a timer while the worker is busy.
        """
        self._news.clear()
        if self._progress is not None:
            progress, self._progress = self._progress, None
            if not progress[0].abandoned:
                self.progressed(*progress)
        end = time.perf_counter() + ENOUGH_S
        while self._finished and time.perf_counter() < end:
            job, deliver = self._finished.popleft()
            if not job.abandoned:
                deliver()
        self._tell_if_busy()
        if give_way and self._was_busy and not self._finished:
            self._news.wait(give_way)

    def close(self, timeout: float = 5.0) -> bool:
        """End the thread; True if it ended in time. What it still computes is thrown away."""
        with self._lock:
            self._closing = True
            for job in self._jobs():
                job.abandoned, job.made_way = True, False
                job.token.cancel()
            self._queue.clear()
            self._background.clear()
            self._finished.clear()
            self._lock.notify()
        self._tell_if_busy()
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def _tell_if_busy(self) -> None:
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
        """Deliver something in the middle of a job."""
        with self._lock:
            self._finished.append((Job("", lambda *_: None, owner=owner), deliver))
        self._news.set()

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
            # Held on to, a result would outlive the session that it belongs to.
            del job, delivery
            self._news.set()

    def _result_of(self, job: Job) -> Callable[[], None] | None:
        """What is left to do on the main thread; None if the job made way and is to go on."""

        def progress(done: int, total: int, what: str) -> None:
            self._progress = (job, done, total, what)

        try:
            if not job.always_runs:
                job.token.check()
            result = job.work(progress, job.token)
        except Cancelled:
            return None if job.made_way else job.cancelled
        except BaseException as error:
            text = words_for(error)
            return lambda: job.failed(text)
        return lambda: job.done(result)
