"""Lesions of a sample from the piece that they were prompted on to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.model import Prompts, Sam2, SliceFeatures
from mois_core.network.short_long import SlmSam2
from mois_core.session.memory_bank import maps_seen, pointers_seen, recent_seen
from mois_core.session.propagation import LOGIT_LIMIT
from mois_core.training.losses import LossWeights, Tally, add_instances
from mois_core.training.prompting import Item, Traces, features_of, masks_of, stored
from mois_core.training.sampling import ScanSample
from mois_core.training.simulated_clicks import FROM_TRUTH, correction


@dataclass(frozen=True)
class Corrections:
    """Clicks on slices that a lesion was carried to, as a user corrects them."""

    share: float
    """Of the carried lesions that get a click."""
    rngs: Sequence[np.random.Generator]
    """One for each lesion."""
    origin: tuple[int, int]
    """Row and column of the pieces in the slice."""


def carry(
    model: Sam2,
    features: SliceFeatures,
    samples: Sequence[ScanSample],
    items: Sequence[Item],
    start: Traces,
    consecutive: int,
    corrections: Corrections | None,
    tally: Tally,
    weights: LossWeights,
) -> dict[int, Traces]:
    """Carry items that were prompted on the same piece to all consecutive ones, up and down.

    Where a lesion is not, the network has to say so; in inference it would stop there, here it
    goes on, as the next piece may show the lesion again.
    """
    prompted = items[0].piece
    carried: dict[int, Traces] = {}
    order = [*range(prompted + 1, consecutive), *range(prompted - 1, -1, -1)]
    for piece in order:
        here = features_of(features, [item.index - prompted + piece for item in items])
        coarse = conditioned(model, here, {prompted: start}, carried, piece, piece < prompted)
        decoded = model.decode(here, coarse)
        truth = masks_of(samples, items, piece).to(model.device)
        add_instances(tally, "carried", decoded.raw, truth, True, weights)
        if corrections:
            _correct(model, here, coarse, decoded.logits, truth, corrections, tally, weights)
        memory = stored(model.remember(here, decoded.logits, decoded.score, False))
        found = (decoded.logits > 0).flatten(1).any(dim=1)
        carried[piece] = Traces(memory, decoded.pointer, found)
    return carried


def _correct(
    model: Sam2,
    here: SliceFeatures,
    coarse: Tensor,
    logits: Tensor,
    truth: Tensor,
    how: Corrections,
    tally: Tally,
    weights: LossWeights,
) -> None:
    """One click on some lesions, at the largest error of what was carried there. The answer is
    supervised, and what goes on to the next piece is not changed by it."""
    shown = F.interpolate(logits.detach(), truth.shape[-2:], mode="bilinear", align_corners=False)
    answers, masks = shown[:, 0].cpu().numpy() > 0, truth[:, 0].cpu().numpy() > 0
    chosen, clicks = [], []
    for n, (rng, answer, mask) in enumerate(zip(how.rngs, answers, masks, strict=True)):
        if rng.random() < how.share and (answer | mask).any():
            chosen.append(n)
            from_truth = FROM_TRUTH if mask.any() else 0.0
            clicks.append(correction(rng, answer, mask, from_truth))
    if not chosen:
        return
    index = torch.tensor(chosen)
    points = torch.tensor([[[x + how.origin[1], y + how.origin[0]]] for x, y, _ in clicks])
    labels = torch.tensor([[label] for _, _, label in clicks])
    guess = logits[index].detach().clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    prompts = Prompts(points.to(truth.device), labels.to(truth.device), guess)
    decoded = model.decode(here[index], coarse[index], prompts)
    add_instances(tally, "correction", decoded.raw, truth[index], False, weights)


def conditioned(
    model: Sam2,
    here: SliceFeatures,
    prompted: Mapping[int, Traces],
    carried: Mapping[int, Traces],
    piece: int,
    reverse: bool,
) -> Tensor:
    """The map of a piece as the memories on the others make it look, as in the tracker."""
    config = model.config
    # Distances are scaled by this number in every scan that is at least so deep.
    slices = config.max_pointers
    where = (prompted, carried, piece, reverse)
    maps = [(n, trace.memory) for n, trace in maps_seen(*where, config.memories)]
    pointers = [
        (d, trace.pointer) for d, trace in pointers_seen(*where, slices, config.max_pointers)
    ]
    keys = model.memory_keys(maps, pointers, slices)
    long = model.attend_to_memory(model.memory_query(here), keys).float()
    if not isinstance(model, SlmSam2):
        return long
    recent = recent_seen(*where, config.short_memory.slices)
    if not recent:
        return long
    keys = model.short_keys(
        [(d - 1, trace.memory) for d, trace in reversed(recent)],
        [(d, trace.pointer) for d, trace in recent],
        slices,
    )
    return model.fuse(model.attend_to_short(model.short_query(here), keys).float(), long)
