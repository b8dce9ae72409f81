"""From prompt tokens and a slice's features to masks, their quality and an object pointer.

In the comments on shapes B is the batch, N the tokens (own ones and prompts), T the positions of
the map (rows * columns) and C the width.
"""

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
"""Masks decoded at once: one for clear prompts, three for those that can mean several things."""


class TwoWayLayer(nn.Module):
    """Tokens attend to each other and to the image, then the image attends to the tokens."""

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
        # tokens and prompts (B, N, C), image and positions (B, T, C)
        placed = tokens + prompts
        tokens = self.norm1(tokens + self.self_attn(placed, placed, tokens))
        return self.exchange(tokens, image, prompts, positions)

    def exchange(
        self, tokens: Tensor, image: Tensor, prompts: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run what follows the tokens' self-attention: both cross attentions and the perceptron."""
        placed_image = image + positions
        change = self.cross_attn_token_to_image(tokens + prompts, placed_image, image)  # (B, N, C)
        tokens = self.norm2(tokens + change)
        tokens = self.norm3(tokens + self.mlp(tokens))
        change = self.cross_attn_image_to_token(placed_image, tokens + prompts, tokens)  # (B, T, C)
        return tokens, self.norm4(image + change)


class FirstTwoWayLayer(TwoWayLayer):
    """First layer, whose tokens are the prompts themselves, so that these are not added again."""

    def forward(
        self, tokens: Tensor, image: Tensor, prompts: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens = self.norm1(self.self_attn(tokens, tokens, tokens))
        return self.exchange(tokens, image, prompts, positions)


class TwoWayTransformer(nn.Module):
    """Two-way layers, and a last attention of the tokens to the image."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        kinds = (FirstTwoWayLayer,) + (TwoWayLayer,) * (DEPTH - 1)
        self.layers = nn.ModuleList(kind(width, hidden) for kind in kinds)
        self.final_attn_token_to_image = Attention(width, HEADS, width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, prompts: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        tokens = prompts  # (B, N, C); image and positions are (B, T, C)
        for layer in self.layers:
            tokens, image = layer(tokens, image, prompts, positions)
        change = self.final_attn_token_to_image(tokens + prompts, image + positions, image)
        return self.norm_final_attn(tokens + change), image


@dataclass(frozen=True)
class RawMasks:
    """Output of the decoder before anything is chosen or gated."""

    logits: Tensor
    """[batch, 4, low rows, low columns]: the single mask, then the three candidates."""
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
        """Decode ``prompts`` [batch, n, width] on features whose batch is the same or one.

        ``coarse``, ``mask`` and ``positions`` are [batch, width, rows, columns]; ``middle`` and
        ``fine`` have twice and four times the rows, a quarter and an eighth of the width.
        """
        batch = prompts.shape[0]
        own = torch.cat(
            (self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight)
        )
        tokens = torch.cat((own.expand(batch, -1, -1), prompts), dim=1)  # (B, N, C)
        image = (coarse + mask).expand(batch, -1, -1, -1)  # (B, C, rows, columns)
        size = image.shape[-2:]
        tokens, image = self.transformer(
            tokens, image.flatten(2).transpose(1, 2), positions.flatten(2).transpose(1, 2)
        )
        mask_tokens = tokens[:, 2 : 2 + MASKS]  # (B, 4, C)
        image = image.transpose(1, 2).unflatten(2, size)  # (B, C, rows, columns)
        logits = self._mask_logits(image, middle, fine, mask_tokens)
        ious = self.iou_prediction_head(tokens[:, 1]).sigmoid()
        return RawMasks(logits, ious, mask_tokens, self.pred_obj_score_head(tokens[:, 0]))

    def _mask_logits(
        self, image: Tensor, middle: Tensor, fine: Tensor, mask_tokens: Tensor
    ) -> Tensor:
        """Return the logits of all masks, products of the mask tokens with upscaled features."""
        image = self.upscaled(image, middle, fine)
        directions = [
            mlp(mask_tokens[:, index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)
        ]
        logits = torch.stack(directions, dim=1) @ image.flatten(2)  # (B, 4, 16 T)
        return logits.unflatten(2, image.shape[2:])  # (B, 4, 4 rows, 4 columns)

    def unprompted(self, coarse: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        """Return the mask if the tokens say nothing, [batch, 1, 4 rows, 4 columns]."""
        # The transformer gives a map that is normed as well.
        image = F.layer_norm(coarse.movedim(1, -1), coarse.shape[1:2]).movedim(-1, 1)
        biases = [mlp.layers[-1].bias for mlp in self.output_hypernetworks_mlps]
        direction = torch.stack(biases).mean(dim=0)  # (C / 8,)
        return F.conv2d(self.upscaled(image, middle, fine), direction[None, :, None, None])

    def upscaled(self, image: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        """Join what the transformer made of the coarse map with the finer maps, step by step."""
        first, norm, _, second, _ = self.output_upscaling
        image = F.gelu(norm(first(image) + middle))  # (B, C / 4, 2 rows, 2 columns)
        return F.gelu(second(image) + fine)  # (B, C / 8, 4 rows, 4 columns)


def stability(logits: Tensor, delta: float) -> Tensor:
    """Return how little masks [..., rows, columns] change when the threshold moves by ``delta``.

    That is the area above ``delta`` as a part of that above ``-delta``, or 1 if both are empty.
    """
    inner = (logits > delta).sum(dim=(-2, -1)).float()
    outer = (logits > -delta).sum(dim=(-2, -1)).float()
    return torch.where(outer > 0, inner / outer, 1.0)
