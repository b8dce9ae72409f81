"""The whole state of a run in one file, written whole or not at all, and read back exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_write
from mois_core.training.optimizer import AnyOptimizer

NEWEST, BEST = "newest.pt", "best.pt"


@dataclass(frozen=True)
class RunProgress:
    """How far a run is; the position in the data and all draws follow from the step alone."""

    step: int = 0
    best: float = -1.0
    """The best score of a validation so far."""
    seconds: float = 0.0
    """Time that all steps took."""


def save(
    path: Path,
    model: nn.Module,
    optimizer: AnyOptimizer,
    progress: RunProgress,
    config: dict[str, Any],
    places: nn.Module | None = None,
    given: Mapping[str, Any] | None = None,
) -> None:
    """Write everything that going on needs. The weights are under "model", as published.

    ``places`` is the head of the loss of that name, which is no part of the network; ``given`` is
    what tables say that the weights were given.
    """
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": progress.step,
        "best": progress.best,
        "seconds": progress.seconds,
        "random": torch.get_rng_state(),
        "config": config,
        "given": dict(given or {}),
    }
    if places is not None:
        content["places"] = places.state_dict()
    if torch.cuda.is_available():
        content["random_cuda"] = torch.cuda.get_rng_state()
    with atomic_write(path) as temporary:
        torch.save(content, temporary)


def resume(
    path: Path,
    model: nn.Module,
    optimizer: AnyOptimizer,
    config: dict[str, Any],
    places: nn.Module | None = None,
) -> RunProgress:
    """Put a saved state back and return how far the run was."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadInput(f"{path} is no whole checkpoint; remove it to start anew") from error
    check_same_run(path, content, config)
    model.load_state_dict(content["model"])
    if places is not None:
        places.load_state_dict(content["places"])
    optimizer.load_state_dict(content["optimizer"])
    torch.set_rng_state(content["random"])
    if "random_cuda" in content and torch.cuda.is_available():
        torch.cuda.set_rng_state(content["random_cuda"])
    return RunProgress(content["step"], content["best"], content.get("seconds", 0.0))


def check_same_run(path: Path, content: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Refuse to go on with the content of a checkpoint whose run had another config."""
    before, now = _without_cache(content["config"]), _without_cache(config)
    differing = {key for key in now if key in before and before[key] != now[key]}
    differing -= {"threads", "checkpoint_every", "log_every", "kept_features"}
    if differing:
        raise BadInput(
            f"{path} is from a run with another {min(differing)}; choose another --out to start "
            "anew"
        )


def _without_cache(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the place where phantoms are kept, which changes nothing."""
    plain = json.loads(json.dumps(config))
    plain.get("data", {}).get("phantoms", {}).pop("cache", None)
    return plain
