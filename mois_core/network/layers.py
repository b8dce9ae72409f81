"""Small layers that several parts of the network share."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def learned(*shape: int) -> nn.Parameter:
    """Return a learned embedding, drawn as the published models draw theirs before training."""
    return nn.Parameter(nn.init.trunc_normal_(torch.zeros(shape), std=0.02))


def set_product_precision(part: nn.Module, dtype: torch.dtype) -> None:
    """Compute the matrix products of a part in ``dtype``, and all else in float32.

    The published code's mixed precision does the same. Sums and norms cost next to nothing, and
    rounding after every one of them moves object scores several times as far.
    """
    for module in part.modules():
        if isinstance(module, nn.Linear):
            module.to(dtype)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of a map [batch, channels, rows, columns]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.permute(0, 2, 3, 1)  # (B, rows, columns, channels)
        normed = F.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, 1e-6)
        return normed.permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Perceptron with an activation after every layer but the last."""

    def __init__(
        self, sizes: tuple[int, ...], activation: Callable[[Tensor], Tensor] = F.relu
    ) -> None:
        super().__init__()
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class ConvNextBlock(nn.Module):
    """7 x 7 depthwise convolution and a perceptron per position, added to the input."""

    def __init__(self, channels: int, layer_scale: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = ChannelNorm(channels)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        # (B, channels, rows, columns) -> (B, rows, columns, channels) and back
        change = self.norm(self.dwconv(x)).permute(0, 2, 3, 1).to(self.pwconv1.weight.dtype)
        change = self.gamma * self.pwconv2(F.gelu(self.pwconv1(change)))
        return x + change.permute(0, 3, 1, 2)


class ConvNextStack(nn.Module):
    """Two ConvNeXt blocks: SAM 2 fuses image and mask with them, SLM-SAM 2 its two memories."""

    def __init__(self, channels: int, layer_scale: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNextBlock(channels, layer_scale) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class DropPath(nn.Module):
    """Layer that, during training, drops a residual branch for a random part of the batch."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * x.new_empty(shape).bernoulli_(keep) / keep
