"""Progress bar for a terminal; a log file gets none, since it would fill pages."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mois_core.cli import interruptions

BAR_CELLS = 30

_WORTH_AN_ESTIMATE_SECONDS = 10
_UP_TO_SECONDS = 90


class ProgressBar:
    """Progress in one line at the bottom of the terminal, drawn again when it changes."""

    def __init__(self, amount: Callable[[int], str], is_shown: bool) -> None:
        self._amount = amount
        self._is_shown = is_shown
        self._line = ""
        self._what: str | None = None
        self._first_part = 0.0
        self._started = 0.0

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show the progress that a long call reports, and end the call if a signal asked for it."""
        interruptions.check()
        if not self._is_shown:
            return
        part = min(done / total, 1.0) if total else 1.0
        if what != self._what:
            self._what, self._first_part, self._started = what, part, time.monotonic()
        bar = "#" * round(part * BAR_CELLS)
        line = f"{what} [{bar:<{BAR_CELLS}}] {self._amount(done)} of {self._amount(total)}"
        line += self._remaining(part)
        # A line that wraps could not be drawn over.
        line = line[: shutil.get_terminal_size().columns - 1]
        if line != self._line:
            print(f"\r{line:<{len(self._line)}}", end="", file=sys.stderr, flush=True)
            self._line = line

    def say(self, text: str) -> None:
        """Print a message on a line of its own, terminal or not; the bar returns below it."""
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Erase the bar."""
        if self._line:
            print(f"\r{'':<{len(self._line)}}\r", end="", file=sys.stderr, flush=True)
            self._line = ""

    def _remaining(self, part: float) -> str:
        """Return the time left as text, empty until it can be estimated and is worth knowing."""
        seconds = time.monotonic() - self._started
        progress = part - self._first_part
        if progress <= 0 or seconds < _WORTH_AN_ESTIMATE_SECONDS:
            return ""
        left = seconds * (1 - part) / progress
        if left < 1:
            return ""
        return f", {left:.0f} s left" if left < _UP_TO_SECONDS else f", {left / 60:.0f} min left"


@contextmanager
def progress_bar(amount: Callable[[int], str] = str) -> Iterator[ProgressBar]:
    """Show a bar during a block and erase it after it; ``amount`` formats how much is done."""
    interruptions.check()
    bar = ProgressBar(amount, is_shown=sys.stderr.isatty())
    try:
        yield bar
    finally:
        bar.clear()
