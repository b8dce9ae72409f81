"""MOIS-SAM2: SAM 2.1 and a second attention that looks at exemplars from anywhere in the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mois_core.network.config import NetworkConfig
from mois_core.network.layers import learned
from mois_core.network.memory_attention import Keys, MemoryAttention, Tokens, join_keys
from mois_core.network.model import Sam2, SliceFeatures
from mois_core.network.position import sine_line


@dataclass(frozen=True)
class ExemplarView:
    """One lesion on one slice, as the network sees an exemplar."""

    slice: int
    is_prompted: bool
    """Whether the user clicked on this slice; propagated masks are weaker evidence."""
    memory: Tensor
    """[memory width, rows, columns]."""
    pointer: Tensor
    """[width]."""


@dataclass(frozen=True)
class ExemplarKeys:
    """Keys of a set of exemplars; those of the maps are the same for every slice searched."""

    maps: Keys
    pointers: Tensor
    """[1, tokens, memory width]: object pointers, placed anew for every slice."""
    slices: tuple[int, ...]
    """Slice of each exemplar."""


class MoisSam2(Sam2):
    """SAM 2.1 with an exemplar branch."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        memory_width, width = config.memory_width, config.width
        if config.exemplars.attention == "dedicated":
            self.exemplar_attention = self._stack()
        # In the published files, though the published code never applies it.
        self.exemplar_obj_ptr_proj = nn.Linear(width, width)
        self.exemplar_type_enc = learned(2, 1, 1, memory_width)
        self.no_exemplar_embed = learned(config.no_exemplar_tokens, 1, memory_width)
        self.no_exemplar_pos_enc = learned(config.no_exemplar_tokens, 1, memory_width)

    @property
    def search_stack(self) -> MemoryAttention:
        """Attention that compares slices with exemplars."""
        dedicated = self.config.exemplars.attention == "dedicated"
        return self.exemplar_attention if dedicated else self.memory_attention

    def exemplar_query(self, features: SliceFeatures) -> Tensor:
        """Return the part of exemplar attention that depends on the slice alone."""
        return self.search_stack.query(features.coarse)

    def exemplar_keys(self, exemplars: Sequence[ExemplarView]) -> ExemplarKeys:
        """Return the keys of exemplars, as far as they do not depend on the slice searched."""
        size = exemplars[0].memory.shape[-2:]
        plane = self.memory_plane(size)  # (T, M), T = rows * columns
        kinds = self.exemplar_type_enc.flatten(1)  # (2, M)
        # Both (exemplars * T, M)
        content = torch.cat([e.memory.to(self.device).flatten(1).T for e in exemplars])
        position = torch.cat([plane + kinds[int(e.is_prompted)] for e in exemplars])
        maps = Tokens(content.unsqueeze(0), position.unsqueeze(0))
        return ExemplarKeys(
            self.search_stack.keys_of_maps(maps, size),
            self.split_pointers([e.pointer.unsqueeze(0) for e in exemplars]),
            tuple(e.slice for e in exemplars),
        )

    def attend_to_exemplars(
        self, query: Tensor, exemplars: ExemplarKeys, slices: Sequence[int]
    ) -> Tensor:
        """Return the maps of ``slices``, one query each, conditioned on the exemplars."""
        keys = exemplars.maps
        if self.config.exemplars.pointers != "none":
            content = exemplars.pointers.expand(len(slices), -1, -1)  # (B, tokens, M)
            position = torch.stack([self._distances(exemplars.slices, n) for n in slices])
            placed = self.search_stack.keys_of_pointers(Tokens(content, position))
            keys = join_keys(keys, placed)
        return self.search_stack(query, keys)

    def _distances(self, exemplar_slices: Sequence[int], searched: int) -> Tensor:
        """Return the encoding of each pointer token's distance from the slice searched.

        It is [tokens, memory width].
        """
        distances = [searched - n for n in exemplar_slices]
        if self.config.exemplars.pointers == "unplaced":
            place = torch.zeros(len(distances), self.config.memory_width, device=self.device)
        else:
            span = max(max(distances) - min(distances), 1)
            distance = torch.tensor(distances).to(self.device, non_blocking=True)
            place = sine_line(distance / span, self.config.memory_width)  # (exemplars, M)
        return place.repeat_interleave(self.config.pointer_tokens, dim=0)

    def attend_to_nothing(self, query: Tensor) -> Tensor:
        """Return the maps of slices that are searched before there is any exemplar."""
        learned = Tokens(
            self.no_exemplar_embed.transpose(0, 1), self.no_exemplar_pos_enc.transpose(0, 1)
        )
        keys = self.search_stack.keys_of_maps(learned, query.shape[1:3])
        return self.search_stack(query, keys)
