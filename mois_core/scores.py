"""How well lesions agree with the truth: overlap of voxels, and which lesions were found at all."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

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
    result_ids, result_sizes = _sizes(result)
    truth_ids, truth_sizes = _sizes(truth)
    if not len(result_ids) and not len(truth_ids):
        return 1.0
    shared = (result > 0) & (truth > 0)
    overlaps = np.zeros((len(result_ids), len(truth_ids)))
    np.add.at(
        overlaps,
        (
            np.searchsorted(result_ids, result[shared]),
            np.searchsorted(truth_ids, truth[shared]),
        ),
        1,
    )
    ious = overlaps / (result_sizes[:, None] + truth_sizes[None] - overlaps)
    pairs = linear_sum_assignment(ious >= from_iou, maximize=True)
    found = np.count_nonzero(ious[pairs] >= from_iou)
    return 2 * found / (len(result_ids) + len(truth_ids))


def _sizes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids, sizes = np.unique(labels, return_counts=True)
    return ids[ids > 0], sizes[ids > 0]
