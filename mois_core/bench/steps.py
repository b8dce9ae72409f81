"""The steps that everything a user does is made of, on made-up inputs of the right sizes.

The content of the inputs does not matter for the time; lively weights keep denormal numbers, which
some processors are slow at, out of the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mois_core.network.config import NetworkConfig, with_changes
from mois_core.network.exemplar import ExemplarKeys, ExemplarView, MoisSam2
from mois_core.network.loading import build
from mois_core.network.model import Prompts, Sam2
from mois_core.network.short_long import SlmSam2

Shape = Sequence[int]

ENCODE, CLICK, PROPAGATE, SEARCH = "encode", "click", "propagate", "search"

EXEMPLARS = 10
MEMORIES = 3
SLICES = 8
"""Slices of the scan, which set the scale of the distances between them."""
SEARCHED, PROPAGATED_TO = 4, 3

TITLES = {
    ENCODE: "encode a slice",
    CLICK: "decode a click",
    PROPAGATE: f"propagate a lesion one slice, {MEMORIES} memories",
    SEARCH: f"search one slice, {EXEMPLARS} exemplars",
}


@dataclass(frozen=True)
class BenchStep:
    """One step on inputs of its own, to be run any number of times."""

    run: Callable[[], object]
    prepare: Callable[[], object] | None = None
    """Work that the published implementation repeats in every run, and we do once."""


class BenchSteps:
    """All steps of one network, on made-up inputs."""

    def __init__(self, model: Sam2) -> None:
        self.model = model
        config, device = model.config, model.device
        generator = torch.Generator().manual_seed(0)

        def some(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator).to(device)

        self.image = some(1, 1, *config.image_size)
        self.features = model.encode(self.image)
        memory = (1, config.memory_width, *config.map_size)
        # One slice that was clicked on, and the slices nearest to the next one.
        indices = (config.memories - 1, *range(MEMORIES - 1))
        self.memories = [(index, some(*memory)) for index in indices]
        self.pointers = [(n, some(1, config.width)) for n in (PROPAGATED_TO, *range(1, MEMORIES))]
        self.exemplars = [
            ExemplarView(n % SLICES, n % 2 == 0, some(*memory)[0], some(config.width))
            for n in range(EXEMPLARS)
        ]
        rows, columns = config.image_size
        self.click = Prompts(
            torch.tensor([[[columns / 2, rows / 2]]], device=device),
            torch.ones(1, 1, dtype=torch.int, device=device),
        )

    def all(self) -> dict[str, BenchStep]:
        """Return every step that the network has, by name."""
        steps = {
            ENCODE: BenchStep(lambda: self.model.encode(self.image)),
            CLICK: BenchStep(self._decode_click),
            PROPAGATE: BenchStep(self._propagate),
        }
        if isinstance(self.model, MoisSam2):
            keys = self._exemplar_keys()
            steps[SEARCH] = BenchStep(lambda: self._search(keys), self._exemplar_keys)
        return steps

    def _exemplar_keys(self) -> ExemplarKeys:
        return self.model.exemplar_keys(self.exemplars)

    def _decode_click(self) -> object:
        return self.model.decode(
            self.features, self.model.without_memory(self.features), self.click
        )

    def _propagate(self) -> object:
        query = self.model.memory_query(self.features)
        keys = self.model.memory_keys(self.memories, self.pointers, SLICES)
        coarse = self.model.attend_to_memory(query, keys)
        if isinstance(self.model, SlmSam2):
            query = self.model.short_query(self.features)
            keys = self.model.short_keys(self.memories, self.pointers, SLICES)
            coarse = self.model.fuse(self.model.attend_to_short(query, keys), coarse)
        decoded = self.model.decode(self.features, coarse)
        return self.model.remember(self.features, decoded.logits, decoded.score, False)

    def _search(self, keys: ExemplarKeys) -> object:
        query = self.model.exemplar_query(self.features)
        coarse = self.model.attend_to_exemplars(query, keys, [SEARCHED])
        return self.model.decode_search(self.features, coarse)


def operations_of(work: Callable[[], object]) -> int:
    """Return the additions and multiplications in the products and convolutions of some work."""
    with FlopCounterMode(display=False, custom_mapping=_UNCOUNTED_BY_PYTORCH) as counter:
        work()
    return counter.get_total_flops()


def _attention_operations(q: Shape, k: Shape, v: Shape, *_args: object, **_kwargs: object) -> int:
    """Return the operations of an attention's two products on [batch, heads, tokens, channels]."""
    return 2 * math.prod(q[:3]) * k[2] * (k[3] + v[3])


_UNCOUNTED_BY_PYTORCH = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_operations
}


@lru_cache
@torch.no_grad()
def published_operations(config: NetworkConfig) -> dict[str, int]:
    """Return the operations of each step as the published implementation performs it.

    They are counted on shapes alone: on the meta device the network takes no short cut. Work that
    we do once for many runs is included, since the published implementation repeats it in each.
    What only ours does is not.
    """
    own: dict[str, Any] = {"marks_unprompted": False}
    if config.exemplars is not None:
        own["exemplars"] = {"judgement": None}
    with torch.device("meta"):
        model = build(with_changes(config, own))
    model.requires_grad_(False).eval()
    counted = {}
    for name, step in BenchSteps(model).all().items():
        again = operations_of(step.prepare) if step.prepare else 0
        counted[name] = operations_of(step.run) + again
    return counted
