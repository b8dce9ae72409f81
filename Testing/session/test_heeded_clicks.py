"""A clicked place is what the click says, and what the network says elsewhere stays."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mois_core.network.holes import fill_small_holes
from mois_core.network.model import NO_OBJECT_LOGIT
from mois_core.session.heeded_clicks import PIXEL, heeded

ROWS, COLUMNS = 24, 16
LABELS = {True: 1, False: 0}


def at(logits: torch.Tensor, x: float, y: float) -> float:
    """Return the logit that is shown at a place in model pixels."""
    size = (PIXEL * ROWS, PIXEL * COLUMNS)
    shown = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    return float(shown[0, 0, int(y), int(x)])


@given(
    seed=st.integers(0, 1000),
    x=st.integers(0, PIXEL * COLUMNS - 1),
    y=st.integers(0, PIXEL * ROWS - 1),
    positive=st.booleans(),
)
def test_a_clicked_place_is_what_the_click_says_even_after_holes_are_filled(seed, x, y, positive):
    logits = 8 * torch.randn(
        1, 1, ROWS // 4, COLUMNS // 4, generator=torch.Generator().manual_seed(seed)
    )
    logits = F.interpolate(logits, (ROWS, COLUMNS), mode="bicubic")

    answer = heeded(fill_small_holes(logits), [(x, y)], [LABELS[positive]])
    answer = fill_small_holes(answer)

    assert (at(answer, x, y) > 0) == positive


@pytest.mark.parametrize("positive", [True, False])
def test_the_surroundings_of_a_click_follow_and_the_rest_stays(positive):
    sign = -1.0 if positive else 1.0
    logits = torch.full((1, 1, ROWS, COLUMNS), sign * 6.0)

    answer = heeded(logits, [(4 * 8 + 1.5, 4 * 12 + 1.5)], [LABELS[positive]])

    turned = (answer > 0) != (logits > 0)
    assert 9 <= int(turned.sum()) <= 13
    assert turned[0, 0, 10:15, 6:11].sum() == turned.sum()
    assert torch.allclose(answer[..., :4, :], logits[..., :4, :], atol=0.01)


def test_a_click_that_the_network_agrees_with_changes_nothing():
    logits = torch.randn(1, 1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))
    logits[..., 10:14, 6:10] = 5.0

    assert torch.equal(heeded(logits, [(31.5, 47.5)], [1]), logits)


def test_something_that_is_not_on_the_slice_stays_away():
    logits = torch.full((1, 1, ROWS, COLUMNS), NO_OBJECT_LOGIT)

    assert torch.equal(heeded(logits, [(31.5, 47.5)], [1]), logits)


def test_corners_of_a_box_are_no_clicks():
    logits = torch.full((1, 1, ROWS, COLUMNS), -6.0)

    assert torch.equal(heeded(logits, [(8, 8), (40, 60)], [2, 3]), logits)
