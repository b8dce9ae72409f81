"""What a step draws before the network comes in, and how it is drawn while the GPU is busy.

Draws follow from the run's seed, the step's index and the scan's place in the step. It does not
matter when they are made, so a run that draws ahead is the same to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from mois_core.training.compared_places import ComparedPlaces, compared_places
from mois_core.training.config import SamplingConfig
from mois_core.training.resized_case import ResizedCase
from mois_core.training.sampling import ScanSample, sample_scan


@dataclass(frozen=True, eq=False)
class StepDraws:
    """The crops of one step, and the generators that the rest of the step is drawn from."""

    samples: Sequence[ScanSample]
    compared: Sequence[ComparedPlaces | None]
    """Of each scan the places that the loss on places compares; empty without that loss."""
    rngs: Sequence[np.random.Generator]
    """One for each scan."""
    shared_rng: np.random.Generator
    """It draws what is the same for all scans and in all processes."""

    def pinned(self) -> StepDraws:
        """Return the same with all tensors in memory that a GPU can read by itself."""
        samples = [sample.pinned() for sample in self.samples]
        compared = [places and places.pinned() for places in self.compared]
        return replace(self, samples=samples, compared=compared)


def draw_step(
    seed: int,
    step_index: int,
    places: Sequence[int],
    scans: Sequence[ResizedCase],
    how: SamplingConfig,
    compares: bool,
) -> StepDraws:
    """Draw those of a step's scans that have one of the ``places`` in it.

    ``compares`` says that the loss on places is asked for.
    """
    rngs = [np.random.default_rng([seed, step_index, 1 + place]) for place in places]
    samples = [sample_scan(rng, scans[int(rng.integers(len(scans)))], how) for rng in rngs]
    compared = [compared_places(sample) for sample in samples] if compares else []
    return StepDraws(samples, compared, rngs, np.random.default_rng([seed, step_index, 0]))


class DrawsAhead:
    """Draws of one step after the other, those of the next ones made in a thread meanwhile."""

    def __init__(
        self, draw: Callable[[int], StepDraws], steps_ahead: int, device: torch.device
    ) -> None:
        """``draw`` makes those of a step by its index; with no ``steps_ahead`` there is no thread.

        For a GPU, crops are put where it can read them by itself.
        """
        self._draw = draw
        self._steps_ahead = steps_ahead
        self._device = device
        self._waiting: dict[int, Future[StepDraws]] = {}
        self._thread = ThreadPoolExecutor(1, initializer=self._begin) if steps_ahead else None

    def __call__(self, step_index: int) -> StepDraws:
        """Return the draws of a step, and let those of the next ones be made."""
        if self._thread is None:
            return self._draw(step_index)
        wanted = range(step_index, step_index + 1 + self._steps_ahead)
        self._waiting = {
            index: self._waiting.get(index) or self._thread.submit(self._readable, index)
            for index in wanted
        }
        return self._waiting[step_index].result()

    def _begin(self) -> None:
        # Which of several GPUs is meant holds for one thread only.
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)

    def _readable(self, step_index: int) -> StepDraws:
        draws = self._draw(step_index)
        return draws.pinned() if self._device.type == "cuda" else draws
