"""What ends a command from outside: Ctrl+C, SIGTERM, and readers of its output that go away.

Python turns a signal into an exception at the next best place. That can lie inside a library that
makes something else of the exception, or swallows it: PyTorch's reader of weights, which then says
that the file is damaged, or a module on import. So a signal is noted as well, and what was noted
counts more than whatever comes out.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

Outcome = tuple[int, str]
"""An exit code, and what is said on standard error."""

CANCELLED: Outcome = (130, "cancelled")
TERMINATED: Outcome = (143, "terminated")
NOBODY_READS: Outcome = (141, "")
"""As a shell reports it of tools that SIGPIPE ends."""

_OUTCOMES = {signal.SIGINT: CANCELLED, signal.SIGTERM: TERMINATED}
_STANDARD_STREAMS = 3
_TIDYING_UP_SECONDS = 1.0
"""For so long after a signal another one of an impatient user changes nothing."""


class Interrupted(KeyboardInterrupt):
    """End of a command because of a signal.

    Of a bare KeyboardInterrupt in the middle of an import Python may remember that it was there,
    and end itself with SIGINT at the very end, whatever the exit code.
    """


class Watch:
    """The signals that came during one command."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        """What the first signal makes of the command."""
        self.is_held = False
        self._process = os.getpid()
        self._raised = float("-inf")

    def take(self, number: int, frame: FrameType | None) -> None:
        """Note a signal and end the command; it is called by Python."""
        if os.getpid() != self._process:
            # A process that the command forked has nothing to tidy up or to say.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self.outcome is None:
            self.outcome = _OUTCOMES[signal.Signals(number)]
        if not self.is_held and time.monotonic() > self._raised + _TIDYING_UP_SECONDS:
            self._raised = time.monotonic()
            raise Interrupted


_watch = Watch()


@contextmanager
def watched(for_good: bool) -> Iterator[Watch]:
    """Watch for signals during a block; after it, ignore them ``for_good`` or do as before.

    Signals that the process was started to ignore stay ignored.
    """
    global _watch
    before, _watch = _watch, Watch()
    complain = sys.unraisablehook
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in _OUTCOMES:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                handlers[number] = handler
                signal.signal(number, _watch.take)
        # Python prints exceptions that cannot be raised, as where it clears up after an import.
        sys.unraisablehook = partial(_complain, _watch, complain)
    try:
        yield _watch
    finally:
        sys.unraisablehook = complain
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_IGN if for_good else handler)
        _watch = before


def _complain(watch: Watch, complain: Callable[[Any], object], what: Any) -> None:
    if watch.outcome is None or what.exc_type is not Interrupted:
        complain(what)


def check() -> None:
    """End the command here if a signal came and the exception for it was swallowed."""
    if _watch.outcome is not None:
        raise Interrupted


@contextmanager
def held() -> Iterator[None]:
    """Let a block finish whatever signal comes: files take their places all together."""
    check()
    _watch.is_held = True
    try:
        yield
    finally:
        _watch.is_held = False


# ---- standard streams --------------------------------------------------------------------------


def provide_streams() -> None:
    """Give a process that was started without some of its standard streams empty ones.

    Otherwise the next file that is opened would take their place, and receive what libraries print.
    """
    with suppress(OSError):
        opened = os.open(os.devnull, os.O_RDWR)
        while opened < _STANDARD_STREAMS:
            opened = os.open(os.devnull, os.O_RDWR)
        os.close(opened)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))


def flush_streams() -> OSError | None:
    """Deliver what was printed; return why that is not possible, and let it go nowhere then."""
    refusal = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            refusal = error
            # What is left in the stream would be tried again, and complained of, at the very end.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return refusal


def is_closed_pipe(error: OSError) -> bool:
    """Return whether an error says that nobody reads what is printed any more."""
    return isinstance(error, BrokenPipeError) or (
        sys.platform == "win32" and error.errno == errno.EINVAL
    )
