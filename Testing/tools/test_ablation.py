"""The ablation from configs to its table, on networks and scans of seconds."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from training_files import write_scan
from training_fixtures import CONFIGS, CROP, small_config

from mois_core.errors import BadInput
from mois_core.evaluation.protocols import Protocol
from mois_core.training.config import SamplingConfig
from mois_core.training.config_file import read_config, read_stages
from mois_core.training.initial_network import new_model
from mois_core.training.stages import run_stages
from tools import ablation

STOPS_AFTER = 3
"""Runs that are trained before one fails."""


@pytest.fixture
def configs(tmp_path):
    """Return a folder with the approaches' own files, over a base of seconds."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for path in CONFIGS.glob("ablation-phantom-*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    how = SamplingConfig(scans=1, consecutive=2, elsewhere=1, crop_size=CROP)
    base = asdict(small_config(steps=1, threads=1, sampling=how))
    base["data"] = {"prepared": str(write_scan(tmp_path / "scans"))}
    (folder / "ablation-phantom.json").write_text(json.dumps(base), encoding="utf-8")
    return folder


@pytest.fixture
def trained(monkeypatch):
    """Train in this process, two approaches only, and note what was trained."""
    done = []

    def train(config: Path, out: Path, processes: int) -> None:
        if len(done) == STOPS_AFTER and out not in done:
            done.append(out)
            raise BadInput("the training ended with 9; the same command goes on")
        done.append(out)
        run_stages(read_stages(config), out)

    first, *_, last = ablation.APPROACHES
    monkeypatch.setattr(ablation, "APPROACHES", (first, last))
    monkeypatch.setattr(ablation, "train", train)
    monkeypatch.setattr(ablation, "cores", lambda: 1)
    return done


def test_approaches_and_their_seeds_become_one_table_whatever_stops_them(
    configs, tmp_path, trained
):
    how = (tmp_path / "out", configs, 2, 1, (64, 64), Protocol(lesions=2, clicks=1))
    with pytest.raises(BadInput, match="goes on"):
        ablation.ablate(*how)
    results = ablation.ablate(*how)

    *before, stopped = trained[: STOPS_AFTER + 1]
    assert len(set(before)) == len(before) == STOPS_AFTER
    # What is trained is not trained again.
    assert trained[STOPS_AFTER + 1 :] == [stopped]
    assert not results.failures
    assert results.segmenters == ["5 complete", "1 SAM 2"]
    assert [results.folds(name) for name in results.segmenters] == [["1", "2"]] * 2
    with (how[0] / "results" / "tables" / "folds.csv").open(encoding="utf-8") as file:
        (dsc, *_) = csv.DictReader(file)
    assert dsc["row"] == "Scan-wise DSC" and len(dsc["5 complete"].split(", ")) == 2


def test_runs_that_began_with_other_weights_are_not_gone_on_with(configs, tmp_path, trained):
    out, base = tmp_path / "out", configs / "ablation-phantom.json"
    start = tmp_path / "start.pt"
    start.write_bytes(b"weights")
    base.write_text(
        json.dumps(json.loads(base.read_text("utf-8")) | {"start": str(start)}), "utf-8"
    )
    out.mkdir()
    (out / "start.sha256").write_text("of another file\n", "utf-8")

    with pytest.raises(BadInput, match="begun with another .*start.pt; choose another --out"):
        ablation.ablate(out, configs, seeds=1, scans=1)
    assert not trained


def test_a_run_of_another_config_is_not_taken_for_done(configs, tmp_path, trained):
    how = (tmp_path / "out", configs, 1, 1, (64, 64), Protocol(lesions=1, clicks=1))
    ablation.ablate(*how)
    base = configs / "ablation-phantom.json"
    changed = json.loads(base.read_text("utf-8"))
    changed["losses"]["focal"] += 1.0
    base.write_text(json.dumps(changed), "utf-8")
    with pytest.raises(BadInput, match="another losses; choose another --out"):
        ablation.ablate(*how)


def test_seeds_draw_different_networks_of_the_same_approach(tmp_path):
    first, *_ = ablation.runs_of(tmp_path, CONFIGS, 2)
    runs = [run for run in ablation.runs_of(tmp_path, CONFIGS, 2) if run.approach is first.approach]
    seeds = [read_config(run.config).seed for run in runs]
    assert seeds == [1, 2]
    assert not first.is_trained()


@pytest.mark.parametrize("approach", ablation.APPROACHES, ids=lambda one: one.name)
def test_each_approach_begins_with_the_network_that_ships(approach, monkeypatch):
    monkeypatch.chdir(CONFIGS.parents[2])
    config = read_config(CONFIGS / approach.config)
    assert config.start == "mois_core/models/phantom.safetensors"
    exemplars = new_model(config).config.exemplars
    looks = exemplars and (exemplars.attention, exemplars.pointers)
    assert (
        looks
        == {
            "1": None,
            "2": ("shared", "placed"),
            "3": ("dedicated", "none"),
            "4": ("dedicated", "unplaced"),
            "5": ("dedicated", "placed"),
        }[approach.name[0]]
    )
