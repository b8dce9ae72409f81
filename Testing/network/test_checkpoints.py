"""Every published form of a checkpoint loads; everything else is refused, and runs nothing."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_networks import MOIS, SAM, SLM, lively

from mois_core import load_model
from mois_core.errors import BadInput
from mois_core.network.checkpoint import load_into, read_checkpoint

HALF = torch.bfloat16


@pytest.fixture(scope="module")
def a_state():
    return lively(MOIS, salt="a checkpoint").state_dict()


@pytest.fixture
def a_file(tmp_path, a_state):
    path = tmp_path / "whole.pt"
    torch.save({"model": a_state}, path)
    return path


def save_published(state, path):
    torch.save({"model": state}, path)


def save_with_training_state(state, path):
    torch.save({"model": state, "optimizer": {"lr": 1e-4}, "epoch": 3}, path)


def save_before_zip_archives(state, path):
    torch.save({"model": state}, path, _use_new_zipfile_serialization=False)


def has_loaded(model, state):
    loaded = model.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[k], state[k]) for k in state)


class Payload:
    """Unpickled without care, this creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


# ---- what loads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "save"),
    [
        (".pt", save_published),
        (".pt", torch.save),
        (".pt", save_with_training_state),
        (".pth", save_before_zip_archives),
        (".safetensors", save_file),
    ],
)
def test_every_published_form_loads(tmp_path, a_state, suffix, save):
    path = tmp_path / f"größe 1{suffix}"
    save(a_state, path)

    assert has_loaded(load_model(MOIS, path), a_state)


@pytest.mark.parametrize(
    ("suffix", "save"),
    [(".safetensors", save_published), (".pt", save_file)],
)
def test_content_counts_and_not_the_name(tmp_path, a_state, suffix, save):
    path = tmp_path / "renamed"
    save(a_state, path)
    path = path.rename(path.with_suffix(suffix))

    assert has_loaded(load_model(MOIS, str(path)), a_state)


@pytest.mark.parametrize("config", [SAM, MOIS, SLM], ids=["sam", "mois", "slm"])
def test_a_saved_network_comes_back_the_same(tmp_path, config):
    network = load_model(config)
    torch.save(network.state_dict(), tmp_path / "ours.pt")

    assert has_loaded(load_model(config, tmp_path / "ours.pt"), network.state_dict())


def test_a_checkpoint_in_half_precision_loads_into_float32(tmp_path, a_state):
    torch.save({k: v.to(HALF) for k, v in a_state.items()}, tmp_path / "half.pt")

    network = load_model(MOIS, tmp_path / "half.pt")

    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network.no_mem_embed, a_state["no_mem_embed"].to(HALF).float())


# ---- what does not fit -------------------------------------------------------------------------


def test_keys_that_do_not_fit_are_listed(tmp_path, a_state):
    state = dict(a_state)
    del state["no_obj_ptr"], state["memory_attention.norm.bias"]
    state["sam_iou_head.weight"] = torch.zeros(1)
    state["maskmem_tpos_enc"] = torch.zeros(6, 1, 1, 16)
    torch.save(state, tmp_path / "odd.pt")

    with pytest.raises(BadInput) as caught:
        load_model(MOIS, tmp_path / "odd.pt")

    message = str(caught.value)
    assert "odd.pt does not fit this model" in message
    assert "2 missing: " in message
    assert "no_obj_ptr" in message
    assert "memory_attention.norm.bias" in message
    assert "1 unknown: sam_iou_head.weight" in message
    assert "maskmem_tpos_enc (6, 1, 1, 16) instead of (7, 1, 1, 16)" in message


def test_another_architecture_is_one_short_line(tmp_path):
    torch.save({"model": lively(SLM).state_dict()}, tmp_path / "slm.pt")

    with pytest.raises(BadInput, match="recent_memory_attention.* and [0-9]+ more") as caught:
        load_model(MOIS, tmp_path / "slm.pt")

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_nothing_is_loaded_where_something_does_not_fit(a_file, a_state):
    network = load_model(SAM)
    before = {key: value.clone() for key, value in network.state_dict().items()}

    with pytest.raises(BadInput, match="exemplar_attention"):
        load_into(network, a_state, "a MOIS-SAM2")

    assert has_loaded(network, before)


# ---- what is no checkpoint ---------------------------------------------------------------------


def refusal(path):
    """The message with which a file is refused: one line that names the file."""
    with pytest.raises(BadInput) as caught:
        load_model(MOIS, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("save", [torch.save, save_before_zip_archives, save_file])
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.99, 1.0])
def test_a_truncated_file_is_refused(tmp_path, a_state, save, share):
    path = tmp_path / "cut.pt"
    save(a_state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: min(int(len(whole) * share), len(whole) - 1)])

    assert "get it again" in refusal(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_pickle_that_would_run_code_runs_nothing(tmp_path, recwarn, protocol, suffix):
    path, trace = tmp_path / f"evil{suffix}", tmp_path / "it ran"
    path.write_bytes(pickle.dumps({"model": Payload(trace)}, protocol))

    message = refusal(path)

    assert not trace.exists()
    assert "not loaded" in message or "no checkpoint" in message
    assert not recwarn.list
    pickle.loads(path.read_bytes())
    assert trace.exists(), "the file was harmless, so that this test shows nothing"


@pytest.mark.parametrize("zipped", [True, False])
def test_code_beside_real_weights_runs_nothing_either(tmp_path, a_state, zipped):
    path, trace = tmp_path / "evil.pt", tmp_path / "it ran"
    content = {"model": a_state, "epoch": Payload(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)

    assert "such a file can run code" in refusal(path)
    assert not trace.exists()


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(lively(SAM), tmp_path / "network.pt")

    assert "holds more than weights" in refusal(tmp_path / "network.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_an_empty_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"empty{suffix}"
    path.touch()

    assert "is empty" in refusal(path)


@pytest.mark.parametrize("member", ["readme.txt", "archive/data.pkl", "fold_1/best.pt"])
def test_a_zip_that_is_no_checkpoint_is_refused(tmp_path, member):
    path = tmp_path / "folds.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, "nothing of use")

    assert "a zip archive but no whole checkpoint" in refusal(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"weights are on the other disk\n",
        b"<!DOCTYPE html><html>404</html>",
        bytes(4096),
        b"\x1f\x8b",
    ],
    ids=["a note", "a web page", "zeros", "gzip"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)

    assert "is no checkpoint" in refusal(path)


def test_a_folder_is_refused(tmp_path):
    assert "is a folder" in refusal(tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert "there is no checkpoint file" in refusal(tmp_path / "gone.pt")


def test_a_file_that_cannot_be_read_is_refused(a_file, monkeypatch):
    def denied(*_unused):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)

    assert "cannot be read: Permission denied" in refusal(a_file)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"model": {"no_mem_embed": 1.5}}, "no_mem_embed is no tensor"),
        ({"model": [torch.zeros(1)]}, "holds no network weights"),
        ({"model": {}}, "holds no network weights"),
        ({}, "holds no network weights"),
        ({"epoch": 3, "loss": 0.1}, "epoch, loss is no tensor"),
        ({0: torch.zeros(1)}, "0 is no tensor"),
        (torch.zeros(3), "holds no network weights"),
        ("weights", "holds no network weights"),
    ],
)
def test_content_that_is_no_state_dict_is_refused(tmp_path, content, complaint):
    torch.save(content, tmp_path / "content.pt")

    assert complaint in refusal(tmp_path / "content.pt")


@pytest.mark.parametrize("save", [torch.save, save_before_zip_archives, save_file])
def test_damage_anywhere_is_bad_input_or_harmless(tmp_path, save):
    path, rng = tmp_path / "damaged", random.Random(0)
    save({"a.weight": torch.ones(4, 4), "b": torch.zeros(3)}, path)
    whole = path.read_bytes()
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 3, 30])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except BadInput:
            refused += 1
    assert refused > 30
