"""DINs: deep interactive networks for neurofibromas, by Zhang et al., in PyTorch.

Clicks are shown to the network as two guide maps of exponential distance, beside the image and
once more, shrunk, at the bridge of an anisotropic U-Net. All clicks of a scan are shown at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from mois_core.evaluation.baselines.patch_network import (
    ClickedWindows,
    Guess,
    NetworkSize,
    PatchRecipe,
    Voxel,
)
from mois_core.evaluation.baselines.sliding_window import Size3

DEVIATIONS = (1.0, 5.0, 5.0)
"""Of the exponential distance, in slices, rows and columns."""
_SHOWN = 4.0
"""Deviations from a click beyond which a window does not see it: a guide map is 3e-4 there."""
CLASS_WEIGHTS = (1.0, 3.0)
"""Of background and lesion in the cross-entropy."""
_CLICKS_BELOW = 11
_MARGIN, _BAND, _APART = 3, 40, 10
"""Pixels: how far inside an outline clicks are drawn, how far outside negative ones may lie, and
how far they stay from one another on a slice."""


def exponential_guide(shape: Size3, clicks: Sequence[Voxel]) -> Tensor:
    """Return exp(-d^2 / 2) of the nearest click, d in deviations along each axis (ExpDT)."""
    guide = torch.zeros(shape)
    for click in clicks:
        parts = [
            torch.exp(-((torch.arange(n) - at) ** 2) / (2 * deviation**2))
            for n, at, deviation in zip(shape, click, DEVIATIONS, strict=True)
        ]
        one = parts[0][:, None, None] * parts[1][:, None] * parts[2]
        torch.maximum(guide, one, out=guide)
    return guide


class _Block(nn.Module):
    """Two convolutions with instance norms. A guide is added before the first activation."""

    def __init__(self, before: int, channels: int, kernel: Size3, stride: Size3) -> None:
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.conv1 = nn.Conv3d(before, channels, kernel, stride, padding, bias=False)
        self.norm1 = nn.InstanceNorm3d(channels, eps=1e-3, affine=True)
        self.conv2 = nn.Conv3d(channels, channels, kernel, 1, padding, bias=False)
        self.norm2 = nn.InstanceNorm3d(channels, eps=1e-3, affine=True)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        x = self.norm1(self.conv1(x))
        x = F.relu(x if guide is None else x + guide)
        return F.relu(self.norm2(self.conv2(x)))


_FLAT, _CUBE = (1, 3, 3), (3, 3, 3)
_IN_PLANE, _EVERYWHERE = (1, 2, 2), (2, 2, 2)


class DinsNetwork(nn.Module):
    """The network of the paper: five levels, of which only the bridge halves the slices."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        one, two, three, four, five = channels
        self.down1 = _Block(3, one, _FLAT, (1, 1, 1))
        self.down2 = _Block(one, two, _FLAT, _IN_PLANE)
        self.down3 = _Block(two, three, _CUBE, _IN_PLANE)
        self.down4 = _Block(three, four, _CUBE, _IN_PLANE)
        self.bridge = _Block(four, five, _CUBE, _EVERYWHERE)
        self.raise4 = nn.ConvTranspose3d(five, four, 2, 2, bias=False)
        self.raise3 = nn.ConvTranspose3d(four, three, _IN_PLANE, _IN_PLANE, bias=False)
        self.raise2 = nn.ConvTranspose3d(three, two, _IN_PLANE, _IN_PLANE, bias=False)
        self.raise1 = nn.ConvTranspose3d(two, one, _IN_PLANE, _IN_PLANE, bias=False)
        self.up4 = _Block(2 * four, four, _CUBE, (1, 1, 1))
        self.up3 = _Block(2 * three, three, _CUBE, (1, 1, 1))
        self.up2 = _Block(2 * two, two, _FLAT, (1, 1, 1))
        self.up1 = _Block(2 * one, one, _FLAT, (1, 1, 1))
        self.guide = nn.Sequential(nn.MaxPool3d((1, 8, 8)), nn.Conv3d(2, five, 3, 2, 1))
        self.final = nn.Conv3d(one, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        small_guide = self.guide(x[:, 1:])
        x1 = self.down1(x)
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x4 = self.down4(x3)
        x = self.bridge(x4, small_guide)
        x = self.up4(torch.cat([x4, self.raise4(x)], 1))
        x = self.up3(torch.cat([x3, self.raise3(x)], 1))
        x = self.up2(torch.cat([x2, self.raise2(x)], 1))
        x = self.up1(torch.cat([x1, self.raise1(x)], 1))
        return self.final(x)


class DinsRecipe(PatchRecipe):
    """Guide maps, network, loss and simulated clicks of the paper's code."""

    kind = "dins"
    sizes = {
        "small": NetworkSize((8, 16, 32, 64, 128), (10, 128, 96), shrink=2.0),
        "full": NetworkSize((30, 60, 120, 240, 320), (10, 512, 160)),
    }
    betas = (0.9, 0.99)
    # The published code adds 3e-5 of the squared weights to the loss; this is its gradient.
    weight_decay = 6e-5
    reach = tuple(int(np.ceil(_SHOWN * deviation)) for deviation in DEVIATIONS)

    def network(self, size: NetworkSize) -> nn.Module:
        return DinsNetwork(size.channels)

    def guide(self, shape: Size3, positive: Sequence[Voxel], negative: Sequence[Voxel]) -> Tensor:
        return torch.stack([exponential_guide(shape, clicks) for clicks in (positive, negative)])

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy, weighted such that the weights of a patch are 1 on average."""
        weights = torch.tensor(CLASS_WEIGHTS, device=logits.device)[target.long()]
        weights = weights / weights.mean(dim=(1, 2, 3), keepdim=True)
        return (weights * F.cross_entropy(logits, target.long(), reduction="none")).mean()

    def draw_clicks(
        self, rng: np.random.Generator, target: np.ndarray, guess: Guess
    ) -> tuple[list[Voxel], list[Voxel]]:
        """Draw clicks from the truth alone: inside lesions, and in a band around them."""
        positive: list[Voxel] = []
        if target.any():
            inside = _eroded(target, _MARGIN, beyond=False)
            if inside.any():
                positive = _spread(rng, inside, int(rng.integers(1, _CLICKS_BELOW)), False)
            else:
                # Of lesions too small for a margin the middle is clicked.
                positive = [_middle(target)]
        outside = _eroded(~target, _MARGIN, beyond=True)
        band = outside & ~_eroded(outside, _BAND, beyond=True)
        places = band if band.any() else outside
        farthest = bool(rng.random() < 0.5)
        negative = _spread(rng, places, int(rng.integers(0, _CLICKS_BELOW)), farthest)
        return positive, negative


def _eroded(mask: np.ndarray, pixels: int, beyond: bool) -> np.ndarray:
    """Erode a mask by so many pixels slice by slice; ``beyond`` says what lies outside the patch.

    The same as so many erosions with a square of three pixels, by one distance transform.
    """
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)), constant_values=beyond)
    depth = np.stack([ndimage.distance_transform_cdt(one, "chessboard") for one in padded])
    # A slice without an outline has no distance to one.
    depth[padded.all(axis=(1, 2))] = np.iinfo(np.int32).max
    return depth[:, 1:-1, 1:-1] > pixels


def _middle(mask: np.ndarray) -> Voxel:
    voxels = np.argwhere(mask)
    nearest = np.abs(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()
    return tuple(int(v) for v in voxels[nearest])


def _spread(
    rng: np.random.Generator, places: np.ndarray, count: int, farthest: bool
) -> list[Voxel]:
    """Draw voxels that stay apart on their slice, at random or each farthest from the others."""
    voxels = np.argwhere(places).astype(np.int32)
    nearest = np.full(len(voxels), np.iinfo(np.int32).max)
    drawn: list[Voxel] = []
    while len(drawn) < count and len(voxels):
        index = nearest.argmax() if farthest and drawn else rng.integers(len(voxels))
        z, y, x = voxels[index].tolist()
        drawn.append((z, y, x))
        in_slice = (voxels[:, 1] - y) ** 2 + (voxels[:, 2] - x) ** 2
        kept = (voxels[:, 0] != z) | (in_slice > _APART**2)
        voxels, in_slice = voxels[kept], in_slice[kept]
        nearest = np.minimum(nearest[kept], (voxels[:, 0] - z) ** 2 + in_slice)
    return drawn


class Dins(ClickedWindows):
    """DINs, trained by `mois train-baseline dins`."""

    recipe = DinsRecipe()
