"""Scans and clicks on disk for the tests of ``mois``, and a way to run it as a user does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_fixtures import SCENE, Block, scan_of, volume_of
from stub_network import StubNetwork

from mois_core import cli, weights
from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.cli import model_choice
from mois_core.geometry import SliceStack, Volume
from mois_core.io import RasClick, read_labels, write_image, write_points
from mois_core.network.config import preset
from mois_core.network.loading import build
from mois_core.network.model_info import ModelInfo

STUB_INFO = ModelInfo("stub", "stub.pt", "0" * 64)


def use_stub(monkeypatch: pytest.MonkeyPatch) -> StubNetwork:
    """Have every command run the stub network, which outlines what is bright."""
    network = StubNetwork()
    chosen = weights.OpenedModel(network, STUB_INFO)
    monkeypatch.setattr(model_choice, "choose_model", lambda args: chosen)
    return network


def write_weights(path: Path, name: str) -> Path:
    """Write a checkpoint of a preset with made-up weights, in the published form."""
    torch.save({"model": fill_synthetic(build(preset(name))).state_dict()}, path)
    return path


def write_scene(folder: Path, *blocks: Block, volume: Volume | None = None) -> Path:
    """Write a scan with block-shaped lesions as a NIfTI file."""
    folder.mkdir(exist_ok=True)
    path = folder / "scan.nii.gz"
    write_image(path, volume or volume_of(scan_of(*(blocks or SCENE))))
    return path


def write_clicks(path: Path, volume: Volume, clicks: Sequence[tuple[int, bool, tuple]]) -> Path:
    """Write clicks given as lesion, positive or not, and slice, row and column."""
    stack = SliceStack(volume)
    placed = [
        RasClick(lesion, positive, tuple(stack.point_to_ras(n, column, row).tolist()))
        for lesion, positive, (n, row, column) in clicks
    ]
    write_points(path, placed)
    return path


def labels_on_slices(path: Path) -> np.ndarray:
    """Read a label map as [slices, rows, columns]."""
    labels = read_labels(path)
    return SliceStack(labels).array


def mois(*words: object) -> int:
    """Run the command line and return its exit code, also that of arguments argparse refuses."""
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as exited:
        return int(exited.code or 0)
