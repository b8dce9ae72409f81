"""AdamW over groups of parameters, each with its own cosine from one learning rate to another, and
Muon for the matrices where a config asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import nn

from mois_core.errors import BadInput
from mois_core.training.config import OptimizerConfig

_BLOCKS = "image_encoder.trunk.blocks."


class CombinedOptimizer:
    """Several optimizers that are used, saved and read back as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of all parts."""
        return list(chain.from_iterable(part.param_groups for part in self.parts))

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group of parameters to the first part."""
        self.parts[0].add_param_group(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients of all parts."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Update the parameters of all parts."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the states of all parts, in their order."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Restore the states of all parts from what `state_dict` returned."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


AnyOptimizer = torch.optim.Optimizer | CombinedOptimizer


def make_optimizer(model: nn.Module, how: OptimizerConfig) -> AnyOptimizer:
    """Return an optimizer over everything that requires a gradient.

    Biases, norms and single vectors are not decayed, and the position table keeps the encoder's
    full rate, as published.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    linear = {
        f"{name}.weight" for name, part in model.named_modules() if isinstance(part, nn.Linear)
    }
    matrices = named.keys() & linear if how.matrices == "muon" else set()
    depth = len({name.split(".")[3] for name in named if name.startswith(_BLOCKS)})

    def groups(wanted: Callable[[str], bool]) -> list[dict[str, Any]]:
        by_rate: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in named.items():
            if wanted(name):
                decay = 0.0 if parameter.ndim < 2 or "norm" in name else how.weight_decay
                by_rate.setdefault((_rate(name, depth, how), decay), []).append(parameter)
        return [
            {"params": own, "lr": rate, "peak": rate, "weight_decay": decay}
            for (rate, decay), own in by_rate.items()
        ]

    betas = (how.beta1, how.beta2)
    adamw = torch.optim.AdamW(groups(lambda name: name not in matrices), betas=betas, fused=True)
    if not matrices:
        return adamw
    if not hasattr(torch.optim, "Muon"):
        raise BadInput("optimizer.matrices 'muon' needs torch 2.9 or newer; choose 'adamw'")
    muon = torch.optim.Muon(groups(matrices.__contains__), adjust_lr_fn="match_rms_adamw")
    return CombinedOptimizer(adamw, muon)


def add_group(
    optimizer: AnyOptimizer, parameters: list[nn.Parameter], how: OptimizerConfig
) -> None:
    """Give the optimizer parameters that are not the network's."""
    group = {"params": parameters, "lr": how.rate, "peak": how.rate, "weight_decay": 0.0}
    optimizer.add_param_group(group)


def _rate(name: str, depth: int, how: OptimizerConfig) -> float:
    if not name.startswith("image_encoder."):
        return how.rate
    if "pos_embed" in name or ".trunk." not in name:
        return how.encoder_rate
    layer = int(name.split(".")[3]) + 1 if name.startswith(_BLOCKS) else 0
    return how.encoder_rate * how.layer_decay ** (depth - layer)


def set_rates(optimizer: AnyOptimizer, how: OptimizerConfig, step: int, steps: int) -> None:
    """Set the learning rates of a step: up to their peaks, then down along half a cosine."""
    if step < how.warmup:
        share = (step + 1) / how.warmup
    else:
        done = (step - how.warmup) / max(steps - how.warmup, 1)
        share = how.final + (1 - how.final) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
