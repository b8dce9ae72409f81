"""Signals without Qt: one object announces something, others have functions of theirs called."""

from __future__ import annotations

import logging
from collections.abc import Callable

Slot = Callable[..., None]


class Signal:
    """Calls every connected function, in the order in which they were connected."""

    def __init__(self) -> None:
        self._slots: list[Slot] = []

    def connect(self, slot: Slot) -> None:
        """Have a function called from now on."""
        self._slots.append(slot)

    def disconnect(self, slot: Slot) -> None:
        """Stop calling a function; it is no mistake if it was not connected."""
        if slot in self._slots:
            self._slots.remove(slot)

    def clear(self) -> None:
        """Disconnect all functions."""
        self._slots.clear()

    def __call__(self, *arguments: object) -> None:
        """Call the functions. One that fails keeps neither the others nor the caller from going
        on."""
        for slot in list(self._slots):
            try:
                slot(*arguments)
            except Exception:
                logging.exception("MOISSAM2: a listener failed")

    def __len__(self) -> int:
        return len(self._slots)
