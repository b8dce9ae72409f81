"""From clicks, boxes and masks to tokens for the mask decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.config import MASK_STRIDE, STRIDE, Size
from mois_core.network.layers import ChannelNorm
from mois_core.network.position import RandomFrequencies

NEGATIVE, POSITIVE, BOX_FIRST, BOX_SECOND = 0, 1, 2, 3
PADDING = -1
"""Label of a point that is not there; the published models always see at least one."""

MASK_CHANNELS = 16


class PromptEncoder(nn.Module):
    """Encoder of prompts given in model pixels; it runs in float32 in every precision."""

    def __init__(self, width: int, image_size: Size) -> None:
        super().__init__()
        self.image_size = image_size
        self.pe_layer = RandomFrequencies(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, MASK_CHANNELS // 4, kernel_size=2, stride=2),
            ChannelNorm(MASK_CHANNELS // 4),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS // 4, MASK_CHANNELS, kernel_size=2, stride=2),
            ChannelNorm(MASK_CHANNELS),
            nn.GELU(),
            nn.Conv2d(MASK_CHANNELS, width, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def positions(self, origin: Size, size: Size) -> Tensor:
        """Return the encoding of a map's positions, [1, width, rows, columns].

        The map is that of a whole slice, or of a crop that begins at the row and column
        ``origin`` of the slice.
        """
        whole = self.pe_layer.grid(*(side // STRIDE for side in self.image_size))
        row, column = (place // STRIDE for place in origin)
        return whole[None, :, row : row + size[0], column : column + size[1]]

    def points(self, points: Tensor, labels: Tensor) -> Tensor:
        """Encode points [batch, n, (x, y)] in model pixels to tokens [batch, n + 1, width].

        Both coordinates are taken as parts of the longer side, so that a distance means the same
        along rows and columns. The corners of a box are two points with labels of their own. One
        padding point is always added, as in training.
        """
        points = F.pad(points.float() + 0.5, (0, 0, 0, 1))  # (B, n + 1, 2)
        labels = F.pad(labels, (0, 1), value=PADDING)  # (B, n + 1)
        kinds = torch.cat([embedding.weight for embedding in self.point_embeddings])  # (4, width)
        tokens = self.pe_layer(points / max(self.image_size)) + kinds[labels.clamp(min=0).long()]
        is_padding = (labels == PADDING).unsqueeze(-1)
        return torch.where(is_padding, self.not_a_point_embed.weight, tokens)

    def mask(self, logits: Tensor | None, size: Size) -> Tensor:
        """Encode logits [batch, 1, low rows, low columns] to a map to add to the features.

        The result is [batch, width, *size], or [1, width, 1, 1] without logits.
        """
        if logits is None:
            return self.no_mask_embed.weight[:, :, None, None]
        low = [side * STRIDE // MASK_STRIDE for side in size]
        if list(logits.shape[-2:]) != low:
            logits = F.interpolate(
                logits.float(),
                low,
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
        return self.mask_downscaling(logits.float())
