"""One lesion through neighbouring slices: which of its memories a slice gets to see.

A lesion leaves something on every slice it was found on: on *prompted* slices, where the user
said what it is, and on *carried* slices, where the network found it again. A slice that is
looked at next sees all prompted ones and the nearest carried ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

Placed = list[tuple[int, T]]
"""What is seen, each with the number that tells the network where it was."""


def _behind(slice_number: int, distance: int, reverse: bool) -> int:
    """The slice at a distance in the direction that the tracking comes from."""
    return slice_number + distance if reverse else slice_number - distance


def maps_seen(
    prompted: Mapping[int, T],
    carried: Mapping[int, T],
    slice_number: int,
    reverse: bool,
    memories: int,
) -> Placed[T]:
    """Memories for a slice with their temporal index: prompted ones share the last index,
    carried ones have their distance minus one."""
    seen = [(memories - 1, memory) for memory in prompted.values()]
    for distance in range(memories - 1, 0, -1):
        memory = carried.get(_behind(slice_number, distance, reverse))
        if memory is not None:
            seen.append((distance - 1, memory))
    return seen


def pointers_seen(
    prompted: Mapping[int, T],
    carried: Mapping[int, T],
    slice_number: int,
    reverse: bool,
    slices: int,
    max_pointers: int,
) -> Placed[T]:
    """Object pointers for a slice with their distance; prompted ones only from behind it."""
    sign = -1 if reverse else 1
    distances = {n: (slice_number - n) * sign for n in prompted}
    seen = [(d, prompted[n]) for n, d in distances.items() if d >= 0]
    for distance in range(1, min(slices, max_pointers)):
        memory = carried.get(_behind(slice_number, distance, reverse))
        if memory is not None:
            seen.append((distance, memory))
    return seen


def recent_seen(
    prompted: Mapping[int, T],
    carried: Mapping[int, T],
    slice_number: int,
    reverse: bool,
    reach: int,
) -> Placed[T]:
    """What SLM-SAM 2's short memory sees, nearest first, with its distance in slices.

    Prompted and carried slices are alike here; only the nearness counts.
    """
    seen = []
    for distance in range(1, reach + 1):
        number = _behind(slice_number, distance, reverse)
        memory = carried.get(number, prompted.get(number))
        if memory is not None:
            seen.append((distance, memory))
    return seen
