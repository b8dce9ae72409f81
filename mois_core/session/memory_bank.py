"""One lesion through neighbouring slices: which of its memories a slice gets to see.

A lesion leaves something on every slice it was found on: on *prompted* slices, where the user
said what it is, and on *propagated* slices, where the network found it again. A slice that is
looked at next sees all prompted ones and the nearest propagated ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

Placed = list[tuple[int, T]]
"""What is seen, each with the number that tells the network where it was."""


def _behind(slice_number: int, distance: int, reverse: bool) -> int:
    """The slice at a distance in the direction that the tracking comes from."""
    return slice_number + distance if reverse else slice_number - distance


def select_memories(
    prompted: Mapping[int, T],
    propagated: Mapping[int, T],
    slice_number: int,
    reverse: bool,
    memories: int,
) -> Placed[T]:
    """Memories for a slice with their temporal index: prompted ones share the last index,
    propagated ones have their distance minus one."""
    seen = [(memories - 1, memory) for memory in prompted.values()]
    for distance in range(memories - 1, 0, -1):
        memory = propagated.get(_behind(slice_number, distance, reverse))
        if memory is not None:
            seen.append((distance - 1, memory))
    return seen


def select_pointers(
    prompted: Mapping[int, T],
    propagated: Mapping[int, T],
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
        memory = propagated.get(_behind(slice_number, distance, reverse))
        if memory is not None:
            seen.append((distance, memory))
    return seen


def select_recent(
    prompted: Mapping[int, T],
    propagated: Mapping[int, T],
    slice_number: int,
    reverse: bool,
    reach: int,
) -> Placed[T]:
    """What SLM-SAM 2's short memory sees, nearest first, with its distance in slices.

    Prompted and propagated slices are alike here; only the nearness counts.
    """
    seen = []
    for distance in range(1, reach + 1):
        number = _behind(slice_number, distance, reverse)
        memory = propagated.get(number, prompted.get(number))
        if memory is not None:
            seen.append((distance, memory))
    return seen


@dataclass(frozen=True)
class Target:
    """A slice that a lesion is to be propagated to, and where it is propagated from."""

    slice: int
    source: int
    """The prompted slice that it is propagated from."""
    reverse: bool
    """Whether the slices are gone through downwards."""


def around_every_prompt(
    prompted: Collection[int], fixed: Collection[int], propagation_slices: int, slices: int
) -> list[list[Target]]:
    """Targets in rounds of growing distance, each slice once, from its nearest prompted slice.

    ``fixed`` slices keep what they have.
    """
    rounds: list[list[Target]] = [[] for _ in range(propagation_slices)]
    for number in range(slices):
        if number in fixed or not prompted:
            continue
        source = min(prompted, key=lambda n: (abs(n - number), n))
        distance = abs(source - number)
        if 0 < distance <= propagation_slices:
            rounds[distance - 1].append(Target(number, source, reverse=number < source))
    return rounds


def around_first_prompt(
    prompted: Collection[int], fixed: Collection[int], propagation_slices: int, slices: int
) -> list[list[Target]]:
    """The published app's targets: from the earliest prompted slice up, and then down."""
    first = min(prompted)
    up = [
        Target(n, first, False)
        for n in range(first + 1, min(first + propagation_slices, slices - 1) + 1)
    ]
    down = [
        Target(n, first, True) for n in range(first - 1, max(first - propagation_slices, 0) - 1, -1)
    ]
    return [[target] for target in up + down if target.slice not in fixed]
