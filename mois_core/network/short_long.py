"""SLM-SAM 2: SAM 2.1 with a short memory beside the long one, and a fuser for the two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mois_core.network.config import NetworkConfig
from mois_core.network.layers import ConvNextStack
from mois_core.network.memory_attention import Keys
from mois_core.network.model import Sam2, SliceFeatures


class SlmSam2(Sam2):
    """SAM 2.1 with a second attention over the nearest slices only."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        # In the published files, though the published code never reads it.
        self.rec_maskmem_tpos_enc = nn.Parameter(
            torch.zeros(config.memories, 1, 1, config.memory_width)
        )
        self.recent_memory_attention = self._stack()
        self.recent_memory_fuser = ConvNextStack(config.width, config.layer_scale)

    def short_query(self, features: SliceFeatures) -> Tensor:
        """Return the part of the short attention that depends on the slice alone."""
        return self.recent_memory_attention.query(features.coarse)

    def short_keys(
        self,
        maps: Sequence[tuple[int, Tensor]],
        pointers: Sequence[tuple[int, Tensor]],
        slices: int,
    ) -> Keys:
        """Return keys for the short attention; arguments are those of `Sam2.memory_keys`."""
        return self._keys_of_memories(self.recent_memory_attention, maps, pointers, slices)

    def attend_to_short(self, query: Tensor, keys: Keys) -> Tensor:
        """Return the slice's map conditioned on the lesion on the nearest slices."""
        return self.recent_memory_attention(query.expand(keys[0].key.shape[0], -1, -1, -1), keys)

    def fuse(self, short: Tensor, long: Tensor) -> Tensor:
        """Fuse two maps to one; a first slice is fused too, where both are the bare features."""
        return self.recent_memory_fuser(short.float() + long)

    def without_memory(self, features: SliceFeatures) -> Tensor:
        """Return the map of a slice without memories: both are empty, and the fuser still runs."""
        bare = super().without_memory(features)
        return self.fuse(bare, bare)
