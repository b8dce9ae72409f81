"""Attention: the kernel and the plain layer that the mask decoder uses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUERIES_PER_BLOCK = 256
"""Rows of scores computed at a time on a CPU: with ten exemplars 256 x 41,000 of them, which
stay in the last-level cache between the two products."""


def attends_raw_memory(x: Tensor) -> bool:
    """Whether values narrower than the keys pay off for this tensor.

    Values carry no rotary encoding, so attending over the raw memory and projecting afterwards
    gives the same result for a quarter of the work. PyTorch's own kernels lose more than that
    when the two widths differ, so it is done only where our blocked products run.
    """
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k' / sqrt(channels)) v for [batch, heads, tokens, channels].

    On a CPU without gradients the products run in blocks: PyTorch's own CPU kernel computes
    bfloat16 no faster than float32, and ordinary matrix products do.
    """
    if not attends_raw_memory(q) or q.shape[-2] * k.shape[-2] < QUERIES_PER_BLOCK**2:
        return F.scaled_dot_product_attention(q, k, v)
    q = q * q.shape[-1] ** -0.5
    out = q.new_empty(*q.shape[:-1], v.shape[-1])
    for first in range(0, q.shape[-2], QUERIES_PER_BLOCK):
        rows = slice(first, first + QUERIES_PER_BLOCK)
        scores = q[..., rows, :] @ k.transpose(-2, -1)
        out[..., rows, :] = scores.softmax(dim=-1) @ v
    return out


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[batch, tokens, channels] -> [batch, heads, tokens, channels / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """The inverse of `split_heads`."""
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Attention with projections before and after it; ``inner`` is the width in between."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = split_heads(self.q_proj(q), self.heads)
        k = split_heads(self.k_proj(k), self.heads)
        v = split_heads(self.v_proj(v), self.heads)
        return self.out_proj(join_heads(F.scaled_dot_product_attention(q, k, v)))
