"""Searching the crops of a sample, each more than once with exemplars of different kinds.

The same crop then has several right answers, and only the exemplars tell which is meant. This
is what makes the network look at them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mois_core.network.exemplar import ExemplarView, MoisSam2
from mois_core.network.model import SliceFeatures
from mois_core.training.attention_loss import add_attention
from mois_core.training.losses import LossAccumulator, LossWeights, add_semantic
from mois_core.training.prompting import Item, SliceMemories, features_of
from mois_core.training.sampling import ScanSample


@dataclass(frozen=True)
class SearchConfig:
    """How the search is trained."""

    most_exemplars: int = 4
    without: float = 0.12
    """Share of questions without exemplars, whose answer is every lesion."""
    propagated: float = 0.3
    """Share of questions whose bank also has lesions that were propagated, not clicked."""
    own_crop: float = 0.3
    """Share of questions in which the exemplars' own crops are searched as well."""


def _exemplars(
    rng: np.random.Generator,
    search_config: SearchConfig,
    kind: int,
    items: Sequence[Item],
    clicked: SliceMemories,
    followed: Sequence[Item],
    propagated: Mapping[int, SliceMemories],
    sample: ScanSample,
) -> tuple[list[ExemplarView], Tensor | None, set[int]]:
    """A bank of one kind, the outlines of its exemplars and the crops that it is from."""
    own = [n for n, item in enumerate(items) if item.kind == kind and bool(clicked.found[n])]
    if not own:
        return [], None, set()
    count = int(rng.integers(1, search_config.most_exemplars + 1))
    chosen = [own[n] for n in rng.permutation(len(own))[:count]]
    bank = [
        ExemplarView(sample.slices[items[n].crop], True, clicked.memory[n], clicked.pointer[n])
        for n in chosen
    ]
    outlined = torch.stack([sample.labels[items[n].crop] == items[n].lesion for n in chosen])
    crops = {items[n].crop for n in chosen}
    if propagated and rng.random() < search_config.propagated:
        lesions = {items[n].lesion for n in chosen}
        for crop, slice_memories in propagated.items():
            for n, item in enumerate(followed):
                same = item.scan == items[chosen[0]].scan and item.lesion in lesions
                if (
                    same
                    and bool(slice_memories.found[n])
                    and len(bank) < 2 * search_config.most_exemplars
                ):
                    view = (slice_memories.memory[n], slice_memories.pointer[n])
                    bank.append(ExemplarView(sample.slices[crop], False, *view))
                    crops.add(crop)
    # What the propagated ones show is not looked up: such a bank teaches nothing about attention.
    return bank, outlined if len(bank) == len(chosen) else None, crops


def search(
    model: MoisSam2,
    rngs: Sequence[np.random.Generator],
    search_config: SearchConfig,
    features: SliceFeatures,
    samples: Sequence[ScanSample],
    items: Sequence[Item],
    clicked: SliceMemories,
    followed: Sequence[Item],
    propagated: Mapping[int, SliceMemories],
    accumulator: LossAccumulator,
    weights: LossWeights,
) -> None:
    """Ask every scan for each of its kinds, and add up the losses of the answers.

    ``rngs`` has a generator for each scan.
    """
    coarse: list[Tensor] = []
    indices: list[int] = []
    truths: list[Tensor] = []
    others: list[Tensor] = []
    queries = model.exemplar_query(features)
    first = 0
    for scan, sample in enumerate(samples):
        rng = rngs[scan]
        own = [n for n, item in enumerate(items) if item.scan == scan]
        own_items, own_traces = [items[n] for n in own], clicked[own]
        kinds = torch.from_numpy(sample.kinds.astype(np.int64))[sample.labels.long()]
        is_lesion = sample.labels > 0
        for kind in sample.asked:
            bank, outlined, used = _exemplars(
                rng, search_config, kind, own_items, own_traces, followed, propagated, sample
            )
            blind = rng.random() < search_config.without
            if not bank and not blind:
                continue
            with_own = blind or rng.random() < search_config.own_crop
            crops = [n for n in range(len(sample.slices)) if with_own or n not in used]
            if not crops:
                continue
            query = queries[[first + n for n in crops]]
            if blind:
                coarse.append(model.attend_to_nothing(query))
                right = is_lesion
            else:
                numbers = [sample.slices[n] for n in crops]
                keys = model.exemplar_keys(bank)
                coarse.append(model.attend_to_exemplars(query, keys, numbers))
                right = is_lesion & (kinds == kind)
                if weights.attention and outlined is not None:
                    shown = right[crops], (is_lesion & ~right)[crops]
                    add_attention(
                        accumulator, model, query, keys, outlined, *shown, weights.attention
                    )
            indices += [first + n for n in crops]
            truths.append(right[crops])
            others.append((is_lesion & ~right)[crops])
        first += len(sample.slices)
    if not coarse:
        return
    decoded = model.decode_search(features_of(features, indices), torch.cat(coarse).float())
    truth, other = (torch.cat(masks)[:, None].float() for masks in (truths, others))
    truth, other = truth.to(model.device), other.to(model.device)
    add_semantic(accumulator, decoded.raw, truth, other, weights)
