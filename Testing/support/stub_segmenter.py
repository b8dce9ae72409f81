"""Segmenters for tests that run in processes of their own, where nothing can be patched."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import numpy as np
from stub_network import StubNetwork

from mois_core.evaluation.baselines.region_growing import RegionGrowing
from mois_core.evaluation.segmenters import (
    AllClicksSegmenter,
    AutomaticSegmenter,
    Missing,
    PlacedClick,
    SessionSegmenter,
)
from mois_core.geometry import Volume
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


class Diarist(RegionGrowing):
    """Region growing that writes down what it was told, and reads a file that an option names."""

    def __init__(self, rule: str = "", careful: bool = False) -> None:
        super().__init__()
        self.rule = rule
        self.careful = careful

    def open(self, volume) -> None:
        told = self.surroundings
        text = f"{told.scan} {told.device} {told.dtype}"
        (told.folder() / "diary.txt").open("a").write(f"{text}\n")
        super().open(volume)


class Bright(AutomaticSegmenter):
    """Marks whatever is bright."""

    def segment(self, volume: Volume) -> np.ndarray:
        return volume.array > 100


class BrightWhenClicked(AllClicksSegmenter):
    """Marks what is bright in the slices that were clicked in, and nothing around negatives."""

    def take_up(self) -> None:
        self.seen: list[int] = []

    def segment(self, clicks: Sequence[PlacedClick]) -> np.ndarray:
        self.seen.append(len(clicks))
        mask = np.zeros(self.stack.array.shape, dtype=bool)
        for click in clicks:
            if click.positive:
                mask[click.voxel[0]] = self.stack.array[click.voxel[0]] > 100
        for click in clicks:
            if not click.positive:
                mask[click.voxel] = False
        return mask


class NotHere(RegionGrowing):
    """Region growing that lacks something."""

    def require(self) -> None:
        raise Missing("its weights are not here; get them from example.org and give weights=FILE")


class Taught(RegionGrowing):
    """Region growing that says what it was given to learn from."""

    def given(self) -> dict[str, object]:
        return {"parameters": 34567, "minutes": 15.5, "steps": 1200, "scans": 120}
