"""Decoding of clicks and boxes on slices, one after the other as the user made them.

Lesions that share a slice share the pass through the network wherever their prompts or memories
have the same shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mois_core.network.model import Decoded, Prompts
from mois_core.network.prompt_encoder import BOX_FIRST, BOX_SECOND, NEGATIVE, POSITIVE
from mois_core.session.heeded_clicks import heeded
from mois_core.session.lesion import Click, Lesion, SliceMemory
from mois_core.session.prompted_parts import prompted_parts
from mois_core.session.slice_decoder import (
    LESIONS_AT_ONCE,
    OnSlice,
    SliceDecoder,
    batches,
    grouped,
)

LOGIT_LIMIT = 32.0
"""Logits of an earlier mask are cut to this before they are fed back, as published."""


@dataclass(frozen=True)
class _Points:
    """The points that one decoding step is prompted with, in model pixels."""

    places: list[tuple[float, float]]
    labels: list[int]


@dataclass
class _PromptedSlice:
    """One lesion on one slice, whose prompts are decoded step by step."""

    lesion: Lesion
    slice_index: int
    steps: list[_Points]
    conditioned: Tensor | None
    """(1, width, map rows, map columns), the slice's map conditioned on the lesion's other prompted
    slices; None if it has none."""
    logits: Tensor | None
    """(1, 1, low rows, low columns), the mask that the next step corrects."""
    decoded: Decoded | None = None


class Prompter:
    """Decodes the prompts of lesions on the slices of one scan."""

    def __init__(
        self, decoder: SliceDecoder, heed: bool, reference: bool, connected: bool = False
    ) -> None:
        """With ``reference`` clicks are placed and combined as in the published app.

        With ``connected`` only what the prompts are at belongs to a lesion.
        """
        self.decoder = decoder
        self.model = decoder.model
        self.heed = heed
        self.reference = reference
        self.connected = connected

    @torch.no_grad()
    def decode(self, work: Sequence[tuple[Lesion, int]], continued: bool = False) -> list[OnSlice]:
        """Decode the prompts of each (lesion, slice index).

        ``continued`` says that the last click on the slice is new and everything before it is
        in the lesion already; otherwise all prompts of the slice are gone through in order,
        from what the user painted if the slice is painted.
        """
        there: dict[int, list[int]] = {}
        for index, (_, slice_index) in enumerate(work):
            there.setdefault(slice_index, []).append(index)
        results: dict[int, OnSlice] = {}
        with self.decoder.embeddings.visiting(there) as order:
            for slice_index in order:
                lesions = [work[index][0] for index in there[slice_index]]
                made = self._decode_slice(slice_index, lesions, continued)
                results |= zip(there[slice_index], made, strict=True)
        return [results[index] for index in range(len(work))]

    def _decode_slice(
        self, slice_index: int, lesions: Sequence[Lesion], continued: bool
    ) -> list[OnSlice]:
        jobs = [self._prepared(lesion, slice_index, continued) for lesion in lesions]
        began = [self._image_before(job) for job in jobs]
        for step in range(max(len(job.steps) for job in jobs)):
            running = [job for job in jobs if step < len(job.steps)]
            for group in grouped(running, partial(_layout_of, step=step)):
                self._decode_step(group, step)
        decoded = [job.decoded for job in jobs]
        results = self.decoder.remember(slice_index, decoded, from_clicks=True)
        if not self.connected:
            return results
        return [
            OnSlice(memory, prompted_parts(lesion, slice_index, image, before))
            for lesion, (memory, image), before in zip(lesions, results, began, strict=True)
        ]

    def _image_before(self, job: _PromptedSlice) -> np.ndarray | None:
        """Return the mask [rows, columns] that a lesion's next prompt corrects."""
        if job.logits is None or not self.connected:
            return None
        if job.slice_index in job.lesion.prompted:
            return job.lesion.outlined.image(job.slice_index)
        return self.decoder.to_images(job.logits)[0]

    def _prepared(self, lesion: Lesion, slice_index: int, continued: bool) -> _PromptedSlice:
        if self.reference:
            steps = [self._all_at_once(lesion, slice_index)]
            return _PromptedSlice(lesion, slice_index, steps, None, None)
        others = {n: m for n, m in lesion.prompted.items() if n != slice_index}
        before = lesion.prompted.get(slice_index)
        conditioned = logits = None
        if others:
            conditioned, logits = self._guess_from_others(others, slice_index)
        elif before is None and slice_index in lesion.mask.planes:
            # A finding that is clicked for the first time: the click corrects its mask.
            logits = self.decoder.decode_mask(slice_index, lesion.mask.image(slice_index)).logits
        steps = list(self._one_by_one(lesion, slice_index))
        if before is not None and (continued or slice_index in lesion.painted):
            logits = before.logits.unsqueeze(0).to(self.model.device)
        if before is not None and continued:
            steps = steps[-1:]
        return _PromptedSlice(lesion, slice_index, steps, conditioned, logits)

    def _guess_from_others(
        self, others: dict[int, SliceMemory], slice_index: int
    ) -> tuple[Tensor, Tensor]:
        """Return the slice's map conditioned on other prompted slices, and the mask this gives.

        They are (1, width, map rows, map columns) and, as logits, (1, 1, low rows, low columns).
        """
        nearest = min(others, key=lambda n: (abs(n - slice_index), n))
        selection = self.decoder.select(others, {}, slice_index, reverse=nearest > slice_index)
        conditioned = self.decoder.condition(slice_index, [selection])
        features = self.decoder.embeddings.features(slice_index)
        return conditioned, self.model.decode(features, conditioned).logits

    def _one_by_one(self, lesion: Lesion, slice_index: int) -> Iterator[_Points]:
        """Yield the prompts of a slice as they grew: the box, then one more click each time."""
        places: list[tuple[float, float]] = []
        labels: list[int] = []
        box = lesion.box_on(slice_index)
        if box is not None:
            places += [self._to_model(box.x0, box.y0), self._to_model(box.x1, box.y1)]
            labels += [BOX_FIRST, BOX_SECOND]
            yield _Points(list(places), list(labels))
        for click in lesion.clicks_on(slice_index):
            places.append(self._to_model(click.x, click.y))
            labels.append(POSITIVE if click.positive else NEGATIVE)
            yield _Points(list(places), list(labels))

    def _all_at_once(self, lesion: Lesion, slice_index: int) -> _Points:
        """Return all clicks of a slice as the published app takes them, positive ones first."""

        def in_published_order(click: Click) -> bool:
            return not click.positive

        clicks = sorted(lesion.clicks_on(slice_index), key=in_published_order)
        ordered = replace(lesion, clicks=tuple(clicks))
        return list(self._one_by_one(ordered, slice_index))[-1]

    def _to_model(self, x: float, y: float) -> tuple[float, float]:
        """Return a place in the slice in model pixels, whose centres are at whole numbers too.

        The published app leaves out the half pixel.
        """
        height, width = self.model.config.image_size
        rows, columns = self.decoder.shape
        if self.reference:
            return x / columns * width, y / rows * height
        return (x + 0.5) / columns * width - 0.5, (y + 0.5) / rows * height - 0.5

    def _heeding(self, decoded: Decoded, before: Tensor, points: _Points) -> Decoded:
        """Return a corrected mask that is at the newest click what this says.

        Nothing is lost by a click on what is missing, nor gained by one on what is too much.
        """
        if points.labels[-1] not in (NEGATIVE, POSITIVE):
            return decoded
        is_positive = points.labels[-1] == POSITIVE
        agreed = (torch.maximum if is_positive else torch.minimum)(decoded.logits, before)
        # A hole that the click is in must not be filled afterwards.
        logits = heeded(self.decoder.filled(agreed), *points.places[-1], is_positive)
        return replace(decoded, logits=logits)

    def _decode_step(self, group: Sequence[_PromptedSlice], step: int) -> None:
        device = self.model.device
        for batch in batches(group, LESIONS_AT_ONCE):
            features = self.decoder.embeddings.features(batch[0].slice_index)
            # (B, points, 2) and (B, points)
            points = torch.tensor([job.steps[step].places for job in batch], device=device)
            labels = torch.tensor([job.steps[step].labels for job in batch], device=device)
            logits = None  # or (B, 1, low rows, low columns)
            if batch[0].logits is not None:
                logits = torch.cat([job.logits for job in batch]).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
            # (B, width, map rows, map columns); without memories one for all lesions
            if batch[0].conditioned is None:
                conditioned = self.model.without_memory(features)
            else:
                conditioned = torch.cat([job.conditioned for job in batch])
            decoded = self.model.decode(features, conditioned, Prompts(points, labels, logits))
            for index, job in enumerate(batch):
                job.decoded = decoded[index : index + 1]
                if self.heed and job.logits is not None:
                    job.decoded = self._heeding(job.decoded, job.logits, job.steps[step])
                # The published app forgets the mask before; here a correction corrects something.
                job.logits = self.decoder.filled(job.decoded.logits)


def _layout_of(job: _PromptedSlice, step: int) -> tuple:
    """Return what lesions must have in common to be decoded as one batch."""
    labels = job.steps[step].labels
    begins = job.logits is None, POSITIVE in labels
    return job.slice_index, len(labels), *begins, job.conditioned is None
