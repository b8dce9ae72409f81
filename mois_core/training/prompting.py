"""Lesions prompted as by a user: clicks, corrections and outlines, and what is kept of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.model import Decoded, Prompts
from mois_core.session.prompting import LOGIT_LIMIT
from mois_core.training.device import on_device
from mois_core.training.losses import add_click_contrast, add_heeded, add_instances
from mois_core.training.simulated_clicks import SimulatedClick, correction, first_click
from mois_core.training.step_context import LesionBatch, StepContext


@dataclass(frozen=True, eq=False)
class SliceMemories:
    """What several lesions left on a slice each, as one batch."""

    memory: Tensor
    """[lesions, memory width, rows, columns]."""
    pointer: Tensor
    """[lesions, width]."""
    found: Tensor
    """[lesions]: whether there is a mask at all."""

    def __getitem__(self, index: Sequence[int]) -> SliceMemories:
        where = on_device(torch.tensor(list(index), dtype=torch.long), self.memory.device)
        return SliceMemories(self.memory[where], self.pointer[where], self.found[where])


def click(context: StepContext, batch: LesionBatch, corrections: int) -> Decoded:
    """Decode one click on each lesion and some corrections, every one of them supervised."""
    weights = context.losses.weights
    masks = batch.masks
    clicks = [[first_click(mask)] for mask in masks]
    others = context.others_of(batch)
    coarse = context.model.without_memory(batch.features)
    logits = None
    for round_index in range(1 + corrections):
        # Random draws and clicks are made on the host, whatever the network runs on.
        prompts = prompts_of(batch, clicks, logits)
        decoded = context.model.decode(batch.features, coarse, prompts)
        is_first = round_index == 0
        name = "click" if is_first else "correction"
        add_instances(context.losses, name, decoded.raw, batch.truth, is_first)
        if weights.heeded:
            add_heeded(context.losses, decoded.raw, *_clicked(batch, clicks))
        if weights.click_contrast:
            add_click_contrast(context.losses, decoded.raw, batch.truth, others)
        logits = correctable(decoded.logits)
        if round_index < corrections:
            answers = shown(logits, batch)
            for rng, own, answer, mask in zip(batch.rngs, clicks, answers, masks, strict=True):
                own.append(correction(rng, answer, mask))
    return decoded


def prompts_of(
    batch: LesionBatch, clicks: Sequence[Sequence[SimulatedClick]], logits: Tensor | None
) -> Prompts:
    """Return clicks on crops, the same number for each lesion, as prompts for the network.

    Prompts are in pixels of the whole slice; ``logits`` are what the clicks correct.
    """
    row, column = batch.features.origin
    points = torch.tensor([[[x + column, y + row] for x, y, _ in own] for own in clicks])
    labels = torch.tensor([[label for _, _, label in own] for own in clicks])
    device = batch.truth.device
    return Prompts(on_device(points, device), on_device(labels, device), logits)


def _clicked(
    batch: LesionBatch, clicks: Sequence[Sequence[SimulatedClick]]
) -> tuple[Tensor, Tensor]:
    """Return where clicks are on their crops, as parts of these from 0 to 1, and their labels."""
    rows, columns = batch.truth.shape[-2:]
    given = torch.tensor(clicks)  # (lesions, clicks, (x, y, label))
    places = (given[..., :2] + 0.5) / given.new_tensor((columns, rows))
    device = batch.truth.device
    return on_device(places, device), on_device(given[..., 2], device)


def correctable(logits: Tensor) -> Tensor:
    """Return decoded logits as the network sees them when they are corrected."""
    return logits.detach().clamp(-LOGIT_LIMIT, LOGIT_LIMIT)


def shown(logits: Tensor, batch: LesionBatch) -> np.ndarray:
    """Return decoded logits as the masks [lesions, rows, columns] that a user would see."""
    size = batch.truth.shape[-2:]
    large = F.interpolate(logits.detach(), size, mode="bilinear", align_corners=False)
    return (large[:, 0] > 0).cpu().numpy()


def remember_clicks(context: StepContext, batch: LesionBatch, decoded: Decoded) -> SliceMemories:
    """Return what is kept of clicked lesions: the answer, or the truth as if the user drew it."""
    model, share = context.model, context.config.interaction.painted
    logits, pointer, score = decoded.logits, decoded.pointer, decoded.score
    is_painted = [rng.random() < share for rng in batch.rngs]
    if any(is_painted):
        painted = model.decode_mask(batch.features, batch.truth)
        drawn = on_device(torch.tensor(is_painted), model.device)[:, None]
        logits = torch.where(drawn[:, :, None, None], painted.logits, logits)
        pointer = torch.where(drawn, painted.pointer, pointer)
        score = torch.where(drawn, painted.score, score)
    memory = as_stored(model.remember(batch.features, logits, score, True))
    return SliceMemories(memory, pointer, (logits > 0).flatten(1).any(dim=1))


def remember_masks(context: StepContext, batch: LesionBatch) -> SliceMemories:
    """Return what is kept of lesions that the user outlined."""
    painted = context.model.decode_mask(batch.features, batch.truth)
    memory = context.model.remember(batch.features, painted.logits, painted.score, True)
    return SliceMemories(as_stored(memory), painted.pointer, batch.truth.flatten(1).any(dim=1))


def as_stored(memory: Tensor) -> Tensor:
    """Return a memory in the precision of bfloat16.

    Sessions keep memories so; the network should know what that does to them.
    """
    return memory.to(torch.bfloat16).to(memory.dtype)
