"""The network's stages give for many what they give for each alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from small_networks import TALL_SLM, WIDE_MOIS, assert_same, lively, noise, some_slices

from mois_core.network.exemplar import ExemplarView
from mois_core.network.model import Prompts

PLACES = math.prod(WIDE_MOIS.map_size)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def network():
    return lively(WIDE_MOIS)


@pytest.fixture(scope="module")
def slm():
    return lively(TALL_SLM)


@pytest.fixture(scope="module")
def features(network):
    with torch.no_grad():
        return network.encode(some_slices(3, WIDE_MOIS.image_size))


def assert_same_decode(batch, singles):
    for field in ("logits", "candidates", "ious", "pointer", "score"):
        together = torch.cat([getattr(single, field) for single in singles])
        assert_same(getattr(batch, field), together)


# ---- many at once ------------------------------------------------------------------------------


def test_slices_encode_together_as_alone(network, features):
    slices = some_slices(3, WIDE_MOIS.image_size)
    for slice_index in range(3):
        alone = network.encode(slices[slice_index : slice_index + 1])
        for field in ("coarse", "middle", "fine"):
            assert_same(
                getattr(features[slice_index : slice_index + 1], field), getattr(alone, field)
            )


def test_grey_slices_are_three_equal_channels(network, features):
    slices = some_slices(3, WIDE_MOIS.image_size)

    assert_same(network.encode(slices.expand(-1, 3, -1, -1)).coarse, features.coarse)


@pytest.mark.parametrize("points", [1, 2, 3])
@pytest.mark.parametrize("corrects", [False, True], ids=["new", "correction"])
def test_prompts_on_one_slice_decode_together_as_alone(network, features, points, corrects):
    slice_features = features[:1]
    coarse = network.without_memory(slice_features)
    where = noise(4, points, 2).abs() * max(WIDE_MOIS.image_size) / 3
    labels = torch.tensor([[1, 0, 1], [1, 1, 0], [1, 0, 0], [2, 3, 1]])[:, :points]
    earlier = 5 * noise(4, 1, *WIDE_MOIS.low_res_size) if corrects else None

    together = network.decode(slice_features, coarse, Prompts(where, labels, earlier))

    assert together.candidates.shape[1] == (3 if points == 1 else 1)
    alone = [
        network.decode(
            slice_features,
            coarse,
            Prompts(where[[n]], labels[[n]], earlier[[n]] if corrects else None),
        )
        for n in range(4)
    ]
    assert_same_decode(together, alone)


def test_prompts_on_several_slices_decode_together_as_alone(network, features):
    coarse = network.without_memory(features)
    where, labels = noise(3, 1, 2).abs() * 40, torch.ones(3, 1)

    together = network.decode(features, coarse, Prompts(where, labels))

    alone = [
        network.decode(features[n : n + 1], coarse[[n]], Prompts(where[[n]], labels[[n]]))
        for n in range(3)
    ]
    assert_same_decode(together, alone)


def test_lesions_without_prompts_decode_together_as_alone(network, features):
    conditioned = noise(4, WIDE_MOIS.width, *WIDE_MOIS.map_size)

    together = network.decode(features[:1], conditioned)

    assert_same_decode(together, [network.decode(features[:1], conditioned[[n]]) for n in range(4)])


@pytest.mark.parametrize("gate", [True, False])
def test_slices_are_searched_together_as_alone(network, features, gate):
    conditioned = noise(3, WIDE_MOIS.width, *WIDE_MOIS.map_size)

    together = network.decode_search(features, conditioned, gate)

    alone = [network.decode_search(features[n : n + 1], conditioned[[n]], gate) for n in range(3)]
    assert_same_decode(together, alone)


def test_drawn_masks_are_taken_together_as_alone(slm):
    features = slm.encode(some_slices(1, TALL_SLM.image_size))
    masks = torch.zeros(3, 1, *TALL_SLM.image_size)
    masks[0, :, 10:50, 20:90] = 1
    masks[1, :, 70:80, 5:40] = 1

    together = slm.decode_mask(features, masks)

    assert_same_decode(together, [slm.decode_mask(features, masks[[n]]) for n in range(3)])
    assert (together.logits[0, 0] > 0).any()
    assert (together.score > 0).flatten().tolist() == [True, True, False]
    assert torch.equal(together.pointer[2:], slm.no_obj_ptr)


@pytest.mark.parametrize("from_clicks", [True, False])
def test_masks_are_remembered_together_as_alone(network, features, from_clicks):
    logits = 3 * noise(4, 1, *WIDE_MOIS.low_res_size)
    score = torch.tensor([[1.0], [-1.0], [0.0], [2.0]])

    together = network.remember(features[:1], logits, score, from_clicks)

    alone = [network.remember(features[:1], logits[[n]], score[[n]], from_clicks) for n in range(4)]
    assert_same(together, torch.cat(alone))


def memories(config, lesions):
    maps = [(i, noise(lesions, config.memory_width, *config.map_size, seed=i)) for i in (6, 1, 0)]
    pointers = [(d, noise(lesions, config.width, seed=10 + d)) for d in (3, 2, 1)]
    return maps, pointers


def one_of(pairs, lesion):
    return [(place, value[[lesion]]) for place, value in pairs]


def test_lesions_on_one_slice_attend_to_their_memories_together_as_alone(network, features):
    maps, pointers = memories(WIDE_MOIS, 3)
    query = network.memory_query(features[:1])

    together = network.attend_to_memory(query, network.memory_keys(maps, pointers, 8))

    for lesion in range(3):
        keys = network.memory_keys(one_of(maps, lesion), one_of(pointers, lesion), 8)
        assert_same(together[[lesion]], network.attend_to_memory(query, keys))


def test_lesions_attend_to_their_short_memories_together_as_alone(slm):
    maps, pointers = memories(TALL_SLM, 2)
    query = slm.short_query(slm.encode(some_slices(1, TALL_SLM.image_size)))

    together = slm.attend_to_short(query, slm.short_keys(maps, pointers, 8))

    for lesion in range(2):
        keys = slm.short_keys(one_of(maps, lesion), one_of(pointers, lesion), 8)
        assert_same(together[[lesion]], slm.attend_to_short(query, keys))


# ---- exemplars ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exemplars():
    return [
        ExemplarView(
            slice_index,
            index < 2,
            noise(WIDE_MOIS.memory_width, *WIDE_MOIS.map_size, seed=index),
            noise(WIDE_MOIS.width, seed=index),
        )
        for index, slice_index in enumerate((4, 9, 1))
    ]


def test_slices_attend_to_exemplars_together_as_alone(network, features, exemplars):
    keys = network.exemplar_keys(exemplars)
    query = network.exemplar_query(features)

    together = network.attend_to_exemplars(query, keys, [0, 4, 30])

    for index, slice_index in enumerate((0, 4, 30)):
        assert_same(
            together[[index]], network.attend_to_exemplars(query[[index]], keys, [slice_index])
        )


def test_slices_attend_to_nothing_together_as_alone(network, features):
    query = network.exemplar_query(features)

    together = network.attend_to_nothing(query)

    alone = [network.attend_to_nothing(query[[n]]) for n in range(3)]
    assert_same(together, torch.cat(alone))


def test_exemplar_keys_serve_every_slice_unchanged(network, features, exemplars):
    kept = network.exemplar_keys(exemplars)
    query = network.exemplar_query(features[:1])
    first = [network.attend_to_exemplars(query, kept, [slice_index]) for slice_index in (0, 4, 9)]

    for slice_index, before in zip((0, 4, 9), first, strict=True):
        fresh = network.attend_to_exemplars(query, network.exemplar_keys(exemplars), [slice_index])
        assert torch.equal(before, fresh)
        assert torch.equal(before, network.attend_to_exemplars(query, kept, [slice_index]))


def test_the_order_of_exemplars_does_not_matter(network, features, exemplars):
    query = network.exemplar_query(features[:1])
    there = network.attend_to_exemplars(query, network.exemplar_keys(exemplars), [3])
    back = network.attend_to_exemplars(query, network.exemplar_keys(exemplars[::-1]), [3])

    assert_same(there, back)


def test_kept_keys_outlive_the_mode_they_were_made_in(network, features, exemplars):
    query = network.exemplar_query(features[:1])
    kept = network.exemplar_keys(exemplars)
    maps, _ = memories(WIDE_MOIS, 1)
    remembered = network.memory_keys(maps, [], 8)
    usual = network.attend_to_memory(query, remembered)

    with torch.enable_grad():
        assert_same(network.attend_to_memory(query, remembered), usual)
        made_here = network.memory_keys(maps, [], 8)
    assert_same(network.attend_to_memory(query, made_here), usual)
    assert kept.maps[0].key.shape[1] == len(exemplars) * PLACES


# ---- features ------------------------------------------------------------------------------


def test_features_know_their_size_and_can_move(features):
    floats = sum(getattr(features, field).numel() for field in ("coarse", "middle", "fine"))

    assert features.nbytes == 4 * floats
    assert torch.equal(features.to("cpu").coarse, features.coarse)
    assert replace(features, coarse=features.coarse[:1]).nbytes < features.nbytes
