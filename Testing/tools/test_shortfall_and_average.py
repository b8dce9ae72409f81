"""The scripts that measure the shipped weights count what they say they count."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mois_core.errors import BadInput
from mois_core.phantom import PhantomSettings, make_phantom
from tools import average, shortfall, trial
from tools.shortfall import Shortfall, best_on_grid

SMALL = PhantomSettings(size=(256, 80), slices=4, lesions=8)
GRID = (128, 80)


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(90_030, SMALL)


def errors_of(phantom, found):
    counted = Shortfall(GRID)
    counted.add(phantom, found)
    return counted, {name: count for name, count in counted.errors.items() if count}


def dice_of(counted):
    lesion, marked, both = counted.groups["all", "lesions"][:3]
    return 2 * both / (lesion + marked)


def test_a_perfect_search_falls_short_of_nothing(phantom):
    counted, errors = errors_of(phantom, phantom.instances > 0)
    assert errors == {}
    assert dice_of(counted) == 1.0
    assert all(sums[0] == sums[1] == sums[2] for sums in counted.groups.values())


def test_a_search_that_marks_nothing_has_seen_no_lesion(phantom):
    counted, errors = errors_of(phantom, np.zeros(phantom.scan.shape, dtype=bool))
    assert errors == {"lesions not seen": np.count_nonzero(phantom.instances)}
    assert dice_of(counted) == 0.0


def test_what_is_marked_on_a_slice_without_lesions_is_counted(phantom):
    instances = phantom.instances.copy()
    instances[2] = 0
    found = instances > 0
    found[2, 10:13, 10:13] = True
    counted, errors = errors_of(dataclasses.replace(phantom, instances=instances), found)
    assert errors == {"far from lesions": 9}
    assert dice_of(counted) == 1.0


def test_a_search_that_is_a_row_off_is_wrong_at_the_borders_alone(phantom):
    counted, errors = errors_of(phantom, np.roll(phantom.instances > 0, 1, axis=1))
    assert {"missing at the border", "too much at the border"} <= set(errors)
    assert "far from lesions" not in errors
    assert 0 < dice_of(counted) < 1


def test_groups_of_one_attribute_add_up_to_all_lesions(phantom):
    counted, _ = errors_of(phantom, phantom.instances > 0)
    whole = counted.groups["all", "lesions"][0]
    assert whole == np.count_nonzero(phantom.instances)
    for name in ("area on the slice, cm2", "contrast", "texture", "edge", "rim", "shape"):
        sums = [sums for (group, _), sums in counted.groups.items() if group == name]
        assert sum(sums)[0] == whole


def test_a_mask_grid_keeps_what_is_large_and_loses_what_is_small():
    truth = np.zeros((256, 80), dtype=bool)
    truth[60:140, 20:60] = True
    best = best_on_grid(truth, (128, 40))
    assert np.count_nonzero(best & truth) > 0.97 * np.count_nonzero(truth)
    dot = np.zeros_like(truth)
    dot[30, 30] = True
    assert not best_on_grid(dot, (128, 40)).any()


def small_phantoms(monkeypatch, module):
    monkeypatch.setattr(module, "make_phantom", lambda seed, settings: make_phantom(seed, SMALL))


def test_the_trial_measures_every_number_and_writes_them(tmp_path, monkeypatch):
    small_phantoms(monkeypatch, trial)
    monkeypatch.setattr(trial, "EXEMPLARS", 2)
    out = tmp_path / "results.json"
    options = ["--first", "90030", "--count", "1", "--counts", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["trial", *options])
    trial.main()
    written = json.loads(out.read_text("utf-8"))
    assert written["first"] == 90_030
    (row,) = written["rows"]
    for name in ("right scan dice", "wrong scan dice", "none scan dice", "lesion dice 3"):
        assert 0 <= row[name] <= 1
        assert written["summary"][name] == [pytest.approx(row[name], abs=1e-4), 0.0]
    assert "scan dice with 1" in row


def test_the_shortfall_is_printed_as_tables(monkeypatch, capsys):
    small_phantoms(monkeypatch, shortfall)
    monkeypatch.setattr("sys.argv", ["shortfall", "--first", "90030", "--count", "1"])
    shortfall.main()
    printed = capsys.readouterr().out
    assert "| all | lesions | 1.00 |" in printed
    assert "| lesions not seen |" in printed


def averaged(monkeypatch, out, *files):
    monkeypatch.setattr("sys.argv", ["average", *map(str, files), "--out", str(out)])
    average.main()
    return load_file(out)


def test_weights_of_two_runs_are_averaged_and_one_is_only_converted(tmp_path, monkeypatch):
    first = {"a": torch.tensor([1.0, 2.0]), "b": torch.ones(2, 3, dtype=torch.bfloat16)}
    second = {"a": torch.tensor([3.0, 2.0]), "b": torch.zeros(2, 3, dtype=torch.bfloat16)}
    for name, state in (("first.pt", first), ("second.pt", second)):
        torch.save({"model": state, "step": 3}, tmp_path / name)
    files = [tmp_path / "first.pt", tmp_path / "second.pt"]
    mean = averaged(monkeypatch, tmp_path / "mean.safetensors", *files)
    assert mean["a"].tolist() == [2.0, 2.0]
    assert mean["b"].dtype == torch.float32 and (mean["b"] == 0.5).all()
    alone = averaged(monkeypatch, tmp_path / "alone.safetensors", files[1])
    assert alone["a"].tolist() == [3.0, 2.0]


def test_weights_of_different_networks_are_not_averaged(tmp_path, monkeypatch):
    for name, length in (("first.pt", 2), ("second.pt", 3)):
        torch.save({"model": {"a": torch.zeros(length)}}, tmp_path / name)
    out = tmp_path / "mean.safetensors"
    with pytest.raises(BadInput, match="differ"):
        averaged(monkeypatch, out, tmp_path / "first.pt", tmp_path / "second.pt")
    assert not out.exists()
