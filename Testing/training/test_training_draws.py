"""Crops drawn ahead of their steps change nothing, and a step seldom waits for the device."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_fixtures import losses_in, places_config, small_config

from mois_core.errors import BadInput
from mois_core.network.mask_decoder import RawMasks
from mois_core.network.position import RandomFrequencies
from mois_core.training.config import InteractionConfig, LossWeights
from mois_core.training.device import on_device, places_of, use_fast_products
from mois_core.training.losses import LossAccumulator, add_heeded
from mois_core.training.step_draws import DrawsAhead
from mois_core.training.trainer import Trainer

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason="compares last digits, which differ from run to run on a GPU"
)


def ahead(trainer: Trainer, steps: int = 2) -> Trainer:
    trainer.draws = DrawsAhead(trainer._draw, steps, CPU)
    return trainer


def test_drawing_ahead_changes_no_loss_and_no_weight(tmp_path, scans, one_thread):
    config = places_config()
    plain = Trainer(config, tmp_path / "plain", scans=scans)
    plain.run()
    early = ahead(Trainer(config, tmp_path / "early", scans=scans))
    early.run()
    assert losses_in(tmp_path / "early") == losses_in(tmp_path / "plain")
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, early.model.state_dict()[name]), name


def test_a_killed_run_that_draws_ahead_goes_on_to_the_last_digit(tmp_path, scans, one_thread):
    config = places_config()
    Trainer(config, tmp_path / "plain", scans=scans).run()
    ahead(Trainer(config, tmp_path / "killed", scans=scans)).run(until=2)
    ahead(Trainer(config, tmp_path / "killed", scans=scans)).run()
    assert losses_in(tmp_path / "killed") == losses_in(tmp_path / "plain")


def test_the_next_steps_are_drawn_once_and_in_their_order():
    drawn = []
    draws = DrawsAhead(lambda index: drawn.append(index) or index, 2, CPU)
    assert [draws(index) for index in range(4)] == [0, 1, 2, 3]
    draws(4)
    assert drawn[:5] == [0, 1, 2, 3, 4] and len(drawn) == len(set(drawn))


def test_a_draw_that_fails_says_so_in_its_own_step():
    def draw(index):
        if index == 1:
            raise BadInput("there is nothing to draw")
        return index

    draws = DrawsAhead(draw, 2, CPU)
    assert draws(0) == 0
    with pytest.raises(BadInput, match="nothing to draw"):
        draws(1)


class Asked(TorchDispatchMode):
    """Counts how often Python asks for a single value of a tensor."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("lesions", [1, 3])
def test_a_step_asks_for_one_number_however_many_lesions_it_has(tmp_path, scans, lesions):
    config = small_config(
        losses=LossWeights(click_contrast=0.5, heeded=0.5, spread=0.1),
        interaction=InteractionConfig(most_lesions=lesions, painted=0.5, corrected=0.5),
    )
    trainer = Trainer(config, tmp_path, scans=scans)
    with Asked() as asked:
        trainer.step(0)
    assert asked.count == 1  # the norm of the gradients


def test_a_processor_keeps_its_own_products():
    before = torch.get_float32_matmul_precision()
    use_fast_products(CPU)
    assert torch.get_float32_matmul_precision() == before


def test_places_of_a_mask_are_those_that_the_mask_picks():
    mask, values = torch.rand(4, 5) > 0.5, torch.rand(4, 5)
    assert torch.equal(values.flatten()[places_of(mask, CPU)], values[mask])
    assert on_device(values, CPU) is values


def test_half_precision_moves_no_click():
    encode = RandomFrequencies(64)
    places = torch.rand(2, 7, 2)
    exact = encode(places)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encode(places), exact)


def test_logits_in_half_precision_are_heeded_where_the_click_is():
    logits = torch.randn(2, 4, 32, 32).to(torch.bfloat16)
    places, labels = torch.rand(2, 3, 2), torch.ones(2, 3)
    sums = []
    for given in (logits, logits.float()):
        losses = LossAccumulator(LossWeights(heeded=1.0))
        add_heeded(losses, RawMasks(given, None, None, None), places, labels)
        sums.append(losses.sums["heeded"])
    assert torch.equal(*sums)


def test_counts_that_stay_on_the_device_give_the_same_means():
    values, where = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, False, True])
    losses = LossAccumulator()
    losses.add("a", values, 2.0, where)
    losses.add("a", values[:1], 2.0)
    losses.add("b", values, 1.0, torch.zeros(3, dtype=torch.bool))
    loss, means = losses.total(("a", "b", "c"))
    assert means == {"a": pytest.approx(8 / 3), "b": 0.0, "c": 0.0}
    assert loss.item() == pytest.approx(16 / 3)
    assert replace(losses, sums={}).total(("a",))[1] == {"a": 0.0}
