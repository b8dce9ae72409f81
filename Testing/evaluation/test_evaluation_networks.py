"""Real networks of every kind, from files of weights, through the evaluation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import write_weights
from engine_fixtures import FIRST, SECOND, Block, scan_of, volume_of
from evaluation_fixtures import LESIONS, truth_of
from paths import ROOT
from stub_segmenter import StubMois

from mois_core import models, weights
from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.errors import BadInput
from mois_core.evaluation.metrics import MetricSettings, measure
from mois_core.evaluation.protocols import Protocol, run_protocol
from mois_core.evaluation.segmenter_specs import (
    given_to,
    make_segmenter,
    parse_spec,
    weights_of,
    without_missing,
)
from mois_core.evaluation.segmenters import SessionSegmenter
from mois_core.geometry import SliceStack, Volume
from mois_core.network.checkpoint import read_checkpoint
from mois_core.network.config import preset, with_changes
from mois_core.network.exemplar import MoisSam2
from mois_core.network.loading import build
from mois_core.network.model import Sam2
from mois_core.network.short_long import SlmSam2
from mois_core.weights.store import FOLDER_VARIABLE


def write_network(path: Path, name: str) -> Path:
    """Write made-up weights of a small network; a small SAM 2 as a training run writes it."""
    if name != "sam2-tiny":
        return write_weights(path, name)
    changes = {"exemplars": None}
    network = fill_synthetic(build(with_changes(preset("mois-tiny"), changes)))
    run = {"model": "mois-tiny", "changes": changes}
    torch.save({"model": network.state_dict(), "config": run}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "preset_name", "network"),
    [
        ("mois", "mois-tiny", MoisSam2),
        ("mois-clicks", "mois-tiny", MoisSam2),
        ("sam2", "sam2-tiny", Sam2),
        ("slm", "slm-tiny", SlmSam2),
    ],
)
def test_every_kind_of_network_runs_from_its_file(tmp_path, one_thread, kind, preset_name, network):
    path = write_network(tmp_path / f"{preset_name}.pt", preset_name)
    segmenter = make_segmenter(parse_spec(f"{kind}={path},propagation_slices=1,reference=no"))
    assert isinstance(segmenter, SessionSegmenter)
    assert type(segmenter.model) is network
    assert segmenter.searches is (kind == "mois")

    lesion = Block((1, 3), (6, 13), (5, 12))
    volume = volume_of(scan_of(lesion, slices=4))
    labels = truth_of(lesion)[:4]
    (step,) = run_protocol(Protocol(clicks=2), segmenter, volume, labels, "scan")

    assert step.clicks == 2
    assert step.result.shape == volume.array.shape
    assert segmenter.session.lesion(1).prompted


def test_weights_are_read_once_for_all_segmenters_that_share_them(tmp_path):
    path = write_weights(tmp_path / "shared.pt", "mois-tiny")
    specs = [parse_spec(f"mois={path}"), parse_spec(f"mois-clicks={path},propagation_slices=2")]
    first, second = map(make_segmenter, specs)

    assert first.model is second.model
    assert second.settings.propagation_slices == 2
    assert weights_of(specs[0]) == weights_of(specs[1])
    assert len(weights_of(specs[0])["sha256"]) == 64


def test_mois_sam2_without_a_search_is_not_called_sam2(tmp_path):
    path = write_weights(tmp_path / "a.pt", "mois-tiny")
    with pytest.raises(BadInput, match="weights of MOIS-SAM2; write mois-clicks="):
        without_missing([parse_spec(f"sam2={path}")])
    with pytest.raises(BadInput, match="weights of MOIS-SAM2"):
        make_segmenter(parse_spec(f"sam2={path}"))
    assert parse_spec(f"mois-clicks={path}").name == "MOIS-SAM2 without search"


def test_sam2_and_slm_sam2_do_not_pass_for_each_other(tmp_path):
    sam2 = write_network(tmp_path / "sam2.pt", "sam2-tiny")
    slm = write_weights(tmp_path / "slm.pt", "slm-tiny")
    with pytest.raises(BadInput, match="weights of SAM2, without exemplars; write sam2="):
        without_missing([parse_spec(f"slm={sam2}")])
    for kind in ("sam2", "mois"):
        with pytest.raises(BadInput, match="weights of SLM-SAM2, without exemplars; write slm="):
            without_missing([parse_spec(f"{kind}={slm}")])


@pytest.mark.parametrize("kind", ["sam2", "slm"])
def test_a_network_without_exemplars_heeds_clicks_and_gives_the_same_again(
    tmp_path, one_thread, kind
):
    path = write_network(tmp_path / "weights.pt", f"{kind}-tiny")
    volume = volume_of(scan_of(FIRST, slices=4))
    stack = SliceStack(volume)

    def marked(x: int, y: int) -> np.ndarray:
        segmenter = make_segmenter(parse_spec(f"{kind}={path},propagation_slices=1"))
        segmenter.open(volume)
        segmenter.click(tuple(stack.point_to_ras(2, x, y).tolist()))
        return segmenter.result()

    assert np.array_equal(marked(8, 8), marked(8, 8))
    assert not np.array_equal(marked(8, 8), marked(2, 12))


@pytest.mark.parametrize("missing", ["sam2=sam2.1-b+", "sam2=nowhere/newest.pt", "slm=slm-sam2-t"])
def test_networks_whose_weights_are_not_here_stop_nothing(tmp_path, monkeypatch, missing):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "empty"))
    path = write_weights(tmp_path / "a.pt", "mois-tiny")
    asked = [parse_spec(f"X@1:mois={path}"), parse_spec(f"X@2:{missing}")]
    specs, left_out = without_missing(asked)

    assert specs == (asked[0],)
    assert list(left_out) == ["X@2"]
    assert "not on this computer" in left_out["X@2"] or "neither a file" in left_out["X@2"]


def test_what_a_network_was_given_is_told_as_far_as_its_file_says_it(tmp_path):
    path = write_weights(tmp_path / "a.pt", "mois-tiny")
    told = given_to(parse_spec(f"mois={path}"))
    assert told == {"parameters": sum(w.numel() for w in read_checkpoint(path).values())}
    shipped = given_to(parse_spec("mois=phantom"))
    assert shipped["parameters"] > 4_000_000
    assert {name: shipped[name] for name in models.GIVEN} == models.GIVEN


def test_the_card_adds_up_to_what_tables_tell_of_the_network_that_ships():
    card = (ROOT / "mois_core" / "models" / "README.md").read_text(encoding="utf-8")
    runs = re.findall(r"^\| [a-z, ]+ \| ([\d,]+)(?: of [\w,]+)? \| (\d+) \|", card, re.MULTILINE)
    assert len(runs) == 17
    numbers = [[int(text.replace(",", "")) for text in run] for run in runs]
    steps, minutes = map(sum, zip(*numbers, strict=True))
    assert (steps, minutes) == (models.GIVEN["steps"], models.GIVEN["minutes"])


def test_random_weights_are_never_measured(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(BadInput):
        weights.resolve("mois-tiny")


def test_names_folds_models_and_options_are_read_from_one_word(tmp_path):
    path = write_weights(tmp_path / "a.pt", "mois-tiny")
    spec = parse_spec(f"Ours@2:mois={path},exemplars=3,gate=no")

    assert (spec.name, spec.fold, spec.model) == ("Ours", "2", str(path))
    assert make_segmenter(spec).settings.exemplars == 3
    assert not make_segmenter(spec).settings.gate
    assert parse_spec(f"mois={path}").name == "MOIS-SAM2"
    assert parse_spec(f"mois={path},propagation_slices=5").name == "MOIS-SAM2 propagation_slices=5"


def turned(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(2, 0, 1)[::-1, :, ::-1])


def turned_volume(volume: Volume) -> Volume:
    """Return the same scan with its voxels stored in another order."""
    sizes = volume.array.shape
    to_old = np.zeros((4, 4))
    # New [a, b, c] is old [k = b, j = last - c, i = last - a].
    to_old[0, 2], to_old[0, 3] = -1, sizes[2] - 1
    to_old[1, 0], to_old[1, 3] = -1, sizes[1] - 1
    to_old[2, 1] = 1
    to_old[3, 3] = 1
    return Volume(turned(volume.array), volume.ijk_to_ras @ to_old)


@pytest.mark.parametrize("kind", ["lesion-wise", "scan-wise", "reader"])
def test_how_a_scan_is_stored_changes_nothing(kind):
    volume = volume_of(scan_of(*LESIONS))
    again = turned_volume(volume)
    assert np.array_equal(SliceStack(again).array, SliceStack(volume).array)
    protocol = Protocol(kind=kind, lesions=2, clicks=3, measured="click", seed=3)

    def outcome(scan: Volume, labels: np.ndarray) -> list[tuple]:
        stack = SliceStack(scan)
        spacing = (stack.slice_spacing, *stack.pixel_spacing)
        truth = stack.from_volume(labels)
        steps = run_protocol(protocol, StubMois(), scan, labels, "scan")
        metrics = MetricSettings(smallest_cm3=0.0)
        return [
            (step.clicks, step.prompted_dice, measure(step.result, truth, spacing, metrics).assd_mm)
            for step in steps
        ]

    labels = truth_of(*LESIONS)
    assert outcome(volume, labels) == outcome(again, turned(labels))


def test_the_scenes_lesions_are_apart():
    assert not (truth_of(FIRST) * truth_of(SECOND)).any()
