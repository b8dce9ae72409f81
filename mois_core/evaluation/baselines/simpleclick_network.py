"""SimpleClick's network: a plain vision transformer that sees clicks as two more channels.

Q. Liu et al., ICCV 2023, arXiv:2210.11006. Parameters have the names of the published checkpoints
(MIT), and every size is read off them. Their classification head is there because it is in them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.errors import BadInput

CLICK_RADIUS = 5
"""Pixels of the network's input around a click that are marked in its channel."""

WINDOW = 224
"""Side in pixels of the windows that most blocks look into, the size of the pretraining."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_HEAD_WIDTH = {1280: 80}
"""Width of an attention head where it is not 64, by the width of the tokens."""

_MLP_RATIO = 4
_SCALES = {1: "x1", 2: "x2", 4: "x4"}


@dataclass(frozen=True)
class SimpleClickSize:
    """What tells the published networks apart."""

    width: int
    depth: int
    patch: int
    grid: int
    """Tokens of a side."""
    levels: tuple[int, ...]
    """Channels of the pyramid, from the finest map on."""
    channels: int
    """Channels that the mask is drawn from."""
    enlarged: int
    """How many times larger than the finest map the mask is: 1, 2 or 4."""
    classes: int = 1000

    @property
    def side(self) -> int:
        """Rows and columns of the input."""
        return self.patch * self.grid

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> SimpleClickSize:
        """Read the sizes off a state dict."""
        try:
            positions = state["backbone.pos_embed"].shape
            convs = [state[f"head.convs.{level}.conv.weight"].shape for level in range(4)]
            patch = state["backbone.patch_embed.proj.weight"].shape[-1]
            channels = state["head.conv_seg.weight"].shape[1]
            classes = state["backbone.head.weight"].shape[0]
        except (KeyError, IndexError) as error:
            raise BadInput(f"they are no SimpleClick of a plain transformer: {error}") from None
        grid = math.isqrt(positions[1] - 1)
        depth = len({name.split(".")[2] for name in state if name.startswith("backbone.blocks.")})
        enlarged = convs[0][0] // channels
        if grid * grid != positions[1] - 1 or depth % 4 or enlarged not in _SCALES:
            raise BadInput("they have sizes that no SimpleClick has")
        levels = tuple(conv[1] for conv in convs)
        return cls(positions[2], depth, patch, grid, levels, channels, enlarged, classes)


class SimpleClick(nn.Module):
    """From a square image, a former mask and clicks to the logits of a mask."""

    def __init__(self, size: SimpleClickSize) -> None:
        super().__init__()
        self.size = size
        self.patch_embed_coords = _Patches(3, size)
        self.backbone = _Transformer(size)
        self.neck = _Pyramid(size.width, size.levels)
        self.head = _Head(size)
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(
        self, image: Tensor, previous: Tensor, positive: Tensor, negative: Tensor
    ) -> Tensor:
        """Return logits [n, 1, side, side].

        ``image`` is [n, 3, side, side] from 0 to 1, ``previous`` [n, 1, side, side] a probability;
        clicks are rows and columns [n, clicks, 2], those below 0 only fill up the batch.
        """
        shape = image.shape[-2:]
        shown = torch.cat([previous, click_map(positive, shape), click_map(negative, shape)], 1)
        tokens = self.backbone((image - self.mean) / self.std, self.patch_embed_coords(shown))
        features = tokens.transpose(1, 2).unflatten(2, (self.size.grid, self.size.grid))
        logits = self.head(self.neck(features))
        return F.interpolate(logits, shape, mode="bilinear", align_corners=True)


def click_map(clicks: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a map [n, 1, rows, columns] that is 1 around clicks [n, clicks, 2] and else 0."""
    rows = torch.arange(shape[0], device=clicks.device, dtype=torch.float32)[:, None]
    columns = torch.arange(shape[1], device=clicks.device, dtype=torch.float32)[None]
    at = clicks.float()[..., None, None]
    squared = (rows - at[:, :, 0]) ** 2 + (columns - at[:, :, 1]) ** 2
    inside = (squared <= CLICK_RADIUS**2) & (at.amax(2) >= 0)
    return inside.any(1, keepdim=True).float()


class _Patches(nn.Module):
    def __init__(self, channels: int, size: SimpleClickSize) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, size.width, size.patch, size.patch)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).transpose(1, 2)


class _Transformer(nn.Module):
    """Blocks in four groups, of twelve blocks in two; the last of a group looks at everything."""

    def __init__(self, size: SimpleClickSize) -> None:
        super().__init__()
        self.grid = size.grid
        self.windows = max(size.grid // (WINDOW // size.patch), 1)
        self.group = 6 if size.depth == 12 else size.depth // 4
        self.patch_embed = _Patches(3, size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, size.grid**2 + 1, size.width))
        self.blocks = nn.ModuleList(_Block(size.width) for _ in range(size.depth))
        self.fc_norm = nn.LayerNorm(size.width, eps=1e-6)
        self.head = nn.Linear(size.width, size.classes)

    def forward(self, image: Tensor, clicks: Tensor) -> Tensor:
        tokens = self.patch_embed(image) + clicks + self.pos_embed[:, 1:]
        for number, block in enumerate(self.blocks, start=1):
            if number % self.group:
                tokens = self._joined(block(self._windows(tokens)))
            else:
                tokens = block(tokens)
        return tokens

    def _windows(self, tokens: Tensor) -> Tensor:
        side = self.grid // self.windows
        split = tokens.unflatten(1, (self.windows, side, self.windows, side))
        return split.transpose(2, 3).flatten(0, 2).flatten(1, 2)

    def _joined(self, tokens: Tensor) -> Tensor:
        side = self.grid // self.windows
        split = tokens.unflatten(1, (side, side)).unflatten(0, (-1, self.windows, self.windows))
        return split.transpose(2, 3).flatten(1, 4)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // _HEAD_WIDTH.get(width, 64), 1)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        queries, keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(tokens).chunk(3, dim=2)
        )
        seen = F.scaled_dot_product_attention(queries, keys, values)
        return self.proj(seen.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


def _up(before: int, after: int) -> nn.Module:
    return nn.ConvTranspose2d(before, after, 2, stride=2)


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(1, channels)


class _Pyramid(nn.Module):
    """Maps with 4, 8, 16 and 32 pixels to a place, all from the last tokens."""

    def __init__(self, width: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        four, eight, sixteen, thirty_two = levels
        a, b = max(2 * four, width // 2), max(eight, width // 2)
        c = max(thirty_two, 2 * width)
        self.down_4 = nn.Sequential(
            *(_up(width, a), _norm(a), nn.GELU(), _up(a, a // 2), _norm(a // 2)),
            *(nn.Conv2d(a // 2, four, 1), _norm(four), nn.GELU()),
        )
        self.down_8 = nn.Sequential(
            *(_up(width, b), _norm(b), nn.Conv2d(b, eight, 1), _norm(eight), nn.GELU())
        )
        self.down_16 = nn.Sequential(nn.Conv2d(width, sixteen, 1), _norm(sixteen), nn.GELU())
        self.down_32 = nn.Sequential(
            *(nn.Conv2d(width, c, 2, stride=2), _norm(c)),
            *(nn.Conv2d(c, thirty_two, 1), _norm(thirty_two), nn.GELU()),
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        levels = (self.down_4, self.down_8, self.down_16, self.down_32)
        return [level(features) for level in levels]


class _ConvRelu(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 1)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.conv(features))


class _Head(nn.Module):
    """All maps at the size of the finest, joined, enlarged as the checkpoint has it."""

    def __init__(self, size: SimpleClickSize) -> None:
        super().__init__()
        whole = size.channels * size.enlarged
        self.enlarged = size.enlarged
        self.conv_seg = nn.Conv2d(size.channels, 1, 1)
        self.convs = nn.ModuleList(_ConvRelu(level, whole) for level in size.levels)
        self.fusion_conv = _ConvRelu(4 * whole, whole)
        self.up_conv1 = self._larger(whole)
        self.up_conv2 = self._larger(whole // 2)

    @staticmethod
    def _larger(channels: int) -> nn.Module:
        half = channels // 2
        return nn.Sequential(
            *(_up(channels, half), _norm(half)),
            *(nn.Conv2d(half, half, 1), _norm(half), nn.GELU()),
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        shape = levels[0].shape[-2:]
        maps = [
            F.interpolate(conv(level), shape, mode="bilinear", align_corners=False)
            for conv, level in zip(self.convs, levels, strict=True)
        ]
        joined = self.fusion_conv(torch.cat(maps, 1))
        if self.enlarged > 1:
            joined = self.up_conv1(joined)
        if self.enlarged > 2:
            joined = self.up_conv2(joined)
        return self.conv_seg(joined)
