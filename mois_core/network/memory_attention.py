"""How a slice looks at what is remembered: the stack behind memory and exemplar attention.

The same stack serves propagation (memories of one lesion on neighbouring slices), the search
(exemplars from anywhere in the scan) and SLM-SAM 2's short memory. Its work falls into three
parts, so that each can be done once for all that share it:

* `MemoryAttention.query` depends on the slice alone;
* `MemoryAttention.keys_of_maps` and `keys_of_pointers` depend on the tokens alone;
* `MemoryAttention.forward` brings the two together.

In the comments on shapes B is the batch, R x S the rows and columns of a slice's map, T its tokens
(R * S), K the tokens that are attended to, C the width and M the memory width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.attention import attend, attends_raw_memory
from mois_core.network.config import Size
from mois_core.network.position import rotary_table, rotate, sine_map

POSITION_WEIGHT = 0.1
"""How strongly a slice's own positions enter at the input of the stack."""


@dataclass(frozen=True)
class Tokens:
    """Tokens to be attended to, [batch, n, memory width], and the encoding of their places.

    The tokens are whole maps; or object pointers, which have no place in the plane.
    """

    content: Tensor
    position: Tensor


@dataclass(frozen=True)
class LayerKeys:
    """Keys and values of one layer."""

    key: Tensor
    value: Tensor
    is_raw: bool
    """Whether the values are memory as it is, to be projected after the attention. It is kept
    with them, since keys outlive the gradient mode in which they were made."""


Keys = tuple[LayerKeys, ...]
"""Keys and values for every layer of a stack."""


def join_keys(*groups: Keys) -> Keys:
    """Join the keys of several groups of tokens to one, in the given order.

    Groups computed once for many slices have a batch of one and are repeated for the others.
    """
    batch = max(group[0].key.shape[0] for group in groups)

    def joined(parts: list[Tensor]) -> Tensor:
        return torch.cat([part.expand(batch, -1, -1) for part in parts], dim=1)  # (B, sum of K, C)

    return tuple(
        LayerKeys(joined([k.key for k in layer]), joined([k.value for k in layer]), layer[0].is_raw)
        for layer in zip(*groups, strict=True)
    )


class RotaryAttention(nn.Module):
    """Single-head attention whose queries and keys are turned by their place in the plane."""

    def __init__(self, width: int, memory_width: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(memory_width, width)
        self.v_proj = nn.Linear(memory_width, width)
        self.out_proj = nn.Linear(width, width)

    def keys(self, keyed: Tensor, content: Tensor, table: Tensor | None) -> LayerKeys:
        """Return keys from ``keyed`` (turned if a table is given) and values from ``content``."""
        key = self.k_proj(keyed)  # (B, K, M) -> (B, K, C)
        if table is not None:
            key = rotate(key, table)
        is_raw = attends_raw_memory(content)
        return LayerKeys(key, content if is_raw else self.v_proj(content), is_raw)

    def forward(self, x: Tensor, keys: LayerKeys, table: Tensor) -> Tensor:
        q = rotate(self.q_proj(x), table)  # (B, T, C)
        # (B, K, C); raw values are (B, K, M)
        k, v = (t.expand(q.shape[0], -1, -1) for t in (keys.key, keys.value))
        out = attend(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)).squeeze(1)  # (B, T, C or M)
        return self.out_proj(self.v_proj(out) if keys.is_raw else out)


class MemoryAttentionLayer(nn.Module):
    """Self-attention over the slice, attention to the keys, a perceptron; each normed first."""

    def __init__(self, width: int, memory_width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = RotaryAttention(width, width)
        self.cross_attn_image = RotaryAttention(width, memory_width)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the matrix products."""
        return self.linear1.weight.dtype

    def attend_to_slice(self, x: Tensor, table: Tensor) -> Tensor:
        """Add the self-attention, which in the first layer is the same for every lesion."""
        normed = self.norm1(x).to(self.dtype)  # (B, T, C)
        keys = self.self_attn.keys(normed, normed, table)
        return x + self.dropout(self.self_attn(normed, keys, table))

    def attend_to_keys(self, x: Tensor, keys: LayerKeys, table: Tensor) -> Tensor:
        """Add the attention to what is remembered, and the perceptron behind it."""
        x = x + self.dropout(self.cross_attn_image(self.norm2(x).to(self.dtype), keys, table))
        change = self.linear2(self.dropout(F.relu(self.linear1(self.norm3(x).to(self.dtype)))))
        return x + self.dropout(change)  # (B, T, C)


class MemoryAttention(nn.Module):
    """A few layers that turn a slice's map into one that knows what is looked for."""

    def __init__(
        self, width: int, memory_width: int, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryAttentionLayer(width, memory_width, hidden, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the matrix products."""
        return self.layers[0].dtype

    def _table(self, size: Size, device: torch.device) -> Tensor:
        return rotary_table(self.norm.weight.shape[0], *size, device)

    def query(self, coarse: Tensor) -> Tensor:
        """Return a slice's map (B, C, R, S) after the first self-attention, (B, R, S, C)."""
        size = coarse.shape[-2:]
        position = sine_map(*coarse.shape[1:], coarse.device)  # (C, R, S)
        x = (coarse.float() + POSITION_WEIGHT * position).flatten(2).transpose(1, 2)  # (B, T, C)
        return self.layers[0].attend_to_slice(x, self._table(size, x.device)).unflatten(1, size)

    def keys_of_maps(self, maps: Tokens, size: Size) -> Keys:
        """Return the keys of whole maps of the given size, which are turned like the slice."""
        return self._keys(maps, self._table(size, maps.content.device))

    def keys_of_pointers(self, pointers: Tokens) -> Keys:
        """Return the keys of object pointers, which have no place in the plane."""
        return self._keys(pointers, None)

    def _keys(self, tokens: Tokens, table: Tensor | None) -> Keys:
        content = tokens.content.to(self.dtype)  # (B, K, M)
        keyed = (tokens.content.float() + tokens.position).to(self.dtype)  # (B, K, M)
        return tuple(layer.cross_attn_image.keys(keyed, content, table) for layer in self.layers)

    def forward(self, query: Tensor, keys: Keys) -> Tensor:
        """Return the conditioned map [batch, width, rows, columns] from `query` and keys."""
        size = query.shape[1:3]
        table = self._table(size, query.device)
        x = query.flatten(1, 2)  # (B, R, S, C) -> (B, T, C)
        for index, (layer, layer_keys) in enumerate(zip(self.layers, keys, strict=True)):
            if index > 0:
                x = layer.attend_to_slice(x, table)
            x = layer.attend_to_keys(x, layer_keys, table)
        return self.norm(x).transpose(1, 2).unflatten(2, size)  # (B, C, R, S)
