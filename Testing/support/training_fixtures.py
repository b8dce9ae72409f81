"""Small scans and runs for the tests of the trainer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from paths import ROOT

from mois_core.training.config import LossWeights, OptimizerConfig, SamplingConfig, TrainConfig
from mois_core.training.resized_case import ResizedCase
from mois_core.training.training_case import TrainingCase

CONFIGS = ROOT / "mois_core" / "training" / "configs"


SIZE = (128, 96)
"""Rows and columns of the slices that small networks learn from."""
CROP = (64, 32)


def small_config(**changes) -> TrainConfig:
    """Return a run of four steps on crops of small slices."""
    how = SamplingConfig(scans=2, consecutive=2, elsewhere=2, crop_size=CROP)
    config = TrainConfig(
        model="phantom",
        changes={"image_size": SIZE, "width": 64, "encoder": {"widths": (16, 32, 48, 64)}},
        steps=4,
        checkpoint_every=2,
        sampling=how,
        optimizer=OptimizerConfig(rate=1e-3, encoder_rate=1e-3, clip=1.0),
    )
    return replace(config, **changes)


def hiera_config(**changes) -> TrainConfig:
    """Return such a run of a network whose encoder is Hiera, with blocks and linear layers."""
    changed = {"image_size": SIZE, "exemplars": {"no_exemplar_tokens": None}}
    return small_config(model="mois-tiny", changes=changed, **changes)


def places_config() -> TrainConfig:
    """Return a run with a loss on places, so that there is a head beside the network."""
    return small_config(log_every=1, losses=LossWeights(places=0.5))


def blobs(seed: int) -> ResizedCase:
    """Return a scan with squares of two brightnesses on noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(20, 60, size=(6, *SIZE)).astype(np.uint8)
    labels = np.zeros_like(images)
    for lesion_id in range(1, 9):
        row, column = rng.integers(0, np.array(SIZE) - 28)
        first = int(rng.integers(0, 4))
        box = np.s_[first : first + 3, row : row + 20, column : column + 20]
        images[box] = 110 if lesion_id % 2 else 200
        labels[box] = lesion_id
    appearances = np.arange(9, dtype=np.uint8) % 2
    return ResizedCase.of(TrainingCase(f"blobs-{seed}", images, labels, appearances), SIZE)


def losses_in(folder: Path) -> list[float]:
    """Return the loss of every line that a run logged."""
    lines = (folder / "log.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]
