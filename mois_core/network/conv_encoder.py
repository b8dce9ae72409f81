"""An image encoder of convolutions alone, which learns from scratch in hours.

It gives the three maps that `ImageEncoder` gives, and everything behind it stays the same. In the
comments on shapes B is the batch, R x S the rows and columns of the map with 4 image pixels per
place, and C the width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.config import ConvEncoderConfig
from mois_core.network.layers import ChannelNorm


class NormedConv(nn.Module):
    """Convolution and a norm of every place by itself.

    A norm over the whole map would make a crop look other than the slice that it is cut from.
    """

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        # Without a bias the norm would take away how bright a place is.
        self.conv = nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1)
        self.norm = ChannelNorm(after)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class ResidualBlock(nn.Module):
    """Two convolutions, added to what they got."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.first = NormedConv(before, after, stride)
        self.second = NormedConv(after, after)
        changes = before != after or stride != 1
        self.skip = nn.Conv2d(before, after, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.second(F.relu(self.first(x))))


class ConvEncoder(nn.Module):
    """Residual stages and a path back up, so that the finest map knows what it is part of."""

    gains_from_half = True

    def __init__(self, config: ConvEncoderConfig, width: int) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.ModuleList(
            (
                NormedConv(3, widths[0] // 2, stride=2),
                NormedConv(widths[0] // 2, widths[0], stride=2),
            )
        )
        self.stages = nn.ModuleList()
        for stage, (before, after) in enumerate(pairwise((widths[0], *widths))):
            first = ResidualBlock(before, after, stride=2 if stage else 1)
            more = (ResidualBlock(after, after) for _ in range(config.blocks[stage] - 1))
            self.stages.append(nn.Sequential(first, *more))
        self.laterals = nn.ModuleList(nn.Conv2d(one, width, kernel_size=1) for one in widths)
        self.joins = nn.ModuleList(NormedConv(width, width) for _ in widths[:-1])

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the encoder."""
        return self.laterals[0].weight.dtype

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode images [batch, 3, rows, columns] to maps with 4, 8 and 16 pixels per place."""
        x = images.contiguous(memory_format=torch.channels_last)  # (B, 3, 4R, 4S)
        for conv in self.stem:
            x = F.relu(conv(x))  # (B, widths[0], R, S) in the end
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))  # (B, C, R / 2^n, S / 2^n)
        x = F.relu(levels.pop())
        maps = []
        for level, join in zip(reversed(levels), reversed(self.joins), strict=True):
            joined = join(level + F.interpolate(x, scale_factor=2.0, mode="nearest"))
            maps.append(joined)
            x = F.relu(joined)
        coarse, middle, fine = maps
        return fine, middle, coarse
