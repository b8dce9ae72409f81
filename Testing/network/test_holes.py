"""Small holes are filled as by hand, in masks of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import noise

from mois_core.network.holes import FILLED_LOGIT, LARGEST_HOLE, fill_small_holes


def filled_by_flood(plane, largest):
    """Fill as a person would: walk every component of background, eight ways, and count it."""
    rows, columns = plane.shape
    result, seen = plane.copy(), plane > 0
    for start in np.ndindex(rows, columns):
        if seen[start]:
            continue
        seen[start] = True
        component, front = [start], [start]
        while front:
            row, column = front.pop()
            for near in np.ndindex(3, 3):
                r, c = row + near[0] - 1, column + near[1] - 1
                if 0 <= r < rows and 0 <= c < columns and not seen[r, c]:
                    seen[r, c] = True
                    component.append((r, c))
                    front.append((r, c))
        if len(component) <= largest:
            for place in component:
                result[place] = FILLED_LOGIT
    return result


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    planes=st.integers(1, 3),
    rows=st.integers(1, 20),
    columns=st.integers(1, 20),
    inside=st.floats(0, 1),
    largest=st.integers(0, 12),
)
def test_small_holes_are_filled_as_by_hand(seed, planes, rows, columns, inside, largest):
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((planes, 1, rows, columns)).astype(np.float32)
    logits = np.where(rng.random(logits.shape) < inside, np.abs(logits), -np.abs(logits))

    ours = fill_small_holes(torch.from_numpy(logits), largest).numpy()

    by_hand = np.stack([filled_by_flood(plane[0], largest)[None] for plane in logits])
    assert np.array_equal(ours, by_hand)


@pytest.mark.parametrize("leading", [(), (1,), (2, 3)])
def test_holes_are_filled_whatever_the_leading_dimensions(leading):
    logits = torch.ones(*leading, 12, 12)
    logits[..., 4:6, 4:6] = -3
    logits[..., 0, :9] = 0

    filled = fill_small_holes(logits)

    assert filled.shape == logits.shape
    assert (filled[..., 4:6, 4:6] == FILLED_LOGIT).all()
    assert (filled[..., 0, :9] == 0).all(), f"nine pixels are more than {LARGEST_HOLE}"
    assert (logits[..., 4:6, 4:6] == -3).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_holes_are_filled_on_a_gpu_as_on_the_cpu():
    logits = noise(4, 1, 64, 64) + 1

    assert torch.equal(fill_small_holes(logits.cuda()).cpu(), fill_small_holes(logits))
