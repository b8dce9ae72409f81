"""The metrics of one scan: its result against its truth.

The paper's definitions are the defaults. Where its published code measures something else, that
is an option with a name; `AS_PUBLISHED` is all of them together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.evaluation.detection import (
    DETECTION_RULES,
    Detection,
    DetectionRule,
    Overlaps,
    detect,
    overlaps,
)
from mois_core.evaluation.surfaces import surface_scores
from mois_core.evaluation.truth import FACES
from mois_core.results.scores import DETECTED_FROM_IOU, dice
from mois_core.session.components import TOUCHING

CM3_IN_MM3 = 1000.0

LesionDice = Literal["pair", "box"]


@dataclass(frozen=True)
class MetricSettings:
    """How a result is compared with the truth."""

    smallest_cm3: float = 1.0
    """V_thresh: connected components below it are left out of result and truth alike."""
    filter_corners: bool = True
    """Whether voxels that share a corner only are one component for that filter."""
    detection: DetectionRule = "each-side"
    from_iou: float = DETECTED_FROM_IOU
    """Intersection over union from which on two lesions are the same one."""
    lesion_dice: LesionDice = "pair"
    """Whether the Dice of a detected lesion is that with the lesion it is paired with; or as
    published with whatever lies in the box around it."""
    tolerance_mm: float = 2.0
    """Tolerance of the normalised surface Dice: about three pixels of the paper's scans."""

    def __post_init__(self) -> None:
        if not (0 <= self.smallest_cm3 < math.inf and 0 <= self.tolerance_mm < math.inf):
            raise BadInput("the smallest volume and the surface tolerance are numbers from 0 on")
        if not 0 < self.from_iou <= 1:
            raise BadInput(
                f"the IoU to detect from must lie above 0 and up to 1: {self.from_iou:g}"
            )
        if self.detection not in DETECTION_RULES:
            raise BadInput(f"detection is one of {', '.join(DETECTION_RULES)}")


AS_PUBLISHED = MetricSettings(
    smallest_cm3=2.0, filter_corners=False, detection="any-overlap", lesion_dice="box"
)


@dataclass(frozen=True)
class Metrics:
    """Metrics of one scan; NaN where there is none, as the Dice of detected lesions without any."""

    dsc: float
    precision: float
    recall: float
    f1: float
    detected: int
    missed: int
    false: int
    lesion_dsc: float
    one_to_one_precision: float
    """This and what follows is of lesions paired one to one, whatever the rule of detection."""
    one_to_one_recall: float
    one_to_one_f1: float
    one_to_one_lesion_dsc: float
    truth_cm3: float
    result_cm3: float
    assd_mm: float = nan
    nsd: float = nan

    @property
    def volume_error_cm3(self) -> float:
        """Volume of the result minus that of the truth: above 0 where too much was marked."""
        return self.result_cm3 - self.truth_cm3


def measure(
    result: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    settings: MetricSettings | None = None,
    surfaces: bool = True,
) -> Metrics:
    """Compare two masks of all lesions; ``spacing`` is in mm along the axes of the arrays.

    Lesions are connected components on both sides, whatever values the arrays hold: which voxels
    belong to which click is no property of the result. Without ``surfaces`` the two measures that
    take longest are left out.
    """
    settings = settings or MetricSettings()
    voxel_cm3 = float(np.prod(spacing)) / CM3_IN_MM3
    box = _common_box(result, truth)
    result = without_small(result[box] > 0, voxel_cm3, settings)
    truth = without_small(truth[box] > 0, voxel_cm3, settings)
    between = overlaps(_components(result), _components(truth))
    detection = detect(between, settings.detection, settings.from_iou)
    pairs = detect(between, "one-to-one", settings.from_iou)
    edges = surface_scores(result, truth, spacing, settings.tolerance_mm) if surfaces else None
    return Metrics(
        dsc=dice(result, truth),
        precision=detection.precision,
        recall=detection.recall,
        f1=detection.f1,
        detected=detection.detected,
        missed=detection.missed,
        false=detection.false,
        lesion_dsc=_lesion_dice(result, truth, between, detection, settings),
        one_to_one_precision=pairs.precision,
        one_to_one_recall=pairs.recall,
        one_to_one_f1=pairs.f1,
        one_to_one_lesion_dsc=_lesion_dice(result, truth, between, pairs, settings),
        truth_cm3=int(np.count_nonzero(truth)) * voxel_cm3,
        result_cm3=int(np.count_nonzero(result)) * voxel_cm3,
        assd_mm=edges.assd_mm if edges else nan,
        nsd=edges.nsd if edges else nan,
    )


def without_small(mask: np.ndarray, voxel_cm3: float, settings: MetricSettings) -> np.ndarray:
    """Return the mask without its components that are too small to count."""
    structure = TOUCHING if settings.filter_corners else FACES
    components, count = ndimage.label(mask, structure=structure)
    if not count:
        return mask
    large = np.bincount(components.ravel()) * voxel_cm3 >= settings.smallest_cm3
    large[0] = False
    return large[components]


def _components(mask: np.ndarray) -> np.ndarray:
    return ndimage.label(mask, structure=TOUCHING)[0]


def _common_box(result: np.ndarray, truth: np.ndarray) -> tuple[slice, ...]:
    """Return the box around both masks; of two empty ones one voxel, so nothing else is special."""
    boxes = ndimage.find_objects(((result > 0) | (truth > 0)).astype(np.uint8))
    return boxes[0] if boxes else (slice(0, 1),) * result.ndim


def _lesion_dice(
    result: np.ndarray,
    truth: np.ndarray,
    between: Overlaps,
    detection: Detection,
    settings: MetricSettings,
) -> float:
    """Return the mean Dice of the detected lesions, or NaN if there are none."""
    if not detection.pairs:
        return nan
    if settings.lesion_dice == "pair":
        found, true = (list(side) for side in zip(*detection.pairs, strict=True))
        return float(between.dices[found, true].mean())
    true_labels = _components(truth)
    boxes = ndimage.find_objects(true_labels)
    values = [
        dice(result[boxes[index]], true_labels[boxes[index]] == index + 1)
        for _, index in detection.pairs
    ]
    return float(np.mean(values))
