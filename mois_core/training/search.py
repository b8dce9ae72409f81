"""Searching the crops of a step, each more than once with exemplars of different appearances.

The same crop then has several right answers, and only the exemplars tell which is meant. This
is what makes the network look at them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mois_core.network.exemplar import ExemplarView
from mois_core.training.attention_loss import add_attention, attention_logits
from mois_core.training.device import on_device
from mois_core.training.losses import add_semantic
from mois_core.training.prompted_lesions import PromptedLesion
from mois_core.training.prompting import SliceMemories
from mois_core.training.propagation import PropagatedLesions
from mois_core.training.sampling import ScanSample
from mois_core.training.step_context import StepContext


@dataclass(frozen=True, eq=False)
class _ScanLesions:
    """The lesions of one scan that can be exemplars."""

    scan: int
    sample: ScanSample
    lesions: Sequence[PromptedLesion]
    memories: SliceMemories
    """What the prompted lesions left, in their order."""
    found: Sequence[bool]
    """For each prompted lesion whether there is a mask at all."""
    propagated: PropagatedLesions
    """Lesions of all scans."""


@dataclass(frozen=True, eq=False)
class _Exemplars:
    """Exemplars of one appearance."""

    views: list[ExemplarView]
    outlined: Tensor | None
    """Masks [exemplars, rows, columns]; None if some exemplars were propagated."""
    crops: set[int]
    """The crops that they are from."""


@dataclass(frozen=True, eq=False)
class _Searched:
    """Crops of one scan as the exemplars make them look, and what is to be found on them."""

    where: list[tuple[int, int]]
    """The scan and each crop."""
    coarse: Tensor
    """[crops, width, rows, columns]."""
    truth: Tensor
    """[crops, rows, columns]: the lesions that are searched for."""
    others: Tensor
    """[crops, rows, columns]: all other lesions."""


def search(
    context: StepContext,
    lesions: Sequence[PromptedLesion],
    memories: SliceMemories,
    propagated: PropagatedLesions,
) -> None:
    """Search every scan for each of its appearances, and add up the losses of the answers.

    ``memories`` are what the prompted ``lesions`` left.
    """
    model = context.model
    queries = model.exemplar_query(context.features)
    found = memories.found.tolist()
    searched: list[_Searched] = []
    for scan, sample in enumerate(context.samples):
        index = [n for n, lesion in enumerate(lesions) if lesion.scan == scan]
        own = [lesions[n] for n in index]
        found_here = [found[n] for n in index]
        of_scan = _ScanLesions(scan, sample, own, memories[index], found_here, propagated)
        searched += _search_scan(context, queries, of_scan)
    if not searched:
        return
    features = context.features[context.indices([crop for one in searched for crop in one.where])]
    coarse = torch.cat([one.coarse for one in searched]).float()
    decoded = model.decode_search(features, coarse)
    truth, others = (
        on_device(torch.cat(masks), model.device)[:, None].float()
        for masks in zip(*((one.truth, one.others) for one in searched), strict=True)
    )
    add_semantic(context.losses, decoded.raw, truth, others)


def _search_scan(
    context: StepContext, queries: Tensor, of_scan: _ScanLesions
) -> Iterator[_Searched]:
    """Search the crops of one scan, for one appearance after the other."""
    model, rng, sample = context.model, context.rngs[of_scan.scan], of_scan.sample
    how = context.config.search
    is_lesion, appearances = sample.labels > 0, sample.appearance_of_pixels()
    for appearance in sample.searched:
        exemplars = _exemplars(context, of_scan, appearance)
        is_blind = rng.random() < how.without_exemplars
        if not exemplars.views and not is_blind:
            continue
        with_own = is_blind or rng.random() < how.own_crop
        count = len(sample.slice_indices)
        crops = [n for n in range(count) if with_own or n not in exemplars.crops]
        if not crops:
            continue
        right = is_lesion if is_blind else is_lesion & (appearances == appearance)
        truth, others = right[crops], (is_lesion & ~right)[crops]
        where = [(of_scan.scan, crop) for crop in crops]
        query = queries[context.indices(where)]
        if is_blind:
            coarse = model.attend_to_nothing(query)
        else:
            keys = model.exemplar_keys(exemplars.views)
            slice_indices = [sample.slice_indices[n] for n in crops]
            coarse = model.attend_to_exemplars(query, keys, slice_indices)
            if context.losses.weights.attention and exemplars.outlined is not None:
                logits = attention_logits(model, query, keys)
                add_attention(context.losses, logits, exemplars.outlined, truth, others)
        yield _Searched(where, coarse, truth, others)


def _exemplars(context: StepContext, of_scan: _ScanLesions, appearance: int) -> _Exemplars:
    """Choose exemplars of one appearance among the lesions of a scan."""
    lesions, memories, sample = of_scan.lesions, of_scan.memories, of_scan.sample
    own = [
        n
        for n, lesion in enumerate(lesions)
        if lesion.appearance == appearance and of_scan.found[n]
    ]
    if not own:
        return _Exemplars([], None, set())
    how, rng = context.config.search, context.rngs[of_scan.scan]
    count = int(rng.integers(1, how.most_exemplars + 1))
    chosen = [own[n] for n in rng.permutation(len(own))[:count]]
    views = [
        ExemplarView(
            sample.slice_indices[lesions[n].crop], True, memories.memory[n], memories.pointer[n]
        )
        for n in chosen
    ]
    outlined = [sample.labels[lesions[n].crop] == lesions[n].lesion_id for n in chosen]
    crops = {lesions[n].crop for n in chosen}
    exemplars = _Exemplars(views, torch.stack(outlined), crops)
    if not of_scan.propagated.memories or rng.random() >= how.propagated:
        return exemplars
    lesion_ids = {lesions[n].lesion_id for n in chosen}
    return _with_propagated(exemplars, of_scan, lesion_ids, 2 * how.most_exemplars)


def _with_propagated(
    exemplars: _Exemplars, of_scan: _ScanLesions, lesion_ids: set[int], most: int
) -> _Exemplars:
    """Add what the same lesions left on the crops that they were propagated to."""
    views, crops = list(exemplars.views), set(exemplars.crops)
    for crop, memories in of_scan.propagated.memories.items():
        found = of_scan.propagated.found[crop]
        for n, lesion in enumerate(of_scan.propagated.lesions):
            is_same = lesion.scan == of_scan.scan and lesion.lesion_id in lesion_ids
            if is_same and found[n] and len(views) < most:
                slice_index = of_scan.sample.slice_indices[crop]
                view = ExemplarView(slice_index, False, memories.memory[n], memories.pointer[n])
                views.append(view)
                crops.add(crop)
    # What the propagated ones show is not looked up: with them nothing is taught about attention.
    is_added = len(views) > len(exemplars.views)
    return _Exemplars(views, None if is_added else exemplars.outlined, crops)
