"""``mois demo`` goes the whole way on a phantom and says honestly how well it went."""

from __future__ import annotations

import contextlib
import csv
import io
import json

import numpy as np
import pytest
from command_line import mois

from mois_core import models
from mois_core.cli import demo
from mois_core.geometry import SliceStack, Volume, same_grid
from mois_core.io import read_labels, read_points, read_scan
from mois_core.phantom import PhantomSettings, is_held_out, make_phantom
from mois_core.results.lesion_report import COLUMNS
from mois_core.session import Session
from mois_core.session.components import deepest_point

SMALL = PhantomSettings(lesions=24, slices=20, size=(256, 80))
FILES = {
    "scan.nii.gz",
    "instances.nii.gz",
    "semantic.nii.gz",
    "lesions.json",
    "clicks.mrk.json",
    "lesions.seg.nrrd",
    "report.csv",
    "picture.png",
    "scores.json",
}


@pytest.fixture(scope="module")
def a_phantom():
    return make_phantom(demo.DEFAULT_SEED, SMALL)


@pytest.fixture
def a_small_patient(monkeypatch, a_phantom):
    """The demo's own scan takes seconds to paint; what it does with it is the same."""
    monkeypatch.setattr("mois_core.phantom.make_phantom", lambda seed: a_phantom)


@pytest.fixture(scope="module")
def a_demo(tmp_path_factory, a_phantom):
    """Run once, without weights, whether or not this version has some."""
    folder = tmp_path_factory.mktemp("demo") / "Ausgabe 1"
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr("mois_core.phantom.make_phantom", lambda seed: a_phantom)
        patch.setattr(models, "shipped_weights", lambda preset=models.SHIPPED: None)
        assert mois("demo", "--out", folder) == 0
    return folder, said.getvalue()


@pytest.fixture
def a_folder(a_demo):
    return a_demo[0]


def scores_of(folder) -> dict:
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


def test_everything_is_there(a_folder):
    assert {path.name for path in a_folder.iterdir()} == FILES
    scan = read_scan(a_folder / "scan.nii.gz")
    assert same_grid(read_labels(a_folder / "lesions.seg.nrrd"), scan)
    with open(a_folder / "report.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["status"] for row in rows[:5]] == ["prompted"] * 5


def test_scores_are_parts_of_one(a_folder):
    scores = scores_of(a_folder)
    for name in ("scan_dsc", "detection_f1", "lesion_dsc"):
        assert 0 <= scores[name] <= 1
    assert scores["clicks"] == 5
    assert scores["seconds"] > 0
    assert scores["seed"] == demo.DEFAULT_SEED


def test_the_default_patient_was_never_trained_on():
    assert is_held_out(demo.DEFAULT_SEED)


def test_clicks_are_in_the_middle_of_the_largest_target_lesions(a_folder, a_phantom):
    stack = SliceStack(Volume(a_phantom.scan, a_phantom.ijk_to_ras))
    instances = stack.from_volume(a_phantom.instances)
    clicks = read_points(a_folder / "clicks.mrk.json")
    assert [click.lesion_id for click in clicks] == [1, 2, 3, 4, 5]
    hit = []
    for click in clicks:
        n, x, y = (int(round(float(c))) for c in stack.point_from_ras(click.ras))
        hit.append(int(instances[n, y, x]))
    targets = sorted((le for le in a_phantom.lesions if le.target), key=lambda le: -le.voxels)
    assert hit == [lesion.id for lesion in targets[:5]]


def test_an_untrained_network_is_called_so(a_demo):
    folder, said = a_demo
    assert scores_of(folder)["trained"] is False
    assert "its outlines mean nothing" in said


def test_a_perfect_network_scores_one(a_phantom):
    stack = SliceStack(Volume(a_phantom.scan, a_phantom.ijk_to_ras))
    truth = demo._clicked_lesions(a_phantom, stack)
    labels = np.where(a_phantom.semantic > 0, a_phantom.instances + 100, 0).astype(np.uint16)
    for lesion_id, (instance, mask) in enumerate(truth, start=1):
        labels[a_phantom.instances == instance] = lesion_id
        n, x, y = deepest_point(mask, stack.pixel_spacing)
        assert stack.from_volume(labels)[n, int(y), int(x)] == lesion_id
    scores = demo._score(labels, a_phantom, truth, 1.0, True)
    assert (scores.scan_dsc, scores.detection_f1, scores.lesion_dsc) == (1, 1, 1)


def test_a_folder_that_is_a_file_is_refused(a_small_patient, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert mois("demo", "--out", tmp_path / "file") == 2
    assert "mois demo: " in capsys.readouterr().err


def test_a_training_patient_is_pointed_out(a_small_patient, monkeypatch, tmp_path, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    network, _ = demo._network()
    monkeypatch.setattr(demo, "_network", lambda: (network, True))
    monkeypatch.setattr(Session, "prepare", stopped)
    assert mois("demo", "--out", tmp_path / "demo", "--seed", 7) == 130
    assert "seeds below 100000 are for training" in capsys.readouterr().out
