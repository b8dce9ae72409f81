"""Segmenters for tests that run in processes of their own, where nothing can be patched."""

from __future__ import annotations

import os
import signal

import numpy as np
from stub_network import StubNetwork

from mois_core.evaluation.segmenters import RegionGrowing, SessionSegmenter
from mois_core.session.state import Settings


class StubMois(SessionSegmenter):
    """The engine with a network that segments whatever is bright."""

    def __init__(self) -> None:
        super().__init__(StubNetwork(), Settings(smallest_cm3=0.0), searches=True)


class StubSam(SessionSegmenter):
    """The engine with the stub network, without a search."""

    def __init__(self) -> None:
        super().__init__(StubNetwork(), Settings(smallest_cm3=0.0), searches=False)


class FailsOnBright(RegionGrowing):
    """Region growing that raises on scans with very bright voxels."""

    def open(self, volume) -> None:
        if volume.array.max() > 500:
            raise RuntimeError("too bright\nfor me")
        super().open(volume)


class DiesOnBright(RegionGrowing):
    """Region growing that ends its process on very bright voxels, as a lack of memory does."""

    def open(self, volume) -> None:
        if volume.array.max() > 500:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        super().open(volume)


class Everything(RegionGrowing):
    """Region growing that marks the whole scan at the first click."""

    def result(self) -> np.ndarray:
        return np.ones(self.regions.stack.volume.array.shape, dtype=np.uint16)
