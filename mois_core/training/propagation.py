"""Lesions of a sample from the crop that they were prompted on to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.model import Prompts, Sam2, SliceFeatures
from mois_core.network.short_long import SlmSam2
from mois_core.session.memory_bank import select_memories, select_pointers, select_recent
from mois_core.session.propagation import LOGIT_LIMIT
from mois_core.training.losses import LossAccumulator, LossWeights, add_instances
from mois_core.training.prompting import Item, SliceMemories, features_of, masks_of, stored
from mois_core.training.sampling import ScanSample
from mois_core.training.simulated_clicks import FROM_TRUTH, correction


@dataclass(frozen=True)
class Corrections:
    """Clicks on slices that a lesion was propagated to, as a user corrects them."""

    share: float
    """Of the propagated lesions that get a click."""
    rngs: Sequence[np.random.Generator]
    """One for each lesion."""
    origin: tuple[int, int]
    """Row and column of the crops in the slice."""


def propagate(
    model: Sam2,
    features: SliceFeatures,
    samples: Sequence[ScanSample],
    items: Sequence[Item],
    start: SliceMemories,
    consecutive: int,
    corrections: Corrections | None,
    accumulator: LossAccumulator,
    weights: LossWeights,
) -> dict[int, SliceMemories]:
    """Propagate items that were prompted on the same crop to all consecutive ones, up and down.

    Where a lesion is not, the network has to say so; in inference it would stop there, here it
    goes on, as the next crop may show the lesion again.
    """
    prompted = items[0].crop
    propagated: dict[int, SliceMemories] = {}
    order = [*range(prompted + 1, consecutive), *range(prompted - 1, -1, -1)]
    for crop in order:
        here = features_of(features, [item.index - prompted + crop for item in items])
        coarse = conditioned(model, here, {prompted: start}, propagated, crop, crop < prompted)
        decoded = model.decode(here, coarse)
        truth = masks_of(samples, items, crop).to(model.device)
        add_instances(accumulator, "propagated", decoded.raw, truth, True, weights)
        if corrections:
            _correct(model, here, coarse, decoded.logits, truth, corrections, accumulator, weights)
        memory = stored(model.remember(here, decoded.logits, decoded.score, False))
        found = (decoded.logits > 0).flatten(1).any(dim=1)
        propagated[crop] = SliceMemories(memory, decoded.pointer, found)
    return propagated


def _correct(
    model: Sam2,
    here: SliceFeatures,
    coarse: Tensor,
    logits: Tensor,
    truth: Tensor,
    how: Corrections,
    accumulator: LossAccumulator,
    weights: LossWeights,
) -> None:
    """One click on some lesions, at the largest error of what was propagated there. The answer is
    supervised, and what goes on to the next crop is not changed by it."""
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
    add_instances(accumulator, "correction", decoded.raw, truth[index], False, weights)


def conditioned(
    model: Sam2,
    here: SliceFeatures,
    prompted: Mapping[int, SliceMemories],
    propagated: Mapping[int, SliceMemories],
    crop: int,
    reverse: bool,
) -> Tensor:
    """The map of a crop as the memories on the others make it look, as in the tracker."""
    config = model.config
    # Distances are scaled by this number in every scan that is at least so deep.
    slices = config.max_pointers
    where = (prompted, propagated, crop, reverse)
    maps = [
        (n, slice_memory.memory) for n, slice_memory in select_memories(*where, config.memories)
    ]
    pointers = [
        (d, slice_memory.pointer)
        for d, slice_memory in select_pointers(*where, slices, config.max_pointers)
    ]
    keys = model.memory_keys(maps, pointers, slices)
    long = model.attend_to_memory(model.memory_query(here), keys).float()
    if not isinstance(model, SlmSam2):
        return long
    recent = select_recent(*where, config.short_memory.slices)
    if not recent:
        return long
    keys = model.short_keys(
        [(d - 1, slice_memory.memory) for d, slice_memory in reversed(recent)],
        [(d, slice_memory.pointer) for d, slice_memory in recent],
        slices,
    )
    return model.fuse(model.attend_to_short(model.short_query(here), keys).float(), long)
