"""How well an earlier scan lies on a later one, and whether that can be right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK
from scipy import ndimage

from mois_core.followup.registration_image import RegistrationImage

_LEAST_OVERLAP = 0.75
_LEAST_CORRELATION = 0.7
"""On phantoms, scans of one patient reach 0.8 and more, and those of two patients 0.6."""
_DETAIL_MM = 12.0
"""What is even over this distance is no detail: outlines of organs are alike in all patients."""
_JACOBIAN_PARTS = (0.001, 0.999)


@dataclass(frozen=True)
class RegistrationQuality:
    """Figures that tell whether a registration worked."""

    correlation_before: float
    """Of the detail in both images inside the later scan's body; 1 is the same image."""
    correlation: float
    body_overlap: float
    """Dice of both bodies, where the later scan looks at."""
    smallest_jacobian: float
    """How much tissue is squeezed (below 1) or stretched (above 1) within the body, but for one
    voxel in a thousand each way; 0 or less is folded."""
    largest_jacobian: float

    @property
    def why_not(self) -> str:
        """One sentence on why this cannot be right; empty if it can."""
        if self.body_overlap < _LEAST_OVERLAP:
            return (
                f"their bodies overlap by {self.body_overlap:.0%} only; are they of the same part "
                "of the body?"
            )
        if self.smallest_jacobian <= 0:
            return "one had to be folded to lie on the other; are they of the same patient?"
        if self.correlation < _LEAST_CORRELATION:
            return (
                f"what is inside the bodies does not agree (correlation {self.correlation:.2f}); "
                "are they of the same patient?"
            )
        return ""


def assess(
    earlier: RegistrationImage,
    later: RegistrationImage,
    to_earlier: SimpleITK.Transform,
    correlation_before: float | None = None,
) -> RegistrationQuality:
    """Measure how well an earlier image lies on a later one under a transform."""
    moved = _resampled(earlier.image, later.image, to_earlier, SimpleITK.sitkLinear)
    body = _resampled(earlier.body, later.image, to_earlier, SimpleITK.sitkNearestNeighbor) > 0
    seen = _resampled(_everywhere(earlier), later.image, to_earlier, SimpleITK.sitkLinear) > 0
    own = later.body_array
    both = np.count_nonzero(body & own)
    # What the earlier scan does not show counts against it, but for half of the body: stations.
    missed = max(np.count_nonzero(own & ~seen) - np.count_nonzero(own) // 2, 0)
    bodies = np.count_nonzero(body) + np.count_nonzero(own & seen) + missed
    overlap = 2 * both / max(bodies, 1)
    spacing = later.image.GetSpacing()[::-1]
    at = own & seen & (body > 0)
    correlation = _correlation(*(_detail(part, spacing)[at] for part in (moved, later.array)))
    smallest, largest = _jacobians(later, to_earlier, own)
    before = correlation if correlation_before is None else correlation_before
    return RegistrationQuality(before, correlation, float(overlap), smallest, largest)


def _everywhere(image: RegistrationImage) -> SimpleITK.Image:
    whole = SimpleITK.Image(image.body.GetSize(), SimpleITK.sitkUInt8) + 1
    whole.CopyInformation(image.body)
    return whole


def _resampled(image, grid, transform, how) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, grid, transform, how))


def _detail(image: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    return image - ndimage.gaussian_filter(image, [_DETAIL_MM / mm for mm in spacing])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if one.size < 2 or not one.std() or not other.std():
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _jacobians(
    later: RegistrationImage, to_earlier: SimpleITK.Transform, body: np.ndarray
) -> tuple[float, float]:
    image = later.image
    field = SimpleITK.TransformToDisplacementField(
        to_earlier,
        SimpleITK.sitkVectorFloat64,
        image.GetSize(),
        image.GetOrigin(),
        image.GetSpacing(),
        image.GetDirection(),
    )
    values = SimpleITK.GetArrayFromImage(SimpleITK.DisplacementFieldJacobianDeterminant(field))
    if not body.any():
        return 1.0, 1.0
    low, high = np.quantile(values[body], _JACOBIAN_PARTS).tolist()
    return low, high
