"""Each slice is encoded once, and what that gave is kept within a budget.

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
    """Return all slices, the one being looked at first, then its neighbours outwards."""
    return sorted(range(count), key=lambda n: (abs(n - start), n))


@dataclass
class _Entry:
    features: SliceFeatures
    queries: dict[str, Tensor]
    """What depends on the slice alone in each attention, made when first needed."""

    @property
    def nbytes(self) -> int:
        return self.features.nbytes + sum(q.nbytes for q in self.queries.values())


class Embeddings:
    """The encoded slices of one scan."""

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
        self.encoded = 0
        self._image = image
        self._device_budget = device_budget
        self._host_budget = host_budget
        self._near: OrderedDict[int, _Entry] = OrderedDict()
        self._far: OrderedDict[int, SliceFeatures] = OrderedDict()

    def is_ready(self, slice_index: int) -> bool:
        """Return whether a slice can be clicked without encoding it first."""
        return slice_index in self._near or slice_index in self._far

    @property
    def ready(self) -> int:
        """How many slices are encoded."""
        return len(self._near.keys() | self._far.keys())

    @property
    def nbytes(self) -> int:
        """Memory in bytes that the encoded slices take."""
        return self._near_nbytes + self._far_nbytes

    @property
    def _near_nbytes(self) -> int:
        return sum(entry.nbytes for entry in self._near.values())

    @property
    def _far_nbytes(self) -> int:
        return sum(features.nbytes for features in self._far.values())

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
        for slice_index, entry in self._near.items():
            self._far[slice_index] = entry.features.to(HOST)
        self._near.clear()
        self._fit_far()

    def shrink_device_budget(self) -> None:
        """Halve what is kept on the device, after it ran out of memory."""
        self._device_budget //= 2
        self.release_device()

    def clear(self) -> None:
        """Forget all encoded slices."""
        self._near.clear()
        self._far.clear()

    @torch.no_grad()
    def _encode(self, slice_index: int) -> SliceFeatures:
        features = self.model.encode(self._image(slice_index).unsqueeze(0))
        self.encoded += 1
        # The decoder computes in float32 whatever the features are kept in.
        return features.to(features.coarse.dtype)

    def _entry(self, slice_index: int) -> _Entry:
        entry = self._near.get(slice_index)
        if entry is None:
            far = self._far.get(slice_index)
            features = self._encode(slice_index) if far is None else far.to(self.model.device)
            self._far.pop(slice_index, None)
            entry = self._keep(slice_index, features)
        self._near.move_to_end(slice_index)
        return entry

    def _query(
        self, slice_index: int, name: str, make: Callable[[SliceFeatures], Tensor]
    ) -> Tensor:
        entry = self._entry(slice_index)
        if name not in entry.queries:
            entry.queries[name] = make(entry.features)
            self._fit_near(slice_index)
        return entry.queries[name]

    def _keep(self, slice_index: int, features: SliceFeatures) -> _Entry:
        entry = self._near[slice_index] = _Entry(features, {})
        self._fit_near(slice_index)
        return entry

    @property
    def _near_budget(self) -> int:
        return self._host_budget if self.model.device == HOST else self._device_budget

    def _is_full(self) -> bool:
        """Whether one more slice would not fit anywhere any more."""
        if not self.ready:
            return False
        budget = self._host_budget + (self._device_budget if self.model.device != HOST else 0)
        return self.nbytes * (self.ready + 1) > budget * self.ready

    def _fit_near(self, newest: int) -> None:
        """Bring the device's share down to its budget: first what is quickly made again."""
        others = [n for n in self._near if n != newest]
        for slice_index in others:
            if self._near_nbytes <= self._near_budget:
                break
            self._near[slice_index].queries.clear()
        for slice_index in others:
            if self._near_nbytes <= self._near_budget:
                break
            entry = self._near.pop(slice_index)
            if self.model.device != HOST:
                self._far[slice_index] = entry.features.to(HOST)
        self._fit_far()

    def _fit_far(self) -> None:
        # A network on the processor shares the host's memory with what was put aside there.
        used = self.nbytes if self.model.device == HOST else self._far_nbytes
        while used > self._host_budget and self._far:
            _, features = self._far.popitem(last=False)
            used -= features.nbytes
