"""One call from a preset's name to a network that is ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from mois_core.errors import BadInput
from mois_core.network.checkpoint import from_sam2, load_into, read_checkpoint
from mois_core.network.config import NetworkConfig, preset
from mois_core.network.exemplar import MoisSam2
from mois_core.network.model import Sam2
from mois_core.network.short_long import SlmSam2

SHIPPED = Path(__file__).parents[1] / "models"
"""Weights that are part of the program: a file named after its preset, or none."""


def build(config: NetworkConfig) -> Sam2:
    """The network that a config describes, with random weights."""
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
        shipped = SHIPPED / f"{preset_or_config}.safetensors"
        checkpoint = shipped if shipped.is_file() else None
    model = build(config)
    if checkpoint is not None:
        state = read_checkpoint(checkpoint)
        load_into(model, from_sam2(model, state) if init == "sam2" else state, str(checkpoint))
    model.requires_grad_(False).eval().to(usable_device(device))
    return model.set_precision(dtype or torch.float32)


def usable_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or the CPU; an error says which are there if it is not."""
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
