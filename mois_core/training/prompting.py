"""Lesions of a sample through the network as the session takes them: clicks and corrections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.model import Decoded, Prompts, Sam2, SliceFeatures
from mois_core.session.propagation import LOGIT_LIMIT
from mois_core.training.losses import (
    LossAccumulator,
    LossWeights,
    add_contrast,
    add_instances,
    enlarged,
    pooled,
)
from mois_core.training.sampling import FEWEST_PIXELS, ScanSample
from mois_core.training.simulated_clicks import correction, first_click

ALL = -1
"""In place of a lesion's number: every lesion of the item's kind."""


@dataclass(frozen=True)
class Item:
    """A lesion that is clicked on one of the crops."""

    scan: int
    crop: int
    index: int
    """Of the crop among those of all scans."""
    lesion: int
    kind: int


@dataclass(frozen=True, eq=False)
class SliceMemories:
    """What the clicked lesions leave, and the propagated ones on other crops."""

    memory: Tensor
    """[n, memory width, side, side]."""
    pointer: Tensor
    """[n, width]."""
    found: Tensor
    """[n]: whether there is a mask at all."""

    def __getitem__(self, index: Sequence[int]) -> SliceMemories:
        where = torch.as_tensor(list(index), dtype=torch.long)
        return SliceMemories(self.memory[where], self.pointer[where], self.found[where])


def stored(memory: Tensor) -> Tensor:
    """Memories are kept in bfloat16; the network should know what that does to them."""
    return memory.to(torch.bfloat16).to(memory.dtype)


def choose_items(
    rngs: Sequence[np.random.Generator],
    samples: Sequence[ScanSample],
    consecutive: int,
    prompted: int,
    most: int,
    together: bool = False,
) -> list[Item]:
    """Lesions to prompt: up to ``most`` on the crop ``prompted``, one on each single crop.

    With ``together`` there is one item on each of them: all lesions of a kind as one.
    """
    items, before = [], 0
    for scan, sample in enumerate(samples):
        crops = [(prompted, most)]
        crops += [(crop, 1) for crop in range(consecutive, len(sample.slices))]
        for crop, wanted in crops:
            sizes = np.bincount(sample.labels[crop].numpy().ravel(), minlength=1)
            if together:
                for kind in sample.asked:
                    of_kind = np.flatnonzero(sample.kinds[: len(sizes)] == kind)
                    if sizes[of_kind[of_kind > 0]].sum() >= FEWEST_PIXELS:
                        items.append(Item(scan, crop, before + crop, ALL, kind))
                        break
                continue
            visible = [int(n) for n in np.flatnonzero(sizes) if n and sizes[n] >= FEWEST_PIXELS]
            rngs[scan].shuffle(visible)
            # Lesions of the kinds that will be asked for first, so that they can be exemplars.
            asked = sample.asked
            turn = asked[(crop - consecutive) % len(asked)] if crop >= consecutive else None
            visible.sort(
                key=lambda n, s=sample, t=turn: (
                    t is not None and s.kinds[n] != t,
                    s.kinds[n] not in s.asked,
                )
            )
            for lesion in visible[:wanted]:
                kind = int(sample.kinds[lesion])
                items.append(Item(scan, crop, before + crop, lesion, kind))
        before += len(sample.slices)
    return items


def masks_of(
    samples: Sequence[ScanSample], items: Sequence[Item], crop: int | None = None
) -> Tensor:
    """The truth of each item on its own crop, or on another one of its scan, as [n, 1, r, c]."""
    planes = []
    for item in items:
        sample = samples[item.scan]
        labels = sample.labels[item.crop if crop is None else crop]
        if item.lesion == ALL:
            kinds = torch.from_numpy(sample.kinds.astype(np.int64))[labels.long()]
            planes.append((labels > 0) & (kinds == item.kind))
        else:
            planes.append(labels == item.lesion)
    return torch.stack(planes)[:, None].float()


def features_of(features: SliceFeatures, indices: Sequence[int]) -> SliceFeatures:
    """The features of some crops, in the given order; one crop may come several times."""
    return features[torch.as_tensor(list(indices), dtype=torch.long)]


def click(
    model: Sam2,
    rngs: Sequence[np.random.Generator],
    features: SliceFeatures,
    truth: Tensor,
    others: Tensor,
    corrections: int,
    origin: tuple[int, int],
    accumulator: LossAccumulator,
    weights: LossWeights,
) -> Decoded:
    """One click on each lesion and some corrections, every one of them supervised.

    ``rngs`` has a generator for each lesion, ``others`` are all lesions but the clicked one.
    """
    masks = truth[:, 0].cpu().numpy() > 0
    clicks = [[first_click(mask)] for mask in masks]
    coarse = model.without_memory(features)
    logits = None
    for step in range(1 + corrections):
        # Random draws and clicks are made on the host, whatever the network runs on.
        points = torch.tensor([[c[:2] for c in own] for own in clicks]) + torch.tensor(
            [float(origin[1]), float(origin[0])]
        )
        labels = torch.tensor([[c[2] for c in own] for own in clicks])
        decoded = model.decode(
            features, coarse, Prompts(points.to(truth.device), labels.to(truth.device), logits)
        )
        name = "correction" if step else "click"
        add_instances(accumulator, name, decoded.raw, truth, step == 0, weights)
        if weights.click_contrast:
            right, wrong = pooled(truth, weights), pooled(others, weights)
            larger = enlarged(decoded.raw.logits, right)
            weight = weights.click_contrast
            add_contrast(accumulator, "click contrast", larger, right, wrong, weight)
        logits = decoded.logits.detach().clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
        if step < corrections:
            shown = F.interpolate(logits, truth.shape[-2:], mode="bilinear", align_corners=False)
            answers = shown[:, 0].cpu().numpy() > 0
            for rng, own, answer, mask in zip(rngs, clicks, answers, masks, strict=True):
                own.append(correction(rng, answer, mask))
    return decoded


def remember_clicks(
    model: Sam2,
    features: SliceFeatures,
    decoded: Decoded,
    truth: Tensor,
    is_painted: Tensor,
) -> SliceMemories:
    """What is kept of the answers; where ``is_painted``, of the truth as if the user drew it."""
    logits, pointer, score = decoded.logits, decoded.pointer, decoded.score
    if is_painted.any():
        painted = model.decode_mask(features, truth)
        drawn = is_painted[:, None]
        logits = torch.where(drawn[:, :, None, None], painted.logits, logits)
        pointer = torch.where(drawn, painted.pointer, pointer)
        score = torch.where(drawn, painted.score, score)
    memory = stored(model.remember(features, logits, score, True))
    return SliceMemories(memory, pointer, (logits > 0).flatten(1).any(dim=1))


def remember_masks(model: Sam2, features: SliceFeatures, truth: Tensor) -> SliceMemories:
    """What is kept where the user outlined every lesion."""
    painted = model.decode_mask(features, truth)
    memory = stored(model.remember(features, painted.logits, painted.score, True))
    return SliceMemories(memory, painted.pointer, truth.flatten(1).any(dim=1))


def others_of(samples: Sequence[ScanSample], items: Sequence[Item], truth: Tensor) -> Tensor:
    """All lesions on each item's crop but its own, like `masks_of`."""
    planes = [samples[item.scan].labels[item.crop] > 0 for item in items]
    return torch.stack(planes)[:, None].to(truth) * (1 - truth)
