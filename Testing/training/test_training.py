"""The trainer: what a step draws, what it computes, and that a killed run goes on unchanged."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT, SUPPORT

from mois_core.errors import BadInput
from mois_core.evaluation.segmenter_specs import make_segmenter, parse_spec
from mois_core.models import SHIPPED, shipped_weights
from mois_core.network.config import STRIDE, preset
from mois_core.network.exemplar import ExemplarView
from mois_core.network.loading import network_in
from mois_core.network.mask_decoder import RawMasks
from mois_core.phantom import HELD_OUT_FROM, PhantomSettings
from mois_core.training.attention_loss import add_attention
from mois_core.training.cases import TrainingCase, phantom_case
from mois_core.training.config import Data, TrainConfig, Validation, read_config
from mois_core.training.initial_network import new_model, new_places_head
from mois_core.training.losses import (
    LossAccumulator,
    LossWeights,
    add_instances,
    add_semantic,
    add_spread,
    dice,
    focal,
    iou,
)
from mois_core.training.optimiser import Optimisation, make_optimiser, set_rates
from mois_core.training.places import add_places
from mois_core.training.prompting import choose_items, masks_of
from mois_core.training.resized_case import ResizedCase
from mois_core.training.run import Trainer
from mois_core.training.sampling import Sampling, sample_scan
from mois_core.training.simulated_clicks import correction, first_click
from mois_core.training.step import Task
from mois_core.training.validation import validation_phantoms
from mois_core.training.windows import window

CONFIGS = ROOT / "mois_core" / "training" / "configs"


def small_config(**changes) -> TrainConfig:
    how = Sampling(scans=2, consecutive=2, elsewhere=2, size=64)
    config = TrainConfig(
        model="phantom",
        changes={"image_size": 128},
        steps=4,
        checkpoint_every=2,
        sampling=how,
        optimisation=Optimisation(rate=1e-3, encoder_rate=1e-3, clip=1.0),
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def scans() -> list[ResizedCase]:
    return [blobs(seed) for seed in range(3)]


def blobs(seed: int) -> ResizedCase:
    """Squares of two brightnesses on noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(20, 60, size=(6, 128, 128)).astype(np.uint8)
    labels = np.zeros_like(images)
    for lesion in range(1, 9):
        row, column = rng.integers(0, 100, size=2)
        first = int(rng.integers(0, 4))
        box = np.s_[first : first + 3, row : row + 20, column : column + 20]
        images[box] = 110 if lesion % 2 else 200
        labels[box] = lesion
    kinds = np.arange(9, dtype=np.uint8) % 2
    return ResizedCase.of(TrainingCase(f"blobs-{seed}", images, labels, kinds), 128)


def test_held_out_phantoms_are_refused():
    with pytest.raises(BadInput, match="held out"):
        phantom_case(HELD_OUT_FROM, PhantomSettings())
    with pytest.raises(BadInput, match="held out"):
        validation_phantoms(Validation(every=1, first_phantom=HELD_OUT_FROM - 1, phantoms=2))


def test_a_case_survives_its_file(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 9, size=(2, 5, 4)).astype(np.uint8) for _ in range(2)]
    case = TrainingCase("one", *arrays, np.arange(9, dtype=np.uint8))
    case.save(tmp_path / "one.npz")
    again = TrainingCase.load(tmp_path / "one.npz")
    for name in ("images", "labels", "kinds"):
        np.testing.assert_array_equal(getattr(again, name), getattr(case, name))
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    with pytest.raises(BadInput, match="prepared case"):
        TrainingCase.load(tmp_path / "broken.npz")


def test_the_first_click_is_inside_a_lesion_whose_centre_is_not():
    ring = np.zeros((21, 21), dtype=bool)
    ring[3:18, 3:18] = True
    ring[6:15, 6:15] = False
    x, y, label = first_click(ring)
    assert ring[int(y), int(x)] and label == 1


def test_a_correction_goes_to_the_deepest_point_of_the_largest_error():
    truth = np.zeros((40, 40), dtype=bool)
    truth[5:14, 5:14] = True
    answer = truth.copy()
    answer[25:36, 20:31] = True
    answer[5:7, 5:7] = False
    rng = np.random.default_rng(1)
    clicks = {correction(rng, answer, truth) for _ in range(20)}
    assert (25.0, 30.0, 0) in clicks
    assert all(label == 1 for x, y, label in clicks if (x, y) != (25.0, 30.0))


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
        accumulator, how = LossAccumulator(), LossWeights(pooling=pooling)
        add_instances(accumulator, "click", raw, truth, True, how)
        add_semantic(accumulator, raw, truth, 1 - truth, how)
        sums.append({name: float(value) for name, value in accumulator.sums.items()})
    assert sums[0] == pytest.approx(sums[1], rel=1e-6)


def test_only_values_beyond_one_cost_spread():
    accumulator = LossAccumulator()
    maps = torch.stack([torch.full((4, 2, 2), 0.5), torch.full((4, 2, 2), -3.0)])
    add_spread(accumulator, maps, 1.0)
    assert float(accumulator.sums["spread"]) == pytest.approx(4.0)


def test_the_attention_loss_turns_the_search_to_the_exemplars_lesions():
    """A slice whose left half looks like the exemplar's lesion, the right half like its rest."""
    model = new_model(small_config())
    config, side = model.config, model.config.map_size
    generator = torch.Generator().manual_seed(0)
    looks = torch.randn(2, config.width, generator=generator)
    slice_memories = torch.randn(2, config.memory_width, generator=generator)
    halves = (torch.arange(side) >= side // 2).long().expand(side, side)
    query = looks[halves.flatten()][None]
    outlined = torch.zeros(1, side * STRIDE, side * STRIDE)
    outlined[:, : side // 2 * STRIDE] = 1
    memory = slice_memories[halves.T].permute(2, 0, 1)
    view = ExemplarView(0, True, memory, torch.zeros(config.width))
    truth = (halves == 0).repeat_interleave(STRIDE, 0).repeat_interleave(STRIDE, 1)[None].float()
    optimiser = torch.optim.Adam(model.exemplar_attention.parameters(), 1e-2)

    def cost() -> torch.Tensor:
        accumulator, keys = LossAccumulator(), model.exemplar_keys([view])
        add_attention(accumulator, model, query, keys, outlined, truth, 1 - truth, 1.0)
        assert set(accumulator.sums) == {"attention right", "attention wrong"}
        return sum(accumulator.sums.values())

    before = cost().item()
    for _ in range(30):
        optimiser.zero_grad()
        cost().backward()
        optimiser.step()
    assert cost().item() < 0.2 * before


def test_places_are_told_apart_by_what_the_encoder_sees(scans):
    """Two kinds on noise: the loss has to find lesions and their kinds within some steps, and
    each crop's kinds from the other crops alone."""
    config = small_config(losses=LossWeights(places=1.0))
    model = new_model(config)
    head = new_places_head(config, model)
    how = Sampling(scans=2, consecutive=1, elsewhere=5, size=64, brightness=0)
    samples = [sample_scan(np.random.default_rng(n), scans[n], how) for n in range(2)]
    parameters = [*model.image_encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, 2e-3)

    def costs() -> dict[str, torch.Tensor]:
        accumulator = LossAccumulator()
        features = model.encode(torch.cat([sample.images for sample in samples]))
        add_places(accumulator, head, features, samples, config.losses)
        return {name: value / accumulator.counts[name] for name, value in accumulator.sums.items()}

    with window(model, 64):
        before = costs()
        for _ in range(40):
            optimiser.zero_grad()
            sum(costs().values()).backward()
            optimiser.step()
        after = costs()
    assert set(after) == {"places", "places coarse", "places look"}
    for name, cost in after.items():
        assert cost.item() < 0.6 * before[name].item(), name


def test_a_piece_with_the_only_lesion_of_its_kind_has_nobody_to_ask(scans):
    config = small_config(losses=LossWeights(places=1.0))
    model = new_model(config)
    head = new_places_head(config, model)
    how = Sampling(consecutive=1, elsewhere=1, size=64)
    sample = sample_scan(np.random.default_rng(0), scans[0], how)
    alone = replace(sample, labels=torch.zeros_like(sample.labels))
    alone.labels[0, 8:40, 8:40] = 1
    accumulator = LossAccumulator()
    with window(model, 64):
        add_places(accumulator, head, model.encode(alone.images), [alone], config.losses)
        sum(accumulator.sums.values()).backward()
    assert "places look" not in accumulator.sums
    assert all(bool(p.grad.isfinite().all()) for p in head.parameters() if p.grad is not None)


def test_the_places_alone_train_the_encoder_and_leave_the_rest(tmp_path, scans):
    task = Task(prompts="none")
    config = small_config(losses=LossWeights(places=1.0, spread=0.3), task=task, steps=2)
    before = {name: p.clone() for name, p in new_model(config).named_parameters()}
    trainer = Trainer(config, tmp_path / "run", scans=scans)
    trainer.run()
    changed = {
        name.split(".")[0]
        for name, p in trainer.model.named_parameters()
        if not torch.equal(p, before[name])
    }
    assert changed == {"image_encoder", "sam_mask_decoder"}
    following = replace(config, start=str(tmp_path / "run" / "newest.pt"), seed=9)
    head = new_places_head(following, trainer.model)
    for name, value in trainer.places.state_dict().items():
        assert torch.equal(value, head.state_dict()[name])


def test_a_tally_weighs_means_not_sums():
    accumulator = LossAccumulator()
    values = torch.tensor([1.0, 3.0])
    accumulator.add("click mask", values, 2.0)
    loss, parts = accumulator.total(["click mask", "click iou"])
    assert float(loss) == 4 and parts == {"click mask": 2.0, "click iou": 0.0}


def test_a_sample_is_the_same_whenever_it_is_drawn(scans):
    how = Sampling(consecutive=3, elsewhere=2, size=64, degrees=10, shear=5)
    first, second = (sample_scan(np.random.default_rng(5), scans[0], how) for _ in range(2))
    assert torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)
    assert first.images.shape == (5, 1, 64, 64)
    assert first.slices[1] == first.slices[0] + 1 == first.slices[2] - 1


def test_augmentation_is_the_same_on_all_slices(scans):
    stack = replace(
        scans[0],
        images=np.repeat(scans[0].images[2:3], 6, axis=0),
        labels=np.repeat(scans[0].labels[2:3], 6, axis=0),
    )
    how = Sampling(consecutive=4, elsewhere=0, degrees=10, shear=5, scale=0.1)
    sample = sample_scan(np.random.default_rng(3), stack, how)
    for n in range(1, 4):
        assert torch.equal(sample.images[n], sample.images[0])
        assert torch.equal(sample.labels[n], sample.labels[0])


def test_some_pieces_are_of_anywhere_in_the_body(scans):
    stack = replace_labels_by_one_corner(scans[0])
    near, anywhere = (
        [
            sample_scan(np.random.default_rng(seed), stack, Sampling(1, 1, 4, share, 32)).labels[1:]
            for seed in range(20)
        ]
        for share in (0.0, 1.0)
    )
    assert all(bool(crop.any()) for crops in near for crop in crops)
    without = [not bool(crop.any()) for crops in anywhere for crop in crops]
    assert np.mean(without) > 0.5


def replace_labels_by_one_corner(stack: ResizedCase) -> ResizedCase:
    labels = np.zeros_like(stack.labels)
    labels[:, :12, :12] = 1
    return replace(stack, labels=labels)


def test_lesions_asked_for_together_are_all_of_one_kind(scans):
    rng = np.random.default_rng(3)
    sample = sample_scan(rng, scans[0], Sampling(1, 2, 2))
    items = choose_items([rng], [sample], 2, 0, 3, together=True)
    assert items
    for item, mask in zip(items, masks_of([sample], items)[:, 0] > 0, strict=True):
        labels = sample.labels[item.crop].numpy()
        wanted = (labels > 0) & (sample.kinds[labels] == item.kind)
        np.testing.assert_array_equal(mask.numpy(), wanted)


def test_a_window_tells_the_network_where_in_the_slice_it_is(scans):
    model = new_model(small_config())
    whole = model.sam_prompt_encoder.positions()
    with window(model, 64, 32, 64):
        assert model.config.image_size == 64 and model.config.map_size == 4
        assert torch.equal(model.sam_prompt_encoder.positions(), whole[:, :, 2:6, 4:8])
    assert model.config.image_size == 128
    assert torch.equal(model.sam_prompt_encoder.positions(), whole)


def test_rates_decay_with_depth_and_with_time():
    how = Optimisation(rate=1.0, encoder_rate=0.5, layer_decay=0.5, warmup=2, final=0.1)
    optimiser = make_optimiser(new_model(small_config()), how)
    peaks = {group["peak"] for group in optimiser.param_groups}
    assert {1.0, 0.5, 0.25, 0.5**9} <= peaks
    set_rates(optimiser, how, 0, 10)
    assert {g["lr"] / g["peak"] for g in optimiser.param_groups} == {0.5}
    set_rates(optimiser, how, 10, 10)
    assert all(g["lr"] / g["peak"] == pytest.approx(0.1) for g in optimiser.param_groups)


needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="needs torch 2.9")


@needs_muon
def test_muon_moves_the_matrices_of_linear_layers_and_adamw_the_rest():
    model = new_model(small_config())
    how = Optimisation(rate=1.0, encoder_rate=0.5, matrices="muon")
    adamw, muon = make_optimiser(model, how).parts
    assert isinstance(adamw, torch.optim.AdamW) and isinstance(muon, torch.optim.Muon)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    by_adamw = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert by_muon | by_adamw == set(names.values()) and not by_muon & by_adamw
    assert "image_encoder.trunk.blocks.3.attn.qkv.weight" in by_muon
    assert "image_encoder.trunk.blocks.3.attn.qkv.bias" in by_adamw
    assert "image_encoder.trunk.patch_embed.proj.weight" in by_adamw
    assert "no_exemplar_embed" in by_adamw


@needs_muon
def test_muon_lowers_the_loss(tmp_path, scans):
    how = Optimisation(rate=1e-3, encoder_rate=1e-3, clip=1.0, matrices="muon")
    config = replace(places_config(), optimisation=how, task=Task(prompts="none"), steps=12)
    Trainer(config, tmp_path, scans=scans).run()
    losses = losses_in(tmp_path)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_muon_with_a_torch_that_has_none_says_what_it_needs(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(BadInput, match=r"torch 2\.9"):
        make_optimiser(new_model(small_config()), Optimisation(matrices="muon"))


@pytest.mark.parametrize("matrices", ["adamw", pytest.param("muon", marks=needs_muon)])
def test_a_killed_run_goes_on_to_the_last_digit(tmp_path, scans, matrices):
    torch.set_num_threads(1)
    how = replace(places_config().optimisation, matrices=matrices)
    config = replace(places_config(), optimisation=how)
    straight = Trainer(config, tmp_path / "straight", scans=scans)
    straight.run()
    Trainer(config, tmp_path / "killed", scans=scans).run(until=2)
    resumed = Trainer(config, tmp_path / "killed", scans=scans)
    assert resumed.progress.step == 2
    resumed.run()
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    for name, value in straight.places.state_dict().items():
        assert torch.equal(value, resumed.places.state_dict()[name]), name
    assert losses_in(tmp_path / "straight")[-1] == losses_in(tmp_path / "killed")[-1]


def losses_in(folder: Path) -> list[float]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_redrawn_parameters_do_not_come_from_the_start(tmp_path):
    first = new_model(small_config(seed=1))
    path = tmp_path / "start.pt"
    torch.save({"model": first.state_dict()}, path)
    second = new_model(small_config(seed=2, start=str(path), redrawn=("exemplar_attention.*",)))
    old = dict(first.named_parameters())
    for name, parameter in second.named_parameters():
        is_weight = parameter.dim() > 1
        if not name.startswith("exemplar_attention."):
            assert torch.equal(parameter, old[name]), name
        elif is_weight:
            assert not torch.equal(parameter, old[name]), name


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.glob("ablation-phantom-?-*.json")), ids=lambda path: path.stem
)
def test_every_variant_of_the_ablation_learns_and_is_known_again(path, tmp_path, scans):
    config = read_config(path)
    config = replace(
        config,
        start=None,
        steps=1,
        changes={**config.changes, "image_size": 128},
        sampling=replace(config.sampling, scans=1, size=64),
        data=Data(),
    )
    trainer = Trainer(config, tmp_path, scans=scans)
    before = {name: own.clone() for name, own in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    assert any(not torch.equal(own, after[name]) for name, own in before.items())
    assert network_in(tmp_path / "newest.pt") == (config.model, trainer.model.config)
    segmenter = make_segmenter(parse_spec(f"sam2={tmp_path / 'newest.pt'}"))
    assert segmenter.model.config == trainer.model.config
    started = new_model(replace(read_config(path), start=str(shipped_weights())))
    assert "memory_attention.norm.weight" in started.state_dict()


def test_a_file_of_weights_alone_is_known_by_its_weights():
    assert network_in(shipped_weights()) == (SHIPPED, preset(SHIPPED))


def test_a_run_with_another_config_is_not_continued(tmp_path, scans):
    Trainer(small_config(steps=1), tmp_path, scans=scans).run()
    with pytest.raises(BadInput, match="another seed"):
        Trainer(small_config(steps=1, seed=7), tmp_path, scans=scans)


def test_a_loss_that_is_no_number_keeps_the_last_good_state(tmp_path, scans):
    trainer = Trainer(small_config(), tmp_path, scans=scans)
    trainer.run(until=2)
    good = (tmp_path / "newest.pt").read_bytes()
    with torch.no_grad():
        trainer.model.no_mem_embed.fill_(float("nan"))
    with pytest.raises(BadInput, match="not a finite number"):
        trainer.run()
    assert (tmp_path / "newest.pt").read_bytes() == good


def places_config() -> TrainConfig:
    return small_config(log_every=1, losses=LossWeights(places=0.5))


PROCESS = """
import sys
sys.path[:0] = sys.argv[2:]
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_training import blobs, places_config
from mois_core.training.processes import leave
from mois_core.training.run import Trainer
Trainer(places_config(), Path(sys.argv[1]), scans=[blobs(n) for n in range(3)]).run(2)
leave()
"""


def test_two_processes_compute_what_one_does(tmp_path, scans):
    torch.set_num_threads(1)
    Trainer(places_config(), tmp_path / "one", scans=scans).run(2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = [str(Path(__file__).parent), str(SUPPORT)]
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "two"), *path]
    running = []
    for rank in range(2):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "CUDA_VISIBLE_DEVICES": ""}
        running.append(subprocess.Popen(command, env={**os.environ, **place, **master}))
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    np.testing.assert_allclose(losses_in(tmp_path / "two"), losses_in(tmp_path / "one"), rtol=1e-4)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_config_that_ships_can_be_read(path):
    assert read_config(path).steps > 0


def test_a_misspelt_option_is_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"sampling": {"scnas": 2}}')
    with pytest.raises(BadInput, match="unknown option 'scnas'"):
        read_config(path)
    path.write_text('{"steps": "many"}')
    with pytest.raises(BadInput, match="steps cannot be"):
        read_config(path)
