"""The grey window that a scan is shown with, in pictures of every kind."""

from __future__ import annotations

import numpy as np

from mois_core.session.intensity import PERCENTILES

_SAMPLED_VOXELS = 1_000_000


def grey_window(array: np.ndarray) -> tuple[float, float]:
    """Return black and white point, from a sample: the exact percentile cannot be seen."""
    step = max(1, array.size // _SAMPLED_VOXELS)
    sample = array.ravel()[::step] if step > 1 else array.ravel()
    above_zero = sample[sample > 0]
    if not above_zero.size:
        return 0.0, 1.0
    low, high = np.percentile(above_zero, PERCENTILES).tolist()
    return (low, high) if low < high else (0.0, high)
