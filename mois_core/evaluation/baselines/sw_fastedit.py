"""SW-FastEdit: MONAI's DynUNet with click channels, by Hadlich, Marinov et al.

Each click is a small ball in a channel of its kind beside the image. While it learns, the network
is corrected again and again where it is wrong; a scan is segmented by a sliding window, and a click
is answered by the windows that it shows in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.layers import gaussian_1d
from monai.networks.nets import DynUNet
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

SIGMA = 1.0
"""Voxels, in every direction."""
BALL_FROM = 0.1
"""Part of a Gaussian's peak from which a voxel belongs to the ball."""
_GOES_ON = 0.5
"""How likely one more correction is while the network learns."""
_MOST_CORRECTIONS = 10

_KERNEL = gaussian_1d(torch.tensor(SIGMA), truncated=4.0, approx="erf")
"""The kernel of MONAI's `GaussianFilter`."""


def click_channel(shape: Size3, clicks: Sequence[Voxel]) -> Tensor:
    """Return a channel that is 1 where the Gaussian of a click is above a part of its peak."""
    channel = torch.zeros(shape)
    peak = _KERNEL / _KERNEL.max()
    ball = (peak[:, None, None] * peak[:, None] * peak > BALL_FROM).float()
    radius = len(_KERNEL) // 2
    for click in clicks:
        there, here = [], []
        for at, size in zip(click, shape, strict=True):
            first, last = max(at - radius, 0), min(at + radius + 1, size)
            there.append(slice(first, max(last, first)))
            here.append(slice(first - at + radius, max(last, first) - at + radius))
        channel[tuple(there)] = torch.maximum(channel[tuple(there)], ball[tuple(here)])
    return channel


class SwFastEditRecipe(PatchRecipe):
    """Click channels, network, loss and corrections of the published code."""

    kind = "sw-fastedit"
    corrects_itself = True
    sizes = {
        "small": NetworkSize((8, 16, 32, 64, 128), (16, 96, 96), shrink=2.0),
        "full": NetworkSize((32, 64, 128, 256, 320, 320), (64, 128, 128)),
    }
    reach = (len(_KERNEL) // 2,) * 3

    def __init__(self) -> None:
        # Squared predictions, and Dice of lesions alone, as the paper's neurofibroma runs have it.
        self._loss = DiceCELoss(
            to_onehot_y=True, softmax=True, squared_pred=True, include_background=False
        )

    def network(self, size: NetworkSize) -> nn.Module:
        # The last step leaves the slices: in the published order they are the last axis.
        middle = [2] * (len(size.channels) - 2)
        strides = [1, *middle, (1, 2, 2)]
        return DynUNet(
            3, 3, 2, [3] * len(size.channels), strides, strides[1:], filters=size.channels,
            norm_name="instance", res_block=True, deep_supervision=False,
        )  # fmt: skip

    def guide(self, shape: Size3, positive: Sequence[Voxel], negative: Sequence[Voxel]) -> Tensor:
        return torch.stack([click_channel(shape, clicks) for clicks in (positive, negative)])

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return self._loss(logits, target[:, None])

    def draw_clicks(
        self, rng: np.random.Generator, target: np.ndarray, guess: Guess
    ) -> tuple[list[Voxel], list[Voxel]]:
        """Correct the network's own mask, one click of each kind at a time, deep ones likelier.

        The first click is on a mask that is still empty.
        """
        positive: list[Voxel] = []
        negative: list[Voxel] = []
        mask = np.zeros_like(target)
        for count in range(_MOST_CORRECTIONS):
            positive += _deep_voxel(rng, target & ~mask)
            negative += _deep_voxel(rng, mask & ~target)
            if count == _MOST_CORRECTIONS - 1 or rng.random() >= _GOES_ON:
                break
            mask = guess(positive, negative).cpu().numpy()
        return positive, negative


def _deep_voxel(rng: np.random.Generator, wrong: np.ndarray) -> list[Voxel]:
    """Draw a voxel by its distance from the border of what is wrong; none if nothing is."""
    if not wrong.any():
        return []
    depth = ndimage.distance_transform_edt(wrong).ravel()
    chosen = rng.choice(depth.size, p=depth / depth.sum())
    return [tuple(int(v) for v in np.unravel_index(chosen, wrong.shape))]


class SwFastEdit(ClickedWindows):
    """SW-FastEdit, trained by `mois train-baseline sw-fastedit`."""

    recipe = SwFastEditRecipe()
