"""What reports and saved sessions say about the network that made a result."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelInfo:
    """The preset, the file and the checksum of a network."""

    preset: str = "unknown"
    checkpoint: str = ""
    sha256: str = ""
