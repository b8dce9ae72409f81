"""From a preset's name, or from a checkpoint that tells which network it is for, to a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mois_core import models
from mois_core.errors import BadInput
from mois_core.network.checkpoint import (
    from_sam2,
    load_into,
    read_checkpoint,
    read_file,
    scans_in,
    weights_in,
)
from mois_core.network.config import PRESETS, NetworkConfig, preset, with_changes
from mois_core.network.exemplar import MoisSam2
from mois_core.network.model import Sam2
from mois_core.network.short_long import SlmSam2


def build(config: NetworkConfig) -> Sam2:
    """Return the network that a config describes, with random weights."""
    if config.exemplars:
        return MoisSam2(config)
    if config.short_memory:
        return SlmSam2(config)
    return Sam2(config)


def load_model(
    preset_or_config: str | NetworkConfig,
    checkpoint: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    init: Literal["sam2"] | None = None,
) -> Sam2:
    """Build a network, fill it and put it where it will run; never downloads anything.

    Without a checkpoint the weights are those that ship with the preset, or else random.
    ``init="sam2"`` reads a SAM 2.1 checkpoint into a model with exemplars. ``dtype`` is the
    precision of the parts that cost time, float32 if not given.
    """
    is_config = isinstance(preset_or_config, NetworkConfig)
    config = preset_or_config if is_config else preset(preset_or_config)
    if init not in (None, "sam2"):
        raise BadInput(f"init can be 'sam2' or nothing, not '{init}'")
    if init == "sam2" and (checkpoint is None or not config.exemplars):
        raise BadInput("init='sam2' needs a model with exemplars and a SAM 2.1 checkpoint")
    if checkpoint is None and not is_config:
        checkpoint = models.shipped_weights(preset_or_config)
    model = build(config)
    if checkpoint is not None:
        state = read_checkpoint(checkpoint)
        load_into(model, from_sam2(model, state) if init == "sam2" else state, str(checkpoint))
    model.requires_grad_(False).eval().to(usable_device(device))
    return model.set_precision(dtype or torch.float32)


def usable_device(device: str | torch.device | None) -> torch.device:
    """Return the device asked for, or the CPU; an error says which are there if it is not."""
    try:
        asked = torch.device(device or "cpu")
    except RuntimeError:
        raise BadInput(f"'{device}' is no device; use cpu, cuda or mps") from None
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if (asked.index or 0) >= there.get(asked.type, 0):
        usable = ", ".join(name for name, count in there.items() if count)
        raise BadInput(f"there is no device '{asked}' on this machine; usable: {usable}")
    return asked


# ---- which network a checkpoint is for -----------------------------------------------------


def network_in(path: str | Path, name: str | None = None) -> tuple[str, NetworkConfig]:
    """Return the preset's name and the config of the network that a checkpoint is for.

    A checkpoint that `mois train` wrote says it itself, since the names and shapes of weights do
    not tell all of it: what exemplars look like, for one. Any other is told by its weights, unless
    the preset is named. What scans they were trained on is the file's to say in any case.
    """
    content = read_file(path)
    run = content.get("config") if isinstance(content, Mapping) else None
    if name is None and isinstance(run, Mapping) and {"model", "changes"} <= set(run):
        return run["model"], with_changes(preset(run["model"]), run["changes"])
    name = name or preset_of(weights_in(content, path), str(path))
    return name, with_changes(preset(name), scans_in(content))


def preset_of(state: Mapping[str, Tensor], source: str) -> str:
    """Return the preset whose names and shapes of weights a state dict has, exactly.

    No two presets have the same ones, so a file needs no label to be recognised, and a file that
    fits none is refused before anything is computed with it. ``source`` names it in errors.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    for name in PRESETS:
        if shapes == _shapes(name):
            return name
    raise BadInput(
        f"{source} fits none of the models {', '.join(PRESETS)}; if it is meant for one of them, "
        "name it with --preset to see what differs"
    )


def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    # On torch's meta device a network has shapes but takes no memory and no time to fill.
    with torch.device("meta"):
        network = build(PRESETS[name])
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}
