"""Stages of a run: each goes on from the weights of the one before, and a stop loses nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from training_files import write_stages
from training_fixtures import CONFIGS, small_config

from mois_core.errors import BadInput
from mois_core.training import stages as module
from mois_core.training.config_file import read_config, read_stages
from mois_core.training.stages import run_stages


@pytest.fixture
def loads(monkeypatch, scans):
    """The sizes that scans were loaded at; they are those of the fixture."""
    asked = []
    monkeypatch.setattr(module, "load_scans", lambda data, size: asked.append(size) or scans)
    return asked


def two_stages():
    still = replace(small_config().optimizer, rate=0.0, encoder_rate=0.0)
    return {
        "first": small_config(steps=2, seed=1),
        "second": small_config(steps=1, seed=2, optimizer=still),
    }


def weights_in(path):
    return torch.load(path, map_location="cpu", weights_only=True)["model"]


def test_a_stage_begins_with_the_weights_of_the_one_before(tmp_path, loads):
    assert run_stages(two_stages(), tmp_path)

    first, second = (weights_in(tmp_path / name / "newest.pt") for name in two_stages())
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert loads == [(128, 96)], "both learn from the same scans, which are loaded once"


def test_a_run_that_is_out_of_time_stops_and_goes_on_later(tmp_path, loads):
    assert not run_stages(two_stages(), tmp_path, deadline=0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["first"]

    assert run_stages(two_stages(), tmp_path)
    assert (tmp_path / "second" / "newest.pt").is_file()


def test_crops_of_a_later_stage_are_checked_before_anything_is_made(tmp_path, loads):
    stages = two_stages()
    how = replace(stages["second"].sampling, crop_size=(64, 40))
    stages["second"] = replace(stages["second"], sampling=how)

    with pytest.raises(BadInput, match="64 x 40"):
        run_stages(stages, tmp_path)
    assert not loads


def test_a_run_does_not_go_on_with_scans_that_were_prepared_anew(tmp_path):
    """With other folds it would learn from patients that are left out now."""
    path = write_stages(tmp_path, only={"steps": 1, "data": {"fold": None}})
    run_stages(read_stages(path), tmp_path / "out")
    (tmp_path / "scans").rename(tmp_path / "moved")
    moved = json.loads(path.read_text("utf-8"))
    moved["data"]["prepared"] = str(tmp_path / "moved")
    moved["stages"]["only"]["steps"] = 1
    path.write_text(json.dumps(moved), "utf-8")
    run_stages(read_stages(path), tmp_path / "out")

    index = tmp_path / "moved" / "cases.json"
    index.write_text(index.read_text("utf-8").replace('"fold": 0', '"fold": 1'), "utf-8")
    with pytest.raises(BadInput, match="from a run with another data"):
        run_stages(read_stages(path), tmp_path / "out")


def test_a_config_of_several_stages_is_no_single_run(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"stages": {"one": {"steps": 1}, "two": {"steps": 2}}}), "utf-8")

    with pytest.raises(BadInput, match="several stages: one, two"):
        read_config(path)
    with pytest.raises(BadInput, match="several stages: places"):
        read_config(CONFIGS / "phantom.json")


def test_a_config_leaves_stages_of_its_base_out(tmp_path):
    (tmp_path / "base.json").write_text(json.dumps({"stages": {"one": {}, "two": {}}}), "utf-8")
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"base": "base.json", "stages": {"one": None}}), "utf-8")
    assert list(read_stages(path)) == ["two"]

    none = {"base": "base.json", "stages": {"one": None, "two": None}}
    path.write_text(json.dumps(none), "utf-8")
    with pytest.raises(BadInput, match="stages must be an object"):
        read_stages(path)
