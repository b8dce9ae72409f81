"""From prompt tokens and a slice's features to masks, their quality and an object pointer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.attention import Attention
from mois_core.network.layers import ChannelNorm, Mlp

HEADS = 8
DEPTH = 2
MASKS = 4
"""One mask for clear prompts and three for prompts that can mean several things."""


class TwoWayLayer(nn.Module):
    """Tokens look at each other and at the image, then the image looks at the tokens."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, HEADS, width)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, HEADS, width // 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp((width, hidden, width))
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, HEADS, width // 2)

    def forward(
        self, tokens: Tensor, image: Tensor, prompts: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        placed = tokens + prompts
        tokens = self.norm1(tokens + self.self_attn(placed, placed, tokens))
        return self.exchange(tokens, image, prompts, positions)

    def exchange(
        self, tokens: Tensor, image: Tensor, prompts: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Everything behind the tokens' self-attention."""
        placed_image = image + positions
        seen = self.cross_attn_token_to_image(tokens + prompts, placed_image, image)
        tokens = self.norm2(tokens + seen)
        tokens = self.norm3(tokens + self.mlp(tokens))
        told = self.cross_attn_image_to_token(placed_image, tokens + prompts, tokens)
        return tokens, self.norm4(image + told)


class FirstTwoWayLayer(TwoWayLayer):
    """The first layer's tokens are the prompts themselves: nothing to add them to."""

    def forward(
        self, tokens: Tensor, image: Tensor, prompts: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        return self.exchange(tokens, image, prompts, positions)


class TwoWayTransformer(nn.Module):
    """The layers, and one last look of the tokens at the image."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        kinds = (FirstTwoWayLayer,) + (TwoWayLayer,) * (DEPTH - 1)
        self.layers = nn.ModuleList(kind(width, hidden) for kind in kinds)
        self.final_attn_token_to_image = Attention(width, HEADS, width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, prompts: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        tokens = prompts
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompts, positions)
        seen = self.final_attn_token_to_image(tokens + prompts, image + positions, image)
        return self.norm_final_attn(tokens + seen), image


@dataclass(frozen=True)
class RawMasks:
    """What the decoder computes before anything is chosen or gated."""

    logits: Tensor
    """[batch, 4, low, low]: the single mask, then the three candidates."""
    ious: Tensor
    """[batch, 4]: predicted quality of each."""
    tokens: Tensor
    """[batch, 4, width]: where the object pointer comes from."""
    score: Tensor
    """[batch, 1]: logit that the object is on this slice at all."""


class MaskDecoder(nn.Module):
    """SAM 2's decoder with high-resolution features; runs in float32 in every precision."""

    def __init__(self, width: int, hidden: int, iou_hidden: int) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(width, hidden)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASKS, width)
        self.obj_score_token = nn.Embedding(1, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            ChannelNorm(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.conv_s0 = nn.Conv2d(width, width // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(width, width // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(
            Mlp((width, width, width, width // 8)) for _ in range(MASKS)
        )
        self.iou_prediction_head = Mlp((width, iou_hidden, iou_hidden, MASKS))
        self.pred_obj_score_head = Mlp((width, width, width, 1))

    def forward(
        self,
        coarse: Tensor,
        middle: Tensor,
        fine: Tensor,
        prompts: Tensor,
        mask: Tensor,
        positions: Tensor,
    ) -> RawMasks:
        """Decode ``prompts`` [batch, n, width] on features whose batch is the same or one."""
        batch = prompts.shape[0]
        own = torch.cat(
            (self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight)
        )
        tokens = torch.cat((own.expand(batch, -1, -1), prompts), dim=1)
        image = (coarse + mask).expand(batch, -1, -1, -1)
        side = image.shape[-1]
        tokens, image = self.transformer(
            tokens, image.flatten(2).transpose(1, 2), positions.flatten(2).transpose(1, 2)
        )
        mask_tokens = tokens[:, 2 : 2 + MASKS]
        image = image.transpose(1, 2).unflatten(2, (side, side))
        logits = self._paint(image, middle, fine, mask_tokens)
        ious = self.iou_prediction_head(tokens[:, 1]).sigmoid()
        return RawMasks(logits, ious, mask_tokens, self.pred_obj_score_head(tokens[:, 0]))

    def _paint(self, image: Tensor, middle: Tensor, fine: Tensor, mask_tokens: Tensor) -> Tensor:
        """Each mask token becomes a direction in the upscaled features."""
        first, norm, _, second, _ = self.output_upscaling
        image = F.gelu(norm(first(image) + middle))
        image = F.gelu(second(image) + fine)
        brushes = [
            brush(mask_tokens[:, number])
            for number, brush in enumerate(self.output_hypernetworks_mlps)
        ]
        logits = torch.stack(brushes, dim=1) @ image.flatten(2)
        return logits.unflatten(2, image.shape[2:])


def stability(logits: Tensor, delta: float) -> Tensor:
    """How little a mask [..., rows, columns] changes when the threshold moves by ``delta``."""
    inner = (logits > delta).sum(dim=(-2, -1)).float()
    outer = (logits > -delta).sum(dim=(-2, -1)).float()
    return torch.where(outer > 0, inner / outer, 1.0)
