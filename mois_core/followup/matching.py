"""Which lesion of an earlier scan is which one of a later scan, and which ones merged or split.

Lesions are paired one to one, such that all pairs together overlap most; lesions that do not
overlap, because they are small or the registration is a little off, by how near they are. What is
left over and lies in a pair's other lesion has merged with it, or was split off it. Of lesions that
merged, and of the parts of one, the largest is the one that stays itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

LEAST_SHARE = 0.1
"""Of the smaller lesion, that a pair shares at least; else it has to be near."""
NEAR_MM = 12.0
"""Between the middles of small lesions that do not overlap."""
_NEAR_SCORE = 0.2
"""What a pair that is near counts at most; one that overlaps counts up to 2."""
PART_SHARE = 0.15
"""Of a lesion, that lies in another one that it merged with or was split off. It grew or shrank in
the meantime, so that much of it may lie beside where the other one was."""


@dataclass(frozen=True)
class Matching:
    """What became of lesions, by their label values."""

    pairs: Mapping[int, int] = field(default_factory=dict)
    """Earlier to later lesion; in a merger or a split, the largest."""
    merged: Mapping[int, int] = field(default_factory=dict)
    """Further earlier lesions, and the later lesion that they are part of now."""
    split: Mapping[int, int] = field(default_factory=dict)
    """Further later lesions, and the earlier lesion that they were part of."""
    gone: tuple[int, ...] = ()
    new: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class _Lesions:
    """The lesions of one label array, in an order that does not depend on their label values."""

    ids: np.ndarray
    sizes: np.ndarray
    middles: np.ndarray
    """In mm along the axes of the array."""

    @classmethod
    def of(cls, labels: np.ndarray, sizes_mm: np.ndarray) -> _Lesions:
        ids, sizes = np.unique(labels[labels > 0], return_counts=True)
        middles = np.zeros((len(ids), 3))
        boxes = ndimage.find_objects(labels)
        for n, lesion_id in enumerate(ids.tolist()):
            box = boxes[lesion_id - 1]
            places = np.argwhere(labels[box] == lesion_id) + [part.start for part in box]
            middles[n] = places.mean(axis=0) * sizes_mm
        order = np.lexsort((*middles.T, sizes))
        return cls(ids[order], sizes[order], middles[order])


def match(
    earlier: np.ndarray,
    later: np.ndarray,
    sizes_mm: tuple[float, float, float],
    known: Mapping[int, int] | None = None,
) -> Matching:
    """Match the lesions of two label arrays on the same voxels; 0 is no lesion.

    ``earlier`` lies on the later scan already. ``sizes_mm`` are a voxel's along the axes of the
    arrays. ``known`` are pairs that somebody has settled.
    """
    if earlier.shape != later.shape:
        raise ValueError(f"labels of {earlier.shape} voxels do not lie on those of {later.shape}")
    mm = np.asarray(sizes_mm, dtype=np.float64)
    before, after = _Lesions.of(earlier, mm), _Lesions.of(later, mm)
    shared = _shared(earlier, later, before.ids, after.ids)
    score = _scores(before, after, shared)
    settled = {
        (one, other)
        for one, other in (known or {}).items()
        if one in before.ids and other in after.ids
    }
    for one, other in settled:
        row, column = before.ids == one, after.ids == other
        score[row], score[:, column] = 0, 0
        score[np.ix_(row, column)] = 10
    rows, columns = linear_sum_assignment(-score)
    paired = [(n, m) for n, m in zip(rows, columns, strict=True) if score[n, m] > 0]
    partner_of_later = {m: n for n, m in paired}
    partner_of_earlier = dict(paired)
    merged = _parts(shared, before.sizes, partner_of_earlier, partner_of_later)
    split = _parts(shared.T, after.sizes, partner_of_later, partner_of_earlier)
    fixed = {m for n, m in paired if (before.ids[n], after.ids[m]) in settled}
    # What is part of a merger and of a split stays as it is.
    kept = fixed | {partner_of_earlier[n] for n in split.values()}
    _let_largest_stay(before.sizes, merged, partner_of_later, kept)
    partner_of_earlier = {n: m for m, n in partner_of_later.items()}
    kept = {partner_of_later[m] for m in fixed | set(merged.values())}
    _let_largest_stay(after.sizes, split, partner_of_earlier, kept)
    pairs = {int(before.ids[n]): int(after.ids[m]) for n, m in partner_of_earlier.items()}
    absorbed = {int(before.ids[n]): int(after.ids[m]) for n, m in merged.items()}
    split_off = {int(after.ids[m]): int(before.ids[n]) for m, n in split.items()}
    return Matching(
        dict(sorted(pairs.items())),
        dict(sorted(absorbed.items())),
        dict(sorted(split_off.items())),
        tuple(sorted(set(before.ids.tolist()) - pairs.keys() - absorbed.keys())),
        tuple(sorted(set(after.ids.tolist()) - set(pairs.values()) - split_off.keys())),
    )


def _shared(
    earlier: np.ndarray, later: np.ndarray, before: np.ndarray, after: np.ndarray
) -> np.ndarray:
    """Return the voxels that each earlier lesion shares with each later one."""
    both = (earlier > 0) & (later > 0)
    shared = np.zeros((len(before), len(after)))
    if both.any():
        rows, columns = (
            _index_of(ids)[labels[both]] for ids, labels in ((before, earlier), (after, later))
        )
        np.add.at(shared, (rows, columns), 1)
    return shared


def _index_of(ids: np.ndarray) -> np.ndarray:
    index = np.zeros(int(ids.max()) + 1, dtype=np.int64)
    index[ids] = np.arange(len(ids))
    return index


def _scores(before: _Lesions, after: _Lesions, shared: np.ndarray) -> np.ndarray:
    """Return how well each earlier lesion goes with each later one; 0 is not at all."""
    sizes = before.sizes[:, None], after.sizes[None]
    share = shared / np.maximum(np.minimum(*sizes), 1)
    dice = 2 * shared / np.maximum(sizes[0] + sizes[1], 1)
    away = np.linalg.norm(before.middles[:, None] - after.middles[None], axis=2)
    near = np.where(away <= NEAR_MM, _NEAR_SCORE * (1 - away / (2 * NEAR_MM)), 0)
    return np.where(share >= LEAST_SHARE, share + dice, near)


def _parts(
    shared: np.ndarray, sizes: np.ndarray, partner: Mapping[int, int], other: Mapping[int, int]
) -> dict[int, int]:
    """Return lesions without a partner that lie in one with a partner, and which one that is."""
    parts = {}
    for n in range(len(sizes)):
        if n in partner or not shared.shape[1]:
            continue
        m = int(np.argmax(shared[n]))
        if m in other and shared[n, m] >= PART_SHARE * sizes[n]:
            parts[n] = m
    return parts


def _let_largest_stay(
    sizes: np.ndarray, parts: dict[int, int], partner: dict[int, int], kept: Collection[int]
) -> None:
    """Make the largest part of a whole its partner, and the one that was it a part.

    The partners of ``kept`` wholes stay.
    """
    for whole in sorted(set(parts.values()) - set(kept)):
        largest = max((n for n in parts if parts[n] == whole), key=lambda n: (sizes[n], -n))
        if sizes[largest] > sizes[partner[whole]]:
            parts[partner[whole]] = whole
            del parts[largest]
            partner[whole] = largest
