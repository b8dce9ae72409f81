"""How well lesions agree with the truth: overlap of voxels, and which lesions were found at all."""

from __future__ import annotations

import numpy as np

from mois_core.evaluation.detection import detect, overlaps

DETECTED_FROM_IOU = 0.1
"""Two lesions are the same one from this intersection over union on: low, as the outlines of
small, blurred lesions agree little even between two readers."""


def dice(result: np.ndarray, truth: np.ndarray) -> float:
    """Dice similarity of two boolean masks; two empty ones agree perfectly."""
    total = np.count_nonzero(result) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(result & truth) / total if total else 1.0


def detection_f1(
    result: np.ndarray, truth: np.ndarray, from_iou: float = DETECTED_FROM_IOU
) -> float:
    """F1 of lesions found, for two arrays of lesion numbers (0 is none).

    Lesions are paired one to one such that as many as possible are found: one blob over three
    true lesions finds one of them, three pieces of one lesion find it once.
    """
    return detect(overlaps(result, truth), "one-to-one", from_iou).f1
