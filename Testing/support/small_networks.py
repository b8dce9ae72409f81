"""Networks small enough for every test, with weights that make them lively."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from paths import GOLDEN
from torch import Tensor

from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.network.config import (
    HIERA_TINY,
    ConvEncoderConfig,
    ExemplarConfig,
    NetworkConfig,
    ShortMemoryConfig,
    Size,
)
from mois_core.network.loading import build
from mois_core.network.model import Sam2

SAME = 2e-5
"""Relative difference that the order of sums may cause in float32."""

SAM = NetworkConfig(
    HIERA_TINY,
    image_size=(128, 128),
    width=64,
    memory_width=16,
    attention_layers=2,
    attention_hidden=64,
    decoder_hidden=64,
    iou_hidden=32,
)
MOIS = replace(SAM, exemplars=ExemplarConfig())
SLM = replace(SAM, short_memory=ShortMemoryConfig())

CONVOLVED = replace(MOIS, encoder=ConvEncoderConfig((8, 16, 16, 24), blocks=(1, 1, 1, 1)))

TALL = (192, 64)
WIDE = (64, 160)
"""Sizes of inputs whose rows and columns are not to be taken for each other."""

WIDE_MOIS = replace(MOIS, image_size=WIDE)
TALL_SLM = replace(SLM, image_size=TALL)


@lru_cache(maxsize=4)
def lively(config: NetworkConfig, salt: str = "", score_bias: float = 0.5) -> Sam2:
    """Return a network with synthetic weights, ready to run; it is shared, so never change it."""
    return fill_synthetic(build(config), salt, score_bias).requires_grad_(False).eval()


def manifest(name: str) -> dict[str, Any]:
    """Return shape and type of every tensor of a published model, by key."""
    text = (GOLDEN / "manifests" / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)["entries"]


def some_slices(count: int, size: Size, seed: int = 0) -> Tensor:
    """Return slices [count, 1, rows, columns] with structure at several scales, from 0 to 1."""
    generator = torch.Generator().manual_seed(seed)
    slices = torch.zeros(count, 1, *size)
    for grid in ((4, 4), (16, 16), tuple(side // 4 for side in size)):
        noise = torch.rand(count, 1, *grid, generator=generator)
        slices += torch.nn.functional.interpolate(noise, size, mode="bicubic") / 3
    return slices.clamp(0, 1)


def overlap(first: Tensor, second: Tensor) -> float:
    """Return the intersection over union of two binary masks, 1 for two empty ones."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 1.0


def relative_rms(ours: Tensor, theirs: Tensor) -> float:
    """Return the root mean square of the difference, relative to that of ``theirs``."""
    difference = (ours.double() - theirs.double()).square().mean().sqrt()
    return float(difference / theirs.double().square().mean().sqrt().clamp(min=1e-30))


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return standard normal values, the same in every run and, rounded, in every precision."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def assert_same(ours: Tensor, theirs: Tensor, bound: float = SAME) -> None:
    """Assert the same shape, and the same values but for the order of sums."""
    assert ours.shape == theirs.shape
    assert relative_rms(ours, theirs) <= bound
