"""A cubic B-spline that bends one image onto another on the same grid.

ITK's own costs, for each sample, time for every knot of the whole body; here it is three small
matrix products. The images agree where brightness in a window around each voxel correlates, which
coils' shading does not change, and bending costs, so that a lesion that grew is not squeezed back.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_WINDOW_MM = 30.0
_BENDING = 0.02
_FLAT = 1e-4
"""Variance of brightness below which a window says nothing."""
_STEP_MM = 1.0


def bend(
    fixed: np.ndarray,
    moving: np.ndarray,
    weight: np.ndarray,
    spacing: tuple[float, float, float],
    passes: tuple[tuple[float, int, int], ...],
    look: Callable[[], None],
) -> np.ndarray:
    """Return the displacement in mm [3, n, m, l] that takes voxels of one image to the other's.

    ``weight`` is where agreement counts; the spacing is in the order of the axes. A pass is the
    distance of the knots in mm, a factor by which the plane is made coarser, and a count of steps.
    ``look`` is called at each step.
    """
    size = np.array(fixed.shape)
    whole = torch.zeros(3, *fixed.shape)
    for knot_mm, coarser, steps in passes:
        images = [_coarser(torch.as_tensor(part), coarser) for part in (fixed, moving, weight)]
        grid = images[0].shape
        mm = np.array(spacing) * (size / np.array(grid))
        start = F.interpolate(whole[None], grid, mode="trilinear", align_corners=False)[0]
        whole = start + _one_pass(images, mm, start, knot_mm, steps, look)
    if whole.shape[1:] != fixed.shape:
        whole = F.interpolate(whole[None], fixed.shape, mode="trilinear", align_corners=False)[0]
    return whole.numpy()


def _one_pass(
    images: list[Tensor],
    mm: np.ndarray,
    start: Tensor,
    knot_mm: float,
    steps: int,
    look: Callable[[], None],
) -> Tensor:
    """Return what a spline of one knot distance adds to the displacement so far."""
    fixed, moving, weight = images
    bases = [_basis(n, step, knot_mm) for n, step in zip(fixed.shape, mm, strict=True)]
    knots = torch.zeros(3, *(basis.shape[1] for basis in bases), requires_grad=True)
    # Odd, and no wider than the image, which may have a few slices only.
    window = [
        min(2 * round(_WINDOW_MM / step / 2) + 1, (n - 1) // 2 * 2 + 1)
        for n, step in zip(fixed.shape, mm, strict=True)
    ]
    agreement = _Agreement(fixed, weight, window)
    adam = _Adam(knots)
    for n in range(steps):
        look()
        knots.grad = None
        moved = _sampled(moving, start + _spline(knots, bases), mm)
        loss = -agreement(moved) + _BENDING * _roughness(knots, knot_mm)
        loss.backward()
        adam.step(_STEP_MM * (1 - 0.9 * n / steps))
    with torch.no_grad():
        return _spline(knots, bases)


class _Adam:
    """Adam with its usual constants, for one tensor.

    torch's own first imports torch's compiler, which takes a second or more during which no other
    thread runs, such as that of Slicer's window.
    """

    _MEAN, _SQUARE, _LEAST = 0.9, 0.999, 1e-8

    def __init__(self, values: Tensor) -> None:
        self._values = values
        self._mean, self._square = torch.zeros_like(values), torch.zeros_like(values)
        self._count = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Change the values against their gradient."""
        self._count += 1
        slope = self._values.grad
        self._mean.lerp_(slope, 1 - self._MEAN)
        self._square.mul_(self._SQUARE).addcmul_(slope, slope, value=1 - self._SQUARE)
        unbiased = self._square.sqrt() / (1 - self._SQUARE**self._count) ** 0.5
        size = rate / (1 - self._MEAN**self._count)
        self._values.addcdiv_(self._mean, unbiased.add_(self._LEAST), value=-size)


def _coarser(image: Tensor, factor: int) -> Tensor:
    image = image.to(torch.float32)[None, None]
    if factor > 1:
        image = F.avg_pool3d(image, (1, factor, factor))
    return image[0, 0]


def _basis(count: int, step_mm: float, knot_mm: float) -> Tensor:
    """Return the weight of each knot at each voxel along one axis, [voxels, knots]."""
    length = max(count - 1, 1) * step_mm
    cells = max(1, math.ceil(length / knot_mm))
    at = np.arange(count) * step_mm / length * cells
    distance = np.abs(at[:, None] - (np.arange(cells + 3) - 1)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return torch.as_tensor(np.where(distance < 1, near, far), dtype=torch.float32)


def _spline(knots: Tensor, bases: list[Tensor]) -> Tensor:
    """Return the displacement [3, n, m, l] in mm of the knots' [3, knots along each axis]."""
    first, second, third = bases
    along = knots @ third.T
    along = (along.transpose(2, 3) @ second.T).transpose(2, 3)
    return torch.einsum("na,dakl->dnkl", first, along)


def _sampled(image: Tensor, displacement: Tensor, mm: np.ndarray) -> Tensor:
    axes = [torch.arange(n, dtype=torch.float32) for n in image.shape]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij")) + displacement / _column(mm)
    at = 2 * at / _column(np.maximum(np.array(image.shape) - 1, 1)) - 1
    grid = at.flip(0).permute(1, 2, 3, 0)[None]
    return F.grid_sample(
        image[None, None], grid, align_corners=True, padding_mode="border", mode="bilinear"
    )[0, 0]


def _column(values: np.ndarray) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float32).reshape(3, 1, 1, 1)


def _roughness(knots: Tensor, knot_mm: float) -> Tensor:
    """Return how much the displacement's slope changes from knot to knot, squared."""
    total = knots.new_zeros(())
    for axis in (1, 2, 3):
        slope = knots.diff(dim=axis) / knot_mm * 10
        total = total + slope.square().mean()
    return total


class _Agreement:
    """Squared correlation in windows around the voxels of one image, weighted."""

    def __init__(self, fixed: Tensor, weight: Tensor, window: list[int]) -> None:
        self._window = window
        self._fixed = fixed
        self._weight = weight / weight.sum().clamp(min=1)
        self._mean = self._average(fixed)
        self._variance = self._average(fixed * fixed) - self._mean.square()

    def _average(self, image: Tensor) -> Tensor:
        for axis, size in enumerate(self._window):
            kernel = [1, 1, 1]
            kernel[axis] = size
            padding = [(k - 1) // 2 for k in kernel]
            image = F.avg_pool3d(
                image[None, None], kernel, stride=1, padding=padding, count_include_pad=False
            )[0, 0]
        return image

    def __call__(self, moved: Tensor) -> Tensor:
        mean = self._average(moved)
        variance = self._average(moved * moved) - mean.square()
        shared = self._average(moved * self._fixed) - mean * self._mean
        squared = shared.square() / (variance * self._variance + _FLAT**2)
        return (squared * self._weight).sum()
