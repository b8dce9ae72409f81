"""Detection of lesions: which true ones were found, and which found ones are true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

DetectionRule = Literal["one-to-one", "each-side", "any-overlap"]
DETECTION_RULES: tuple[DetectionRule, ...] = ("each-side", "one-to-one", "any-overlap")


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Voxels that each found lesion shares with each true one.

    Lesions are indices into these arrays, not the label values of the images.
    """

    found_sizes: np.ndarray
    true_sizes: np.ndarray
    shared: np.ndarray  # [found, true]

    @property
    def ious(self) -> np.ndarray:
        """Intersection over union of each pair, [found, true]."""
        return self.shared / (self.found_sizes[:, None] + self.true_sizes[None] - self.shared)

    @property
    def dices(self) -> np.ndarray:
        """Dice of each pair, [found, true]."""
        return 2 * self.shared / (self.found_sizes[:, None] + self.true_sizes[None])


def overlaps(found: np.ndarray, truth: np.ndarray) -> Overlaps:
    """Count the voxels that the lesions of two label arrays share; 0 is no lesion."""
    found_ids, found_sizes = _sizes(found)
    true_ids, true_sizes = _sizes(truth)
    both = (found > 0) & (truth > 0)
    shared = np.zeros((len(found_ids), len(true_ids)), dtype=np.int64)
    pairs = np.searchsorted(found_ids, found[both]), np.searchsorted(true_ids, truth[both])
    np.add.at(shared, pairs, 1)
    return Overlaps(found_sizes, true_sizes, shared)


def _sizes(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids, sizes = np.unique(labels, return_counts=True)
    return ids[ids > 0], sizes[ids > 0]


@dataclass(frozen=True, eq=False)
class Detection:
    """Outcome of a detection: pairs of lesions, and counts for precision, recall and F1."""

    detected: int
    """True lesions that were found."""
    missed: int
    false: int
    """Found lesions that are none."""
    correct: int
    """Found lesions that are one; as many as were detected only where pairs are one to one."""
    pairs: tuple[tuple[int, int], ...]
    """Index of the found lesion and of the true one that it stands for."""

    @property
    def recall(self) -> float:
        """Share of the true lesions that were found."""
        return _share(self.detected, self.missed, self.correct + self.false)

    @property
    def precision(self) -> float:
        """Share of the found lesions that are lesions."""
        return _share(self.correct, self.false, self.detected + self.missed)

    @property
    def f1(self) -> float:
        """F1, with the true positives counted among the true lesions, as published."""
        total = 2 * self.detected + self.false + self.missed
        return 2 * self.detected / total if total else 1.0


def _share(part: int, rest: int, other_side: int) -> float:
    """Return a part of a whole.

    Of an empty whole it is 1 if there was nothing on the other side either, and 0 otherwise.
    """
    if part + rest:
        return part / (part + rest)
    return 0.0 if other_side else 1.0


def detect(between: Overlaps, rule: DetectionRule, from_iou: float) -> Detection:
    """Decide by a rule which lesions were found.

    ``each-side``, the paper's words, counts a true lesion as found if any found one overlaps it
    enough, and a found one as correct likewise. ``one-to-one``, ours, pairs lesions such that as
    many as possible are found: three components of one lesion find it once and are wrong twice.
    ``any-overlap`` is the first with a single shared voxel being enough, as the published code has
    it.
    """
    if rule == "any-overlap":
        enough = between.shared > 0
    else:
        enough = between.ious >= from_iou
    if rule == "one-to-one":
        # Among the pairings with most lesions found, the one whose outlines agree best.
        found, true = linear_sum_assignment(enough * (1000 + between.ious), maximize=True)
        kept = enough[found, true]
        pairs = list(zip(found[kept].tolist(), true[kept].tolist(), strict=True))
        detected = correct = len(pairs)
    else:
        scored = np.where(enough, between.dices, -1.0)
        hit = np.flatnonzero(enough.any(axis=0))
        pairs = [(int(scored[:, index].argmax()), int(index)) for index in hit]
        detected, correct = len(hit), int(enough.any(axis=1).sum())
    return Detection(
        detected=detected,
        missed=len(between.true_sizes) - detected,
        false=len(between.found_sizes) - correct,
        correct=correct,
        pairs=tuple(pairs),
    )
