"""A network is opened in one way: by a name or a file, with what a report says about it."""

from __future__ import annotations

import hashlib

import pytest
import torch
from command_line import write_weights

from mois_core import models, weights
from mois_core.errors import BadInput
from mois_core.network.config import preset, with_changes
from mois_core.network.loading import build, network_in
from mois_core.weights import store

CHANGES = {"memories": 5, "exemplars": {"pointers": "none"}}


@pytest.fixture(autouse=True)
def a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "store"))


@pytest.fixture
def a_file(tmp_path):
    return write_weights(tmp_path / "mine.pt", "mois-tiny")


@pytest.fixture
def a_run(tmp_path):
    """A checkpoint as `mois train` writes it, of a preset with changes."""
    network = build(with_changes(preset("mois-tiny"), CHANGES))
    content = {
        "model": network.state_dict(),
        "config": {"model": "mois-tiny", "changes": CHANGES},
    }
    torch.save(content, tmp_path / "newest.pt")
    return tmp_path / "newest.pt"


def test_the_shipped_network_is_opened_by_its_name():
    opened = weights.open_checkpoint(models.SHIPPED, device="cpu")

    assert opened.network.config == preset(models.SHIPPED)
    assert opened.info.preset == models.SHIPPED
    assert opened.info.checkpoint == "phantom.safetensors"
    assert opened.info.sha256 == weights.sha256_of(models.shipped_weights())


def test_a_file_is_opened_by_its_path_and_tells_its_network(a_file):
    opened = weights.open_checkpoint(a_file, device="cpu")

    assert opened.network.config == preset("mois-tiny")
    assert opened.network.device.type == "cpu"
    assert opened.network.dtype == torch.float32
    assert opened.info.preset == "mois-tiny"
    assert opened.info.checkpoint == "mine.pt"
    assert opened.info.sha256 == hashlib.sha256(a_file.read_bytes()).hexdigest()


def test_a_stored_file_is_opened_by_its_name(a_file):
    weights.import_file(a_file, "ours")

    assert weights.open_checkpoint("ours", device="cpu").info.checkpoint == "ours.pt"


def test_a_published_name_is_its_preset(tmp_path):
    """The name decides, not the file; a preset that is given decides before both."""
    weights.import_file(write_weights(tmp_path / "tiny.pt", "mois-tiny"), "mois-sam2-b+")

    with pytest.raises(BadInput, match="does not fit this model"):
        weights.open_checkpoint("mois-sam2-b+", device="cpu")
    assert weights.open_checkpoint("mois-sam2-b+", "mois-tiny").info.preset == "mois-tiny"


def test_a_checkpoint_of_a_run_tells_changes_that_weights_do_not_show(a_run):
    changed = with_changes(preset("mois-tiny"), CHANGES)
    assert changed.exemplars.pointers == "none"

    opened = weights.open_checkpoint(a_run, device="cpu")

    assert network_in(a_run) == ("mois-tiny", changed)
    assert opened.network.config == changed
    assert opened.info.preset == "mois-tiny"


def test_the_precision_can_be_chosen(a_file):
    opened = weights.open_checkpoint(a_file, device="cpu", dtype="bfloat16")

    assert opened.network.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["mois-tiny", "slm-sam2-t", "no-such-file.pt"])
def test_nothing_is_opened_with_random_weights(name):
    with pytest.raises(BadInput, match="neither a file nor the name of a checkpoint"):
        weights.open_checkpoint(name)


def test_a_change_that_no_network_has_is_refused():
    with pytest.raises(BadInput, match="has no 'memory'"):
        with_changes(preset("mois-tiny"), {"memory": 5})
