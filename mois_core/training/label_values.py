"""What the values of a label map stand for: lesions by number, or classes of tissue."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.session.components import TOUCHING
from mois_core.training.training_case import MOST_LESIONS

_MOST_CLASSES = 20
"""A map with more values than this has numbered lesions, whatever they look like."""
_MOSTLY = 0.75
"""A lesion of which less than this is in one piece is in several places."""
_FEW = 1 / 3
"""Part of numbered lesions that are in several places at most; where slices are thick, some are."""
_ENCLOSED = 0.5
"""A value whose border is a single other value by more than this lies within it."""


def of_values(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Return 1 where a label map has one of the values, and 0 elsewhere."""
    return np.isin(labels, values).astype(np.uint8)


def check_values(values: Sequence[int], there: Collection[int]) -> None:
    """Refuse values of lesions that are in no label map at all."""
    for value in values:
        if value not in there:
            known = ", ".join(map(str, sorted(there))) or "none but 0"
            raise BadInput(f"no label map has a voxel of value {value}; there are: {known}")


def instances_of(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return numbered lesions, the largest first, and how many were too many.

    A label map of one value is taken apart into connected components; one of several values has
    its lesions numbered already.
    """
    if np.count_nonzero(np.unique(labels)) <= 1:
        labels, _ = ndimage.label(labels > 0, structure=TOUCHING)
    values, sizes = np.unique(labels[labels > 0], return_counts=True)
    order = values[np.argsort(-sizes, kind="stable")]
    table = np.zeros(int(labels.max()) + 1, dtype=np.uint8)
    kept = order[:MOST_LESIONS]
    table[kept] = np.arange(1, len(kept) + 1)
    return table[labels], len(order) - len(kept)


def classes_in(labels: np.ndarray) -> tuple[int, ...]:
    """Return the values of a label map that look like classes, an organ and its tumours say.

    Empty if they look like numbered lesions. A class is in several places, or lies within another
    one, such as a tumour in an organ, or dead tissue in a tumour; lesions seldom do either.
    """
    values = np.unique(labels[labels > 0]).tolist()
    if not 1 < len(values) <= _MOST_CLASSES:
        return ()
    boxes = ndimage.find_objects(labels)
    around = [_with_margin(boxes[value - 1]) for value in values]
    scattered = sum(_is_scattered(labels[box] == n) for n, box in zip(values, around, strict=True))
    enclosed = any(_is_enclosed(labels[box], n) for n, box in zip(values, around, strict=True))
    return tuple(values) if enclosed or scattered >= _FEW * len(values) else ()


def _with_margin(box: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)


def _is_scattered(mask: np.ndarray) -> bool:
    parts, _ = ndimage.label(mask, structure=TOUCHING)
    sizes = np.bincount(parts.ravel())[1:]
    return bool(sizes.max() < _MOSTLY * sizes.sum())


def _is_enclosed(labels: np.ndarray, value: int) -> bool:
    mask = labels == value
    border = labels[ndimage.binary_dilation(mask) & ~mask]
    counts = np.bincount(border)
    return bool(len(border) and counts[1:].max(initial=0) > _ENCLOSED * len(border))
