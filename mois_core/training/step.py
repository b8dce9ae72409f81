"""One step: a few scans through the click branch and the search, and the loss of it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from mois_core.network.config import STRIDE
from mois_core.network.exemplar import MoisSam2
from mois_core.network.model import Sam2
from mois_core.training.losses import LossAccumulator, LossWeights, add_spread
from mois_core.training.places import PlacesHead, add_places
from mois_core.training.prompting import (
    choose_items,
    click,
    features_of,
    masks_of,
    others_of,
    remember_clicks,
    remember_masks,
)
from mois_core.training.propagation import Corrections, propagate
from mois_core.training.sampling import ScanSample
from mois_core.training.search import SearchConfig, search
from mois_core.training.windows import window


@dataclass(frozen=True)
class Task:
    """What is asked of the network in a step."""

    prompts: Literal["clicks", "masks", "none"] = "clicks"
    """SLM-SAM 2 is given the outline on one slice; nothing is clicked. With "none" the encoder
    alone learns, by the loss on places."""
    propagate: bool = True
    search: bool = True
    together: bool = False
    """All lesions of a kind are one object, as in the paper's variant without exemplars."""
    most_corrections: int = 6
    mean_corrections: float | None = 2.0
    """Their number is drawn anew for each step, small ones more often; None: always the most."""
    corrected: float = 0.0
    """Share of the propagated lesions that get a correction where they were propagated to."""
    most_lesions: int = 3
    painted: float = 0.5
    """Share of exemplars that are outlined by the user instead of clicked."""


def run_step(
    model: Sam2,
    shared: np.random.Generator,
    rngs: Sequence[np.random.Generator],
    samples: Sequence[ScanSample],
    consecutive: int,
    task: Task,
    search_config: SearchConfig,
    weights: LossWeights,
    places_head: PlacesHead | None = None,
) -> LossAccumulator:
    """The losses of a step. ``shared`` draws what is the same for all scans and in all processes,
    ``rngs`` has a generator for each scan: which process a scan is in changes nothing."""
    prompted = int(shared.integers(consecutive))
    corrections = _corrections(shared, task)
    whole, size = model.config.image_size, samples[0].images.shape[-1]
    places = (whole - size) // STRIDE + 1
    origin = tuple(int(n) * STRIDE for n in shared.integers(places, size=2))
    accumulator = LossAccumulator()
    with window(model, size, *origin):
        features = model.encode(torch.cat([sample.images for sample in samples]))
        if weights.spread:
            add_spread(accumulator, features.coarse, weights.spread)
        if places_head is not None:
            add_places(accumulator, places_head, features, samples, weights)
        if task.prompts == "none":
            return accumulator
        items = choose_items(rngs, samples, consecutive, prompted, task.most_lesions, task.together)
        if not items:
            return accumulator
        truth = masks_of(samples, items).to(model.device)
        here = features_of(features, [item.index for item in items])
        by_item = [rngs[item.scan] for item in items]
        if task.prompts == "masks":
            clicked = remember_masks(model, here, truth)
        else:
            others = others_of(samples, items, truth)
            decoded = click(
                model, by_item, here, truth, others, corrections, origin, accumulator, weights
            )
            if not (task.propagate or task.search):
                return accumulator
            is_painted = torch.tensor(
                [rng.random() < task.painted for rng in by_item], device=model.device
            )
            clicked = remember_clicks(model, here, decoded, truth, is_painted)
        index = [n for n, item in enumerate(items) if item.crop == prompted]
        followed = [items[n] for n in index]
        propagated = {}
        if task.propagate and followed:
            start = clicked[index]
            own = [by_item[n] for n in index]
            fixes = Corrections(task.corrected, own, origin) if task.corrected else None
            propagated = propagate(
                model, features, samples, followed, start, consecutive, fixes, accumulator, weights
            )
        if task.search and isinstance(model, MoisSam2):
            search(
                model,
                rngs,
                search_config,
                features,
                samples,
                items,
                clicked,
                followed,
                propagated,
                accumulator,
                weights,
            )
    return accumulator


def _corrections(rng: np.random.Generator, task: Task) -> int:
    if task.mean_corrections is None:
        return task.most_corrections
    drawn = int(rng.geometric(1 / (1 + task.mean_corrections))) - 1
    return min(drawn, task.most_corrections)
