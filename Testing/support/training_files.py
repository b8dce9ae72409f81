"""Scans and configs on disk for runs of seconds, as `mois train` reads them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from training_fixtures import small_config

from mois_core.training.scans import INDEX
from mois_core.training.training_case import TrainingCase


def write_scan(folder: Path) -> Path:
    """Write one prepared scan with squares of two brightnesses, and return its folder."""
    rng = np.random.default_rng(0)
    images = rng.integers(20, 60, size=(6, 128, 96)).astype(np.uint8)
    labels = np.zeros_like(images)
    for lesion_id in range(1, 9):
        row, column = rng.integers(0, 68, size=2)
        box = np.s_[lesion_id % 4 : lesion_id % 4 + 3, row : row + 20, column : column + 20]
        images[box] = 110 if lesion_id % 2 else 200
        labels[box] = lesion_id
    case = TrainingCase("squares", images, labels, np.arange(9, dtype=np.uint8) % 2)
    folder.mkdir()
    case.save(folder / "squares.npz")
    index = {"cases": [{"file": "squares.npz", "fold": 0}]}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    return folder


def write_stages(folder: Path, **stages: dict[str, Any]) -> Path:
    """Write the config of a run of small stages on one scan, and return its path."""
    shared = asdict(small_config(threads=1, log_every=1))
    shared["data"] = {"prepared": str(write_scan(folder / "scans"))}
    path = folder / "small.json"
    path.write_text(json.dumps(shared | {"stages": stages}), encoding="utf-8")
    return path
