"""Searching the pieces of a sample, each more than once with exemplars of different kinds.

The same piece then has several right answers, and only the exemplars tell which is meant. This
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
from mois_core.training.losses import LossWeights, Tally, add_semantic
from mois_core.training.prompting import Item, Traces, features_of
from mois_core.training.sampling import ScanSample


@dataclass(frozen=True)
class Asking:
    """How the search is trained."""

    most_exemplars: int = 4
    without: float = 0.12
    """Share of questions without exemplars, whose answer is every lesion."""
    carried: float = 0.3
    """Share of questions whose bank also has lesions that were carried, not clicked."""
    own_piece: float = 0.3
    """Share of questions in which the exemplars' own pieces are searched as well."""


def _exemplars(
    rng: np.random.Generator,
    asking: Asking,
    kind: int,
    items: Sequence[Item],
    clicked: Traces,
    followed: Sequence[Item],
    carried: Mapping[int, Traces],
    sample: ScanSample,
) -> tuple[list[ExemplarView], Tensor | None, set[int]]:
    """A bank of one kind, the outlines of its exemplars and the pieces that it is from."""
    own = [n for n, item in enumerate(items) if item.kind == kind and bool(clicked.found[n])]
    if not own:
        return [], None, set()
    count = int(rng.integers(1, asking.most_exemplars + 1))
    chosen = [own[n] for n in rng.permutation(len(own))[:count]]
    bank = [
        ExemplarView(sample.slices[items[n].piece], True, clicked.memory[n], clicked.pointer[n])
        for n in chosen
    ]
    outlined = torch.stack([sample.labels[items[n].piece] == items[n].lesion for n in chosen])
    pieces = {items[n].piece for n in chosen}
    if carried and rng.random() < asking.carried:
        lesions = {items[n].lesion for n in chosen}
        for piece, traces in carried.items():
            for n, item in enumerate(followed):
                same = item.scan == items[chosen[0]].scan and item.lesion in lesions
                if same and bool(traces.found[n]) and len(bank) < 2 * asking.most_exemplars:
                    view = (traces.memory[n], traces.pointer[n])
                    bank.append(ExemplarView(sample.slices[piece], False, *view))
                    pieces.add(piece)
    # What the carried ones show is not looked up: such a bank teaches nothing about attention.
    return bank, outlined if len(bank) == len(chosen) else None, pieces


def search(
    model: MoisSam2,
    rngs: Sequence[np.random.Generator],
    asking: Asking,
    features: SliceFeatures,
    samples: Sequence[ScanSample],
    items: Sequence[Item],
    clicked: Traces,
    followed: Sequence[Item],
    carried: Mapping[int, Traces],
    tally: Tally,
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
                rng, asking, kind, own_items, own_traces, followed, carried, sample
            )
            blind = rng.random() < asking.without
            if not bank and not blind:
                continue
            with_own = blind or rng.random() < asking.own_piece
            pieces = [n for n in range(len(sample.slices)) if with_own or n not in used]
            if not pieces:
                continue
            query = queries[[first + n for n in pieces]]
            if blind:
                coarse.append(model.attend_to_nothing(query))
                right = is_lesion
            else:
                numbers = [sample.slices[n] for n in pieces]
                keys = model.exemplar_keys(bank)
                coarse.append(model.attend_to_exemplars(query, keys, numbers))
                right = is_lesion & (kinds == kind)
                if weights.attention and outlined is not None:
                    shown = right[pieces], (is_lesion & ~right)[pieces]
                    add_attention(tally, model, query, keys, outlined, *shown, weights.attention)
            indices += [first + n for n in pieces]
            truths.append(right[pieces])
            others.append((is_lesion & ~right)[pieces])
        first += len(sample.slices)
    if not coarse:
        return
    decoded = model.decode_search(features_of(features, indices), torch.cat(coarse).float())
    truth, other = (torch.cat(masks)[:, None].float() for masks in (truths, others))
    truth, other = truth.to(model.device), other.to(model.device)
    add_semantic(tally, decoded.raw, truth, other, weights)
