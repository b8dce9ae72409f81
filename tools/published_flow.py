"""The published predictor's flow over our network, its oddities included.

The engine does some things better on purpose; this is the baseline that it departs from. Every
array that a golden set can hold is handed to ``record`` under the set's own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.exemplar import ExemplarView, MoisSam2
from mois_core.network.holes import fill_small_holes
from mois_core.network.mask_decoder import stability
from mois_core.network.model import Decoded, Prompts, Sam2, SliceFeatures
from mois_core.network.short_long import SlmSam2
from mois_core.session.memory_bank import select_memories, select_pointers, select_recent

SIGNLESS = 1e-4
"""A logit this close to zero has no sign: at full size, one and two threads differ by more."""

MOST_SIGNLESS = 4
"""With more such pixels than this in a mask, not all combinations of signs are tried."""

LOGIT_LIMIT = 32.0
"""Logits of an earlier mask are cut to this before they are fed back."""

BOX_LABELS = (2, 3)

Record = Callable[[str, Tensor], None]
Alternatives = Callable[[], Iterator[Tensor]]


@dataclass(frozen=True)
class Stored:
    """What is kept of one object on one slice."""

    logits: Tensor
    """(1, 1, low rows, low columns)."""
    pointer: Tensor
    """(1, width)."""
    score: Tensor
    """(1, 1)."""
    memory: Tensor | None = None
    """(1, memory width, rows, columns)."""


@dataclass
class ObjectState:
    """The published state of one object; every mapping is by slice."""

    prompted: dict[int, Stored] = field(default_factory=dict)
    propagated: dict[int, Stored] = field(default_factory=dict)
    new_prompted: dict[int, Stored] = field(default_factory=dict)
    new_propagated: dict[int, Stored] = field(default_factory=dict)
    points: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Points, (1, points, 2), and their labels, (1, points)."""
    propagated_in_reverse: dict[int, bool] = field(default_factory=dict)
    """Whether propagation went downwards when it last came to the slice."""


class PublishedPredictor:
    """Clicks, propagation and search on one stack of slices, as in the published app."""

    def __init__(
        self,
        model: Sam2,
        images: Tensor,
        shape: tuple[int, int],
        record: Record,
        features: dict[int, SliceFeatures],
        fill_holes: bool = False,
        memory_dtype: torch.dtype = torch.bfloat16,
        short_reach: int | None = None,
    ) -> None:
        self.model = model
        self.images = images
        self.shape = shape
        self.record = record
        self.fill_holes = fill_holes
        self.memory_dtype = memory_dtype
        self.short_reach = short_reach
        self.bank: dict[str, ExemplarView] = {}
        self.alternatives: dict[str, Alternatives] = {}
        self._features = features

    def features(self, slice_index: int) -> SliceFeatures:
        """Return a slice's features, encoded once for all predictors that share the dictionary.

        The published cache of one slice gives the same figures.
        """
        if slice_index not in self._features:
            self._features[slice_index] = self.model.encode(
                self.images[slice_index : slice_index + 1]
            )
        return self._features[slice_index]

    def to_video(self, logits: Tensor) -> Tensor:
        """Enlarge low-resolution logits to the scan's own size, where masks are put together."""
        return F.interpolate(logits.cpu(), self.shape, mode="bilinear", align_corners=False)

    # ---- prompts ---------------------------------------------------------------------------

    def click(
        self,
        state: ObjectState,
        slice_index: int,
        points: Iterable,
        labels: Iterable[int],
        prefix: str = "",
        keep_earlier: bool = False,
        scale_to_model: float | None = None,
        object_id: int | None = 1,
    ) -> Decoded:
        """Decode points in scan pixels, or in others that ``scale_to_model`` makes model pixels.

        With an ``object_id`` of None the click adds no exemplar.
        """
        height, width = self.model.config.image_size
        points = torch.tensor(np.array(points, dtype=np.float32)).reshape(1, -1, 2)
        if scale_to_model is None:
            points = points / torch.tensor([self.shape[1], self.shape[0]])
            points = points * torch.tensor([width, height])
        else:
            points = points * scale_to_model
        labels = torch.tensor(list(labels)).reshape(1, -1)
        if keep_earlier and slice_index in state.points:
            before = state.points[slice_index]
            points = torch.cat((before[0], points), dim=1)
            labels = torch.cat((before[1], labels), dim=1)
        state.points[slice_index] = (points, labels)

        is_first = slice_index not in state.propagated_in_reverse
        features = self.features(slice_index)
        if is_first:
            coarse = self.model.without_memory(features)
        else:
            reverse = state.propagated_in_reverse[slice_index]
            coarse = self._conditioned(state, slice_index, reverse)  # (1, width, rows, columns)
        store = state.new_prompted if is_first else state.new_propagated
        earlier = (
            store.get(slice_index)
            or state.prompted.get(slice_index)
            or state.propagated.get(slice_index)
        )
        logits = earlier.logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT) if earlier else None
        there = self.model.device
        prompts = Prompts(points.to(there), labels.to(there), logits)
        decoded = self.model.decode(features, coarse, prompts)
        stored = store[slice_index] = self._stored(decoded, None)
        memory = self.model.remember(features, stored.logits, decoded.score, from_clicks=True)
        if object_id is not None:
            self._offer(f"{object_id}_{slice_index}_prompted", slice_index, True, decoded, memory)
        self._record_decode(prefix, decoded, pix=coarse, mem_fp32=memory)
        self.record(f"{prefix}.video", self.to_video(stored.logits)[0, 0])
        self.alternatives[f"{prefix}.mem_fp32"] = partial(
            self.memories_for_each_sign, features, stored
        )
        return decoded

    @torch.no_grad()
    def memories_for_each_sign(self, features: SliceFeatures, stored: Stored) -> Iterator[Tensor]:
        """Yield the memory of a clicked mask for each choice of signs of its `SIGNLESS` pixels.

        Memories of clicked masks are made of zeros and ones, so rounding at zero shows in them.
        """
        size = self.model.config.image_size
        logits = F.interpolate(stored.logits, size, mode="bilinear", align_corners=False)
        places = (logits.abs() < SIGNLESS).nonzero(as_tuple=True)
        if len(places[0]) > MOST_SIGNLESS:
            return
        for signs in product((-1.0, 1.0), repeat=len(places[0])):
            logits[places] = logits.new_tensor(signs)
            memory = self.model.remember(features, logits, stored.score, from_clicks=True)
            yield memory[0].float().cpu()

    def box(
        self, state: ObjectState, slice_index: int, corners: Iterable[float], prefix: str
    ) -> None:
        """Decode a box, which is two points with labels of their own."""
        self.click(state, slice_index, corners, BOX_LABELS, prefix)

    def mask(self, state: ObjectState, slice_index: int, mask: Tensor, prefix: str) -> None:
        """Take a mask at the scan's size as it is (SLM-SAM 2's prompt)."""
        size = self.model.config.image_size
        scaled = F.interpolate(mask[None, None].float(), size, mode="bilinear", antialias=True)
        features = self.features(slice_index)
        scaled = (scaled >= 0.5).float()
        decoded = self.model.decode_mask(features, scaled)
        # Like every prompted slice: binarised from the low-resolution mask.
        memory = self.model.remember(features, decoded.logits, decoded.score, from_clicks=True)
        state.prompted[slice_index] = self._stored(decoded, memory)
        self.record(f"{prefix}.obj_ptr", decoded.pointer[0])
        self.record(f"{prefix}.pred_masks", decoded.logits[0, 0])
        self.record(f"{prefix}.mem_fp32", memory[0])

    # ---- propagation -----------------------------------------------------------------------

    def preflight(self, state: ObjectState) -> None:
        """Give new masks their memories and move them to where propagation finds them.

        A correction of a prompted slice lands among the propagated ones and is thrown away again
        because the slice is prompted: the published code works so.
        """
        pairs = ((state.new_propagated, state.propagated), (state.new_prompted, state.prompted))
        for new, kept in pairs:
            for slice_index, stored in new.items():
                memory = self.model.remember(
                    self.features(slice_index), stored.logits, stored.score, from_clicks=True
                )
                kept[slice_index] = replace(stored, memory=self._as_kept(memory))
            new.clear()
        for slice_index in state.prompted:
            state.propagated.pop(slice_index, None)

    def propagate(
        self,
        state: ObjectState,
        steps: int,
        reverse: bool,
        prefix: str = "",
        start: int | None = None,
        object_id: int | None = 1,
    ) -> dict[int, Tensor]:
        """Propagate an object from its earliest prompted slice; return masks at the scan's size."""
        self.preflight(state)
        first = min(state.prompted) if start is None else start
        last = len(self.images) - 1
        if reverse:
            slice_indices = range(first, max(first - steps, 0) - 1, -1) if first > 0 else range(0)
        else:
            slice_indices = range(first, min(first + steps, last) + 1)
        masks = {}
        for slice_index in slice_indices:
            name = f"{prefix}.f{slice_index}"
            if slice_index not in state.prompted:
                self._propagate_to(state, slice_index, reverse, name, object_id)
            stored = state.prompted.get(slice_index) or state.propagated[slice_index]
            state.propagated_in_reverse[slice_index] = reverse
            self.record(f"{name}.filled", stored.logits[0, 0])
            masks[slice_index] = self.to_video(stored.logits)[0, 0]
        return masks

    def _propagate_to(
        self, state: ObjectState, slice_index: int, reverse: bool, name: str, object_id: int | None
    ) -> None:
        features = self.features(slice_index)
        coarse = self._conditioned(state, slice_index, reverse, name)
        decoded = self.model.decode(features, coarse)
        memory = self.model.remember(features, decoded.logits, decoded.score, from_clicks=False)
        state.propagated[slice_index] = self._stored(decoded, memory)
        if object_id is not None:
            self._offer(
                f"{object_id}_{slice_index}_nonprompted", slice_index, False, decoded, memory
            )
        self._record_decode(name, decoded, pix=coarse, mem_fp32=memory)

    def _conditioned(
        self, state: ObjectState, slice_index: int, reverse: bool, name: str = ""
    ) -> Tensor:
        model, slices = self.model, len(self.images)
        config = model.config
        seen = (state.prompted, state.propagated, slice_index, reverse)
        maps = [(i, s.memory) for i, s in select_memories(*seen, config.memories)]
        pointers = select_pointers(*seen, slices, config.max_pointers)
        keys = model.memory_keys(maps, [(d, s.pointer) for d, s in pointers], slices)
        features = self.features(slice_index)
        long = model.attend_to_memory(model.memory_query(features), keys).float()
        if not isinstance(model, SlmSam2):
            return long
        recent = select_recent(*seen, self.short_reach or config.short_memory.slices)
        maps = [(d - 1, s.memory) for d, s in reversed(recent)]
        keys = model.short_keys(maps, [(d, s.pointer) for d, s in recent], slices)
        short = model.attend_to_short(model.short_query(features), keys).float()
        fused = model.fuse(short, long)
        for what, value in (("short", short), ("long", long), ("fused", fused)):
            self.record(f"{name}.{what}", value[0])
        return fused

    # ---- search ----------------------------------------------------------------------------

    def offered(self, keys: Iterable[str], most: int, only_prompted: bool) -> list[ExemplarView]:
        """Choose exemplars as published: prompted ones first, both in the order of the bank."""
        views = [self.bank[key] for key in keys]
        chosen = [view for view in views if view.is_prompted][:most]
        if not only_prompted:
            chosen += [view for view in views if not view.is_prompted][: most - len(chosen)]
        return chosen

    def search(
        self,
        slice_index: int,
        exemplars: list[ExemplarView] | None,
        prefix: str,
        gate: bool = True,
    ) -> Tensor:
        """Search a slice for what looks like the exemplars; without any, by the learned tokens."""
        model = self.model
        assert isinstance(model, MoisSam2)
        features = self.features(slice_index)
        query = model.exemplar_query(features)
        if exemplars is None:
            coarse = model.attend_to_nothing(query)
        else:
            coarse = model.attend_to_exemplars(query, model.exemplar_keys(exemplars), [slice_index])
        decoded = model.decode_search(features, coarse.float(), gate)
        logits = fill_small_holes(decoded.logits) if self.fill_holes else decoded.logits
        self._record_decode(prefix, decoded, pix_ex=coarse)
        self.record(f"{prefix}.iou", decoded.ious[0])
        self.record(f"{prefix}.video", self.to_video(logits)[0, 0])
        return logits[0, 0].cpu()

    # ---- helpers ---------------------------------------------------------------------------

    def _as_kept(self, memory: Tensor) -> Tensor:
        return memory.to(self.memory_dtype)

    def _stored(self, decoded: Decoded, memory: Tensor | None) -> Stored:
        logits = fill_small_holes(decoded.logits) if self.fill_holes else decoded.logits
        kept = None if memory is None else self._as_kept(memory)
        return Stored(logits, decoded.pointer, decoded.score, kept)

    def _offer(
        self, key: str, slice_index: int, is_prompted: bool, decoded: Decoded, memory: Tensor
    ) -> None:
        size = self.model.config.image_size
        high = F.interpolate(decoded.logits, size, mode="bilinear", align_corners=False)
        if (high.sigmoid() > 0.5).any():
            kept = self._as_kept(memory)[0]
            self.bank[key] = ExemplarView(slice_index, is_prompted, kept, decoded.pointer[0])

    def _record_decode(self, prefix: str, decoded: Decoded, **maps: Tensor) -> None:
        record, raw = self.record, decoded.raw
        record(f"{prefix}.best", decoded.logits[0, 0])
        record(f"{prefix}.multi", decoded.candidates[0])
        for index, candidate in enumerate(decoded.candidates[0]):
            record(f"{prefix}.multi{index}", candidate)
        record(f"{prefix}.ious", decoded.ious[0])
        record(f"{prefix}.iou4", raw.ious[0])
        record(f"{prefix}.obj_ptr", decoded.pointer[0])
        record(f"{prefix}.score", decoded.score[0])
        delta = self.model.config.stability_delta
        record(f"{prefix}.stab", stability(raw.logits[:, 0], delta))
        for name, value in maps.items():
            record(f"{prefix}.{name}", value[0])
