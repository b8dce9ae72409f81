"""Lesions of a step from the crop that they were prompted on to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from mois_core.session.memory_bank import condition_on_memories, select
from mois_core.training.device import on_device
from mois_core.training.losses import add_instances
from mois_core.training.prompted_lesions import PromptedLesion
from mois_core.training.prompting import (
    SliceMemories,
    as_stored,
    correctable,
    prompts_of,
    shown,
)
from mois_core.training.simulated_clicks import FROM_TRUTH, correction
from mois_core.training.step_context import LesionBatch, StepContext


@dataclass(frozen=True, eq=False)
class PropagatedLesions:
    """Lesions that were propagated, and what they left on each crop."""

    lesions: Sequence[PromptedLesion] = ()
    memories: Mapping[int, SliceMemories] = field(default_factory=dict)
    """By crop, each of all lesions."""

    @cached_property
    def found(self) -> dict[int, list[bool]]:
        """By crop, for each lesion whether there is a mask at all; the device is asked once."""
        found = torch.stack([one.found for one in self.memories.values()]).tolist()
        return dict(zip(self.memories, found, strict=True))


def propagate(
    context: StepContext, lesions: Sequence[PromptedLesion], memories: SliceMemories
) -> PropagatedLesions:
    """Propagate the lesions of the prompted crop to all consecutive ones, up and down.

    ``memories`` are what all prompted lesions left. Where a lesion is not, the network has to say
    so; in inference it would stop there, here it goes on, as the next crop may show the lesion
    again.
    """
    start = context.prompted_crop
    index = [n for n, lesion in enumerate(lesions) if lesion.crop == start]
    if not index:
        return PropagatedLesions()
    followed = [lesions[n] for n in index]
    prompted, propagated = {start: memories[index]}, {}
    for crop in [*range(start + 1, context.config.sampling.consecutive), *range(start - 1, -1, -1)]:
        batch = context.batch(followed, crop)
        coarse = _conditioned(context, batch, (prompted, propagated), crop)
        propagated[crop] = _propagate_to(context, batch, coarse)
    return PropagatedLesions(followed, propagated)


def _conditioned(
    context: StepContext,
    batch: LesionBatch,
    memories: tuple[Mapping[int, SliceMemories], Mapping[int, SliceMemories]],
    crop: int,
) -> Tensor:
    """The map of a crop as the prompted and the propagated memories make it look."""
    model = context.model
    # Distances are scaled by this number in every scan that is at least so deep.
    slices = model.config.max_pointers
    reverse = crop < context.prompted_crop
    return condition_on_memories(
        model,
        select(*memories, crop, reverse, model.config, slices),
        model.memory_query(batch.features),
        lambda: model.short_query(batch.features),
        slices,
    )


def _propagate_to(context: StepContext, batch: LesionBatch, coarse: Tensor) -> SliceMemories:
    model = context.model
    decoded = model.decode(batch.features, coarse)
    add_instances(context.losses, "propagated", decoded.raw, batch.truth, True)
    if context.config.interaction.corrected:
        _correct(context, batch, coarse, decoded.logits)
    memory = as_stored(model.remember(batch.features, decoded.logits, decoded.score, False))
    found = (decoded.logits > 0).flatten(1).any(dim=1)
    return SliceMemories(memory, decoded.pointer, found)


def _correct(context: StepContext, batch: LesionBatch, coarse: Tensor, logits: Tensor) -> None:
    """Click on some lesions once, at the largest error of what was propagated there.

    The answer is supervised, and what goes on to the next crop is not changed by it.
    """
    share = context.config.interaction.corrected
    chosen, clicks = [], []
    answers = shown(logits, batch)
    for n, (rng, answer, mask) in enumerate(zip(batch.rngs, answers, batch.masks, strict=True)):
        if rng.random() < share and (answer | mask).any():
            chosen.append(n)
            from_truth = FROM_TRUTH if mask.any() else 0.0
            clicks.append([correction(rng, answer, mask, from_truth)])
    if not chosen:
        return
    index = on_device(torch.tensor(chosen), logits.device)
    prompts = prompts_of(batch, clicks, correctable(logits[index]))
    decoded = context.model.decode(batch.features[index], coarse[index], prompts)
    add_instances(context.losses, "correction", decoded.raw, batch.truth[index], False)
