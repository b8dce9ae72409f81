"""Which memories of a lesion a slice sees, and the slice as they make it look.

A lesion leaves a memory on every slice that it was found on: on *prompted* slices, where the user
said what it is, and on *propagated* slices, where the network found it again. A slice that is
looked at next sees all prompted ones and the nearest propagated ones. Inference and training use
the same functions, so a network is trained on just what it will meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from mois_core.network.config import NetworkConfig
from mois_core.network.model import Sam2
from mois_core.network.short_long import SlmSam2

M = TypeVar("M")
Memories = Mapping[int, M]
"""Memories by the index of the slice that they were left on."""


class BatchedMemory(Protocol):
    """Memories that one or several lesions left on a slice each, as one batch."""

    memory: Tensor
    """(B, memory width, rows, columns)."""
    pointer: Tensor
    """(B, width)."""


@dataclass(frozen=True)
class Selection(Generic[M]):
    """The memories that one slice sees of one lesion, each with its place in time."""

    maps: list[tuple[int, M]]
    """Memory maps, each with its temporal index."""
    pointers: list[tuple[int, M]]
    """Object pointers, each with its distance in slices."""
    recent: list[tuple[int, M]]
    """What SLM-SAM 2's short memory holds, nearest first, each with its distance in slices."""

    @property
    def layout(self) -> tuple:
        """What two selections must have in common to go through the network as one batch."""
        groups = (self.maps, self.pointers, self.recent)
        return tuple(tuple(place for place, _ in group) for group in groups)


def select(
    prompted: Memories[M],
    propagated: Memories[M],
    slice_index: int,
    reverse: bool,
    config: NetworkConfig,
    slices: int,
) -> Selection[M]:
    """Select the memories that a slice sees when a lesion is propagated to it.

    ``reverse`` says that the slices are gone through downwards; ``slices`` is how many there are.
    """
    seen = (prompted, propagated, slice_index, reverse)
    reach = config.short_memory.slices if config.short_memory else 0
    return Selection(
        select_memories(*seen, config.memories),
        select_pointers(*seen, slices, config.max_pointers),
        select_recent(*seen, reach),
    )


def condition_on_memories(
    model: Sam2,
    selection: Selection[BatchedMemory],
    memory_query: Tensor,
    short_query: Callable[[], Tensor],
    slices: int,
) -> Tensor:
    """Return a slice's map as the memories make it look, (B, width, rows, columns).

    The queries are the parts of the attentions that depend on the slice alone; the one of the
    short attention is only asked for if the network has one and something is recent.
    """
    keys = model.memory_keys(
        [(index, m.memory) for index, m in selection.maps],
        [(distance, m.pointer) for distance, m in selection.pointers],
        slices,
    )
    long = model.attend_to_memory(memory_query, keys).float()
    if not isinstance(model, SlmSam2) or not selection.recent:
        return long
    keys = model.short_keys(
        [(distance - 1, m.memory) for distance, m in reversed(selection.recent)],
        [(distance, m.pointer) for distance, m in selection.recent],
        slices,
    )
    short = model.attend_to_short(short_query(), keys).float()
    return model.fuse(short, long)


def select_memories(
    prompted: Memories[M],
    propagated: Memories[M],
    slice_index: int,
    reverse: bool,
    memories: int,
) -> list[tuple[int, M]]:
    """Select memory maps with their temporal indices.

    All prompted ones share the last index; propagated ones have their distance minus one.
    """
    selected = [(memories - 1, memory) for memory in prompted.values()]
    for distance in range(memories - 1, 0, -1):
        memory = propagated.get(_behind(slice_index, distance, reverse))
        if memory is not None:
            selected.append((distance - 1, memory))
    return selected


def select_pointers(
    prompted: Memories[M],
    propagated: Memories[M],
    slice_index: int,
    reverse: bool,
    slices: int,
    max_pointers: int,
) -> list[tuple[int, M]]:
    """Select object pointers with their distances; prompted ones only from behind the slice."""
    sign = -1 if reverse else 1
    distances = {n: (slice_index - n) * sign for n in prompted}
    selected = [(d, prompted[n]) for n, d in distances.items() if d >= 0]
    for distance in range(1, min(slices, max_pointers)):
        memory = propagated.get(_behind(slice_index, distance, reverse))
        if memory is not None:
            selected.append((distance, memory))
    return selected


def select_recent(
    prompted: Memories[M],
    propagated: Memories[M],
    slice_index: int,
    reverse: bool,
    reach: int,
) -> list[tuple[int, M]]:
    """Select what SLM-SAM 2's short memory sees, nearest first, with its distance in slices.

    Prompted and propagated slices are alike here; only the nearness counts.
    """
    selected = []
    for distance in range(1, reach + 1):
        behind = _behind(slice_index, distance, reverse)
        memory = propagated.get(behind, prompted.get(behind))
        if memory is not None:
            selected.append((distance, memory))
    return selected


def _behind(slice_index: int, distance: int, reverse: bool) -> int:
    """Return the slice at a distance in the direction that propagation comes from."""
    return slice_index + distance if reverse else slice_index - distance
