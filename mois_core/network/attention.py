"""Attention: the kernel and the plain layer that the mask decoder uses."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

QUERIES_PER_BLOCK = 256
"""Rows of scores computed at a time on a CPU: with ten exemplars 256 x 41,000 of them, which
stay in the last-level cache between the two products. With fewer, packing the keys for every
block costs more than that saves."""

FEWEST_SCORES = 256**2
"""Below this many scores per head, as in the encoder's windows, splitting them into blocks costs
more than it saves, and all heads go into one batched product."""


def attends_raw_memory(x: Tensor) -> bool:
    """Return whether values narrower than the keys pay off for this tensor.

    Values carry no rotary encoding, so attending over the raw memory and projecting afterwards
    gives the same result for a quarter of the work. PyTorch's own kernels lose more than that
    when the two widths differ, so it is done only where our blocked products run.
    """
    return x.device.type == "cpu" and not torch.is_grad_enabled()


@functools.cache
def has_matrix_tiles() -> bool:
    """Return whether the processor multiplies bfloat16 in tiles (AMX)."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k' / sqrt(channels)) v, all [batch, heads, tokens, channels].

    On a CPU without gradients, what PyTorch's own kernel is slow at runs as plain matrix
    products: values narrower than keys, and bfloat16, which it computes no faster than float32
    where the processor has no tiles for it (with them, it takes half the time of the products).
    """
    # q (B, H, Q, D), k (B, H, K, D), v (B, H, K, V) -> (B, H, Q, V)
    is_slow = v.shape[-1] != k.shape[-1] or (q.dtype != torch.float32 and not has_matrix_tiles())
    if not is_slow or not attends_raw_memory(q):
        return F.scaled_dot_product_attention(q, k, v)
    if q.shape[-2] * k.shape[-2] < FEWEST_SCORES:
        return _attend_at_once(q, k, v)
    out = q.new_empty(*q.shape[:-1], v.shape[-1])  # (B, H, Q, V)
    # One buffer for all blocks: fresh memory of this size costs more than the softmax.
    buffer = q.new_empty(min(QUERIES_PER_BLOCK, q.shape[-2]), k.shape[-2])
    for batch in range(q.shape[0]):
        for head in range(q.shape[1]):
            one = (batch, head)
            _attend_in_blocks(q[one], k[one].T, v[one], out[one], buffer)
    return out


def _attend_in_blocks(q: Tensor, k_t: Tensor, v: Tensor, out: Tensor, buffer: Tensor) -> None:
    """Attend with one head, a block of queries at a time.

    The products are of two matrices, because PyTorch's batched ones copy bfloat16 scores.
    """
    # q (Q, D), k_t (D, K), v (K, V), out (Q, V); buffer (block, K)
    scale = q.shape[-1] ** -0.5
    blocks = zip(q.split(len(buffer)), out.split(len(buffer)), strict=True)
    for some_q, some_out in blocks:
        scores = buffer[: len(some_q)]
        torch.addmm(scores, some_q, k_t, beta=0, alpha=scale, out=scores)
        torch.softmax(scores, dim=-1, out=scores)
        torch.mm(scores, v, out=some_out)


def _attend_at_once(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend with all windows and heads in one batch of small products."""
    heads = q.shape[:2]
    q, k, v = (t.flatten(0, 1) for t in (q, k, v))  # (B * H, Q or K, D or V)
    scores = q.new_empty(*q.shape[:2], k.shape[1])  # (B * H, Q, K)
    scale = q.shape[-1] ** -0.5
    torch.baddbmm(scores, q, k.transpose(1, 2), beta=0, alpha=scale, out=scores)
    torch.softmax(scores, dim=-1, out=scores)
    return (scores @ v).unflatten(0, heads)  # (B, H, Q, V)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Reshape [batch, tokens, channels] to [batch, heads, tokens, channels / heads]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Reshape [batch, heads, tokens, channels / heads] to [batch, tokens, channels]."""
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
        # q (B, Q, C), k and v (B, K, C) -> (B, Q, C)
        q = split_heads(self.q_proj(q), self.heads)  # (B, H, Q, D)
        k = split_heads(self.k_proj(k), self.heads)  # (B, H, K, D)
        v = split_heads(self.v_proj(v), self.heads)  # (B, H, K, D)
        return self.out_proj(join_heads(F.scaled_dot_product_attention(q, k, v)))
