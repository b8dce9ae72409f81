"""Lesions of a step from the crop that they were prompted on to its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from mois_core.network.model import Decoded
from mois_core.session.memory_bank import condition_on_memories, select
from mois_core.session.propagation import around_every_prompt
from mois_core.training.losses import add_instances
from mois_core.training.prompted_lesions import PromptedLesion
from mois_core.training.prompting import (
    SliceMemories,
    as_stored,
    correctable,
    prompts_of,
    shown,
)
from mois_core.training.simulated_clicks import FROM_TRUTH, SimulatedClick, correction
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
    again. Then some are corrected where they were propagated to. On the crop that the step chose
    for it all of them are, and propagated once more from both crops.
    """
    start = context.prompted_crop
    index = [n for n, lesion in enumerate(lesions) if lesion.crop == start]
    if not index:
        return PropagatedLesions()
    followed = [lesions[n] for n in index]
    prompted = {start: memories[index]}
    propagated = _propagate_from(context, followed, prompted)
    for crop, (_, answer) in propagated.items():
        is_prompted = crop == context.corrected_crop
        share = 1.0 if is_prompted else context.config.interaction.corrected
        chosen, clicks = _choose_corrections(context.batch(followed, crop), answer, share)
        if chosen:
            own = [followed[n] for n in chosen]
            before = {start: prompted[start][chosen]}
            corrected = _correct(context, own, before, crop, clicks)
            if is_prompted:
                _propagate_from(context, own, before | {crop: corrected})
    return PropagatedLesions(followed, {crop: left for crop, (left, _) in propagated.items()})


def _propagate_from(
    context: StepContext,
    lesions: Sequence[PromptedLesion],
    prompted: Mapping[int, SliceMemories],
) -> dict[int, tuple[SliceMemories, Tensor]]:
    """Return what lesions leave on all crops but the prompted ones, and their logits there."""
    consecutive = context.config.sampling.consecutive
    left: dict[int, SliceMemories] = {}
    logits: dict[int, Tensor] = {}
    for target in chain(*around_every_prompt(prompted, prompted, consecutive, consecutive)):
        batch = context.batch(lesions, target.slice)
        coarse = _conditioned(context, batch, (prompted, left), target.slice, target.reverse)
        decoded = context.model.decode(batch.features, coarse)
        add_instances(context.losses, "propagated", decoded.raw, batch.truth, True)
        left[target.slice] = _remember(context, batch, decoded, from_clicks=False)
        logits[target.slice] = decoded.logits
    return {crop: (left[crop], logits[crop]) for crop in left}


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


def _choose_corrections(
    batch: LesionBatch, logits: Tensor, share: float
) -> tuple[list[int], list[list[SimulatedClick]]]:
    """Choose a share of the lesions, and a click on each, at the largest error that is shown."""
    chosen: list[int] = []
    clicks: list[list[SimulatedClick]] = []
    if not share:
        return chosen, clicks
    answers = shown(logits, batch)
    for n, (rng, answer, mask) in enumerate(zip(batch.rngs, answers, batch.masks, strict=True)):
        if rng.random() < share and (answer | mask).any():
            chosen.append(n)
            from_truth = FROM_TRUTH if mask.any() else 0.0
            clicks.append([correction(rng, answer, mask, from_truth)])
    return chosen, clicks


def _correct(
    context: StepContext,
    lesions: Sequence[PromptedLesion],
    prompted: Mapping[int, SliceMemories],
    crop: int,
    clicks: Sequence[Sequence[SimulatedClick]],
) -> SliceMemories:
    """Answer one click on each lesion and return what that leaves.

    As in a session, what the click corrects is guessed from the prompted crops alone.
    """
    batch = context.batch(lesions, crop)
    reverse = crop < context.prompted_crop
    coarse = _conditioned(context, batch, (prompted, {}), crop, reverse)
    guess = context.model.decode(batch.features, coarse)
    prompts = prompts_of(batch, clicks, correctable(guess.logits))
    decoded = context.model.decode(batch.features, coarse, prompts)
    add_instances(context.losses, "correction", decoded.raw, batch.truth, False)
    return _remember(context, batch, decoded, from_clicks=True)


def _remember(
    context: StepContext, batch: LesionBatch, decoded: Decoded, from_clicks: bool
) -> SliceMemories:
    logits, score = decoded.logits, decoded.score
    memory = as_stored(context.model.remember(batch.features, logits, score, from_clicks))
    return SliceMemories(memory, decoded.pointer, (logits > 0).flatten(1).any(dim=1))
