"""AdamW over groups of parameters, each with its own cosine from one learning rate to another, and
Muon for the matrices where a config asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import torch
from torch import nn

from mois_core.errors import BadInput


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
    matrices: Literal["adamw", "muon"] = "adamw"
    """What moves the weights of linear layers. Muon takes steps of AdamW's size that turn a matrix
    in all its directions alike; docs/training.md tells what came of it."""


class CombinedOptimizer:
    """Several optimisers that are used, saved and read back as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts."""
        return list(chain.from_iterable(part.param_groups for part in self.parts))

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Give a group to the first part."""
        self.parts[0].add_param_group(group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Move all parameters."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """The states of all parts, in their order."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Put the states of all parts back."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


Optimiser = torch.optim.Optimizer | CombinedOptimizer


def make_optimiser(model: nn.Module, how: Optimisation) -> Optimiser:
    """An optimiser over everything that requires a gradient.

    Biases, norms and single vectors are not decayed, and the position table keeps the encoder's
    full rate, as published.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    linear = {
        f"{name}.weight" for name, part in model.named_modules() if isinstance(part, nn.Linear)
    }
    matrices = named.keys() & linear if how.matrices == "muon" else set()
    depth = len(model.image_encoder.trunk.blocks)

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
        raise BadInput("optimisation.matrices 'muon' needs torch 2.9 or newer; choose 'adamw'")
    muon = torch.optim.Muon(groups(matrices.__contains__), adjust_lr_fn="match_rms_adamw")
    return CombinedOptimizer(adamw, muon)


def add_group(optimiser: Optimiser, parameters: list[nn.Parameter], how: Optimisation) -> None:
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


def set_rates(optimiser: Optimiser, how: Optimisation, step: int, steps: int) -> None:
    """The learning rates of a step: up to their peaks, then down along half a cosine."""
    if step < how.warmup:
        share = (step + 1) / how.warmup
    else:
        done = (step - how.warmup) / max(steps - how.warmup, 1)
        share = how.final + (1 - how.final) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
