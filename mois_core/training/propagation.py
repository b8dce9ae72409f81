"""Lesions of a step from the crop that they were prompted on to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from mois_core.network.model import Decoded
from mois_core.session.memory_bank import condition_on_memories, select
from mois_core.session.propagation import around_every_prompt
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
    """Propagate the lesions of the prompted crop to all consecutive ones, as a session would.

    ``memories`` are what all prompted lesions left. Where a lesion is not, the network has to say
    so; in inference it would stop there, here it goes on, as the next crop may show the lesion
    again. If the step corrects one of these crops, that is prompted as well from then on, and the
    others are gone through once more.
    """
    start, corrected = context.prompted_crop, context.corrected_crop
    index = [n for n, lesion in enumerate(lesions) if lesion.crop == start]
    if not index:
        return PropagatedLesions()
    followed = [lesions[n] for n in index]
    prompted = {start: memories[index]}
    propagated = _propagate_from(context, followed, prompted, context.config.interaction.corrected)
    if corrected is not None and corrected != start:
        prompted[corrected] = _corrected(context, followed, prompted, corrected)
        propagated = _propagate_from(context, followed, prompted)
        propagated[corrected] = prompted[corrected]
    return PropagatedLesions(followed, propagated)


def _propagate_from(
    context: StepContext,
    lesions: Sequence[PromptedLesion],
    prompted: Mapping[int, SliceMemories],
    corrected: float = 0.0,
) -> dict[int, SliceMemories]:
    """Return what lesions leave on all crops but the prompted ones; the share ``corrected`` gets a
    correction there, which what follows does not see."""
    consecutive = context.config.sampling.consecutive
    propagated: dict[int, SliceMemories] = {}
    for target in chain(*around_every_prompt(prompted, prompted, consecutive, consecutive)):
        batch = context.batch(lesions, target.slice)
        memories = prompted, propagated
        coarse = _conditioned(context, batch, memories, target.slice, target.reverse)
        decoded = context.model.decode(batch.features, coarse)
        add_instances(context.losses, "propagated", decoded.raw, batch.truth, True)
        if corrected:
            _correct(context, batch, coarse, decoded, corrected)
        propagated[target.slice] = _remember(context, batch, decoded, from_clicks=False)
    return propagated


def _corrected(
    context: StepContext,
    lesions: Sequence[PromptedLesion],
    prompted: Mapping[int, SliceMemories],
    crop: int,
) -> SliceMemories:
    """Return what lesions leave on a crop that is corrected after they were propagated to it.

    As in a session, the answer that is corrected there is guessed from the prompted crops alone.
    """
    batch = context.batch(lesions, crop)
    reverse = crop < context.prompted_crop
    coarse = _conditioned(context, batch, (prompted, {}), crop, reverse)
    decoded = context.model.decode(batch.features, coarse)
    return _remember(context, batch, _correct(context, batch, coarse, decoded), from_clicks=True)


def _conditioned(
    context: StepContext,
    batch: LesionBatch,
    memories: tuple[Mapping[int, SliceMemories], Mapping[int, SliceMemories]],
    crop: int,
    reverse: bool,
) -> Tensor:
    """The map of a crop as the prompted and the propagated memories make it look.

    ``reverse`` says that the crops are gone through downwards.
    """
    model = context.model
    # Distances are scaled by this number in every scan that is at least so deep.
    slices = model.config.max_pointers
    return condition_on_memories(
        model,
        select(*memories, crop, reverse, model.config, slices),
        model.memory_query(batch.features),
        lambda: model.short_query(batch.features),
        slices,
    )


def _correct(
    context: StepContext,
    batch: LesionBatch,
    coarse: Tensor,
    decoded: Decoded,
    share: float = 1.0,
) -> Decoded:
    """Click on a share of the lesions once, at the largest error of what was decoded.

    The answers are supervised, and returned in place of what they correct.
    """
    chosen, clicks = [], []
    answers = shown(decoded.logits, batch)
    for n, (rng, answer, mask) in enumerate(zip(batch.rngs, answers, batch.masks, strict=True)):
        if rng.random() < share and (answer | mask).any():
            chosen.append(n)
            from_truth = FROM_TRUTH if mask.any() else 0.0
            clicks.append([correction(rng, answer, mask, from_truth)])
    if not chosen:
        return decoded
    index = on_device(torch.tensor(chosen), decoded.logits.device)
    prompts = prompts_of(batch, clicks, correctable(decoded.logits[index]))
    answered = context.model.decode(batch.features[index], coarse[index], prompts)
    add_instances(context.losses, "correction", answered.raw, batch.truth[index], False)
    return replace(
        decoded,
        logits=decoded.logits.index_copy(0, index, answered.logits),
        pointer=decoded.pointer.index_copy(0, index, answered.pointer),
        score=decoded.score.index_copy(0, index, answered.score),
    )


def _remember(
    context: StepContext, batch: LesionBatch, decoded: Decoded, from_clicks: bool
) -> SliceMemories:
    logits, score = decoded.logits, decoded.score
    memory = as_stored(context.model.remember(batch.features, logits, score, from_clicks))
    return SliceMemories(memory, decoded.pointer, (logits > 0).flatten(1).any(dim=1))
