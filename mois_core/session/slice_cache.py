"""Encoded slices in one memory, with what has to go first when it is full."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from mois_core.network.model import SliceFeatures


@dataclass
class KeptSlice:
    """One encoded slice."""

    features: SliceFeatures
    queries: dict[str, Tensor]
    """What depends on the slice alone in each attention, made when first needed."""


class SliceCache:
    """The encoded slices in one memory, in the order in which they were used.

    It counts the bytes as slices come and go: adding them up anew for every slice takes longer
    than anything else once there are hundreds.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self.query_nbytes = 0
        """The part of `nbytes` that is quickly made again."""
        self._entries: OrderedDict[int, KeptSlice] = OrderedDict()
        self._with_queries: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, slice_index: object) -> bool:
        return slice_index in self._entries

    def get(self, slice_index: int) -> KeptSlice | None:
        """Return a slice, if it is here."""
        return self._entries.get(slice_index)

    def put(self, slice_index: int, features: SliceFeatures, ahead: bool = False) -> KeptSlice:
        """Add a slice; one that was encoded ahead counts as used before all others."""
        entry = self._entries[slice_index] = KeptSlice(features, {})
        self._entries.move_to_end(slice_index, last=not ahead)
        self.nbytes += features.nbytes
        return entry

    def use(self, slice_index: int) -> None:
        """Make a slice the one that was used last."""
        self._entries.move_to_end(slice_index)
        if slice_index in self._with_queries:
            self._with_queries.move_to_end(slice_index)

    def use_all(self, slice_indices: Collection[int]) -> None:
        """Make these slices the ones that were used last, in the order in which they were."""
        for slice_index in [n for n in self._entries if n in slice_indices]:
            self.use(slice_index)

    def take(self, slice_index: int) -> SliceFeatures:
        """Remove a slice and return it."""
        self._drop_queries(slice_index)
        features = self._entries.pop(slice_index).features
        self.nbytes -= features.nbytes
        return features

    def add_query(self, slice_index: int, name: str, query: Tensor) -> None:
        """Keep a query with its slice."""
        self._entries[slice_index].queries[name] = query
        self._with_queries[slice_index] = None
        self.nbytes += query.nbytes
        self.query_nbytes += query.nbytes

    def drop_oldest_queries(self, in_use: int | None) -> bool:
        """Drop the queries that were not used for longest; return whether there were any."""
        oldest = next((n for n in self._with_queries if n != in_use), None)
        if oldest is None:
            return False
        self._drop_queries(oldest)
        return True

    def _drop_queries(self, slice_index: int) -> None:
        nbytes = sum(query.nbytes for query in self._entries[slice_index].queries.values())
        self._entries[slice_index].queries.clear()
        self._with_queries.pop(slice_index, None)
        self.nbytes -= nbytes
        self.query_nbytes -= nbytes

    def next_to_go(self, in_use: int | None, wanted: Collection[int]) -> int | None:
        """Return the slice that is missed least: of those not wanted the one used longest ago.

        Of those that are wanted, each once and perhaps in turns, it is the one used last: it is
        wanted again after all others. The wanted ones must have been used after the rest.
        """
        oldest = next((n for n in self._entries if n != in_use), None)
        if oldest in wanted:
            return next(n for n in reversed(self._entries) if n != in_use)
        return oldest
