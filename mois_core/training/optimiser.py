"""AdamW over groups of parameters, each with its own cosine from one learning rate to another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Optimisation:
    """Learning rates and all that goes with them. The defaults are the published ones."""

    rate: float = 5e-6
    encoder_rate: float = 3e-6
    final: float = 0.1
    """What part of its rate a group ends with."""
    warmup: int = 0
    """Steps over which the rates rise from nothing."""
    layer_decay: float = 0.9
    """Factor on the encoder's rate for each block further from its output."""
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    clip: float = 0.1
    """Largest norm of all gradients together."""


def make_optimiser(model: nn.Module, how: Optimisation) -> torch.optim.AdamW:
    """An optimiser over everything that requires a gradient.

    Biases, norms and single vectors are not decayed, and the position table keeps the encoder's
    full rate, as published.
    """
    depth = len(model.image_encoder.trunk.blocks)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = 0.0 if parameter.ndim < 2 or "norm" in name else how.weight_decay
        rate = _rate(name, depth, how)
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": own, "lr": rate, "peak": rate, "weight_decay": decay}
            for (rate, decay), own in groups.items()
        ],
        betas=(how.beta1, how.beta2),
        fused=True,
    )


def add_group(
    optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], how: Optimisation
) -> None:
    """Let the optimiser see to parameters that are not the network's as well."""
    group = {"params": parameters, "lr": how.rate, "peak": how.rate, "weight_decay": 0.0}
    optimiser.add_param_group(group)


def _rate(name: str, depth: int, how: Optimisation) -> float:
    trunk = "image_encoder.trunk."
    if not name.startswith(trunk):
        return how.encoder_rate if name.startswith("image_encoder.") else how.rate
    part = name[len(trunk) :]
    if "pos_embed" in part:
        return how.encoder_rate
    layer = int(part.split(".")[1]) + 1 if part.startswith("blocks.") else 0
    return how.encoder_rate * how.layer_decay ** (depth - layer)


def set_rates(optimiser: torch.optim.Optimizer, how: Optimisation, step: int, steps: int) -> None:
    """The learning rates of a step: up to their peaks, then down along half a cosine."""
    if step < how.warmup:
        share = (step + 1) / how.warmup
    else:
        done = (step - how.warmup) / max(steps - how.warmup, 1)
        share = how.final + (1 - how.final) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
