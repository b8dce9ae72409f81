"""Agreement of masks, and the overlap from which on two lesions are the same one."""

from __future__ import annotations

import numpy as np

DETECTED_FROM_IOU = 0.1
"""Two lesions are the same one from this intersection over union on: low, as the outlines of
small, blurred lesions agree little even between two readers."""


def dice(result: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice similarity of two boolean masks; two empty ones agree perfectly."""
    total = np.count_nonzero(result) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(result & truth) / total if total else 1.0
