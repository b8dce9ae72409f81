"""Bring an earlier scan of a patient onto a later one: rigid, then affine, then bent.

Transforms take a point of the later scan to the same place in the earlier one, as resampling needs
it. What they are used for is to tell which lesion is which; no volume is measured through them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK

from mois_core.errors import BadInput
from mois_core.followup.bspline import bend
from mois_core.followup.registration_image import RegistrationImage, itk_image, registration_image
from mois_core.followup.registration_quality import RegistrationQuality, assess
from mois_core.geometry import SliceStack, Volume
from mois_core.io.images import LPS_TO_RAS
from mois_core.progress import CancelToken, Progress, silent

_THREADS = 2
"""Beside the viewer, or another job: more gain little on images this coarse."""
_BINS = 32
_SEED = 20_13
_SAMPLED_PART = 0.25
_PASSES = ((100.0, 2, 40), (50.0, 2, 40))
"""Of the B-spline: mm from knot to knot, how much coarser the plane is, and steps."""
_MARGIN_VOXELS = [3, 3, 1]
"""So much around the body counts, so that its skin does."""
_STEPS = ("position", "size", "posture")
_INVERSE_STEPS = 30
_INVERSE_MM = 0.05

_Transform = SimpleITK.Transform


@dataclass(frozen=True, eq=False)
class Registration:
    """How an earlier scan lies on a later one."""

    to_earlier: _Transform
    """From points of the later scan to those of the earlier one, in ITK's LPS millimetres."""
    earlier: RegistrationImage
    later: RegistrationImage
    quality: RegistrationQuality

    def ras_in_earlier(self, points: np.ndarray) -> np.ndarray:
        """Return where RAS points [n, 3] of the later scan lie in the earlier one."""
        lps = np.asarray(points, dtype=np.float64) * LPS_TO_RAS.diagonal()[:3]
        moved = [self.to_earlier.TransformPoint(point) for point in lps.tolist()]
        return np.reshape(moved, (-1, 3)) * LPS_TO_RAS.diagonal()[:3]

    def ras_in_later(self, points: np.ndarray) -> np.ndarray:
        """Return where RAS points [n, 3] of the earlier scan lie in the later one.

        The transform has no inverse in closed form; from a near guess, steps by what is left over
        close in on it, since no place of a scan that passed is folded.
        """
        wanted = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        found = wanted.copy()
        for _ in range(_INVERSE_STEPS):
            off = self.ras_in_earlier(found) - wanted
            found -= off
            if not off.size or np.abs(off).max() < _INVERSE_MM:
                break
        return found

    def labels_on_later(self, labels: Volume, later: Volume) -> np.ndarray:
        """Return labels of the earlier scan on the later one's voxels, in its own order [k, j, i].

        Each voxel has the label that is at its centre.
        """
        stack, source = SliceStack(later), SliceStack(labels)
        grid = itk_image(np.zeros(stack.array.shape, dtype=np.uint8), stack.to_ras)
        image = itk_image(source.array.astype(np.uint16), source.to_ras)
        moved = SimpleITK.Resample(image, grid, self.to_earlier, SimpleITK.sitkNearestNeighbor)
        return stack.to_volume(SimpleITK.GetArrayFromImage(moved))

    @cached_property
    def earlier_unmoved(self) -> np.ndarray:
        """The same, where both scans' own coordinates put it."""
        return SimpleITK.GetArrayFromImage(SimpleITK.Resample(self.earlier.image, self.later.image))

    @cached_property
    def earlier_on_later(self) -> np.ndarray:
        """The earlier scan's coarse image on the later one's coarse voxels."""
        moved = SimpleITK.Resample(self.earlier.image, self.later.image, self.to_earlier)
        return SimpleITK.GetArrayFromImage(moved)


def register(
    earlier: Volume,
    later: Volume,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
) -> Registration:
    """Bring an earlier scan onto a later one of the same patient.

    A result that cannot be right is a `Registration` all the same: ask its `quality`, or have
    `check` refuse it.
    """
    watch = _Watch(progress, cancel or CancelToken())
    watch(0, _STEPS[0])
    one, other = registration_image(earlier), registration_image(later)
    start = _best_start(one, other)
    rigid = SimpleITK.Euler3DTransform()
    rigid.SetCenter(start.GetCenter())
    rigid.SetTranslation(start.GetTranslation())
    rigid = SimpleITK.Euler3DTransform(_linear(one, other, rigid, (4, 2), watch, 0))
    affine = SimpleITK.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    affine = SimpleITK.AffineTransform(_linear(one, other, affine, (2,), watch, 1))
    whole = _bent(one, other, affine, watch)
    watch(len(_STEPS), "check")
    before = assess(one, other, SimpleITK.Transform(3, SimpleITK.sitkIdentity))
    return Registration(whole, one, other, assess(one, other, whole, before.correlation))


def check(
    registration: Registration,
    otherwise: str = "compare them unchecked and look at the picture of the registration",
) -> None:
    """Refuse a registration that cannot be right.

    ``otherwise`` is what to do if the scans are of one body all the same.
    """
    why = registration.quality.why_not
    if why:
        raise BadInput(f"the scans cannot be registered: {why} If they are, {otherwise}")


class _Watch:
    """Progress of the optimisers, and the end of them when someone asks for it.

    An exception in ITK's callback would be printed and lost: it is kept, the optimiser is stopped,
    and it is raised where that has ended.
    """

    def __init__(self, progress: Progress, cancel: CancelToken) -> None:
        self._progress = progress
        self._cancel = cancel
        self._raised: BaseException | None = None

    def __call__(self, step: int, what: str) -> None:
        self._cancel.check()
        self._progress(step, len(_STEPS), f"Registering: {what}")

    def run(
        self, method: SimpleITK.ImageRegistrationMethod, step: int, images: tuple
    ) -> _Transform:
        def look() -> None:
            try:
                self(step, _STEPS[step])
            except BaseException as error:
                self._raised = error
                method.StopRegistration()

        method.AddCommand(SimpleITK.sitkIterationEvent, look)
        try:
            found = method.Execute(*images)
        except RuntimeError as error:
            if self._raised is None:
                raise BadInput("the scans cannot be registered: they do not overlap") from error
        if self._raised is not None:
            raise self._raised
        return found


def _best_start(earlier: RegistrationImage, later: RegistrationImage) -> SimpleITK.Euler3DTransform:
    """Return the translation, of a few, under which both bodies overlap most."""
    ends = [_body_box(image) for image in (later, earlier)]
    (later_middle, later_top), (earlier_middle, earlier_top) = ends
    shifts = [np.zeros(3), earlier_middle - later_middle, earlier_middle - later_middle]
    shifts[2] = shifts[2].copy()
    shifts[2][2] = earlier_top - later_top
    best, most = None, -1.0
    for shift in shifts:
        start = SimpleITK.Euler3DTransform()
        start.SetCenter(later_middle.tolist())
        start.SetTranslation(shift.tolist())
        share = assess(earlier, later, start).body_overlap
        if share > most:
            best, most = start, share
    return best


def _body_box(image: RegistrationImage) -> tuple[np.ndarray, float]:
    """Return the middle of the body, and its upper end, in ITK's millimetres."""
    places = np.argwhere(image.body_array)[:, ::-1]
    direction = np.reshape(image.image.GetDirection(), (3, 3)) * image.image.GetSpacing()
    points = places @ direction.T + image.image.GetOrigin()
    return points.mean(axis=0), float(np.quantile(points[:, 2], 0.999))


def _method(later: RegistrationImage, part: float) -> SimpleITK.ImageRegistrationMethod:
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfThreads(_THREADS)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(part, _SEED)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetMetricFixedMask(SimpleITK.BinaryDilate(later.body, _MARGIN_VOXELS))
    return method


def _linear(
    earlier: RegistrationImage,
    later: RegistrationImage,
    start: _Transform,
    shrink: tuple[int, ...],
    watch: _Watch,
    step: int,
) -> _Transform:
    method = _method(later, _SAMPLED_PART)
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel([0.5 * factor for factor in shrink])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=4.0, minStep=0.02, numberOfIterations=80, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    found = watch.run(method, step, (later.image, earlier.image))
    return found.GetNthTransform(0) if found.GetName() == "CompositeTransform" else found


def _bent(
    earlier: RegistrationImage, later: RegistrationImage, affine: _Transform, watch: _Watch
) -> _Transform:
    moving = SimpleITK.GetArrayFromImage(SimpleITK.Resample(earlier.image, later.image, affine))
    around = SimpleITK.GetArrayFromImage(SimpleITK.BinaryDilate(later.body, _MARGIN_VOXELS))
    spacing = later.image.GetSpacing()[::-1]
    displacement = bend(later.array, moving, around, spacing, _PASSES, lambda: watch(2, _STEPS[2]))
    direction = np.reshape(later.image.GetDirection(), (3, 3))
    vectors = np.einsum("de,enml->nmld", direction, displacement[::-1].astype(np.float64))
    field = SimpleITK.GetImageFromArray(np.ascontiguousarray(vectors), isVector=True)
    field.CopyInformation(later.image)
    whole = SimpleITK.CompositeTransform(3)
    whole.AddTransform(affine)
    # Applied first: the displacement lies on the later scan's grid.
    whole.AddTransform(SimpleITK.DisplacementFieldTransform(field))
    return whole
