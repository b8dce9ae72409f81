"""The same work on many things, in as many processes as this machine has cores."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

from mois_core.errors import BadInput

Thing = TypeVar("Thing")
Result = TypeVar("Result")

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cores() -> int:
    """Return the cores that this process may use; processes of one `torchrun` share them."""
    usable = getattr(os, "sched_getaffinity", None)
    count = len(usable(0)) if usable else os.cpu_count() or 1
    return max(count // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)


def in_processes(
    work: Callable[[Thing], Result], things: Sequence[Thing], processes: int
) -> Iterator[Result]:
    """Yield what ``work`` makes of each thing, in their order.

    ``work`` must be importable by name, or a `functools.partial` of what is. Its errors are raised
    here. Every process computes with one thread, and ends with this one even if this is killed.
    """
    processes = min(processes, len(things))
    if processes < 2:
        yield from map(work, things)
        return
    # Started anew, since a copy of a process whose threads hold locks can wait for them for ever.
    spawn = get_context("spawn")
    with (
        _one_thread_each(),
        ProcessPoolExecutor(processes, spawn, initializer=_end_with_parent) as pool,
    ):
        try:
            yield from pool.map(work, things)
        except BrokenProcessPool as error:
            raise BadInput(
                "a process was ended from outside, probably because memory ran out; close other "
                "programs, or let it have fewer cores (taskset -c 0)"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """Have this process end when the one that started it is gone, whatever it is doing.

    Ctrl-C reaches all of them; the one that started the others says what there is to say.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def wait() -> None:
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Have processes that are started in the block use a single thread for products.

    Libraries read the number when they are loaded, which in a new process is before any of our
    code runs.
    """
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
