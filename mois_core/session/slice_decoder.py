"""The mask decoder on the slices of one scan: memories in, masks and new memories out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.config import Size
from mois_core.network.holes import fill_small_holes
from mois_core.network.model import Decoded
from mois_core.session.embeddings import HOST, Embeddings
from mois_core.session.lesion import SliceMemory
from mois_core.session.memory_bank import Memories, Selection, condition_on_memories, select

LESIONS_AT_ONCE = 16
"""Lesions per pass through the network."""


class OnSlice(NamedTuple):
    """A lesion on one slice as it was decoded."""

    memory: SliceMemory
    image: np.ndarray
    """The slice's mask [rows, columns]."""


@dataclass(frozen=True, eq=False)
class _Batch:
    """One memory each of several lesions, brought to the device when it is asked for."""

    memories: Sequence[SliceMemory]
    device: torch.device

    @property
    def memory(self) -> Tensor:
        """(B, memory width, map rows, map columns)."""
        return torch.stack([m.memory for m in self.memories]).to(self.device)

    @property
    def pointer(self) -> Tensor:
        """(B, width)."""
        return torch.stack([m.pointer for m in self.memories]).to(self.device)


class SliceDecoder:
    """Decodes slices, conditioned on the memories of lesions on other slices."""

    def __init__(
        self,
        embeddings: Embeddings,
        shape: tuple[int, int],
        fill_holes: bool,
        memory_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """``shape`` is rows and columns of a slice; memories are kept in ``memory_dtype``."""
        self.embeddings = embeddings
        self.model = embeddings.model
        self.shape = shape
        self.fill_holes = fill_holes
        self.memory_dtype = memory_dtype

    # ---- memories in -----------------------------------------------------------------------

    def select(
        self,
        prompted: Memories[SliceMemory],
        propagated: Memories[SliceMemory],
        slice_index: int,
        reverse: bool,
    ) -> Selection[SliceMemory]:
        """Select the memories of a lesion that a slice of this scan sees."""
        where = (slice_index, reverse)
        slices = self.embeddings.count
        return select(prompted, propagated, *where, self.model.config, slices)

    def condition(self, slice_index: int, selections: Sequence[Selection[SliceMemory]]) -> Tensor:
        """Return a slice's map as each lesion's memories make it look.

        It is (B, width, map rows, map columns). The selections must have the same layout.
        """
        batch = Selection(
            self._batched([s.maps for s in selections]),
            self._batched([s.pointers for s in selections]),
            self._batched([s.recent for s in selections]),
        )
        return condition_on_memories(
            self.model,
            batch,
            self.embeddings.memory_query(slice_index),
            lambda: self.embeddings.short_query(slice_index),
            self.embeddings.count,
        )

    def _batched(self, groups: Sequence[list[tuple[int, SliceMemory]]]) -> list[tuple[int, _Batch]]:
        """Return one batch of several lesions' memories for each place that they share."""
        device = self.model.device
        return [
            (together[0][0], _Batch([memory for _, memory in together], device))
            for together in zip(*groups, strict=True)
        ]

    # ---- masks and memories out ------------------------------------------------------------

    def remember(
        self,
        slice_index: int,
        decoded: Sequence[Decoded],
        from_clicks: bool,
        fill: bool = True,
    ) -> list[OnSlice]:
        """Return memory and mask of each lesion that was decoded on a slice."""
        features = self.embeddings.features(slice_index)
        raw = torch.cat([one.logits for one in decoded])  # (B, 1, low rows, low columns)
        score = torch.cat([one.score for one in decoded])  # (B, 1)
        filled = self.filled(raw) if fill else raw
        # As published: memories are made of clicked masks as shown, of propagated ones as decoded.
        logits = filled if from_clicks else raw
        # (B, memory width, map rows, map columns)
        memory = self.model.remember(features, logits, score, from_clicks)
        images = self.to_images(filled)  # (B, rows, columns)
        size = self.model.config.image_size
        # (B, 1, model rows, model columns)
        high = F.interpolate(raw, size, mode="bilinear", align_corners=False)
        found = (high > 0).flatten(1).any(dim=1).tolist()
        return [
            OnSlice(
                SliceMemory(
                    pointer=decoded[i].pointer[0].to(HOST, copy=True),
                    score=score[i].to(HOST, copy=True),
                    found=found[i],
                    memory=memory[i].to(HOST, self.memory_dtype, copy=True),
                    logits=filled[i].to(HOST, copy=True) if from_clicks else None,
                ),
                images[i],
            )
            for i in range(len(decoded))
        ]

    @torch.no_grad()
    def remember_mask(self, slice_index: int, image: np.ndarray) -> SliceMemory:
        """Return what the network remembers of a mask [rows, columns] that the user drew."""
        decoded = self.decode_mask(slice_index, image)
        return self.remember(slice_index, [decoded], True, fill=False)[0].memory

    def decode_mask(self, slice_index: int, image: np.ndarray) -> Decoded:
        """Bring a mask [rows, columns] to the network's resolution, with its object pointer."""
        config = self.model.config
        pixels = torch.from_numpy(image)[None, None].float()  # (1, 1, rows, columns)
        # (1, 1, model rows, model columns) and (1, 1, low rows, low columns)
        mask = (_resized(pixels, config.image_size) >= 0.5).float()
        coarse = _resized(pixels, config.low_res_size)
        if image.any() and not (_resized(mask, config.low_res_size) > 0.5).any():
            # A mask finer than the network's pixels still has to be somewhere.
            mask = F.interpolate((coarse >= coarse.max()).float(), mask.shape[-2:])
        return self.model.decode_mask(self.embeddings.features(slice_index), mask)

    def filled(self, logits: Tensor) -> Tensor:
        """Fill small holes in logits (B, 1, low rows, low columns), if this session does so."""
        return fill_small_holes(logits) if self.fill_holes else logits

    def to_images(self, logits: Tensor) -> np.ndarray:
        """Turn logits (B, 1, low rows, low columns) into masks [B, rows, columns]."""
        return (self.enlarged(logits) > 0).cpu().numpy()

    def enlarged(self, logits: Tensor) -> Tensor:
        """Enlarge logits (B, 1, low rows, low columns) to a slice's size, (B, rows, columns)."""
        size = self.shape
        return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)[:, 0]


def grouped(items: Iterable, key: Any) -> list[list]:
    """Return items in groups with the same key, in the order in which the keys appear."""
    groups: dict[Any, list] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def batches(group: Sequence, most: int) -> Iterator[Sequence]:
    """Yield a group in batches of at most ``most``."""
    for first in range(0, len(group), most):
        yield group[first : first + most]


def _resized(mask: Tensor, size: Size) -> Tensor:
    return F.interpolate(mask, size, mode="bilinear", antialias=True)
