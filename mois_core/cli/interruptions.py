"""What ends a command from outside: Ctrl+C, SIGTERM, and readers of its output that go away.

Python turns a signal into an exception at the next best place. That can lie inside a library that
makes something else of the exception, or swallows it: PyTorch's reader of weights, which then says
that the file is damaged, or a module on import. So a signal is noted as well, and what was noted
counts more than whatever comes out.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_CANCELLED = 130
EXIT_TERMINATED = 143
EXIT_NOBODY_READS = 141
"""What a shell reports of tools that SIGPIPE ends."""

_CODES = {signal.SIGINT: EXIT_CANCELLED, signal.SIGTERM: EXIT_TERMINATED}
_WORDS = {EXIT_CANCELLED: "cancelled", EXIT_TERMINATED: "terminated"}
_STANDARD_STREAMS = 3


class _Watch:
    """The signals that came during one command."""

    def __init__(self) -> None:
        self.code: int | None = None
        """The exit code of the first signal."""
        self.is_held = False
        self._process = os.getpid()

    def take(self, number: int, frame: FrameType | None) -> None:
        """Note a signal and end the command; it is called by Python."""
        if os.getpid() != self._process:
            # A process that the command forked has nothing to tidy up or to say.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self.code is None:
            self.code = _CODES[signal.Signals(number)]
        if not self.is_held:
            raise KeyboardInterrupt


_watch = _Watch()


@contextmanager
def watched(for_good: bool) -> Iterator[_Watch]:
    """Watch for signals during a block; after it, ignore them ``for_good`` or do as before.

    Signals that the process was started to ignore stay ignored.
    """
    global _watch
    before, _watch = _watch, _Watch()
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in _CODES:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                handlers[number] = handler
                signal.signal(number, _watch.take)
    try:
        yield _watch
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_IGN if for_good else handler)
        _watch = before


def check() -> None:
    """End the command here if a signal came and the exception for it was swallowed."""
    if _watch.code is not None:
        raise KeyboardInterrupt


@contextmanager
def held() -> Iterator[None]:
    """Let a block finish whatever signal comes: files take their places all together."""
    check()
    _watch.is_held = True
    try:
        yield
    finally:
        _watch.is_held = False


def words_for(code: int) -> str:
    """Return what a command says about the signal that ended it."""
    return _WORDS[code]


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
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


def nobody_reads() -> bool:
    """Return whether what was printed can no longer be delivered; then let it go nowhere."""
    is_closed = False
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            is_closed = True
            # What is left in the stream would be tried again, and complained of, at the very end.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return is_closed
