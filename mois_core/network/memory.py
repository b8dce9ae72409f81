"""From a mask on a slice to a small map that later slices can attend to."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.config import STRIDE
from mois_core.network.layers import ChannelNorm, ConvNextStack

MASK_SCALE, MASK_SHIFT = 20.0, -10.0
"""A mask enters as its probability times the scale plus the shift, about as logits of +-10."""


class MaskDownsampler(nn.Module):
    """Four strided convolutions that bring a full-size mask to the map's size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for _ in range(4):
            layers += [
                nn.Conv2d(channels, 4 * channels, kernel_size=3, stride=2, padding=1),
                ChannelNorm(4 * channels),
                nn.GELU(),
            ]
            channels *= 4
        self.encoder = nn.Sequential(*layers, nn.Conv2d(channels, width, kernel_size=1))

    def forward(self, mask: Tensor) -> Tensor:
        return self.encoder(mask)  # (B, 1, 16 rows, 16 columns) -> (B, width, rows, columns)


class MemoryEncoder(nn.Module):
    """Network that fuses a slice's own features with a mask on it."""

    def __init__(self, width: int, memory_width: int, layer_scale: float) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(width)
        self.pix_feat_proj = nn.Conv2d(width, width, kernel_size=1)
        self.fuser = ConvNextStack(width, layer_scale)
        self.out_proj = nn.Conv2d(width, memory_width, kernel_size=1)

    def forward(self, coarse: Tensor, logits: Tensor, from_clicks: bool) -> Tensor:
        """Encode ``logits`` [batch, 1, any size] to a memory [batch, memory width, rows, columns].

        A mask that the user clicked enters as it is shown (zero or one), a propagated one as
        probabilities.
        """
        size = [STRIDE * side for side in coarse.shape[-2:]]
        logits = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
        probability = (logits > 0).float() if from_clicks else logits.sigmoid()
        mask = self.mask_downsampler(probability * MASK_SCALE + MASK_SHIFT)
        # (B, width, rows, columns) -> (B, memory width, rows, columns)
        return self.out_proj(self.fuser(self.pix_feat_proj(coarse) + mask))
