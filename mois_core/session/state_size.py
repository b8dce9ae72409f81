"""How much memory states take, beyond what they share with each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

from mois_core.session.history import Difference
from mois_core.session.lesion import Lesion
from mois_core.session.masks import Mask
from mois_core.session.state import State

PER_ARRAY = 256
PER_LESION = 2048
PER_ENTRY = 128
"""Roughly what Python takes for an array, a lesion, and a lesion's entry in a state."""


def difference(before: State, after: State) -> Difference:
    """Return the bytes by which two states differ.

    Only lesions that changed are looked into, so that a step costs the same however much there is.
    """
    changed = _lesions_apart(before, after), _lesions_apart(after, before)
    here, there = (_arrays_of(lesions) for lesions in changed)
    if before.imported is not after.imported:
        here |= _exemplar_arrays(before)
        there |= _exemplar_arrays(after)
    return Difference(
        _bytes_of(here, there) + PER_LESION * len(changed[0]) + PER_ENTRY * len(before.lesions),
        _bytes_of(there, here) + PER_LESION * len(changed[1]) + PER_ENTRY * len(after.lesions),
    )


def _lesions_apart(state: State, other: State) -> list[Lesion]:
    """Return the lesions of a state that another one does not have as they are."""
    return [le for n, le in state.lesions.items() if other.lesions.get(n) is not le]


def _bytes_of(arrays: dict[int, int], shared: dict[int, int]) -> int:
    return sum(nbytes + PER_ARRAY for key, nbytes in arrays.items() if key not in shared)


def _arrays_of(lesions: Iterable[Lesion]) -> dict[int, int]:
    """Return the identity and the bytes of each array that lesions are made of."""
    return {id(array): array.nbytes for lesion in lesions for array in _arrays_in(lesion)}


def _arrays_in(lesion: Lesion) -> Iterator[Tensor | np.ndarray]:
    masks = [
        lesion.mask,
        lesion.absorbed and lesion.absorbed.mask,
        lesion.origin and lesion.origin.mask,
    ]
    for mask in masks:
        yield from _pixels_in(mask)
    for painting in lesion.paintings:
        if painting.plane is not None:
            yield painting.plane.pixels
    for memory in (*lesion.prompted.values(), *lesion.propagated.values()):
        arrays = (memory.pointer, memory.score, memory.memory, memory.logits)
        yield from (array for array in arrays if array is not None)


def _pixels_in(mask: Mask | None) -> Iterator[np.ndarray]:
    if mask is not None:
        yield from (plane.pixels for plane in mask.planes.values())


def _exemplar_arrays(state: State) -> dict[int, int]:
    views = [exemplar.view for exemplar in state.imported]
    return {id(array): array.nbytes for view in views for array in (view.memory, view.pointer)}
