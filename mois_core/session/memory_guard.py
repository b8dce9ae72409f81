"""What happens when memory runs out: make room, try again, say so.

Operations commit their result at the end, so one that failed half way can simply be run again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from traceback import clear_frames
from typing import Literal, NamedTuple, TypeVar

import torch

from mois_core.errors import BadInput
from mois_core.network.model import Sam2
from mois_core.session import machine_memory
from mois_core.session.embeddings import HOST, Embeddings
from mois_core.session.out_of_memory import device_is_full, host_is_full, kernel_failed
from mois_core.session.search import Search

Result = TypeVar("Result")

Full = Literal["device", "host"]
"""Which memory is full; a network on the processor has no other than the host's."""

MADE_ROOM = "The graphics memory was full; encoded slices were moved to main memory."
MOVED_TO_CPU = "The graphics memory is too small; work goes on on the processor, more slowly."
DROPPED_SLICES = "The computer's memory was full; encoded slices are encoded again when needed."
NO_MEMORY = "the computer's memory is full; close other programs, and try again"

_thread = threading.local()
"""Whether this thread `is_spoilt`: it cannot make kernels any more, see `kernel_failed`."""


class _Fallback(NamedTuple):
    """One way to make room."""

    make_room: Callable[[], None]
    helps: Callable[[Full], bool]


class MemoryGuard:
    """Runs operations and falls back step by step, from what is missed least to what is most.

    First go the keys of the last search, then slices from the device to the host; what the host
    has no room for is encoded again. Then the network moves to the processor, and at last an
    operation has no slice but the one that it needs.
    """

    def __init__(
        self,
        model: Sam2,
        embeddings: Embeddings,
        search: Search,
        tell: Callable[[str], None],
    ) -> None:
        """``tell`` is called with a sentence when work goes on differently than before."""
        self.model = model
        self.embeddings = embeddings
        self.search = search
        self._tell = tell
        self._is_running = False
        self._has_told = False

    def run(self, operation: Callable[[], Result]) -> Result:
        """Run an operation; raise `BadInput` if there is no memory left anywhere.

        One that is part of another is run again with that one.
        """
        if self._is_running:
            return operation()
        untried, make_room = self._fallbacks(), _nothing
        self._is_running, self._has_told = True, False
        try:
            while True:
                try:
                    make_room()
                    return _run_in_sound_thread(operation)
                except (RuntimeError, MemoryError, OSError) as error:
                    full = self._what_is_full(error)
                    if full is None:
                        raise
                    # What the operation was working with would stay for as long as the error.
                    clear_frames(error.__traceback__)
                    fallback = next((one for one in untried if one.helps(full)), None)
                    if fallback is None:
                        raise BadInput(NO_MEMORY) from error
                untried.remove(fallback)
                make_room = fallback.make_room
        finally:
            self._is_running = False
            self.embeddings.keep_again()

    def _what_is_full(self, error: BaseException) -> Full | None:
        if kernel_failed(error):
            _thread.is_spoilt = True
        if host_is_full(error):
            return "host"
        if device_is_full(error):
            return "host" if self.embeddings.is_on_host else "device"
        return None

    def _fallbacks(self) -> list[_Fallback]:
        """Return the ways to make room during one operation, in the order to be tried."""
        embeddings, had_keys = self.embeddings, self.search.has_keys

        def keys_help(full: Full) -> bool:
            # Those that the operation made itself it would only make again.
            is_here = (full == "host") == embeddings.is_on_host
            return is_here and had_keys and self.search.has_keys

        def fewer_slices_help(full: Full) -> bool:
            is_here = full == "host" or machine_memory.shares_host_memory(self.model.device)
            return is_here and embeddings.can_keep_fewer

        return [
            _Fallback(self._forget_keys, keys_help),
            _Fallback(self._move_slices_to_host, lambda full: full == "device"),
            _Fallback(self._keep_fewer_slices, fewer_slices_help),
            _Fallback(self._move_to_cpu, lambda full: full == "device"),
            _Fallback(self._keep_no_slices, lambda full: full == "host"),
        ]

    def _forget_keys(self) -> None:
        self.search.forget_keys()
        machine_memory.give_back()

    def _move_slices_to_host(self) -> None:
        self.search.forget_keys()
        self.embeddings.shrink_device_budget()
        machine_memory.give_back()
        self._tell(MADE_ROOM)

    def _keep_fewer_slices(self) -> None:
        self.search.forget_keys()
        self.embeddings.shrink_host_budget()
        machine_memory.give_back()
        self._tell_of_dropped_slices()

    def _move_to_cpu(self) -> None:
        self.search.forget_keys()
        self.embeddings.release_device()
        before = self.model.device
        try:
            self.model.to(HOST)
        except (RuntimeError, MemoryError):
            # A network that is half here and half there could do nothing at all.
            self.model.to(before)
            raise
        machine_memory.give_back()
        self._tell(MOVED_TO_CPU)

    def _keep_no_slices(self) -> None:
        has_slices = self.embeddings.ready > 0
        self.search.forget_keys()
        self.embeddings.keep_nothing()
        machine_memory.give_back()
        if has_slices:
            self._tell_of_dropped_slices()

    def _tell_of_dropped_slices(self) -> None:
        if not self._has_told:
            self._has_told = True
            self._tell(DROPPED_SLICES)


def _nothing() -> None:
    pass


def _run_in_sound_thread(operation: Callable[[], Result]) -> Result:
    """Run an operation in this thread, or in a new one if this one is spoilt."""
    if not getattr(_thread, "is_spoilt", False):
        return operation()
    is_grad_enabled = torch.is_grad_enabled()

    def run() -> Result:
        with torch.set_grad_enabled(is_grad_enabled):
            return operation()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(run).result()
