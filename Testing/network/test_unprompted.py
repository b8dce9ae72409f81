"""A click begins with what the network marks where it is, and with nothing of other lesions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import MOIS, lively, noise

from mois_core.network.config import MASK_STRIDE
from mois_core.network.model import Prompts
from mois_core.network.prompt_encoder import BOX_FIRST, BOX_SECOND, NEGATIVE, POSITIVE
from mois_core.network.unprompted import UNMARKED_LOGIT, with_marked

ROWS, COLUMNS = 9, 14
TWO_PARTS = torch.full((1, 1, ROWS, COLUMNS), -3.0)
TWO_PARTS[0, 0, 1:4, 1:4] = 2.0
TWO_PARTS[0, 0, 4, 4] = 1.0  # touches the first at a corner
TWO_PARTS[0, 0, 6:8, 8:13] = 5.0
WHOLE = (0, 0)


def at(*places, labels=None):
    """Return one lesion's points, given as column and row of mask pixels, and their labels."""
    points = [[MASK_STRIDE * column + 1.5, MASK_STRIDE * row + 1.5] for column, row in places]
    return torch.tensor([points]), torch.tensor([labels or [POSITIVE] * len(places)])


def flooded(marked, row, column):
    """Return what is connected with a pixel, found as a person would."""
    part, front = np.zeros_like(marked), [(row, column)]
    while front:
        r, c = front.pop()
        inside = 0 <= r < marked.shape[0] and 0 <= c < marked.shape[1]
        if inside and marked[r, c] and not part[r, c]:
            part[r, c] = True
            front += [(r + dr, c + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)]
    return part


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), seed=st.integers(0, 10**6), inside=st.floats(0.2, 0.7))
def test_a_click_begins_with_what_is_connected_with_it_and_nothing_else(data, seed, inside):
    rng = np.random.default_rng(seed)
    is_marked = rng.random((ROWS, COLUMNS)) < inside
    logits = np.where(is_marked, 1, -1) * rng.uniform(0.1, 6, is_marked.shape)
    marked = torch.tensor(logits, dtype=torch.float32)[None, None]
    row = data.draw(st.integers(0, ROWS - 1))
    column = data.draw(st.integers(0, COLUMNS - 1))
    is_marked[row, column] = True
    marked[0, 0, row, column] = marked[0, 0, row, column].abs()

    made = with_marked(None, marked, WHOLE, *at((column, row)))[0, 0].numpy()

    part = flooded(is_marked, row, column)
    kept = part | ~is_marked
    assert np.array_equal(made[kept], marked[0, 0].numpy()[kept])
    assert np.all(made[is_marked & ~part] == UNMARKED_LOGIT)


def test_a_click_beside_a_part_means_the_part_and_one_far_from_all_means_none():
    beside = with_marked(None, TWO_PARTS, WHOLE, *at((7, 6)))
    far = with_marked(None, TWO_PARTS, WHOLE, *at((13, 0)))

    assert torch.equal(beside > 0, TWO_PARTS == 5.0)
    assert not (far > 0).any()


def test_a_correction_adds_the_part_at_the_newest_click_and_takes_nothing_away():
    drawn = torch.full((1, 1, ROWS, COLUMNS), -7.0)
    drawn[0, 0, 7, 2] = 9.0
    both = at((2, 2), (10, 7))

    added = with_marked(drawn, TWO_PARTS, WHOLE, *both)
    negative = with_marked(drawn, TWO_PARTS, WHOLE, *at((2, 2), (10, 7), labels=[1, NEGATIVE]))

    assert torch.equal(added, torch.where(TWO_PARTS == 5.0, TWO_PARTS, drawn))
    assert torch.equal(negative, drawn)


def test_without_a_mask_to_correct_every_positive_click_counts():
    both = with_marked(None, TWO_PARTS, WHOLE, *at((2, 2), (10, 7)))
    first = with_marked(None, TWO_PARTS, WHOLE, *at((2, 2), (10, 7), labels=[1, NEGATIVE]))

    assert torch.equal(both, TWO_PARTS)
    assert torch.equal(first > 0, (TWO_PARTS > 0) & (TWO_PARTS < 5))


def test_what_was_denied_is_not_added_again():
    drawn = torch.full((1, 1, ROWS, COLUMNS), -7.0)
    clicks = (2, 2), (1, 1), (3, 3)

    again = with_marked(drawn, TWO_PARTS, WHOLE, *at(*clicks, labels=[1, NEGATIVE, 1]))
    at_once = with_marked(None, TWO_PARTS, WHOLE, *at(*clicks, labels=[1, NEGATIVE, 1]))

    assert torch.equal(again, drawn)
    assert not (at_once > 0).any()


def test_boxes_and_negative_clicks_alone_begin_with_no_mask():
    box = at((1, 1), (3, 3), labels=[BOX_FIRST, BOX_SECOND])

    assert with_marked(None, TWO_PARTS, WHOLE, *box) is None
    assert with_marked(None, TWO_PARTS, WHOLE, *at((2, 2), labels=[NEGATIVE])) is None


def test_a_crop_gives_what_the_slice_gives_there():
    top, left = 4, 6
    points, labels = at((10, 7))

    crop = TWO_PARTS[..., top:, left:]
    origin = (top * MASK_STRIDE, left * MASK_STRIDE)
    made = with_marked(None, crop, origin, points, labels)

    whole = with_marked(None, TWO_PARTS, WHOLE, points, labels)
    assert torch.equal(made, whole[..., top:, left:])


@pytest.fixture(scope="module")
def networks():
    """Two networks of the same weights, of which one begins clicks with what it marks."""
    made = [lively(replace(MOIS, marks_unprompted=marks)) for marks in (False, True)]
    made[1].load_state_dict(made[0].state_dict())
    return made


@torch.no_grad()
def test_lesions_of_a_slice_are_decoded_together_as_one_by_one(networks):
    plain, marking = networks
    features = marking.encode(noise(1, 1, 128, 128))
    coarse = marking.without_memory(features)
    marked = marking.unprompted(features)
    assert 0 < (marked > 0).sum() < marked.numel()
    points = torch.tensor([[[40.0, 60.0]], [[100.0, 20.0]]])
    labels = torch.ones(2, 1, dtype=torch.long)

    together = marking.decode(features, coarse, Prompts(points, labels))

    for index in range(2):
        own = points[index : index + 1], labels[index : index + 1]
        given = Prompts(*own, with_marked(None, marked, WHOLE, *own))
        told = plain.decode(features, coarse, given)
        # Logits go up to 124, and two at once are rounded otherwise than one.
        torch.testing.assert_close(together.logits[index], told.logits[0], rtol=1e-5, atol=1e-3)
        assert not torch.equal(told.logits, plain.decode(features, coarse, Prompts(*own)).logits)


@torch.no_grad()
def test_what_is_decoded_without_points_is_as_ever(networks):
    plain, marking = networks
    features = plain.encode(noise(1, 1, 128, 128))
    coarse = plain.without_memory(features)

    assert torch.equal(
        plain.decode(features, coarse).logits, marking.decode(features, coarse).logits
    )
