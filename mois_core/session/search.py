"""Search: everything in the scan that looks like the exemplars, and lesions made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from mois_core.network.exemplar import ExemplarKeys, MoisSam2
from mois_core.network.holes import fill_small_holes
from mois_core.progress import CancelToken, Progress
from mois_core.session.components import TOUCHING, connected_components, deepest_point, fill_holes
from mois_core.session.exemplars import Exemplar
from mois_core.session.lesion import Click, Lesion, Status
from mois_core.session.masks import Mask, overlap
from mois_core.session.memory_bank import around_every_prompt
from mois_core.session.propagation import Tracker

MOSTLY = 0.5
"""A finding that covers known lesions by this part of itself is one of them; two findings that
share this part of their union are the same."""

MOST_CONFIDENT = 1e4
"""Logits beyond this are all the same; half precision would make them infinite."""

REFERENCE_QUANTILE = 0.99
"""Findings are compared with this quantile of all that is marked: a single place says little."""

SLICES_AT_ONCE = {"cpu": 1}
"""Slices searched per pass; on a CPU more at once would only take more memory."""
SLICES_AT_ONCE_ELSEWHERE = 4

Choice = Callable[[int], Sequence[Exemplar]]
"""The exemplars for a slice."""


class Search:
    """Looks through the slices of one scan."""

    def __init__(self, tracker: Tracker, gate: bool, min_confidence: float) -> None:
        self.tracker = tracker
        self.embeddings = tracker.embeddings
        self.gate = gate
        self.min_confidence = min_confidence
        self._keys: tuple[Sequence[Exemplar], ExemplarKeys] | None = None

    @torch.no_grad()
    def run(
        self,
        numbers: Sequence[int],
        choose: Choice | None,
        progress: Progress,
        cancel: CancelToken | None,
    ) -> np.ndarray:
        """One mask of everything [slices, rows, columns]; without a choice the network's own
        idea of a lesion is searched for."""
        tracker = self.tracker
        model = tracker.model
        assert isinstance(model, MoisSam2)
        found = np.zeros((self.embeddings.count, *tracker.shape), dtype=bool)
        confidence = np.zeros(found.shape, dtype=np.float16) if self.min_confidence else None
        done = 0
        for together, exemplars in self._batches(numbers, choose):
            if cancel:
                cancel.check()
            progress(done, len(numbers), "searching slices")
            query = torch.cat([self.embeddings.exemplar_query(n) for n in together])
            if exemplars is None:
                coarse = model.attend_to_nothing(query)
            else:
                coarse = model.attend_to_exemplars(query, self._keys_of(exemplars), together)
            for index, number in enumerate(together):
                features = self.embeddings.features(number)
                decoded = model.decode_search(features, coarse[index : index + 1], self.gate)
                logits = decoded.logits
                if tracker.fill_holes:
                    logits = fill_small_holes(logits)
                shown = tracker.enlarged(logits)[0]
                found[number] = (shown > 0).cpu().numpy()
                if confidence is not None:
                    confidence[number] = shown.clamp(0, MOST_CONFIDENT).cpu().numpy()
            done += len(together)
        progress(len(numbers), len(numbers), "searching slices")
        return (
            found
            if confidence is None
            else confident_components(found, confidence, self.min_confidence)
        )

    def forget_keys(self) -> None:
        """Give back the memory that the last exemplars' keys take."""
        self._keys = None

    def _batches(
        self, numbers: Sequence[int], choose: Choice | None
    ) -> Iterable[tuple[list[int], Sequence[Exemplar] | None]]:
        """Slices that are searched with the same exemplars go together."""
        most = SLICES_AT_ONCE.get(self.tracker.model.device.type, SLICES_AT_ONCE_ELSEWHERE)
        waiting: list[int] = []
        current: Sequence[Exemplar] | None = None
        for number in numbers:
            chosen = None if choose is None else choose(number)
            if waiting and (len(waiting) == most or _identity(chosen) != _identity(current)):
                yield waiting, current
                waiting = []
            waiting.append(number)
            current = chosen
        if waiting:
            yield waiting, current

    def _keys_of(self, exemplars: Sequence[Exemplar]) -> ExemplarKeys:
        if self._keys is None or _identity(self._keys[0]) != _identity(exemplars):
            self._keys = None
            views = [exemplar.view for exemplar in exemplars]
            # The exemplars are kept with their keys: identities of what is gone are given again.
            self._keys = exemplars, self.tracker.model.exemplar_keys(views)
        return self._keys[1]


def _identity(exemplars: Sequence[Exemplar] | None) -> tuple | None:
    return None if exemplars is None else tuple(id(e.view.memory) for e in exemplars)


def confident_components(
    found: np.ndarray, confidence: np.ndarray, min_confidence: float
) -> np.ndarray:
    """Keep the connected components of a mask [slices, rows, columns] that reach a confidence.

    A component stays if its highest confidence is at least ``min_confidence`` times the
    `REFERENCE_QUANTILE` of the confidence of everything that is marked.
    """
    if not found.any():
        return found
    labels, count = ndimage.label(found, structure=TOUCHING)
    peaks = np.zeros(count + 1, dtype=np.float32)
    np.maximum.at(peaks, labels[found], confidence[found])
    sure = peaks >= min_confidence * np.quantile(
        confidence[found].astype(np.float32), REFERENCE_QUANTILE
    )
    sure[0] = False
    return sure[labels]


def findings_of(found: np.ndarray, known: np.ndarray, smallest: int) -> list[Mask]:
    """Lesions in a mask of everything, apart from those that are known already.

    A component that is mostly a known lesion is that lesion seen again; of the others, only what
    lies outside the known ones is new. No two findings share a voxel.
    """
    fresh = np.zeros_like(found)
    for component in connected_components(found, smallest):
        if component.mask.read(known).mean() < MOSTLY:
            component.mask.paint(fresh, True)
    fresh &= ~known
    taken = known.copy()
    masks = []
    for component in connected_components(fresh, smallest):
        mask = fill_holes(component.mask).without(taken)
        if mask.voxels >= smallest:
            masks.append(mask)
            mask.paint(taken, True)
    return masks


def reprompted(
    tracker: Tracker,
    masks: Sequence[Mask],
    known: np.ndarray,
    spacing: tuple[float, float],
    propagation_slices: int,
    smallest: int,
    progress: Progress,
    cancel: CancelToken | None,
) -> list[Mask]:
    """The same findings as the network outlines them when it is asked at their deepest points.

    Where two come out as the same lesion, the one that was larger before stays; where they only
    overlap, it keeps what is in both.
    """
    work = []
    for mask in masks:
        number, x, y = deepest_point(mask, spacing)
        click = Click(0, number, x, y, positive=True)
        work.append((Lesion(0, Status.FOUND, Mask(mask.shape), clicks=(click,)), number))
    prompted = []
    if work:
        for (lesion, number), (slice_memory, image) in zip(work, tracker.prompt(work), strict=True):
            outlined = lesion.mask.with_slice(number, image)
            prompted.append(replace(lesion, mask=outlined, prompted={number: slice_memory}))
    slices = tracker.embeddings.count
    rounds = [
        around_every_prompt(le.prompted, le.prompted, propagation_slices, slices) for le in prompted
    ]
    propagated = tracker.propagate(prompted, rounds, progress, cancel)
    kept: list[Mask] = []
    taken = known.copy()
    for lesion, mask in zip(propagated, masks, strict=True):
        outlined = lesion.mask.without(known)
        if overlap(outlined, mask) == 0 or outlined.voxels < smallest:
            outlined = mask
        fresh = outlined.without(taken)
        if fresh.voxels >= max(smallest, MOSTLY * outlined.voxels):
            kept.append(fresh)
            fresh.paint(taken, True)
    return kept


def same_part(first: Mask, second: Mask) -> float:
    """How much of two masks together is in both."""
    shared = overlap(first, second)
    return shared / max(first.voxels + second.voxels - shared, 1)


def numbered(masks: Sequence[Mask], earlier: Sequence[Lesion], next_id: int) -> list[Lesion]:
    """Findings as lesions; one that was found before keeps its number and its name."""
    free = list(earlier)
    lesions = []
    for mask in masks:
        twin = max(free, key=lambda lesion: same_part(lesion.mask, mask), default=None)
        if twin is not None and same_part(twin.mask, mask) >= MOSTLY:
            free.remove(twin)
            lesions.append(replace(twin, mask=mask))
        else:
            lesions.append(Lesion(next_id, Status.FOUND, mask))
            next_id += 1
    return lesions
