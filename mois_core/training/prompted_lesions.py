"""Which lesions of a step's crops are prompted, and their true masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mois_core.training.config import TrainConfig
from mois_core.training.device import on_device
from mois_core.training.sampling import FEWEST_PIXELS, ScanSample

EVERY_LESION = -1
"""In place of a lesion id: all lesions of one appearance, taken as a single object."""


@dataclass(frozen=True)
class PromptedLesion:
    """A lesion that is prompted on one of the crops."""

    scan: int
    """Index of its scan in the step."""
    crop: int
    """Index of the crop in its scan."""
    lesion_id: int
    appearance: int


def choose_lesions(
    samples: Sequence[ScanSample],
    rngs: Sequence[np.random.Generator],
    prompted_crop: int,
    config: TrainConfig,
) -> list[PromptedLesion]:
    """Choose the lesions to prompt: some on the crop ``prompted_crop``, one on each single crop.

    ``rngs`` has a generator for each scan. Taken as one object, all lesions of an appearance are
    one on each of these crops.
    """
    consecutive, most = config.sampling.consecutive, config.interaction.most_lesions
    chosen = []
    for scan, (rng, sample) in enumerate(zip(rngs, samples, strict=True)):
        wanted = {prompted_crop: most}
        wanted |= dict.fromkeys(range(consecutive, len(sample.slice_indices)), 1)
        for crop, count in wanted.items():
            if config.interaction.as_one_object:
                lesions = _as_one_object(sample, crop)
            else:
                turn = crop - consecutive if crop >= consecutive else None
                lesions = _shuffled(rng, sample, crop, turn)[:count]
            chosen += [PromptedLesion(scan, crop, *lesion) for lesion in lesions]
    return chosen


def _as_one_object(sample: ScanSample, crop: int) -> list[tuple[int, int]]:
    """The first of the searched appearances that a crop shows enough of, as one object."""
    sizes = np.bincount(sample.labels[crop].numpy().ravel(), minlength=1)
    for appearance in sample.searched:
        own = np.flatnonzero(sample.appearances[: len(sizes)] == appearance)
        if sizes[own[own > 0]].sum() >= FEWEST_PIXELS:
            return [(EVERY_LESION, appearance)]
    return []


def _shuffled(
    rng: np.random.Generator, sample: ScanSample, crop: int, turn: int | None
) -> list[tuple[int, int]]:
    """The lesions of a crop that are large enough to click, with their appearances.

    Those that will be searched for come first, so that they can be exemplars; on single crops
    each appearance in its turn.
    """
    sizes = np.bincount(sample.labels[crop].numpy().ravel(), minlength=1)
    visible = [int(n) for n in np.flatnonzero(sizes) if n and sizes[n] >= FEWEST_PIXELS]
    rng.shuffle(visible)
    preferred = None if turn is None else sample.searched[turn % len(sample.searched)]

    def later(lesion_id: int) -> tuple[bool, bool]:
        appearance = sample.appearances[lesion_id]
        is_other = preferred is not None and appearance != preferred
        return is_other, appearance not in sample.searched

    return [(n, int(sample.appearances[n])) for n in sorted(visible, key=later)]


def masks_of(
    samples: Sequence[ScanSample], lesions: Sequence[PromptedLesion], crop: int | None = None
) -> Tensor:
    """Return the true mask of each lesion as booleans, [lesions, 1, rows, columns].

    The masks are on the crops that the lesions were prompted on, or on another one of their scans.
    """
    planes = []
    for lesion in lesions:
        sample = samples[lesion.scan]
        where = lesion.crop if crop is None else crop
        labels = sample.labels[where]
        if lesion.lesion_id == EVERY_LESION:
            appearances = sample.appearance_of_pixels()[where]
            planes.append((labels > 0) & (appearances == lesion.appearance))
        else:
            planes.append(labels == lesion.lesion_id)
    return torch.stack(planes)[:, None]


def others_of(
    samples: Sequence[ScanSample], lesions: Sequence[PromptedLesion], truth: Tensor
) -> Tensor:
    """Return all lesions on each lesion's crop but itself, whose mask is ``truth``."""
    planes = [samples[lesion.scan].labels[lesion.crop] > 0 for lesion in lesions]
    return on_device(torch.stack(planes), truth.device)[:, None].to(truth) * (1 - truth)
