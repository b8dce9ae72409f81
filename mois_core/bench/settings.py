"""Choices that one run of the bench is made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mois_core.network.config import NetworkConfig


@dataclass(frozen=True)
class BenchSettings:
    """Networks, precisions and device that are measured, and how often."""

    networks: dict[str, NetworkConfig]
    precisions: Sequence[str]
    device: torch.device
    repeats: int
    against_sam2: bool = False
