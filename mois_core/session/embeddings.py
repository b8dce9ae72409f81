"""Encoded slices, each encoded once and kept within a memory budget.

Encoding is by far the dearest step that does not depend on the user, so it is done ahead of the
clicks, starting at the slice being looked at, and never twice while memory lasts. Where it does
not last, who visits many slices says so before, and as few as possible are encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mois_core.network.exemplar import MoisSam2
from mois_core.network.model import Sam2, SliceFeatures
from mois_core.progress import CancelToken, Progress, silent
from mois_core.session import machine_memory
from mois_core.session.out_of_memory import host_is_full
from mois_core.session.slice_cache import KeptSlice, SliceCache

HOST = torch.device("cpu")

FEWEST_SLICES = 8
"""The budget is never halved below these, which a lesion of the usual size lies on."""


def outwards(count: int, start: int) -> list[int]:
    """Return the indices of all slices, ``start`` first and then its neighbours outwards."""
    return sorted(range(count), key=lambda n: (abs(n - start), n))


class Embeddings:
    """The encoded slices of one scan, within a memory budget."""

    def __init__(
        self,
        model: Sam2,
        image: Callable[[int], Tensor],
        count: int,
        device_budget: int | None = None,
        host_budget: int | None = None,
    ) -> None:
        """``image`` gives a slice as the network's input [1, rows, columns]; budgets in bytes.

        What does not fit on the network's device is kept in the host's memory, and what does
        not fit there is encoded again when it is needed. A budget of None is what this machine
        can spare.
        """
        self.model = model
        self.count = count
        """How many slices the scan has."""
        self.encoded = 0
        """How often a slice was encoded."""
        self._image = image
        self._on_device = SliceCache()
        self._on_host = SliceCache()
        self._device = model.device
        self._passing: tuple[int, dict[str, Tensor]] = (-1, {})
        """The queries of the slice in use that there is no room to keep."""
        self._wanted: Collection[int] = frozenset()
        self._keeps_nothing = False
        self.set_budgets(device_budget, host_budget)

    def set_budgets(self, device_budget: int | None, host_budget: int | None) -> None:
        """Set what kept slices may take; None asks this machine."""
        self._asks_for_device = device_budget is None
        self._device_budget = device_budget
        self._host_budget = machine_memory.host_budget() if host_budget is None else host_budget
        self._fit(in_use=None)

    @property
    def device_budget(self) -> int:
        """Bytes that slices may take on the network's device."""
        if self._device_budget is None:
            self._device_budget = machine_memory.device_budget(self.model.device)
        return self._device_budget

    @property
    def host_budget(self) -> int:
        """Bytes that slices may take in the computer's own memory."""
        return self._host_budget

    @property
    def is_on_host(self) -> bool:
        """Whether the network runs in the computer's own memory."""
        return self.model.device == HOST

    def is_ready(self, slice_index: int) -> bool:
        """Return whether a slice can be clicked without encoding it first."""
        return slice_index in self._on_device or slice_index in self._on_host

    @property
    def ready(self) -> int:
        """How many slices are encoded."""
        return len(self._on_device) + len(self._on_host)

    @property
    def nbytes(self) -> int:
        """Memory in bytes that the encoded slices take."""
        return self.device_nbytes + self.host_nbytes

    @property
    def device_nbytes(self) -> int:
        """Memory in bytes that is taken where the network runs."""
        return self._on_device.nbytes

    @property
    def host_nbytes(self) -> int:
        """Memory in bytes that is taken by what was moved to the host, off the device."""
        return self._on_host.nbytes

    def prepare(
        self,
        start: int = 0,
        progress: Progress = silent,
        cancel: CancelToken | None = None,
        slice_indices: Iterable[int] | None = None,
    ) -> None:
        """Encode what is missing, nearest to ``start`` first; goes on where it was stopped.

        Stops early where the budgets are full: encoding a slice only to drop another helps nobody.
        """
        wanted = set(range(self.count) if slice_indices is None else slice_indices)
        order = [n for n in outwards(self.count, start) if n in wanted]
        self._follow_network()
        for done, slice_index in enumerate(order):
            progress(done, len(order), "encoding slices")
            if cancel:
                cancel.check()
            if not self.is_ready(slice_index):
                if self.ready and self.ready >= self._capacity():
                    break
                self._keep(slice_index, self._encode(slice_index), ahead=True)
        progress(len(order), len(order), "encoding slices")

    @contextmanager
    def visiting(self, slice_indices: Iterable[int]) -> Iterator[list[int]]:
        """Keep slices that are going to be visited rather than others, until the end of a block.

        Yields the order in which the fewest are encoded, if all are visited once: those that are
        kept go first, before any of them has to make room. Where all fit the order stays.
        """
        self._follow_network()
        before, order = self._wanted, list(slice_indices)
        self._wanted = frozenset(order)
        for cache in (self._on_device, self._on_host):
            cache.use_all(self._wanted)
        if self.ready and len(self._wanted) > self._capacity():
            order.sort(key=lambda n: not self.is_ready(n))
        try:
            yield order
        finally:
            self._wanted = before

    def features(self, slice_index: int) -> SliceFeatures:
        """Return a slice's features where the network runs, encoded now if need be."""
        return self._entry(slice_index).features

    def memory_query(self, slice_index: int) -> Tensor:
        """Return the part of memory attention that depends on the slice alone."""
        return self._query(slice_index, "memory", self.model.memory_query)

    def exemplar_query(self, slice_index: int) -> Tensor:
        """Return the part of exemplar attention that depends on the slice alone."""
        assert isinstance(self.model, MoisSam2)
        return self._query(slice_index, "exemplar", self.model.exemplar_query)

    def short_query(self, slice_index: int) -> Tensor:
        """Return the part of SLM-SAM 2's short attention that depends on the slice alone."""
        return self._query(slice_index, "short", self.model.short_query)

    def release_device(self) -> None:
        """Give the device's memory back by moving the features to the host."""
        self._passing = (-1, {})
        while (oldest := self._on_device.next_to_go(None, ())) is not None:
            self._move_to_host(oldest)

    def shrink_device_budget(self) -> None:
        """Halve what is kept on the device, after it ran out of memory."""
        self._device_budget = self.device_budget // 2
        self.release_device()

    @property
    def can_keep_fewer(self) -> bool:
        """Whether so much is kept in the host's memory that half of it is worth dropping."""
        return (self.ready if self.is_on_host else len(self._on_host)) > FEWEST_SLICES

    def shrink_host_budget(self) -> None:
        """Halve what is kept in the host's memory, after it ran out."""
        kept, used = len(self._on_host), self.host_nbytes
        if self.is_on_host:
            kept, used = self.ready, self.nbytes
        least = used * FEWEST_SLICES // max(kept, 1)
        self._host_budget = min(self._host_budget, max(used // 2, least))
        self._fit(in_use=None)

    def keep_nothing(self) -> None:
        """Keep nothing in the host's memory but the slice in use, until `keep_again`."""
        self._keeps_nothing = True
        self._passing = (-1, {})
        self._fit(in_use=None)

    def keep_again(self) -> None:
        """Keep what the budgets allow."""
        self._keeps_nothing = False

    def clear(self) -> None:
        """Forget all encoded slices."""
        self._passing = (-1, {})
        self._on_device, self._on_host = SliceCache(), SliceCache()

    @torch.no_grad()
    def _encode(self, slice_index: int) -> SliceFeatures:
        features = self.model.encode(self._image(slice_index).unsqueeze(0))
        self.encoded += 1
        # The decoder computes in float32 whatever the features are kept in.
        return features.to(features.coarse.dtype)

    def _entry(self, slice_index: int) -> KeptSlice:
        self._follow_network()
        entry = self._on_device.get(slice_index)
        if entry is None:
            moved = self._on_host.get(slice_index)
            if moved is None:
                return self._keep(slice_index, self._encode(slice_index))
            features = moved.features.to(self.model.device)
            self._on_host.take(slice_index)
            return self._keep(slice_index, features)
        self._on_device.use(slice_index)
        return entry

    def _follow_network(self) -> None:
        """Let go of a device that the network was moved away from."""
        if self._device == self.model.device:
            return
        self.release_device()
        self._device = self.model.device
        if self._asks_for_device:
            self._device_budget = None

    def _query(
        self, slice_index: int, name: str, make: Callable[[SliceFeatures], Tensor]
    ) -> Tensor:
        entry = self._entry(slice_index)
        query = entry.queries.get(name)
        if query is None:
            if self._passing[0] != slice_index:
                self._passing = (slice_index, {})
            query = self._passing[1].get(name)
            if query is None:
                query = make(entry.features)
                self._keep_query(slice_index, name, query)
        return query

    def _keep_query(self, slice_index: int, name: str, query: Tensor) -> None:
        """Keep a query, if there is room for it that no encoded slice has to make."""
        while self._room < query.nbytes and self._on_device.drop_oldest_queries(slice_index):
            pass
        if self._room < query.nbytes:
            self._passing[1][name] = query
        else:
            self._on_device.add_query(slice_index, name, query)

    def _keep(self, slice_index: int, features: SliceFeatures, ahead: bool = False) -> KeptSlice:
        entry = self._on_device.put(slice_index, features, ahead)
        self._fit(in_use=slice_index)
        return entry

    @property
    def _host_limit(self) -> int:
        return 0 if self._keeps_nothing else self._host_budget

    @property
    def _room(self) -> int:
        """Bytes that are left where the network runs; negative where too much is kept."""
        if self.is_on_host:
            # What was put aside there shares the memory.
            return self._host_limit - self.nbytes
        return self.device_budget - self.device_nbytes

    def _capacity(self) -> int:
        """Return how many slices can be kept in all, judged by those that are."""
        one = max((self.nbytes - self._on_device.query_nbytes) // self.ready, 1)
        budgets = [self._host_limit] if self.is_on_host else [self.device_budget, self._host_limit]
        return sum(budget // one for budget in budgets)

    def _fit(self, in_use: int | None) -> None:
        """Drop what does not fit, first of all what is quickly made again."""
        while self._room < 0 and self._on_device.drop_oldest_queries(in_use):
            pass
        self._fit_host()
        while self._room < 0:
            leaving = self._on_device.next_to_go(in_use, self._wanted)
            if leaving is None:
                break
            if self.is_on_host:
                self._on_device.take(leaving)
            else:
                self._move_to_host(leaving)

    def _move_to_host(self, slice_index: int) -> None:
        """Move a slice off the device; it is encoded again if the host has no room for it."""
        features = self._on_device.take(slice_index)
        try:
            self._on_host.put(slice_index, features.to(HOST))
        except (RuntimeError, MemoryError) as error:
            if not host_is_full(error):
                raise
        self._fit_host()

    def _fit_host(self) -> None:
        while self._on_host and self._host_room < 0:
            self._on_host.take(self._on_host.next_to_go(None, self._wanted))

    @property
    def _host_room(self) -> int:
        return self._room if self.is_on_host else self._host_limit - self.host_nbytes
