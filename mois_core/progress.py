"""Progress and cancelling of long calls.

The engine is synchronous: a long call takes a ``progress`` callback and a ``cancel`` token, and
looks at the token between two units of work (a slice, a lesion, a block of a download).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from mois_core.errors import Cancelled

Progress = Callable[[int, int, str], None]
"""Callback that is given (units done, units in total, what is being done)."""


def silent(done: int, total: int, what: str) -> None:
    """Ignore progress: the callback of a caller that does not want any."""


class CancelToken:
    """Request to stop a long call: set from any thread, looked at by the call itself."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the call that holds this token to stop at its next unit of work."""
        self._event.set()

    def check(self) -> None:
        """Raise `Cancelled` if someone asked to stop."""
        if self._event.is_set():
            raise Cancelled("cancelled")
