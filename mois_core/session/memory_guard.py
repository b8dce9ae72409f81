"""What happens when the device runs out of memory: make room, try again, say so.

Operations commit their result at the end, so one that failed half way can simply be run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from mois_core.errors import BadInput
from mois_core.network.model import Sam2
from mois_core.session.embeddings import HOST, Embeddings

Result = TypeVar("Result")

MADE_ROOM = "The graphics memory was full; encoded slices were moved to main memory."
MOVED_TO_CPU = "The graphics memory is too small; work goes on on the processor, more slowly."
NO_MEMORY = "the computer's memory is full; close other programs, or lower the memory budget"


DEVICE_IS_FULL = ("out of memory", "alloc_failed")
"""What Metal and the CUDA libraries say, which have no class of error for it."""

HOST_IS_FULL = "defaultcpuallocator"


def device_is_full(error: BaseException) -> bool:
    """Return whether an error says that the memory of the network's device is full."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in DEVICE_IS_FULL)
    )


def host_is_full(error: BaseException) -> bool:
    """Return whether an error says that the computer's own memory is full."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and HOST_IS_FULL in str(error).lower()
    )


class MemoryGuard:
    """Runs operations and falls back step by step: less on the device, then the processor."""

    def __init__(self, model: Sam2, embeddings: Embeddings, forget: Callable[[], None]) -> None:
        """``forget`` gives back what else was computed ahead on the device."""
        self.model = model
        self.embeddings = embeddings
        self._forget = forget
        self.on_notice: Callable[[str], None] = lambda text: None
        """Called with a sentence for the user when work goes on differently than before."""

    def run(self, operation: Callable[[], Result]) -> Result:
        """Run an operation; raise `BadInput` if there is no memory left anywhere."""
        fallbacks = iter((self._make_room, self._move_to_cpu))
        while True:
            try:
                return operation()
            except (RuntimeError, MemoryError) as error:
                if not device_is_full(error) and not host_is_full(error):
                    raise
                fallback = None if host_is_full(error) else next(fallbacks, None)
                if fallback is None:
                    raise BadInput(NO_MEMORY) from error
            fallback()

    def _make_room(self) -> None:
        self._forget()
        self.embeddings.shrink_device_budget()
        _empty_cache()
        self.on_notice(MADE_ROOM)

    def _move_to_cpu(self) -> None:
        self._forget()
        self.embeddings.release_device()
        self.model.to(HOST)
        _empty_cache()
        self.on_notice(MOVED_TO_CPU)


def _empty_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
