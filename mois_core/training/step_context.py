"""What all parts of a training step share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mois_core.network.model import Sam2, SliceFeatures
from mois_core.training.config import TrainConfig
from mois_core.training.device import on_device
from mois_core.training.losses import LossAccumulator
from mois_core.training.prompted_lesions import PromptedLesion, masks_of, others_of
from mois_core.training.sampling import ScanSample


@dataclass(frozen=True, eq=False)
class LesionBatch:
    """Some lesions, each with one of its crops as the network sees it."""

    lesions: Sequence[PromptedLesion]
    rngs: Sequence[np.random.Generator]
    """For each lesion the generator of its scan."""
    features: SliceFeatures
    """Of each lesion's crop; a crop with several lesions is in it several times."""
    truth: Tensor
    """[lesions, 1, rows, columns]: the true mask of each lesion on its crop."""
    masks: np.ndarray
    """True masks [lesions, rows, columns] on the host, where clicks are simulated."""


@dataclass(frozen=True, eq=False)
class StepContext:
    """The network, the crops of one step and the losses that the step adds up."""

    model: Sam2
    config: TrainConfig
    samples: Sequence[ScanSample]
    """The crops of each scan."""
    rngs: Sequence[np.random.Generator]
    """One for each scan, so that it does not matter which process a scan is in."""
    features: SliceFeatures
    """Of all crops, one scan after the other."""
    prompted_crop: int
    """The one of the consecutive crops that lesions are propagated from."""
    losses: LossAccumulator
    corrected_crop: int | None
    """Another one of them, which corrections prompt after the propagation, or None."""

    def batch(self, lesions: Sequence[PromptedLesion], crop: int | None = None) -> LesionBatch:
        """Return lesions on the crops that they were prompted on, or all on another crop."""
        where = [(one.scan, one.crop if crop is None else crop) for one in lesions]
        masks = masks_of(self.samples, lesions, crop)
        return LesionBatch(
            lesions,
            [self.rngs[lesion.scan] for lesion in lesions],
            self.features[self.indices(where)],
            on_device(masks, self.model.device).float(),
            masks[:, 0].numpy(),
        )

    def others_of(self, batch: LesionBatch) -> Tensor:
        """Return all lesions on each lesion's crop but itself, [lesions, 1, rows, columns]."""
        return others_of(self.samples, batch.lesions, batch.truth)

    def indices(self, crops: Sequence[tuple[int, int]]) -> Tensor:
        """Return where crops, given as (scan, crop), are among those of all scans."""
        counts = [len(sample.slice_indices) for sample in self.samples]
        first = np.cumsum([0, *counts])
        places = [int(first[scan]) + crop for scan, crop in crops]
        return on_device(torch.tensor(places, dtype=torch.long), self.model.device)
