"""Encoded slices, each encoded once and kept within a memory budget.

Encoding is by far the dearest step that does not depend on the user, so it is done ahead of the
clicks, starting at the slice being looked at, and never twice while memory lasts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mois_core.network.exemplar import MoisSam2
from mois_core.network.model import Sam2, SliceFeatures
from mois_core.progress import CancelToken, Progress, silent

HOST = torch.device("cpu")


def outwards(count: int, start: int) -> list[int]:
    """Return the indices of all slices, ``start`` first and then its neighbours outwards."""
    return sorted(range(count), key=lambda n: (abs(n - start), n))


@dataclass
class _Entry:
    """One encoded slice where the network runs."""

    features: SliceFeatures
    queries: dict[str, Tensor]
    """What depends on the slice alone in each attention, made when first needed."""

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + sum(q.nbytes for q in self.queries.values())


class Embeddings:
    """The encoded slices of one scan, within a memory budget."""

    def __init__(
        self,
        model: Sam2,
        image: Callable[[int], Tensor],
        count: int,
        device_budget: int,
        host_budget: int,
    ) -> None:
        """``image`` gives a slice as the network's input [1, size, size]; budgets in bytes.

        What does not fit on the network's device is kept in the host's memory, and what does
        not fit there is encoded again when it is needed.
        """
        self.model = model
        self.count = count
        """How many slices the scan has."""
        self.encoded = 0
        """How often a slice was encoded."""
        self._image = image
        self._device_budget = device_budget
        self._host_budget = host_budget
        self._on_device: OrderedDict[int, _Entry] = OrderedDict()
        self._on_host: OrderedDict[int, SliceFeatures] = OrderedDict()

    def is_ready(self, slice_index: int) -> bool:
        """Return whether a slice can be clicked without encoding it first."""
        return slice_index in self._on_device or slice_index in self._on_host

    @property
    def ready(self) -> int:
        """How many slices are encoded."""
        return len(self._on_device.keys() | self._on_host.keys())

    @property
    def nbytes(self) -> int:
        """Memory in bytes that the encoded slices take."""
        return self.device_nbytes + self.host_nbytes

    @property
    def device_nbytes(self) -> int:
        """Memory in bytes that is taken where the network runs."""
        return sum(entry.nbytes for entry in self._on_device.values())

    @property
    def host_nbytes(self) -> int:
        """Memory in bytes that is taken by what was moved to the host, off the device."""
        return sum(features.nbytes for features in self._on_host.values())

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
        for done, slice_index in enumerate(order):
            progress(done, len(order), "encoding slices")
            if cancel:
                cancel.check()
            if not self.is_ready(slice_index):
                if self._is_full():
                    break
                self._keep(slice_index, self._encode(slice_index))
        progress(len(order), len(order), "encoding slices")

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
        for slice_index, entry in self._on_device.items():
            self._on_host[slice_index] = entry.features.to(HOST)
        self._on_device.clear()
        self._fit_host()

    def shrink_device_budget(self) -> None:
        """Halve what is kept on the device, after it ran out of memory."""
        self._device_budget //= 2
        self.release_device()

    def clear(self) -> None:
        """Forget all encoded slices."""
        self._on_device.clear()
        self._on_host.clear()

    @torch.no_grad()
    def _encode(self, slice_index: int) -> SliceFeatures:
        features = self.model.encode(self._image(slice_index).unsqueeze(0))
        self.encoded += 1
        # The decoder computes in float32 whatever the features are kept in.
        return features.to(features.coarse.dtype)

    def _entry(self, slice_index: int) -> _Entry:
        entry = self._on_device.get(slice_index)
        if entry is None:
            moved = self._on_host.get(slice_index)
            features = self._encode(slice_index) if moved is None else moved.to(self.model.device)
            self._on_host.pop(slice_index, None)
            entry = self._keep(slice_index, features)
        self._on_device.move_to_end(slice_index)
        return entry

    def _query(
        self, slice_index: int, name: str, make: Callable[[SliceFeatures], Tensor]
    ) -> Tensor:
        entry = self._entry(slice_index)
        if name not in entry.queries:
            entry.queries[name] = make(entry.features)
            self._fit_device(slice_index)
        return entry.queries[name]

    def _keep(self, slice_index: int, features: SliceFeatures) -> _Entry:
        entry = self._on_device[slice_index] = _Entry(features, {})
        self._fit_device(slice_index)
        return entry

    @property
    def _network_budget(self) -> int:
        """The budget of the memory that the network runs in."""
        return self._host_budget if self.model.device == HOST else self._device_budget

    def _is_full(self) -> bool:
        """Return whether one more slice would not fit anywhere any more."""
        if not self.ready:
            return False
        budget = self._host_budget + (self._device_budget if self.model.device != HOST else 0)
        return self.nbytes * (self.ready + 1) > budget * self.ready

    def _fit_device(self, newest: int) -> None:
        """Drop what does not fit on the device, first of all what is quickly made again."""
        others = [n for n in self._on_device if n != newest]
        for slice_index in others:
            if self.device_nbytes <= self._network_budget:
                break
            self._on_device[slice_index].queries.clear()
        for slice_index in others:
            if self.device_nbytes <= self._network_budget:
                break
            entry = self._on_device.pop(slice_index)
            if self.model.device != HOST:
                self._on_host[slice_index] = entry.features.to(HOST)
        self._fit_host()

    def _fit_host(self) -> None:
        # A network on the processor shares the host's memory with what was put aside there.
        used = self.nbytes if self.model.device == HOST else self.host_nbytes
        while used > self._host_budget and self._on_host:
            _, features = self._on_host.popitem(last=False)
            used -= features.nbytes
