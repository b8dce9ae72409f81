"""An input that is no square: a click and a crop lie where they lie, along rows and columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import MOIS, SAM, SLM, TALL, WIDE, assert_same, lively, some_slices

from mois_core.network.config import STRIDE
from mois_core.network.model import Prompts
from mois_core.network.prompt_encoder import NEGATIVE, POSITIVE
from mois_core.session.preprocess import model_input, published_input

SIZES = (TALL, WIDE)

parts = st.floats(0, 1)
sizes = st.sampled_from(SIZES)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def prompt_encoder(size):
    return lively(replace(SAM, image_size=size)).sam_prompt_encoder


def positions_of_whole(size):
    rows, columns = (side // STRIDE for side in size)
    return prompt_encoder(size).positions((0, 0), (rows, columns))


# ---- where a click is --------------------------------------------------------------------------


def encoded_place(size, x, y, label):
    """The encoding of a click's place alone."""
    encoder = prompt_encoder(size)
    token = encoder.points(torch.tensor([[[x, y]]]), torch.tensor([[label]]))[0, 0]
    return token - encoder.point_embeddings[label].weight[0]


@given(sizes, parts, parts, st.sampled_from([POSITIVE, NEGATIVE]))
@settings(max_examples=100, deadline=None)
def test_a_click_is_encoded_as_the_place_of_the_map_that_it_lies_in(size, down, across, label):
    rows, columns = (side // STRIDE for side in size)
    row, column = int(down * (rows - 1)), int(across * (columns - 1))
    middle = ((column + 0.5) * STRIDE - 0.5, (row + 0.5) * STRIDE - 0.5)
    positions = positions_of_whole(size)

    click = encoded_place(size, *middle, label)

    distances = (positions[0] - click[:, None, None]).square().sum(dim=0)  # (rows, columns)
    assert divmod(int(distances.argmin()), columns) == (row, column)
    assert float(distances[row, column]) < 1e-6


@given(sizes, parts, parts)
@settings(max_examples=50, deadline=None)
def test_a_distance_means_the_same_along_rows_and_columns(size, down, across):
    """Places are encoded as on the square around the image: a round lesion stays round."""
    square = (max(size),) * 2
    y, x = down * (size[0] - 1), across * (size[1] - 1)

    here, there = (encoded_place(s, x, y, POSITIVE) for s in (size, square))

    assert torch.equal(here, there)
    rows, columns = (side // STRIDE for side in size)
    whole = positions_of_whole(square)[:, :, :rows, :columns]
    assert torch.equal(positions_of_whole(size), whole)


@given(sizes, parts, parts, parts, parts)
@settings(max_examples=50, deadline=None)
def test_a_crop_has_the_places_that_the_whole_slice_has_there(size, down, across, tall, wide):
    rows, columns = (side // STRIDE for side in size)
    top, left = int(down * (rows - 1)), int(across * (columns - 1))
    height, width = 1 + int(tall * (rows - top - 1)), 1 + int(wide * (columns - left - 1))

    origin = (top * STRIDE, left * STRIDE)
    crop = prompt_encoder(size).positions(origin, (height, width))

    whole = positions_of_whole(size)
    assert torch.equal(crop, whole[:, :, top : top + height, left : left + width])


# ---- maps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SAM, MOIS, SLM], ids=["SAM", "MOIS", "SLM"])
@pytest.mark.parametrize("size", SIZES)
def test_every_map_has_the_rows_and_columns_of_the_input(config, size):
    network = lively(replace(config, image_size=size))
    rows, columns = (side // STRIDE for side in size)

    features = network.encode(some_slices(1, size))
    drawn = network.decode_mask(features, (some_slices(1, size, seed=3) > 0.6).float())
    click = Prompts(torch.tensor([[[size[1] - 8.0, size[0] - 8.0]]]), torch.ones(1, 1))
    clicked = network.decode(features, network.without_memory(features), click)
    corrected = network.decode(
        features, network.without_memory(features), replace(click, logits=clicked.logits)
    )

    for decoded in (drawn, clicked, corrected):
        assert decoded.logits.shape == (1, 1, 4 * rows, 4 * columns)
        memory = network.remember(features, decoded.logits, decoded.score, from_clicks=True)
        assert memory.shape == (1, config.memory_width, rows, columns)
    assert network.memory_query(features).shape == (1, rows, columns, config.width)
    assert network.memory_plane((rows, columns)).shape == (rows * columns, config.memory_width)


# ---- slices ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [model_input, published_input])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(50, 20), (20, 50), (64, 64)])
def test_a_slice_is_stretched_along_each_of_its_axes(make, size, shape):
    rows, columns = np.indices(shape)
    for axis, ramp in enumerate((rows, columns)):
        image = 20 + 200 * ramp / (shape[axis] - 1)
        stretched = make(image.astype(np.float32), size)[0]

        assert stretched.shape == size
        along = stretched.mean(dim=1 - axis)
        assert bool((along.diff() >= -0.01).all()) and float(along[-1] - along[0]) > 0.7
        assert float(stretched.std(dim=1 - axis).max()) < 0.01


@pytest.mark.parametrize("size", SIZES)
def test_a_slice_that_has_the_inputs_size_stays_as_it_is(size):
    slices = some_slices(1, size)[0, 0]

    assert_same(model_input(255 * slices.numpy(), size)[0], slices, 1e-4)
