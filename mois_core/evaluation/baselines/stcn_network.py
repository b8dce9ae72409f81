"""STCN's network: a slice looks its mask up in slices that it resembles.

H. K. Cheng, Y.-W. Tai, C.-K. Tang, NeurIPS 2021, arXiv:2106.05210. Parameters have the names of the
published checkpoints (MIT). One object; the channel for other objects' masks, which most
checkpoints have, stays empty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.errors import BadInput

STRIDE = 16
"""Pixels to a place of the maps that are compared."""

TOP = 20
"""Places of the memory that a place looks at, those most alike."""

_FIRST_KEY, _FIRST_VALUE = "key_encoder.conv1.weight", "value_encoder.conv1.weight"


@dataclass(frozen=True, eq=False)
class SliceKey:
    """A slice as it is compared and decoded, whatever is segmented on it."""

    key: Tensor
    thin: Tensor
    at_16: Tensor
    at_8: Tensor
    at_4: Tensor


class Stcn(nn.Module):
    """Keys of slices, values of slices with masks, and masks of slices out of both."""

    def __init__(self, width: int = 64, mask_channels: int = 2, key_width: int = 64) -> None:
        super().__init__()
        self.mask_channels = mask_channels
        self.key_encoder = _KeyEncoder(width)
        self.value_encoder = _ValueEncoder(width, 3 + mask_channels)
        self.key_proj = _KeyProjection(16 * width, key_width)
        self.key_comp = nn.Conv2d(16 * width, 8 * width, 3, padding=1)
        self.decoder = _Decoder(width)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Stcn:
        """Return a network of the sizes of a state dict, with random weights."""
        try:
            width, _, *_ = state[_FIRST_KEY].shape
            mask_channels = state[_FIRST_VALUE].shape[1] - 3
            key_width = state["key_proj.key_proj.weight"].shape[0]
        except (KeyError, IndexError) as error:
            raise BadInput(f"they are no STCN: {error} is missing") from None
        if mask_channels not in (1, 2):
            raise BadInput(f"they have {mask_channels} channels for masks, and no STCN has")
        return cls(width, mask_channels, key_width)

    def key(self, image: Tensor) -> SliceKey:
        """Return what is compared of a slice [1, 3, rows, columns]."""
        at_16, at_8, at_4 = self.key_encoder(image)
        return SliceKey(self.key_proj(at_16), self.key_comp(at_16), at_16, at_8, at_4)

    def value(self, image: Tensor, key: SliceKey, mask: Tensor) -> Tensor:
        """Return what is remembered of a slice and a mask [1, 1, rows, columns] on it."""
        empty = [torch.zeros_like(mask)] * (self.mask_channels - 1)
        return self.value_encoder(torch.cat([image, mask, *empty], 1), key.at_16)

    def mask(self, key: SliceKey, memory: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the probability of the object on a slice, out of keys and values remembered."""
        keys = torch.cat([one.flatten(2) for one, _ in memory], 2)
        values = torch.cat([one.flatten(2) for _, one in memory], 2)
        read = read_memory(keys, values, key.key.flatten(2))
        read = read.unflatten(2, key.key.shape[-2:])
        logits = self.decoder(torch.cat([read, key.thin], 1), key.at_8, key.at_4)
        return against_background(torch.sigmoid(logits))


def read_memory(keys: Tensor, values: Tensor, queries: Tensor) -> Tensor:
    """Return for each query the mean of the values whose keys lie nearest to it.

    Arrays are [1, channels, places]. Nearness is the negative squared distance, of which the part
    that is the same for all keys is left out.
    """
    nearness = 2 * keys.transpose(1, 2) @ queries - keys.square().sum(1).unsqueeze(2)
    nearest, places = torch.topk(nearness / math.sqrt(keys.shape[1]), min(TOP, keys.shape[2]), 1)
    weights = torch.zeros_like(nearness).scatter_(1, places, nearest.softmax(1))
    return values @ weights


def against_background(probability: Tensor) -> Tensor:
    """Return the object's share where object and background stand against each other by odds."""
    own = probability.clamp(1e-7, 1 - 1e-7)
    return own**2 / (own**2 + (1 - own) ** 2)


class _Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = _shortcut(before, after, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        beside = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(inner)) + beside)


class _BasicBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = _shortcut(before, after, stride, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(inner + (x if self.downsample is None else self.downsample(x)))


def _shortcut(before: int, after: int, stride: int, bias: bool) -> nn.Module | None:
    if stride == 1 and before == after:
        return None
    conv = nn.Conv2d(before, after, 1, stride, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


class _KeyEncoder(nn.Module):
    """The first three stages of ResNet-50."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.res2 = self._stage(width, width, 3, 1)
        self.layer2 = self._stage(4 * width, 2 * width, 4, 2)
        self.layer3 = self._stage(8 * width, 4 * width, 6, 2)

    @staticmethod
    def _stage(before: int, width: int, blocks: int, stride: int) -> nn.Module:
        first = _Bottleneck(before, width, stride)
        return nn.Sequential(first, *(_Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        at_4 = self.res2(x)
        at_8 = self.layer2(at_4)
        return self.layer3(at_8), at_8, at_4


class _ValueEncoder(nn.Module):
    """The first three stages of ResNet-18 on slice and mask, joined with the slice's key."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._stage(width, width, 1)
        self.layer2 = self._stage(width, 2 * width, 2)
        self.layer3 = self._stage(2 * width, 4 * width, 2)
        self.fuser = _Fuser((16 + 4) * width, 8 * width)

    @staticmethod
    def _stage(before: int, after: int, stride: int) -> nn.Module:
        return nn.Sequential(_BasicBlock(before, after, stride), _BasicBlock(after, after, 1))

    def forward(self, shown: Tensor, at_16: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(shown))), 3, 2, 1)
        return self.fuser(torch.cat([self.layer3(self.layer2(self.layer1(x))), at_16], 1))


class _ResBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.downsample = None if before == after else nn.Conv2d(before, after, 3, padding=1)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(F.relu(self.conv1(F.relu(x))))
        return inner + (x if self.downsample is None else self.downsample(x))


class _Fuser(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.block1 = _ResBlock(before, after)
        self.attention = _Cbam(after)
        self.block2 = _ResBlock(after, after)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block1(x)
        return self.block2(x + self.attention(x))


class _ChannelGate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 16, 1)
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        told = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        return x * torch.sigmoid(told)[..., None, None]


class _SpatialConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)


class _SpatialGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spatial = _SpatialConv()

    def forward(self, x: Tensor) -> Tensor:
        told = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.spatial.conv(told))


class _Cbam(nn.Module):
    """Attention to channels, then to places (S. Woo et al., ECCV 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ChannelGate = _ChannelGate(channels)
        self.SpatialGate = _SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        return self.SpatialGate(self.ChannelGate(x))


class _KeyProjection(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.key_proj = nn.Conv2d(before, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.key_proj(x)


class _Upsample(nn.Module):
    def __init__(self, beside: int, before: int, after: int) -> None:
        super().__init__()
        self.skip_conv = nn.Conv2d(beside, before, 3, padding=1)
        self.out_conv = _ResBlock(before, after)

    def forward(self, finer: Tensor, x: Tensor) -> Tensor:
        return self.out_conv(self.skip_conv(finer) + _enlarged(x, 2))


def _enlarged(x: Tensor, times: int) -> Tensor:
    return F.interpolate(x, scale_factor=times, mode="bilinear", align_corners=False)


class _Decoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.compress = _ResBlock(16 * width, 8 * width)
        self.up_16_8 = _Upsample(8 * width, 8 * width, 4 * width)
        self.up_8_4 = _Upsample(4 * width, 4 * width, 4 * width)
        self.pred = nn.Conv2d(4 * width, 1, 3, padding=1)

    def forward(self, x: Tensor, at_8: Tensor, at_4: Tensor) -> Tensor:
        x = self.up_8_4(at_4, self.up_16_8(at_8, self.compress(x)))
        return _enlarged(self.pred(F.relu(x)), 4)
