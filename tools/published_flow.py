"""The published predictor's bookkeeping over our network, its oddities included.

The engine does some things better on purpose; this is the yardstick that it departs from.
Everything that a golden set can hold is handed to ``record`` under the set's own names.
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

ON_THE_FENCE = 1e-4
"""A logit this close to zero has no sign: at full size, one and two threads differ by more."""

MOST_ON_THE_FENCE = 4

LOGIT_LIMIT = 32.0
"""Logits of an earlier answer are cut to this before they are fed back."""

BOX_LABELS = (2, 3)

Record = Callable[[str, Tensor], None]
Alternatives = Callable[[], Iterator[Tensor]]


@dataclass(frozen=True)
class Stored:
    """What is kept of one object on one slice."""

    logits: Tensor
    pointer: Tensor
    score: Tensor
    memory: Tensor | None = None


@dataclass
class ObjectState:
    """The published state of one object."""

    prompted: dict[int, Stored] = field(default_factory=dict)
    propagated: dict[int, Stored] = field(default_factory=dict)
    new_prompted: dict[int, Stored] = field(default_factory=dict)
    new_propagated: dict[int, Stored] = field(default_factory=dict)
    points: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    tracked: dict[int, bool] = field(default_factory=dict)


class PublishedPredictor:
    """Clicks, tracking and search on one stack of slices."""

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

    def features(self, number: int) -> SliceFeatures:
        """Each slice is encoded once, also for several predictors with the same encoder; the
        published cache of one slice gives the same numbers."""
        if number not in self._features:
            self._features[number] = self.model.encode(self.images[number : number + 1])
        return self._features[number]

    def to_video(self, logits: Tensor) -> Tensor:
        """Low-resolution logits at the scan's own size, where masks are put together."""
        return F.interpolate(logits.cpu(), self.shape, mode="bilinear", align_corners=False)

    # ---- prompts ---------------------------------------------------------------------------

    def click(
        self,
        state: ObjectState,
        number: int,
        points: Iterable,
        labels: Iterable[int],
        prefix: str = "",
        keep_earlier: bool = False,
        scale_to_model: float | None = None,
        owner: int | None = 1,
    ) -> Decoded:
        """Points in scan pixels (or scaled to model pixels); ``owner`` None adds no exemplar."""
        size = self.model.config.image_size
        points = torch.tensor(np.array(points, dtype=np.float32)).reshape(1, -1, 2)
        if scale_to_model is None:
            points = points / torch.tensor([self.shape[1], self.shape[0]]) * size
        else:
            points = points * scale_to_model
        labels = torch.tensor(list(labels)).reshape(1, -1)
        if keep_earlier and number in state.points:
            before = state.points[number]
            points = torch.cat((before[0], points), dim=1)
            labels = torch.cat((before[1], labels), dim=1)
        state.points[number] = (points, labels)

        is_first = number not in state.tracked
        features = self.features(number)
        if is_first:
            coarse = self.model.without_memory(features)
        else:
            coarse = self._conditioned(state, number, state.tracked[number])
        store = state.new_prompted if is_first else state.new_propagated
        earlier = store.get(number) or state.prompted.get(number) or state.propagated.get(number)
        logits = earlier.logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT) if earlier else None
        there = self.model.device
        prompts = Prompts(points.to(there), labels.to(there), logits)
        decoded = self.model.decode(features, coarse, prompts)
        stored = store[number] = self._stored(decoded, None)
        memory = self.model.remember(features, stored.logits, decoded.score, from_clicks=True)
        if owner is not None:
            self._offer(f"{owner}_{number}_prompted", number, True, decoded, memory)
        self._record_decode(prefix, decoded, pix=coarse, mem_fp32=memory)
        self.record(f"{prefix}.video", self.to_video(stored.logits)[0, 0])
        self.alternatives[f"{prefix}.mem_fp32"] = partial(
            self._memories_across_the_fence, features, stored
        )
        return decoded

    @torch.no_grad()
    def _memories_across_the_fence(
        self, features: SliceFeatures, stored: Stored
    ) -> Iterator[Tensor]:
        """What a clicked mask would leave behind with the pixels whose logit is zero within
        rounding on either side: a clicked mask is remembered as zeros and ones."""
        size = self.model.config.image_size
        logits = F.interpolate(stored.logits, (size, size), mode="bilinear", align_corners=False)
        places = (logits.abs() < ON_THE_FENCE).nonzero(as_tuple=True)
        if len(places[0]) > MOST_ON_THE_FENCE:
            return
        for signs in product((-1.0, 1.0), repeat=len(places[0])):
            logits[places] = logits.new_tensor(signs)
            memory = self.model.remember(features, logits, stored.score, from_clicks=True)
            yield memory[0].float().cpu()

    def box(self, state: ObjectState, number: int, corners: Iterable[float], prefix: str) -> None:
        """A box is two points with labels of their own."""
        self.click(state, number, corners, BOX_LABELS, prefix)

    def mask(self, state: ObjectState, number: int, mask: Tensor, prefix: str) -> None:
        """A mask at the scan's size, taken as it is (SLM-SAM 2's prompt)."""
        size = self.model.config.image_size
        scaled = F.interpolate(
            mask[None, None].float(), (size, size), mode="bilinear", antialias=True
        )
        features = self.features(number)
        scaled = (scaled >= 0.5).float()
        decoded = self.model.decode_mask(features, scaled)
        # Like every prompted slice: binarised from the low-resolution mask.
        memory = self.model.remember(features, decoded.logits, decoded.score, from_clicks=True)
        state.prompted[number] = self._stored(decoded, memory)
        self.record(f"{prefix}.obj_ptr", decoded.pointer[0])
        self.record(f"{prefix}.pred_masks", decoded.logits[0, 0])
        self.record(f"{prefix}.mem_fp32", memory[0])

    # ---- tracking --------------------------------------------------------------------------

    def preflight(self, state: ObjectState) -> None:
        """New answers get memories and move to where tracking finds them.

        A correction of a prompted slice lands among the propagated ones and is thrown away again
        because the slice is prompted: the published code works so.
        """
        pairs = ((state.new_propagated, state.propagated), (state.new_prompted, state.prompted))
        for new, kept in pairs:
            for number, stored in new.items():
                memory = self.model.remember(
                    self.features(number), stored.logits, stored.score, from_clicks=True
                )
                kept[number] = replace(stored, memory=self._as_kept(memory))
            new.clear()
        for number in state.prompted:
            state.propagated.pop(number, None)

    def track(
        self,
        state: ObjectState,
        steps: int,
        reverse: bool,
        prefix: str = "",
        start: int | None = None,
        owner: int | None = 1,
    ) -> dict[int, Tensor]:
        """Propagate an object from its earliest prompted slice; masks at the scan's size."""
        self.preflight(state)
        first = min(state.prompted) if start is None else start
        last = len(self.images) - 1
        if reverse:
            numbers = range(first, max(first - steps, 0) - 1, -1) if first > 0 else range(0)
        else:
            numbers = range(first, min(first + steps, last) + 1)
        masks = {}
        for number in numbers:
            name = f"{prefix}.f{number}"
            if number not in state.prompted:
                self._propagate(state, number, reverse, name, owner)
            stored = state.prompted.get(number) or state.propagated[number]
            state.tracked[number] = reverse
            self.record(f"{name}.filled", stored.logits[0, 0])
            masks[number] = self.to_video(stored.logits)[0, 0]
        return masks

    def _propagate(
        self, state: ObjectState, number: int, reverse: bool, name: str, owner: int | None
    ) -> None:
        features = self.features(number)
        coarse = self._conditioned(state, number, reverse, name)
        decoded = self.model.decode(features, coarse)
        memory = self.model.remember(features, decoded.logits, decoded.score, from_clicks=False)
        state.propagated[number] = self._stored(decoded, memory)
        if owner is not None:
            self._offer(f"{owner}_{number}_nonprompted", number, False, decoded, memory)
        self._record_decode(name, decoded, pix=coarse, mem_fp32=memory)

    def _conditioned(
        self, state: ObjectState, number: int, reverse: bool, name: str = ""
    ) -> Tensor:
        model, slices = self.model, len(self.images)
        config = model.config
        seen = (state.prompted, state.propagated, number, reverse)
        maps = [(i, s.memory) for i, s in select_memories(*seen, config.memories)]
        pointers = select_pointers(*seen, slices, config.max_pointers)
        keys = model.memory_keys(maps, [(d, s.pointer) for d, s in pointers], slices)
        features = self.features(number)
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
        """The published choice: prompted ones first, both in the order of the bank."""
        views = [self.bank[key] for key in keys]
        chosen = [view for view in views if view.is_prompted][:most]
        if not only_prompted:
            chosen += [view for view in views if not view.is_prompted][: most - len(chosen)]
        return chosen

    def search(
        self,
        number: int,
        exemplars: list[ExemplarView] | None,
        prefix: str,
        gate: bool = True,
    ) -> Tensor:
        """Everything on a slice that looks like the exemplars; None asks the learned tokens."""
        model = self.model
        assert isinstance(model, MoisSam2)
        features = self.features(number)
        query = model.exemplar_query(features)
        if exemplars is None:
            coarse = model.attend_to_nothing(query)
        else:
            coarse = model.attend_to_exemplars(query, model.exemplar_keys(exemplars), [number])
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
        self, key: str, number: int, is_prompted: bool, decoded: Decoded, memory: Tensor
    ) -> None:
        size = self.model.config.image_size
        high = F.interpolate(decoded.logits, (size, size), mode="bilinear", align_corners=False)
        if (high.sigmoid() > 0.5).any():
            kept = self._as_kept(memory)[0]
            self.bank[key] = ExemplarView(number, is_prompted, kept, decoded.pointer[0])

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
