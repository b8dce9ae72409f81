"""Runs: where they begin, what they change, and that a killed one goes on unchanged."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from paths import ROOT, SUPPORT
from training_fixtures import (
    CONFIGS,
    CROP,
    SIZE,
    hiera_config,
    losses_in,
    places_config,
    small_config,
)

from mois_core.errors import BadInput
from mois_core.evaluation.segmenter_specs import given_to, make_segmenter, parse_spec
from mois_core.models import SHIPPED, shipped_weights
from mois_core.network.config import preset
from mois_core.network.exemplar import MoisSam2
from mois_core.network.loading import network_in
from mois_core.network.model import Sam2
from mois_core.session.memory_bank import select
from mois_core.training import propagation
from mois_core.training.config import (
    DataConfig,
    InteractionConfig,
    LossWeights,
    OptimizerConfig,
)
from mois_core.training.config_file import read_config, read_stages
from mois_core.training.initial_network import new_model, new_places_head
from mois_core.training.optimizer import make_optimizer, set_rates
from mois_core.training.trainer import Trainer


def test_the_places_alone_train_the_encoder_and_leave_the_rest(tmp_path, scans):
    config = small_config(
        losses=LossWeights(places=1.0, spread=0.3),
        interaction=InteractionConfig(prompts="none"),
        steps=2,
    )
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
    for name, value in trainer.places_head.state_dict().items():
        assert torch.equal(value, head.state_dict()[name])


def test_the_network_is_told_where_in_the_slice_a_crop_lies():
    model = new_model(small_config())
    encoder = model.sam_prompt_encoder
    whole, state = encoder.positions((0, 0), model.config.map_size), vars(model).copy()
    assert torch.equal(encoder.positions((32, 64), (4, 2)), whole[:, :, 2:6, 4:6])
    features = model.encode(torch.rand(1, 1, *CROP), (32, 64))
    assert features.origin == features[:1].origin == features.to(torch.float32).origin == (32, 64)
    assert features.coarse.shape[-2:] == (4, 2)
    there, elsewhere = (
        model.decode(one, model.without_memory(one)).raw.logits
        for one in (features, replace(features, origin=(0, 0)))
    )
    assert there.shape == elsewhere.shape == (1, 4, 16, 8)
    assert not torch.equal(there, elsewhere)
    assert vars(model) == state and torch.equal(
        encoder.positions((0, 0), model.config.map_size), whole
    )


def test_rates_decay_with_depth_and_with_time():
    how = OptimizerConfig(rate=1.0, encoder_rate=0.5, layer_decay=0.5, warmup=2, final=0.1)
    optimizer = make_optimizer(new_model(hiera_config()), how)
    peaks = {group["peak"] for group in optimizer.param_groups}
    assert {1.0, 0.5, 0.25, 0.5**8} <= peaks
    set_rates(optimizer, how, 0, 10)
    assert {g["lr"] / g["peak"] for g in optimizer.param_groups} == {0.5}
    set_rates(optimizer, how, 10, 10)
    assert all(g["lr"] / g["peak"] == pytest.approx(0.1) for g in optimizer.param_groups)


needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="needs torch 2.9")


@needs_muon
def test_muon_moves_the_matrices_of_linear_layers_and_adamw_the_rest():
    model = new_model(hiera_config())
    how = OptimizerConfig(rate=1.0, encoder_rate=0.5, matrices="muon")
    adamw, muon = make_optimizer(model, how).parts
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
    how = OptimizerConfig(rate=1e-3, encoder_rate=1e-3, clip=1.0, matrices="muon")
    places_alone = InteractionConfig(prompts="none")
    places = LossWeights(places=0.5)
    config = hiera_config(
        log_every=1, losses=places, optimizer=how, interaction=places_alone, steps=12
    )
    Trainer(config, tmp_path, scans=scans).run()
    losses = losses_in(tmp_path)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_muon_with_a_torch_that_has_none_says_what_it_needs(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(BadInput, match=r"torch 2\.9"):
        make_optimizer(new_model(small_config()), OptimizerConfig(matrices="muon"))


def test_reduced_precision_learns_from_corrections_too(tmp_path, scans):
    interaction = InteractionConfig(most_corrections=1, mean_corrections=None, corrected=1.0)
    config = small_config(autocast=True, interaction=interaction, steps=1, log_every=1)
    Trainer(config, tmp_path, scans=scans).run()
    assert math.isfinite(losses_in(tmp_path)[0])


def test_lesions_corrected_on_another_slice_are_propagated_from_both(tmp_path, scans, monkeypatch):
    seen, left = [], []

    def noting(prompted, propagated, slice_index, reverse, *how):
        lesions = len(next(iter(prompted.values())).found)
        seen.append((set(prompted), set(propagated), slice_index, reverse, lesions))
        return select(prompted, propagated, slice_index, reverse, *how)

    def remembering(model, features, logits, score, from_clicks):
        left.append((from_clicks, len(logits)))
        return remember(model, features, logits, score, from_clicks)

    remember = MoisSam2.remember
    monkeypatch.setattr(propagation, "select", noting)
    monkeypatch.setattr(MoisSam2, "remember", remembering)
    interaction = InteractionConfig(propagated_again=1.0, most_corrections=0, painted=0.0)
    config = small_config(interaction=interaction, steps=4, log_every=1)
    sampling = replace(config.sampling, consecutive=3)
    Trainer(replace(config, sampling=sampling), tmp_path, scans=scans).run()
    for prompted, propagated, slice_index, reverse, _ in seen:
        assert slice_index not in prompted | propagated
        nearest = min(prompted, key=lambda n: (abs(n - slice_index), n))
        assert reverse == (slice_index < nearest)
    again = [lesions for prompted, *_, lesions in seen if len(prompted) == 2]
    # In each step the clicked lesions first, then those that were corrected on the other slice.
    corrected = [lesions for from_clicks, lesions in left if from_clicks][1::2]
    assert len(corrected) == config.steps
    assert again == corrected
    lines = (tmp_path / "log.jsonl").read_text("utf-8").splitlines()
    assert all(json.loads(line)["correction mask"] > 0 for line in lines)


@pytest.mark.parametrize("matrices", ["adamw", pytest.param("muon", marks=needs_muon)])
def test_a_killed_run_goes_on_to_the_last_digit(tmp_path, scans, matrices):
    torch.set_num_threads(1)
    how = replace(places_config().optimizer, matrices=matrices)
    config = replace(places_config(), optimizer=how)
    straight = Trainer(config, tmp_path / "straight", scans=scans)
    straight.run()
    Trainer(config, tmp_path / "killed", scans=scans).run(until=2)
    resumed = Trainer(config, tmp_path / "killed", scans=scans)
    assert resumed.progress.step == 2
    resumed.run()
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    for name, value in straight.places_head.state_dict().items():
        assert torch.equal(value, resumed.places_head.state_dict()[name]), name
    assert losses_in(tmp_path / "straight")[-1] == losses_in(tmp_path / "killed")[-1]


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


@pytest.mark.parametrize("option", ["frozen", "redrawn"])
def test_a_pattern_that_no_parameter_matches_is_refused(option, tmp_path):
    path = tmp_path / "start.pt"
    torch.save({"model": new_model(small_config()).state_dict()}, path)
    with pytest.raises(BadInput, match=rf"{option}: no parameter .* 'memory_atention\.\*'"):
        new_model(small_config(start=str(path), **{option: ("memory_atention.*",)}))


def test_half_precision_of_small_crops_reads_no_memory_that_nothing_wrote(tmp_path, scans):
    """oneDNN reads past maps two places wide, and finds what was there before."""
    config = read_stages(CONFIGS / "phantom.json")["places"]
    config = replace(
        config,
        steps=1,
        changes={"image_size": SIZE},
        sampling=replace(config.sampling, scans=1, crop_size=CROP),
        data=DataConfig(),
    )
    for seed in range(12):
        trainer = Trainer(replace(config, seed=seed), tmp_path / str(seed), scans=scans)
        for size in (100, 1000, 5000, 20_000, 100_000):
            [torch.full((size,), math.nan) for _ in range(8)]
        assert math.isfinite(trainer.step(0)["loss"])


def test_sam2_alone_goes_on_from_what_ships_and_is_no_mois_sam2(tmp_path, scans):
    own, ours = (read_stages(CONFIGS / f"{name}.json") for name in ("sam2-phantom", "phantom"))
    (stage, config), usual = own.popitem(), ours["joint"]
    assert not own and stage == "joint"
    assert config.start == shipped_weights().relative_to(ROOT).as_posix()
    assert (config.losses, config.optimizer, config.sampling, config.seed) == (
        usual.losses, usual.optimizer, usual.sampling, usual.seed
    )  # fmt: skip
    assert config.interaction == replace(usual.interaction, search=False)
    config = replace(
        config,
        start=str(shipped_weights()),
        kept_features=str(tmp_path / "features"),
        steps=1,
        changes={**config.changes, "image_size": SIZE},
        sampling=replace(config.sampling, scans=1, crop_size=CROP),
        data=DataConfig(),
    )
    trainer = Trainer(config, tmp_path, scans=scans)
    encoder = trainer.model.image_encoder.state_dict()
    before = {name: value.clone() for name, value in encoder.items()}
    trainer.run()
    for name, value in encoder.items():
        assert torch.equal(value, before[name]), name
    path = tmp_path / "newest.pt"
    segmenter = make_segmenter(parse_spec(f"sam2={path}"))
    assert type(segmenter.model) is Sam2
    told = given_to(parse_spec(f"sam2={path}"))
    assert told["start"] == "phantom.safetensors" and told["steps"] == 1
    assert told["scans"] == len(scans) and told["cores"] == torch.get_num_threads()
    assert 0 <= told["minutes"] < 10
    with pytest.raises(BadInput, match="without exemplars; write sam2="):
        make_segmenter(parse_spec(f"mois={path}"))


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.glob("ablation-phantom-?-*.json")), ids=lambda path: path.stem
)
def test_every_variant_of_the_ablation_learns_and_is_known_again(path, tmp_path, scans):
    config = read_config(path)
    config = replace(
        config,
        start=None,
        steps=1,
        changes={**config.changes, "image_size": SIZE},
        sampling=replace(config.sampling, scans=1, crop_size=CROP),
        data=DataConfig(),
    )
    trainer = Trainer(config, tmp_path, scans=scans)
    before = {name: own.clone() for name, own in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    assert any(not torch.equal(own, after[name]) for name, own in before.items())
    assert network_in(tmp_path / "newest.pt") == (config.model, trainer.model.config)
    kind = "mois-clicks" if trainer.model.config.exemplars else "sam2"
    segmenter = make_segmenter(parse_spec(f"{kind}={tmp_path / 'newest.pt'}"))
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


PROCESS = """
import sys
sys.path[:0] = sys.argv[2:]
import torch
torch.set_num_threads(1)
from pathlib import Path
from training_fixtures import blobs, places_config
from mois_core.training.distributed import leave
from mois_core.training.trainer import Trainer
Trainer(places_config(), Path(sys.argv[1]), scans=[blobs(n) for n in range(3)]).run(2)
leave()
"""


def test_two_processes_compute_what_one_does(tmp_path, scans):
    torch.set_num_threads(1)
    Trainer(places_config(), tmp_path / "one", scans=scans).run(2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "two"), str(SUPPORT), str(ROOT)]
    running = []
    for rank in range(2):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "CUDA_VISIBLE_DEVICES": ""}
        running.append(subprocess.Popen(command, env={**os.environ, **place, **master}))
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    np.testing.assert_allclose(losses_in(tmp_path / "two"), losses_in(tmp_path / "one"), rtol=1e-4)


@pytest.mark.parametrize(
    ("crop", "complaint"),
    [
        ((64, 40), "64 x 40: rows and columns must be multiples of 32"),
        ((160, 96), "160 x 96 is larger than the network's input, 128 x 96"),
        ((128, 128), "128 x 128 is larger than the network's input, 128 x 96"),
        ((96, 96), "96 x 96 has 36 places, of which the 48 that stand for no exemplar"),
    ],
)
def test_crops_that_the_network_cannot_see_are_refused(tmp_path, scans, crop, complaint):
    config = small_config()
    config = replace(config, sampling=replace(config.sampling, crop_size=crop))
    with pytest.raises(BadInput, match=complaint):
        Trainer(config, tmp_path / "run", scans=scans)
    assert not (tmp_path / "run").exists()
