"""From nothing to a file of weights that fits into the project, whatever stops it."""

from __future__ import annotations

import subprocess

import pytest
import torch
from safetensors.torch import load_file
from training_files import write_stages
from training_fixtures import losses_in, small_config

from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.errors import BadInput
from mois_core.network.checkpoint import read_checkpoint
from mois_core.network.loading import build, load_model
from mois_core.network.model import Prompts
from mois_core.training.config import SamplingConfig
from mois_core.training.config_file import read_stages
from mois_core.training.initial_network import network_config
from tools import average, gpu_pieces, make_weights

MOST_BYTES = 10e6
"""What a file that ships may take."""


@pytest.fixture
def config(tmp_path):
    return write_stages(tmp_path, first={"steps": 2}, second={"steps": 1})


def test_from_nothing_to_a_file_in_half_precision_once(config, tmp_path):
    out = tmp_path / "run"
    weights = make_weights.make_weights(config, out, processes=2)
    assert weights == out / "small.safetensors"
    trained = torch.load(out / "second" / "newest.pt", weights_only=True)["model"]
    for name, value in load_file(weights).items():
        assert value.dtype == (torch.float16 if value.numel() >= 4096 else torch.float32)
        torch.testing.assert_close(value.float(), trained[name], rtol=1e-3, atol=1e-6)
    made = weights.read_bytes()
    assert make_weights.make_weights(config, out, processes=1).read_bytes() == made
    assert [len(losses_in(out / stage)) for stage in ("first", "second")] == [2, 1]


def test_every_process_has_a_scan_of_its_own(monkeypatch):
    stages = {
        name: small_config(sampling=SamplingConfig(scans=scans))
        for name, scans in (("first", 4), ("second", 2))
    }
    for cores, processes in ((16, 2), (1, 1)):
        monkeypatch.setattr(make_weights, "cores", lambda cores=cores: cores)
        assert make_weights.processes_for(stages) == processes
    monkeypatch.setattr(make_weights, "cores", lambda: 16)
    assert make_weights.processes_for(read_stages(make_weights.CONFIG)) >= 2
    assert make_weights.processes_for(read_stages(gpu_pieces.CONFIG)) == 16


def test_a_training_that_fails_says_how_to_go_on(config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        make_weights.subprocess,
        "run",
        lambda command, check: subprocess.CompletedProcess(command, 7),
    )
    with pytest.raises(BadInput, match="ended with 7; the same command goes on"):
        make_weights.make_weights(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---- the file ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both_files(tmp_path_factory):
    """The weights of a small network as they were trained, and in half precision."""
    folder = tmp_path_factory.mktemp("weights")
    network = fill_synthetic(build(network_config(small_config())))
    torch.save({"model": network.state_dict()}, folder / "newest.pt")
    average.convert([folder / "newest.pt"], folder / "half.safetensors", half=True)
    return folder / "newest.pt", folder / "half.safetensors"


@torch.no_grad()
def test_weights_in_half_precision_draw_the_same_masks(both_files, one_thread):
    config = network_config(small_config())
    image = torch.rand(1, 1, *config.image_size, generator=torch.Generator().manual_seed(0))
    prompts = Prompts(torch.tensor([[[40.0, 70.0]]]), torch.ones(1, 1))
    answers = []
    for path in both_files:
        model = load_model(config, checkpoint=path)
        assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
        features = model.encode(image)
        answers.append(model.decode(features, model.without_memory(features), prompts).raw.logits)
    exact, rounded = answers
    assert not torch.equal(exact, rounded)
    assert (exact - rounded).square().mean().sqrt() < 0.01 * exact.std()
    same = ((exact > 0) == (rounded > 0)).float().mean()
    assert same > 0.99


def test_where_a_click_is_keeps_its_precision(both_files):
    exact, half = read_checkpoint(both_files[0]), load_file(both_files[1])
    name = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    assert torch.equal(exact[name], half[name])


def test_the_network_of_the_config_is_small_enough_to_ship(tmp_path):
    *_, last = read_stages(make_weights.CONFIG).values()
    torch.save(build(network_config(last)).state_dict(), tmp_path / "newest.pt")
    out = tmp_path / "half.safetensors"
    average.convert([tmp_path / "newest.pt"], out, half=True)
    assert out.stat().st_size < MOST_BYTES


def test_a_value_that_half_precision_cannot_hold_is_refused(tmp_path):
    torch.save({"large": torch.full((4096,), 1e6)}, tmp_path / "newest.pt")
    with pytest.raises(BadInput, match="large has values that float16 cannot hold"):
        average.convert([tmp_path / "newest.pt"], tmp_path / "half.safetensors", half=True)
    assert not (tmp_path / "half.safetensors").exists()
