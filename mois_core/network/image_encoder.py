"""From a slice to feature maps: the Hiera trunk and the feature pyramid behind it.

In the comments on shapes B is the batch, R x S the rows and columns of a map, C its channels and
W the side of an attention window. Within the trunk channels come last.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.attention import attend, attends_raw_memory, join_heads, split_heads
from mois_core.network.config import EncoderConfig
from mois_core.network.layers import DropPath, Mlp

POOL = 2
"""Side of the cells that the queries are pooled over where a new stage begins."""

TOKENS_PER_STRIP = 8192
"""Tokens that a CPU takes through a block at a time: what lies between two products then stays in
the cache, which matters most in the first stages, where the maps are large and the products small.
"""

NARROWEST_HALF = 32
"""Narrower encoders have matrices that do not fill one bfloat16 instruction of a CPU: at a width
of 16 both precisions took 23 ms, and half precision cost one mask pixel in fifty."""


def _pool(x: Tensor) -> Tensor:
    """Take the maximum over 2 x 2 cells of a map with channels last."""
    # (B, R, S, C) -> (B, R / 2, S / 2, C)
    return F.max_pool2d(x.permute(0, 3, 1, 2), POOL).permute(0, 2, 3, 1)


def _to_windows(x: Tensor, side: int) -> Tensor:
    """Cut a map [batch, rows, columns, channels] into windows, zeros beyond its border."""
    rows, columns = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -columns % side, 0, -rows % side))
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (B, R / W, W, S / W, W, C)
    return x.transpose(2, 3).flatten(0, 2).contiguous()  # (B * windows, W, W, C)


def _from_windows(x: Tensor, batch: int, rows: int, columns: int) -> Tensor:
    """Join windows to a map again and cut off what lay beyond its border."""
    side = x.shape[1]
    across = -(-columns // side)
    x = x.unflatten(0, (batch, -1, across)).transpose(2, 3)  # (B, R / W, W, S / W, W, C)
    return x.flatten(3, 4).flatten(1, 2)[:, :rows, :columns]  # (B, R, S, C)


def _in_strips(step: Callable[[Tensor], Tensor], x: Tensor, window: int) -> Tensor:
    """Apply a step that does not look beyond its window to one strip of windows after another."""
    if not attends_raw_memory(x):
        return step(x)
    rows = max(TOKENS_PER_STRIP // x.shape[2] // window, 1) * window
    return torch.cat([step(strip) for strip in x.split(rows, dim=1)], dim=1)


class PatchEmbedding(nn.Module):
    """Convolution from overlapping patches of the image to the tokens of the first stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=7, stride=4, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        # Channels last from the start: every block wants them so.
        images = images.contiguous(memory_format=torch.channels_last)
        return self.proj(images).permute(0, 2, 3, 1)  # (B, 3, 4R, 4S) -> (B, R, S, C)


class WindowAttention(nn.Module):
    """Self-attention within the tokens it is given, with pooled queries where asked."""

    def __init__(self, width: int, width_out: int, heads: int, pools: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pools = pools
        self.qkv = nn.Linear(width, 3 * width_out)
        self.proj = nn.Linear(width_out, width_out)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = x.shape[1:3]
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # (B, R, S, C) each
        if self.pools:
            q = _pool(q)
            rows, columns = rows // POOL, columns // POOL
        q, k, v = (split_heads(t.flatten(1, 2), self.heads) for t in (q, k, v))  # (B, H, R * S, D)
        x = join_heads(attend(q, k, v))  # (B, R * S, C)
        return self.proj(x.unflatten(1, (rows, columns)))  # (B, R, S, C)


class HieraBlock(nn.Module):
    """Attention within windows (or over the whole map) and a perceptron, both residual."""

    def __init__(
        self, width: int, width_out: int, heads: int, window: int, pools: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.window = window
        self.pools = pools
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = WindowAttention(width, width_out, heads, pools)
        self.norm2 = nn.LayerNorm(width_out, eps=1e-6)
        self.mlp = Mlp((width_out, 4 * width_out, width_out), F.gelu)
        self.drop_path = DropPath(drop_path)
        if width != width_out:
            self.proj = nn.Linear(width, width_out)

    def forward(self, x: Tensor) -> Tensor:
        if self.window:
            return _in_strips(
                lambda strip: self._add_mlp(self._add_attention(strip)), x, self.window
            )
        return _in_strips(self._add_mlp, self._add_attention(x), 1)

    def _add_attention(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)  # (B, R, S, C)
        if self.pools:
            x = _pool(self.proj(normed))
        batch, rows, columns = x.shape[:3]
        if self.window:
            change = self.attn(_to_windows(normed, self.window))
            change = _from_windows(change, batch, rows, columns)
        else:
            change = self.attn(normed)
        return x + self.drop_path(change)

    def _add_mlp(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Hiera(nn.Module):
    """Hiera trunk that gives four maps, with 4, 8, 16 and 32 image pixels per token."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        grid, window = config.position_grid, config.windows[0]
        self.pos_embed = nn.Parameter(torch.zeros(1, config.width, grid, grid))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, config.width, window, window))
        self.patch_embed = PatchEmbedding(config.width)
        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []
        self._placed: tuple[tuple, Tensor] | None = None
        depth = sum(config.stages)
        width, heads = config.width, config.heads
        for stage, length in enumerate(config.stages):
            for position in range(length):
                block_index = len(self.blocks)
                starts_stage = stage > 0 and position == 0
                # The first block of a stage still sees the map of the stage before it.
                side = config.windows[stage - starts_stage]
                self.blocks.append(
                    HieraBlock(
                        width,
                        2 * width if starts_stage else width,
                        2 * heads if starts_stage else heads,
                        window=0 if block_index in config.global_blocks else side,
                        pools=starts_stage,
                        drop_path=config.drop_path * block_index / max(depth - 1, 1),
                    )
                )
                if starts_stage:
                    width, heads = 2 * width, 2 * heads
            self.stage_ends.append(len(self.blocks) - 1)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Return the learned encoding of a map's places, (1, R, S, C).

        It is the same for every slice, and stretching it takes a twentieth of the time that a
        slice takes in bfloat16: outside of training the last one is kept.
        """
        if torch.is_grad_enabled():
            return self._stretched(rows, columns)
        tables = self.pos_embed, self.pos_embed_window
        state = (rows, columns, *((t.data_ptr(), t._version, t.device, t.dtype) for t in tables))
        if self._placed is None or self._placed[0] != state:
            self._placed = state, self._stretched(rows, columns)
        return self._placed[1]

    def _stretched(self, rows: int, columns: int) -> Tensor:
        """Return the learned encoding stretched over the map, plus one repeated in every window."""
        coarse = F.interpolate(self.pos_embed.float(), size=(rows, columns), mode="bicubic")
        side = self.pos_embed_window.shape[-1]
        fine = self.pos_embed_window.float().tile(1, 1, rows // side, columns // side)
        stretched = (coarse + fine).permute(0, 2, 3, 1)  # (1, C, R, S) -> (1, R, S, C)
        return stretched.to(self.pos_embed.dtype).contiguous()

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.patch_embed(images)  # (B, R, S, C)
        x = x + self._positions(*x.shape[1:3]).to(x.dtype)
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                maps.append(x)
        return maps


class Lateral(nn.Module):
    """Projection of one stage's map to the width of the pyramid."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width_out, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class FeaturePyramid(nn.Module):
    """Pyramid that brings four maps to one width; only stride 16 gets the map below it added."""

    def __init__(self, encoder_width: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Lateral(encoder_width * 2**s, width) for s in (3, 2, 1, 0))

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        # Each (B, width, R, S), from 32 to 4 image pixels per token.
        last, third, second, first = (
            lateral(x.permute(0, 3, 1, 2))
            for lateral, x in zip(self.convs, reversed(maps), strict=True)
        )
        third = third + F.interpolate(last.float(), scale_factor=2.0, mode="nearest").to(third)
        return first, second, third


class ImageEncoder(nn.Module):
    """Trunk and pyramid that give three maps of one width, 4, 8 and 16 image pixels per token."""

    def __init__(self, config: EncoderConfig, width: int) -> None:
        super().__init__()
        self.trunk = Hiera(config)
        self.neck = FeaturePyramid(config.width, width)

        self.gains_from_half = config.width >= NARROWEST_HALF

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the encoder."""
        return self.trunk.pos_embed.dtype

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode images [batch, 3, rows, columns] to maps with 4, 8 and 16 pixels per place."""
        return self.neck(self.trunk(images))
