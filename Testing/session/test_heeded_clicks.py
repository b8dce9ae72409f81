"""A clicked place is what the click says, and what the network says elsewhere stays."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from engine_fixtures import FIRST, Block, scan_of
from hypothesis import given
from hypothesis import strategies as st
from stub_network import BRIGHT, StubNetwork, unpacked
from stub_sessions import click_on, ras, volume_of

from mois_core.network.config import MASK_STRIDE
from mois_core.network.holes import fill_small_holes
from mois_core.network.model import NO_OBJECT_LOGIT
from mois_core.session import Session
from mois_core.session.heeded_clicks import heeded
from mois_core.session.state import Settings

ROWS, COLUMNS = 24, 16


def at(logits: torch.Tensor, x: float, y: float) -> float:
    """Return the logit that is shown at a place in model pixels."""
    size = (MASK_STRIDE * ROWS, MASK_STRIDE * COLUMNS)
    shown = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    return float(shown[0, 0, int(y), int(x)])


@given(
    seed=st.integers(0, 1000),
    x=st.integers(0, MASK_STRIDE * COLUMNS - 1),
    y=st.integers(0, MASK_STRIDE * ROWS - 1),
    positive=st.booleans(),
)
def test_a_clicked_place_is_what_the_click_says_even_after_holes_are_filled(seed, x, y, positive):
    logits = 8 * torch.randn(
        1, 1, ROWS // 4, COLUMNS // 4, generator=torch.Generator().manual_seed(seed)
    )
    logits = F.interpolate(logits, (ROWS, COLUMNS), mode="bicubic")

    answer = heeded(fill_small_holes(logits), x, y, positive)
    answer = fill_small_holes(answer)

    assert (at(answer, x, y) > 0) == positive


@pytest.mark.parametrize("positive", [True, False])
def test_the_surroundings_of_a_click_follow_and_the_rest_stays(positive):
    sign = -1.0 if positive else 1.0
    logits = torch.full((1, 1, ROWS, COLUMNS), sign * 6.0)

    answer = heeded(logits, 4 * 8 + 1.5, 4 * 12 + 1.5, positive)

    turned = (answer > 0) != (logits > 0)
    assert 9 <= int(turned.sum()) <= 13
    assert turned[0, 0, 10:15, 6:11].sum() == turned.sum()
    assert torch.allclose(answer[..., :4, :], logits[..., :4, :], atol=0.01)


@pytest.mark.parametrize("noise", [1e-6, -1e-6])
def test_rounding_does_not_move_what_follows_a_click_between_two_pixels(noise):
    logits = torch.full((1, 1, ROWS, COLUMNS), 6.0)
    # Halfway between the mask pixels 8 and 9, and 12 and 13.
    x, y = 4 * 9 - 0.5, 4 * 13 - 0.5

    exact, noisy = heeded(logits, x, y, False), heeded(logits, x + noise, y - noise, False)

    assert torch.equal(exact > 0, noisy > 0)
    assert torch.allclose(exact, noisy, atol=1e-4)


def test_a_click_that_the_network_agrees_with_changes_nothing():
    logits = torch.randn(1, 1, ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))
    logits[..., 10:14, 6:10] = 5.0

    assert torch.equal(heeded(logits, 31.5, 47.5, True), logits)


def test_something_that_is_not_on_the_slice_stays_away():
    logits = torch.full((1, 1, ROWS, COLUMNS), NO_OBJECT_LOGIT)

    assert torch.equal(heeded(logits, 31.5, 47.5, True), logits)


class Deaf(StubNetwork):
    """A network that leaves a mask as it is when it is corrected."""

    def decode(self, features, coarse, prompts=None):
        decoded = super().decode(features, coarse, prompts)
        if prompts is None or prompts.logits is None:
            return decoded
        return self._decoded(prompts.logits > 0)


@pytest.mark.parametrize("heed", [True, False])
def test_a_correction_is_heeded_by_the_session_though_not_by_the_network(heed):
    session = Session(Deaf(), volume_of(scan_of(FIRST)), Settings(heed_clicks=heed))
    lesion_id = click_on(session, FIRST)
    slice_index, row, column = FIRST.middle
    before = session.lesion(lesion_id).mask.image(slice_index)
    place = ras(session, slice_index, row + 1, column + 1)

    session.click(place, positive=False, lesion=lesion_id)

    after = session.lesion(lesion_id).mask.image(slice_index)
    assert before[row + 1, column + 1]
    assert after[row + 1, column + 1] == (not heed)
    assert (after != before).sum() >= 9 if heed else (after == before).all()


class Restless(StubNetwork):
    """A network that moves the mask to wherever something is bright, or away, at a correction."""

    def __init__(self, marks: bool) -> None:
        super().__init__()
        self.marks = marks

    def decode(self, features, coarse, prompts=None):
        if prompts is None or prompts.logits is None:
            return super().decode(features, coarse, prompts)
        bright = unpacked(features.coarse) > BRIGHT
        return self._decoded(bright if self.marks else bright & False)


@pytest.mark.parametrize("positive", [True, False])
def test_no_click_does_the_opposite_of_what_it_says(positive):
    other = Block(FIRST.slices, (24, 28), (24, 28))
    scan = volume_of(scan_of(FIRST, other))
    session = Session(Restless(marks=not positive), scan, Settings(connected=False))
    lesion_id = click_on(session, FIRST)
    slice_index, row, column = FIRST.middle
    before = session.lesion(lesion_id).mask.image(slice_index)

    place = ras(session, slice_index, row, column + (8 if positive else 0))
    session.click(place, positive=positive, lesion=lesion_id)

    after = session.lesion(lesion_id).mask.image(slice_index)
    assert (after >= before).all() if positive else (after <= before).all()
    assert (after != before).any()
