"""Simulated clicks: where a user would point first, and what they would correct next."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from mois_core.session.components import centre_inside

FROM_TRUTH = 0.1
"""Share of corrections that just point at the lesion somewhere, as in the published training."""

SimulatedClick = tuple[float, float, int]
"""x and y in pixels, and 1 for "belongs to it" or 0 for "does not"."""


def first_click(mask: np.ndarray) -> SimulatedClick:
    """Return the pixel of a mask that is nearest to its centre, which may itself lie outside."""
    row, column = centre_inside(mask)
    return float(column), float(row), 1


def correction(
    rng: np.random.Generator,
    mask: np.ndarray,
    truth: np.ndarray,
    from_truth: float = FROM_TRUTH,
) -> SimulatedClick:
    """Return the deepest point of the largest component that is missing or too much.

    With the probability ``from_truth``, and where nothing is wrong, it is any point of the truth.
    """
    wrong = mask != truth
    if rng.random() < from_truth or not wrong.any():
        return _anywhere(rng, truth)
    components, _ = ndimage.label(wrong)
    largest = int(np.bincount(components.ravel())[1:].argmax()) + 1
    box = ndimage.find_objects(components)[largest - 1]
    depth = ndimage.distance_transform_edt(np.pad(components[box] == largest, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    row, column = row + box[0].start, column + box[1].start
    return float(column), float(row), int(truth[row, column])


def _anywhere(rng: np.random.Generator, truth: np.ndarray) -> SimulatedClick:
    places = np.argwhere(truth)
    row, column = places[int(rng.integers(len(places)))]
    return float(column), float(row), 1
