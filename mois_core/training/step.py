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
from mois_core.training.losses import LossWeights, Tally, add_spread
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
from mois_core.training.propagation import Corrections, carry
from mois_core.training.sampling import ScanSample
from mois_core.training.search import Asking, search
from mois_core.training.windows import window


@dataclass(frozen=True)
class Task:
    """What is asked of the network in a step."""

    prompts: Literal["clicks", "masks", "none"] = "clicks"
    """SLM-SAM 2 is given the outline on one slice; nothing is clicked. With "none" the encoder
    alone learns, by the loss on places."""
    carry: bool = True
    search: bool = True
    together: bool = False
    """All lesions of a kind are one object, as in the paper's variant without exemplars."""
    most_corrections: int = 6
    mean_corrections: float | None = 2.0
    """Their number is drawn anew for each step, small ones more often; None: always the most."""
    corrected: float = 0.0
    """Share of the carried lesions that get a correction where they were carried to."""
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
    asking: Asking,
    weights: LossWeights,
    places_head: PlacesHead | None = None,
) -> Tally:
    """The losses of a step. ``shared`` draws what is the same for all scans and in all processes,
    ``rngs`` has a generator for each scan: which process a scan is in changes nothing."""
    prompted = int(shared.integers(consecutive))
    corrections = _corrections(shared, task)
    whole, size = model.config.image_size, samples[0].images.shape[-1]
    places = (whole - size) // STRIDE + 1
    origin = tuple(int(n) * STRIDE for n in shared.integers(places, size=2))
    tally = Tally()
    with window(model, size, *origin):
        features = model.encode(torch.cat([sample.images for sample in samples]))
        if weights.spread:
            add_spread(tally, features.coarse, weights.spread)
        if places_head is not None:
            add_places(tally, places_head, features, samples, weights)
        if task.prompts == "none":
            return tally
        items = choose_items(rngs, samples, consecutive, prompted, task.most_lesions, task.together)
        if not items:
            return tally
        truth = masks_of(samples, items).to(model.device)
        here = features_of(features, [item.index for item in items])
        by_item = [rngs[item.scan] for item in items]
        if task.prompts == "masks":
            clicked = remember_masks(model, here, truth)
        else:
            others = others_of(samples, items, truth)
            decoded = click(
                model, by_item, here, truth, others, corrections, origin, tally, weights
            )
            if not (task.carry or task.search):
                return tally
            is_painted = torch.tensor(
                [rng.random() < task.painted for rng in by_item], device=model.device
            )
            clicked = remember_clicks(model, here, decoded, truth, is_painted)
        index = [n for n, item in enumerate(items) if item.piece == prompted]
        followed = [items[n] for n in index]
        carried = {}
        if task.carry and followed:
            start = clicked[index]
            own = [by_item[n] for n in index]
            fixes = Corrections(task.corrected, own, origin) if task.corrected else None
            carried = carry(
                model, features, samples, followed, start, consecutive, fixes, tally, weights
            )
        if task.search and isinstance(model, MoisSam2):
            search(
                model,
                rngs,
                asking,
                features,
                samples,
                items,
                clicked,
                followed,
                carried,
                tally,
                weights,
            )
    return tally


def _corrections(rng: np.random.Generator, task: Task) -> int:
    if task.mean_corrections is None:
        return task.most_corrections
    drawn = int(rng.geometric(1 / (1 + task.mean_corrections))) - 1
    return min(drawn, task.most_corrections)
