"""One lesion, or several at once, through the network: prompts on a slice, then its neighbours.

Lesions that share a slice share the pass through the network wherever their prompts or memories
have the same shape.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.network.holes import fill_small_holes
from mois_core.network.model import Decoded, Prompts
from mois_core.network.prompt_encoder import BOX_FIRST, BOX_SECOND, NEGATIVE, POSITIVE
from mois_core.network.short_long import SlmSam2
from mois_core.progress import CancelToken, Progress, silent
from mois_core.session.embeddings import HOST, Embeddings
from mois_core.session.lesion import Click, Lesion, SliceMemory
from mois_core.session.memory_bank import Target, select_memories, select_pointers, select_recent

LOGIT_LIMIT = 32.0
"""Logits of an earlier answer are cut to this before they are fed back, as published."""

AT_ONCE = 16
"""Lesions per pass."""

PROPAGATED_AT_ONCE = {"cpu": 4}
"""Propagated lesions per pass. The keys of each take 100 MiB and more at full size; a CPU gains
little from more at once, and its memory holds everything else too."""


@dataclass
class _PromptJob:
    """One lesion on one slice whose prompts are decoded step by step."""

    lesion: Lesion
    number: int
    steps: list[tuple[list[tuple[float, float]], list[int]]]
    coarse: Tensor | None
    logits: Tensor | None
    decoded: Decoded | None = None


@dataclass
class _Chain:
    """A lesion being propagated: what it has left so far, and where it has got lost."""

    lesion: Lesion
    propagated: dict[int, SliceMemory] = field(default_factory=dict)
    images: dict[int, np.ndarray] = field(default_factory=dict)
    lost: set[tuple[int, bool]] = field(default_factory=set)


class Tracker:
    """Runs the network for lesions on the slices of one scan."""

    def __init__(
        self,
        embeddings: Embeddings,
        shape: tuple[int, int],
        fill_holes: bool,
        reference: bool,
        memory_dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """``shape`` is rows and columns of a slice. With ``reference`` clicks are placed and
        combined as in the published app."""
        self.embeddings = embeddings
        self.model = embeddings.model
        self.shape = shape
        self.fill_holes = fill_holes
        self.reference = reference
        self.memory_dtype = memory_dtype

    # ---- prompts ---------------------------------------------------------------------------

    @torch.no_grad()
    def prompt(
        self, work: Sequence[tuple[Lesion, int]], continued: bool = False
    ) -> list[tuple[SliceMemory, np.ndarray]]:
        """Decode the prompts of each lesion on its slice: a slice_memory and the slice's mask.

        ``continued`` says that the last click on the slice is new and everything before it is
        in the lesion already; otherwise all prompts of the slice are gone through in order,
        from what the user painted if the slice is painted.
        """
        jobs = [self._job(lesion, number, continued) for lesion, number in work]
        for step in range(max(len(job.steps) for job in jobs)):
            running = [job for job in jobs if step < len(job.steps)]
            for group in _grouped(running, partial(_shape_of, step=step)):
                self._decode_step(group, step)
        results: dict[int, tuple[SliceMemory, np.ndarray]] = {}
        for group in _grouped(jobs, lambda job: job.number):
            slice_memories = self._remember(group[0].number, [job.decoded for job in group], True)
            results |= {id(job): made for job, made in zip(group, slice_memories, strict=True)}
        return [results[id(job)] for job in jobs]

    @torch.no_grad()
    def painted(self, number: int, image: np.ndarray) -> SliceMemory:
        """What the network remembers of a mask that the user drew on a slice."""
        decoded = self._decode_mask(number, image)
        return self._remember(number, [decoded], True, fill=False)[0][0]

    def _decode_mask(self, number: int, image: np.ndarray) -> Decoded:
        config = self.model.config
        pixels = torch.from_numpy(image)[None, None].float()
        mask = (_resized(pixels, config.image_size) >= 0.5).float()
        coarse = _resized(pixels, config.low_res_size)
        if image.any() and not (_resized(mask, config.low_res_size) > 0.5).any():
            # A mask finer than the network's pixels still has to be somewhere.
            mask = F.interpolate((coarse >= coarse.max()).float(), mask.shape[-2:])
        return self.model.decode_mask(self.embeddings.features(number), mask)

    def _job(self, lesion: Lesion, number: int, continued: bool) -> _PromptJob:
        others = {n: t for n, t in lesion.prompted.items() if n != number}
        before = lesion.prompted.get(number)
        if self.reference:
            return _PromptJob(lesion, number, [self._all_at_once(lesion, number)], None, None)
        coarse = logits = None
        if others:
            coarse, logits = self._with_others(others, number)
        elif before is None and number in lesion.mask.planes:
            # A finding that is clicked for the first time: the click corrects its mask.
            logits = self._decode_mask(number, lesion.mask.image(number)).logits
        steps = list(self._one_by_one(lesion, number))
        if before is not None and (continued or number in lesion.painted):
            logits = before.logits.unsqueeze(0).to(self.model.device)
        if before is not None and continued:
            steps = steps[-1:]
        return _PromptJob(lesion, number, steps, coarse, logits)

    def _with_others(self, others: dict[int, SliceMemory], number: int) -> tuple[Tensor, Tensor]:
        """The slice as the lesion's other prompted slices make it look, and their guess."""
        nearest = min(others, key=lambda n: (abs(n - number), n))
        target = Target(number, nearest, reverse=nearest > number)
        coarse = self._conditioned([others], [{}], target)
        return coarse, self.model.decode(self.embeddings.features(number), coarse).logits

    def _one_by_one(
        self, lesion: Lesion, number: int
    ) -> Iterator[tuple[list[tuple[float, float]], list[int]]]:
        """The prompts of a slice as they grew: the box, then with each click once more."""
        points: list[tuple[float, float]] = []
        labels: list[int] = []
        box = lesion.boxes.get(number)
        if box is not None:
            points += [self._to_model(box.x0, box.y0), self._to_model(box.x1, box.y1)]
            labels += [BOX_FIRST, BOX_SECOND]
            yield list(points), list(labels)
        for click in lesion.clicks_on(number):
            points.append(self._to_model(click.x, click.y))
            labels.append(POSITIVE if click.positive else NEGATIVE)
            yield list(points), list(labels)

    def _all_at_once(
        self, lesion: Lesion, number: int
    ) -> tuple[list[tuple[float, float]], list[int]]:
        """The published app's way: all positive clicks of a slice, then all negative ones."""

        def in_published_order(click: Click) -> bool:
            return not click.positive

        clicks = sorted(lesion.clicks_on(number), key=in_published_order)
        ordered = replace(lesion, clicks=tuple(clicks))
        return list(self._one_by_one(ordered, number))[-1]

    def _to_model(self, x: float, y: float) -> tuple[float, float]:
        """A place in the slice in model pixels, whose centres lie at whole numbers as well.

        The published app leaves out the half pixel.
        """
        size = self.model.config.image_size
        rows, columns = self.shape
        if self.reference:
            return x / columns * size, y / rows * size
        return (x + 0.5) / columns * size - 0.5, (y + 0.5) / rows * size - 0.5

    def _decode_step(self, group: Sequence[_PromptJob], step: int) -> None:
        device = self.model.device
        for part in _parts(group, AT_ONCE):
            features = self.embeddings.features(part[0].number)
            points = torch.tensor([job.steps[step][0] for job in part], device=device)
            labels = torch.tensor([job.steps[step][1] for job in part], device=device)
            logits = None
            if part[0].logits is not None:
                logits = torch.cat([job.logits for job in part]).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
            if part[0].coarse is None:
                coarse = self.model.without_memory(features)
            else:
                coarse = torch.cat([job.coarse for job in part])
            decoded = self.model.decode(features, coarse, Prompts(points, labels, logits))
            for index, job in enumerate(part):
                job.decoded = decoded[index : index + 1]
                # The app forgets what it answered before; here a correction corrects something.
                job.logits = self._shown(job.decoded.logits)

    # ---- neighbours ------------------------------------------------------------------------

    @torch.no_grad()
    def propagate(
        self,
        lesions: Sequence[Lesion],
        rounds: Sequence[Sequence[Sequence[Target]]],
        progress: Progress = silent,
        cancel: CancelToken | None = None,
    ) -> list[Lesion]:
        """Propagate lesions to their neighbours; ``rounds`` lists each lesion's targets in order.

        Where a lesion is gone, it is not looked for any further that way.
        """
        chains = [_Chain(lesion) for lesion in lesions]
        most = PROPAGATED_AT_ONCE.get(self.model.device.type, AT_ONCE)
        length = max((len(own) for own in rounds), default=0)
        for number in range(length):
            progress(number, length, "following lesions through the slices")
            work = [
                (chain, target)
                for chain, own in zip(chains, rounds, strict=True)
                for target in (own[number] if number < len(own) else ())
                if (target.source, target.reverse) not in chain.lost
            ]
            # In the order of the slices, so that a lesion sees the same of itself whether it is
            # propagated alone or with others.
            for there in _grouped(sorted(work, key=_where), _where):
                for group in _grouped(there, self._shape_of_memories):
                    for part in _parts(group, most):
                        if cancel:
                            cancel.check()
                        self._propagate_to(part)
        progress(length, length, "following lesions through the slices")
        return [self._propagated(chain, own) for chain, own in zip(chains, rounds, strict=True)]

    def _shape_of_memories(self, item: tuple[_Chain, Target]) -> tuple:
        chain, target = item
        seen = (chain.lesion.prompted, chain.propagated, target.slice, target.reverse)
        config = self.model.config
        maps = tuple(index for index, _ in select_memories(*seen, config.memories))
        pointers = select_pointers(*seen, self.embeddings.count, config.max_pointers)
        reach = config.short_memory.slices if config.short_memory else 0
        recent = tuple(distance for distance, _ in select_recent(*seen, reach))
        return maps, tuple(distance for distance, _ in pointers), recent

    def _propagate_to(self, part: Sequence[tuple[_Chain, Target]]) -> None:
        target = part[0][1]
        coarse = self._conditioned(
            [chain.lesion.prompted for chain, _ in part],
            [chain.propagated for chain, _ in part],
            target,
        )
        decoded = self.model.decode(self.embeddings.features(target.slice), coarse)
        single = [decoded[index : index + 1] for index in range(len(part))]
        made = self._remember(target.slice, single, False)
        for (chain, own), (slice_memory, image) in zip(part, made, strict=True):
            chain.propagated[own.slice] = slice_memory
            chain.images[own.slice] = image
            if not slice_memory.found and not self.reference:
                chain.lost.add((own.source, own.reverse))

    def _conditioned(
        self,
        prompted: Sequence[dict[int, SliceMemory]],
        propagated: Sequence[dict[int, SliceMemory]],
        target: Target,
    ) -> Tensor:
        """A slice as it looks to lesions that left memories of the same kinds elsewhere."""
        model, slices = self.model, self.embeddings.count
        config = model.config
        where = (target.slice, target.reverse)
        pairs = list(zip(prompted, propagated, strict=True))
        maps = [select_memories(p, c, *where, config.memories) for p, c in pairs]
        pointers = [select_pointers(p, c, *where, slices, config.max_pointers) for p, c in pairs]
        keys = model.memory_keys(
            self._stacked(maps, "memory"), self._stacked(pointers, "pointer"), slices
        )
        long = model.attend_to_memory(self.embeddings.memory_query(target.slice), keys).float()
        if not isinstance(model, SlmSam2):
            return long
        recent = [select_recent(p, c, *where, config.short_memory.slices) for p, c in pairs]
        if not recent[0]:
            return long
        maps = [[(d - 1, slice_memory) for d, slice_memory in reversed(own)] for own in recent]
        keys = model.short_keys(
            self._stacked(maps, "memory"), self._stacked(recent, "pointer"), slices
        )
        short = model.attend_to_short(self.embeddings.short_query(target.slice), keys).float()
        return model.fuse(short, long)

    def _stacked(
        self, seen: Sequence[Sequence[tuple[int, SliceMemory]]], what: str
    ) -> list[tuple[int, Tensor]]:
        """The same memory of several lesions as one batch, for each memory that they share."""
        return [
            (
                together[0][0],
                torch.stack([getattr(t, what) for _, t in together]).to(self.model.device),
            )
            for together in zip(*seen, strict=True)
        ]

    def _propagated(self, chain: _Chain, rounds: Sequence[Sequence[Target]]) -> Lesion:
        lesion = chain.lesion
        mask = lesion.mask
        for number in {*lesion.propagated, *(target.slice for own in rounds for target in own)}:
            mask = mask.with_slice(number, None)
        for number, image in chain.images.items():
            mask = mask.with_slice(number, image)
        return replace(lesion, mask=mask, propagated=MappingProxyType(chain.propagated))

    # ---- results ---------------------------------------------------------------------------

    def _shown(self, logits: Tensor) -> Tensor:
        return fill_small_holes(logits) if self.fill_holes else logits

    def to_images(self, logits: Tensor) -> np.ndarray:
        """Low-resolution logits [batch, 1, low, low] as masks [batch, rows, columns]."""
        return (self.enlarged(logits) > 0).cpu().numpy()

    def enlarged(self, logits: Tensor) -> Tensor:
        """Low-resolution logits [batch, 1, low, low] at a slice's size, [batch, rows, columns]."""
        size = self.shape
        return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)[:, 0]

    def _remember(
        self, number: int, decoded: Sequence[Decoded], from_clicks: bool, fill: bool = True
    ) -> list[tuple[SliceMemory, np.ndarray]]:
        features = self.embeddings.features(number)
        raw = torch.cat([one.logits for one in decoded])
        score = torch.cat([one.score for one in decoded])
        filled = self._shown(raw) if fill else raw
        # As published: clicked masks are remembered as they are shown, propagated ones as decoded.
        remembered = filled if from_clicks else raw
        memory = self.model.remember(features, remembered, score, from_clicks)
        images = self.to_images(filled)
        size = (self.model.config.image_size,) * 2
        high = F.interpolate(raw, size, mode="bilinear", align_corners=False)
        found = (high > 0).flatten(1).any(dim=1).tolist()
        return [
            (
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


def _resized(mask: Tensor, size: int) -> Tensor:
    return F.interpolate(mask, (size, size), mode="bilinear", antialias=True)


def _grouped(items: Iterable, key) -> list[list]:
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def _where(item: tuple[_Chain, Target]) -> tuple[int, bool]:
    _, target = item
    return target.slice, target.reverse


def _parts(group: Sequence, most: int) -> Iterator[Sequence]:
    for first in range(0, len(group), most):
        yield group[first : first + most]


def _shape_of(job: _PromptJob, step: int) -> tuple:
    return job.number, len(job.steps[step][1]), job.logits is None, job.coarse is None
