"""The losses: what they are of, and that those on attention and places teach what they should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_fixtures import CROP, small_config

from mois_core.network.config import STRIDE
from mois_core.network.exemplar import ExemplarView
from mois_core.network.mask_decoder import RawMasks
from mois_core.training.attention_loss import add_attention, attention_logits
from mois_core.training.compared_places import compared_places
from mois_core.training.config import LossWeights, SamplingConfig
from mois_core.training.initial_network import new_model, new_places_head
from mois_core.training.losses import (
    LossAccumulator,
    add_instances,
    add_semantic,
    add_spread,
    dice,
    focal,
    iou,
)
from mois_core.training.places_loss import add_places, lesion_of_places, own_errors
from mois_core.training.sampling import sample_scan


def test_losses_of_perfect_and_of_opposite_masks():
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., 2:6, 2:6] = 1
    right = (truth * 2 - 1) * 20
    assert float(dice(right, truth)) == pytest.approx(0, abs=1e-5)
    assert float(focal(right, truth, 0.25, 2)) == pytest.approx(0, abs=1e-6)
    assert float(iou(right, truth)) == 1 and float(iou(-right, truth)) == 0
    assert float(dice(-right, truth)) > 0.9


def test_pooled_losses_are_those_of_smaller_masks():
    generator = torch.Generator().manual_seed(0)
    small = (torch.rand(3, 1, 8, 8, generator=generator) > 0.7).float()
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    heads = (torch.randn(3, 4, 8, 8, generator=generator), torch.rand(3, 4, generator=generator))
    raw = RawMasks(*heads, None, torch.zeros(3, 1))
    sums = []
    for truth, pooling in ((small, 1), (large, 2)):
        losses = LossAccumulator(LossWeights(pooling=pooling))
        add_instances(losses, "click", raw, truth, True)
        add_semantic(losses, raw, truth, 1 - truth)
        sums.append({name: float(value) for name, value in losses.sums.items()})
    assert sums[0] == pytest.approx(sums[1], rel=1e-6)


def test_losses_are_weighted_means_not_sums():
    losses = LossAccumulator()
    values = torch.tensor([1.0, 3.0])
    losses.add("click mask", values, 2.0)
    loss, parts = losses.total(["click mask", "click iou"])
    assert float(loss) == 4 and parts == {"click mask": 2.0, "click iou": 0.0}


def test_only_values_beyond_one_cost_spread():
    losses = LossAccumulator(LossWeights(spread=1.0))
    maps = torch.stack([torch.full((4, 2, 2), 0.5), torch.full((4, 2, 2), -3.0)])
    add_spread(losses, maps)
    assert float(losses.sums["spread"]) == pytest.approx(4.0)


def test_the_attention_loss_turns_the_search_to_the_exemplars_lesions():
    """A slice whose left half looks like the exemplar's upper one, a lesion; the rest alike."""
    model = new_model(small_config())
    config, (rows, columns) = model.config, model.config.map_size
    generator = torch.Generator().manual_seed(0)
    looks = torch.randn(2, config.width, generator=generator)
    slice_memories = torch.randn(2, config.memory_width, generator=generator)
    right = (torch.arange(columns) >= columns // 2).long().expand(rows, columns)
    lower = (torch.arange(rows) >= rows // 2).long()[:, None].expand(rows, columns)
    query = looks[right][None]
    outlined = torch.zeros(1, rows * STRIDE, columns * STRIDE)
    outlined[:, : rows // 2 * STRIDE] = 1
    memory = slice_memories[lower].permute(2, 0, 1)
    view = ExemplarView(0, True, memory, torch.zeros(config.width))
    truth = (right == 0).repeat_interleave(STRIDE, 0).repeat_interleave(STRIDE, 1)[None].float()
    optimizer = torch.optim.Adam(model.exemplar_attention.parameters(), 1e-2)

    def cost() -> torch.Tensor:
        losses = LossAccumulator(LossWeights(attention=1.0))
        logits = attention_logits(model, query, model.exemplar_keys([view]))
        add_attention(losses, logits, outlined, truth, 1 - truth)
        assert set(losses.sums) == {"attention right", "attention wrong"}
        return sum(losses.sums.values())

    before = cost().item()
    for _ in range(30):
        optimizer.zero_grad()
        cost().backward()
        optimizer.step()
    assert cost().item() < 0.2 * before


def test_places_are_told_apart_by_what_the_encoder_sees(scans):
    """Two appearances on noise: the loss has to find lesions and their appearances within some
    steps, and each crop's appearances from the other crops alone."""
    config = small_config(losses=LossWeights(places=1.0))
    model = new_model(config)
    head = new_places_head(config, model)
    how = SamplingConfig(scans=2, consecutive=1, elsewhere=5, crop_size=CROP, brightness=0)
    samples = [sample_scan(np.random.default_rng(n), scans[n], how) for n in range(2)]
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, 2e-3)

    def costs() -> dict[str, torch.Tensor]:
        losses = LossAccumulator(config.losses)
        features = model.encode(torch.cat([sample.images for sample in samples]))
        compared = [compared_places(sample) for sample in samples]
        add_places(losses, head, model.sam_mask_decoder, features, samples, compared)
        return {name: value / losses.counts[name] for name, value in losses.sums.items()}

    before = costs()
    for _ in range(40):
        optimizer.zero_grad()
        sum(costs().values()).backward()
        optimizer.step()
    after = costs()
    assert set(after) == {"places", "places coarse", "places look", "places own"}
    for name, cost in after.items():
        assert cost.item() < 0.6 * before[name].item(), name


def test_a_new_network_gives_the_same_mask_whatever_is_meant(scans):
    """So clicks and searches begin with what the loss on places taught the decoder."""
    model = new_model(small_config(losses=LossWeights(places=1.0)))
    features = model.encode(torch.from_numpy(scans[0].images[:1, None, :64, :64]).float() / 255)
    logits = model.decode(features, model.without_memory(features)).raw.logits
    assert logits.std() > 0
    assert torch.equal(logits, logits[:, :1].expand_as(logits))


def test_the_places_teach_the_decoder_what_it_says_without_prompts(scans):
    config = small_config(losses=LossWeights(places=1.0))
    model = new_model(config)
    sample = sample_scan(
        np.random.default_rng(0), scans[0], SamplingConfig(elsewhere=1, crop_size=CROP)
    )
    losses, head = LossAccumulator(config.losses), new_places_head(config, model)
    decoder, features = model.sam_mask_decoder, model.encode(sample.images)
    add_places(losses, head, decoder, features, [sample], [None])
    losses.sums["places"].backward()
    taught = {name for name, p in decoder.named_parameters() if p.grad is not None}
    parts = {name.split(".")[0] for name in taught}
    assert parts == {"output_upscaling", "conv_s0", "conv_s1", "output_hypernetworks_mlps"}
    assert {name.split(".", 2)[2] for name in taught if "mlps" in name} == {"layers.2.bias"}


def test_a_place_is_of_the_lesion_that_most_of_it_shows():
    labels = torch.zeros(1, 2 * STRIDE, 2 * STRIDE, dtype=torch.uint8)
    labels[0, :STRIDE, :STRIDE] = 3
    labels[0, STRIDE:, :2] = 4
    labels[0, STRIDE:, STRIDE : STRIDE + 4] = 7
    labels[0, STRIDE:, STRIDE + 4 :] = 5
    assert lesion_of_places(labels).tolist() == [[[3, 0], [0, 5]]]


@pytest.mark.parametrize(("apart", "error"), [(True, 0.0), (False, np.log(6 / 2))])
def test_places_of_a_lesion_are_asked_for_each_other(apart, error):
    lesions = torch.tensor([[[1, 1, 1, 0], [2, 2, 2, 9]], [[1, 0, 0, 0], [0, 0, 0, 0]]])
    own = torch.zeros(2, 4, 2, 4)
    own[:, 0] = 1.0
    if apart:
        own[0, :, 1] = torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None]
        own[0, :, 1, 3] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    errors = own_errors(own, lesions)
    assert errors.shape == (2,), "one place alone has none to ask for, nor has one on another crop"
    assert errors.numpy() == pytest.approx(error, abs=1e-3)


def test_a_crop_with_the_only_lesion_of_its_appearance_has_nobody_to_ask(scans):
    config = small_config(losses=LossWeights(places=1.0))
    model = new_model(config)
    head = new_places_head(config, model)
    how = SamplingConfig(consecutive=1, elsewhere=1, crop_size=CROP)
    sample = sample_scan(np.random.default_rng(0), scans[0], how)
    alone = replace(sample, labels=torch.zeros_like(sample.labels))
    alone.labels[0, 8:40, 8:40] = 1
    losses = LossAccumulator(config.losses)
    features = model.encode(alone.images)
    compared = [compared_places(alone)]
    add_places(losses, head, model.sam_mask_decoder, features, [alone], compared)
    sum(losses.sums.values()).backward()
    assert "places look" not in losses.sums
    assert all(bool(p.grad.isfinite().all()) for p in head.parameters() if p.grad is not None)
