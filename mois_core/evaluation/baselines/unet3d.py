"""A 3-D U-Net without clicks: MONAI's network, slid over the scan.

It cannot know which lesions are meant where a scan holds several kinds, so it learns to mark all.
"""

from __future__ import annotations

import numpy as np
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import Tensor, nn

from mois_core.evaluation.baselines.patch_network import FromWeights, NetworkSize, PatchRecipe
from mois_core.evaluation.segmenters import AutomaticSegmenter
from mois_core.geometry import SliceStack, Volume


class UNetRecipe(PatchRecipe):
    """MONAI's `UNet` with residual units; the deepest levels alone halve the few slices."""

    kind = "unet"
    takes_clicks = False
    sizes = {
        "small": NetworkSize((16, 32, 64, 128), (16, 128, 96), shrink=2.0),
        "full": NetworkSize((32, 64, 128, 256, 320), (16, 256, 160)),
    }

    def __init__(self) -> None:
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True)

    def network(self, size: NetworkSize) -> nn.Module:
        steps = len(size.channels) - 1
        strides = [(1, 2, 2) if level < steps - 2 else (2, 2, 2) for level in range(steps)]
        return UNet(3, 1, 2, size.channels, strides, num_res_units=2, norm="instance")

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return self._loss(logits, target[:, None])


class UNet3D(FromWeights, AutomaticSegmenter):
    """MONAI's 3-D U-Net, trained by `mois train-baseline unet`."""

    recipe = UNetRecipe()

    def segment(self, volume: Volume) -> np.ndarray:
        stack = SliceStack(volume, self.axis)
        return stack.to_volume(self.windowed(stack).mask())
