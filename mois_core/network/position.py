"""Encodings of positions: sines, rotations and the random frequencies of prompts.

All angles are computed in float32, whatever precision the network runs in: at 1024 pixels half
precision would move a click by several pixels.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

TEMPERATURE = 10000.0


def _wavelengths(channels: int, device: torch.device | None = None) -> Tensor:
    index = torch.arange(channels, dtype=torch.float32, device=device)
    return TEMPERATURE ** (2 * (index // 2) / channels)


@lru_cache(maxsize=16)
def sine_map(channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """Return the sine encoding of a map's positions, [channels, height, width].

    The first half of the channels encodes the row, the second half the column, both scaled so
    that the map spans one full turn.
    """
    half = channels // 2
    wavelengths = _wavelengths(half, device)

    def encode(length: int) -> Tensor:
        place = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        angle = (place / (length + 1e-6) * (2 * math.pi))[:, None] / wavelengths  # (length, half)
        return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)

    rows = encode(height)[:, None, :].expand(height, width, half)
    columns = encode(width)[None, :, :].expand(height, width, half)
    return torch.cat((rows, columns), dim=2).permute(2, 0, 1).contiguous()


def sine_line(positions: Tensor, channels: int) -> Tensor:
    """Return the sine encoding of positions [n] as [n, channels]: all sines, then all cosines."""
    angle = positions.float()[:, None] / _wavelengths(channels // 2, positions.device)
    return torch.cat((angle.sin(), angle.cos()), dim=1)


@lru_cache(maxsize=16)
def rotary_table(channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """Return rotations of a map's positions, [height * width, channels / 2, (cosine, sine)].

    The first half of the channel pairs turns with the column, the second half with the row.
    """
    rates = 1.0 / TEMPERATURE ** (
        torch.arange(0, channels, 4, device=device)[: channels // 4].float() / channels
    )
    place = torch.arange(height * width, device=device)
    columns = torch.outer((place % width).float(), rates)  # (height * width, channels / 4)
    rows = torch.outer(torch.div(place, width, rounding_mode="floor").float(), rates)
    angle = torch.cat((columns, rows), dim=1)
    return torch.stack((angle.cos(), angle.sin()), dim=2)


def rotate(tokens: Tensor, table: Tensor) -> Tensor:
    """Rotate each pair of channels of ``tokens`` [..., n, channels] by its position's angle.

    Where there are more tokens than positions, several maps lie behind one another and every
    one of them gets the same rotations.
    """
    positions, pairs, _ = table.shape
    maps = tokens.shape[-2] // positions
    # (..., maps, positions, pairs, 2)
    pair = tokens.float().unflatten(-2, (maps, positions)).unflatten(-1, (pairs, 2))
    cosine, sine = table[..., 0], table[..., 1]  # (positions, pairs)
    even, odd = pair[..., 0], pair[..., 1]
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), dim=-1)
    return turned.flatten(-2).flatten(-3, -2).to(tokens.dtype)  # (..., n, channels)


def _without_autocast(device: torch.device) -> torch.autocast:
    """Compute in the precision of the arguments within a block, in training as well."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type if known else "cpu", enabled=False)


class RandomFrequencies(nn.Module):
    """SAM's encoding of image coordinates: fixed random directions, then sine and cosine."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width // 2))

    def forward(self, coordinates: Tensor) -> Tensor:
        """Encode points (x, y), fractions of the image's longer side, [..., 2] to [..., width]."""
        matrix = self.positional_encoding_gaussian_matrix.float()
        with _without_autocast(coordinates.device):
            angle = 2 * math.pi * ((2 * coordinates.float() - 1) @ matrix)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """Return the encoding of the centres of a map's cells, [channels, height, width]."""
        device = self.positional_encoding_gaussian_matrix.device
        longer = max(height, width)
        rows, columns = torch.meshgrid(
            (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / longer,
            (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / longer,
            indexing="ij",
        )
        return self(torch.stack((columns, rows), dim=-1)).permute(2, 0, 1)
