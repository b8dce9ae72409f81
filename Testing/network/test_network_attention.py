"""The fast ways of attention give what PyTorch's own gives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_networks import MOIS, assert_same, lively, noise

from mois_core.network import attention
from mois_core.network.attention import attend, attends_raw_memory, join_heads, split_heads
from mois_core.network.memory_attention import RotaryAttention, Tokens, join_keys
from mois_core.network.position import rotary_table, rotate

PLACES = math.prod(MOIS.map_size)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


SHAPES = [
    (1, 1, 300, 300, 16, 16),
    (2, 1, 256, 1030, 32, 8),
    (1, 1, 1024, 2052, 64, 16),
    (3, 1, 257, 511, 24, 24),
    (2, 4, 300, 300, 16, 16),
    (1, 1, 40, 5000, 64, 16),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_attention_is_that_of_pytorch(shape):
    batch, heads, queries, keys, channels, value_channels = shape
    q = noise(batch, heads, queries, channels, seed=1)
    k = noise(batch, heads, keys, channels, seed=2)
    v = noise(batch, heads, keys, value_channels, seed=3)

    assert_same(attend(q, k, v), F.scaled_dot_product_attention(q, k, v), 5e-6)


@pytest.mark.parametrize("sharpness", [0.01, 30.0, 300.0])
def test_attention_is_that_of_pytorch_from_flat_to_sharp(sharpness):
    q, k, v = (noise(1, 1, 400, 64, seed=seed) for seed in range(3))

    ours = attend(sharpness * q, k, v)

    exact = F.scaled_dot_product_attention(sharpness * q.double(), k.double(), v.double())
    assert ours.isfinite().all()
    assert_same(ours, exact, 1e-4)


@pytest.mark.parametrize("tokens", [64, 600], ids=["windows", "whole map"])
@pytest.mark.parametrize("has_tiles", [False, True])
def test_attention_in_half_precision_is_close(monkeypatch, tokens, has_tiles):
    monkeypatch.setattr(attention, "has_matrix_tiles", lambda: has_tiles)
    q, k, v = (noise(1, 2, tokens, 64, seed=seed) for seed in range(3))
    exact = F.scaled_dot_product_attention(q, k, v)

    halves = attend(*(t.to(torch.bfloat16) for t in (q, k, v)))

    assert halves.dtype == torch.bfloat16
    assert_same(halves.float(), exact, 2e-2)


def test_attention_leaves_its_inputs_alone():
    inputs = [noise(1, 1, 600, 64, seed=seed) for seed in range(3)]
    before = [t.clone() for t in inputs]

    attend(*inputs)

    assert all(torch.equal(*pair) for pair in zip(inputs, before, strict=True))


def test_attention_passes_gradients_on():
    inputs = [noise(1, 1, 300, 16, seed=seed).requires_grad_() for seed in range(3)]

    with torch.enable_grad():
        assert not attends_raw_memory(inputs[0])
        attend(*inputs).sum().backward()

    assert all(t.grad is not None and t.grad.isfinite().all() for t in inputs)


@pytest.mark.parametrize(("width", "memory_width"), [(64, 16), (64, 64), (32, 4)])
def test_projecting_values_after_the_attention_is_exact(width, memory_width):
    torch.manual_seed(0)
    attention = RotaryAttention(width, memory_width).double()
    table = rotary_table(width, 18, 18, torch.device("cpu")).double()
    x = noise(2, 18 * 18, width, dtype=torch.float64)
    memory = noise(2, 3 * 18 * 18, memory_width, seed=1, dtype=torch.float64)

    fast = attention(x, attention.keys(memory, memory, table), table)
    with torch.enable_grad():
        plain = attention(x, attention.keys(memory, memory, table), table)

    # Turning the keys goes through float32 by design; both ways do it alike.
    assert_same(fast, plain, 1e-12)


def test_keys_of_groups_are_keys_of_the_whole():
    stack = lively(MOIS).memory_attention
    maps = Tokens(*(noise(2, PLACES, MOIS.memory_width, seed=n) for n in (0, 1)))
    pointers = Tokens(*(noise(1, 6, MOIS.memory_width, seed=n) for n in (2, 3)))

    joined = join_keys(stack.keys_of_maps(maps, MOIS.map_size), stack.keys_of_pointers(pointers))

    content = torch.cat((maps.content, pointers.content.expand(2, -1, -1)), dim=1)
    for layer_keys, layer in zip(joined, stack.layers, strict=True):
        attention = layer.cross_attn_image
        turned = rotate(
            attention.k_proj(maps.content + maps.position),
            rotary_table(MOIS.width, *MOIS.map_size, torch.device("cpu")),
        )
        assert_same(layer_keys.key[:, :PLACES], turned)
        assert layer_keys.key.shape[1] == content.shape[1]
        values = layer_keys.value
        assert_same(
            attention.v_proj(values) if layer_keys.is_raw else values, attention.v_proj(content)
        )


def test_heads_are_split_and_joined_again():
    x = noise(2, 5, 12)

    assert split_heads(x, 3).shape == (2, 3, 5, 4)
    assert torch.equal(join_heads(split_heads(x, 3)), x)
