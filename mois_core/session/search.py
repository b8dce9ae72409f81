"""Search: everything in the scan that looks like the exemplars, as one mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from mois_core.network.exemplar import ExemplarKeys, MoisSam2
from mois_core.progress import CancelToken, Progress
from mois_core.session.components import TOUCHING
from mois_core.session.exemplars import Exemplar
from mois_core.session.masks import Mask
from mois_core.session.slice_decoder import SliceDecoder

MOST_CONFIDENT = 1e4
"""Logits beyond this are all the same; half precision would make them infinite."""

REFERENCE_QUANTILE = 0.99
"""Findings are compared with this quantile of all that is marked: a single place says little."""

SLICES_AT_ONCE = {"cpu": 1}
"""Slices searched per pass; on a CPU more at once would only take more memory."""
SLICES_AT_ONCE_ELSEWHERE = 4

Choice = Callable[[int], Sequence[Exemplar]]
"""Chooses the exemplars that a slice is searched with."""


@dataclass(frozen=True, eq=False)
class Marked:
    """What a search marks, and how confident the network is of it."""

    found: np.ndarray
    """One mask of everything [slices, rows, columns]."""
    confidence: np.ndarray
    """From 0 to 1, of the same shape; 0 where nothing is marked."""
    lesions: np.ndarray | None = None
    """Everything that the network takes for a lesion without exemplars, or None where it was not
    taught that."""

    def confidence_in(self, mask: Mask) -> float:
        """Return how confident the network is of what a mask covers."""
        return float(mask.read(self.confidence).max(initial=0.0))

    def inside(self, allowed: np.ndarray) -> Marked:
        """Return what is marked in a part of the scan."""
        lesions = None if self.lesions is None else self.lesions & allowed
        return replace(self, found=self.found & allowed, lesions=lesions)

    def confident(self, least: float) -> Marked:
        """Return the connected components of what is marked with at least this confidence."""
        if not least or not self.found.any():
            return self
        labels, count = ndimage.label(self.found, structure=TOUCHING)
        labels = labels[self.found]
        highest = np.zeros(count + 1, dtype=self.confidence.dtype)
        np.maximum.at(highest, labels, self.confidence[self.found])
        kept = np.zeros_like(self.found)
        kept[self.found] = (highest >= least)[labels]
        return replace(self, found=kept)


class Search:
    """Searches the slices of one scan for what looks like exemplars."""

    def __init__(self, decoder: SliceDecoder, gate: bool) -> None:
        """With ``gate`` a slice stays empty where the network says that nothing is there."""
        self.decoder = decoder
        self.embeddings = decoder.embeddings
        self.gate = gate
        self._keys: tuple[Sequence[Exemplar], torch.device, ExemplarKeys] | None = None

    @torch.no_grad()
    def run(
        self,
        slice_indices: Sequence[int],
        choose: Choice | None,
        progress: Progress,
        cancel: CancelToken | None,
    ) -> Marked:
        """Return what is found.

        Without a choice the network's own idea of a lesion is searched for.
        """
        found = np.zeros((self.embeddings.count, *self.decoder.shape), dtype=bool)
        logits = np.zeros(found.shape, dtype=np.float16)
        lesions = np.zeros_like(found) if self.decoder.model.config.marks_unprompted else None
        done = 0
        with self.embeddings.visiting(slice_indices) as order:
            for together, exemplars in self._batches(order, choose):
                if cancel:
                    cancel.check()
                progress(done, len(slice_indices), "searching slices")
                for slice_index, shown in self._searched(together, exemplars):
                    found[slice_index] = (shown > 0).cpu().numpy()
                    logits[slice_index] = shown.clamp(0, MOST_CONFIDENT).cpu().numpy()
                    if lesions is not None:
                        lesions[slice_index] = self._lesions_on(slice_index)
                done += len(together)
        progress(len(slice_indices), len(slice_indices), "searching slices")
        return Marked(found, heights(logits, found), lesions)

    def _lesions_on(self, slice_index: int) -> np.ndarray:
        """Return what the network takes for a lesion without exemplars, [rows, columns]."""
        logits = self.decoder.model.unprompted(self.embeddings.features(slice_index))
        return self.decoder.to_images(logits)[0]

    def _searched(
        self, slice_indices: Sequence[int], exemplars: Sequence[Exemplar] | None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield each of some slices with its logits (rows, columns)."""
        model = self.decoder.model
        assert isinstance(model, MoisSam2)
        # One slice after the other: the next may take the place of the last.
        slices = [
            (self.embeddings.exemplar_query(n), self.embeddings.features(n)) for n in slice_indices
        ]
        query = torch.cat([query for query, _ in slices])  # (B, map rows, map columns, width)
        if exemplars is None:
            conditioned = model.attend_to_nothing(query)
        else:
            keys = self._keys_of(exemplars)
            conditioned = model.attend_to_exemplars(query, keys, slice_indices)
        for index, slice_index in enumerate(slice_indices):
            _, features = slices[index]
            own = conditioned[index : index + 1]  # (1, width, map rows, map columns)
            logits = self.decoder.filled(model.decode_search(features, own, self.gate).logits)
            yield slice_index, self.decoder.enlarged(logits)[0]

    @property
    def has_keys(self) -> bool:
        """Whether the keys of the last exemplars take memory."""
        return self._keys is not None

    def forget_keys(self) -> None:
        """Give back the memory that the last exemplars' keys take."""
        self._keys = None

    def _batches(
        self, slice_indices: Sequence[int], choose: Choice | None
    ) -> Iterable[tuple[list[int], Sequence[Exemplar] | None]]:
        """Yield batches of slices that are searched with the same exemplars."""
        most = SLICES_AT_ONCE.get(self.decoder.model.device.type, SLICES_AT_ONCE_ELSEWHERE)
        waiting: list[int] = []
        current: Sequence[Exemplar] | None = None
        for slice_index in slice_indices:
            chosen = None if choose is None else choose(slice_index)
            if waiting and (len(waiting) == most or _identity(chosen) != _identity(current)):
                yield waiting, current
                waiting = []
            waiting.append(slice_index)
            current = chosen
        if waiting:
            yield waiting, current

    def _keys_of(self, exemplars: Sequence[Exemplar]) -> ExemplarKeys:
        model = self.decoder.model
        if self._keys is not None:
            known, device, keys = self._keys
            if _identity(known) == _identity(exemplars) and device == model.device:
                return keys
        self._keys = None
        keys = model.exemplar_keys([exemplar.view for exemplar in exemplars])
        # The exemplars are kept with their keys: identities of what is gone are given again.
        self._keys = exemplars, model.device, keys
        return keys


def _identity(exemplars: Sequence[Exemplar] | None) -> tuple | None:
    return None if exemplars is None else tuple(id(e.view.memory) for e in exemplars)


def heights(logits: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return how high logits stand among those of all that is marked, from 0 to 1.

    The highest are those from the `REFERENCE_QUANTILE` on.
    """
    if not found.any():
        return np.zeros_like(logits)
    reference = np.quantile(logits[found].astype(np.float32), REFERENCE_QUANTILE)
    height = np.zeros_like(logits)
    if reference > 0:
        height[found] = np.minimum(logits[found] / reference, 1)
    return height
