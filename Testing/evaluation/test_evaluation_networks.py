"""Real networks of every kind, from files of weights, through the evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from command_line import write_weights
from engine_fixtures import FIRST, SECOND, Block, scan_of, volume_of
from evaluation_fixtures import LESIONS, truth_of
from stub_segmenter import StubMois

from mois_core import weights
from mois_core.errors import BadInput
from mois_core.evaluation.metrics import MetricSettings, measure
from mois_core.evaluation.protocols import Protocol, run_protocol
from mois_core.evaluation.segmenter_specs import (
    make_segmenter,
    parse_spec,
    weights_of,
    without_missing,
)
from mois_core.evaluation.segmenters import SessionSegmenter
from mois_core.geometry import SliceStack, Volume
from mois_core.network.exemplar import MoisSam2
from mois_core.network.short_long import SlmSam2
from mois_core.weights.store import FOLDER_VARIABLE


@pytest.mark.parametrize(
    ("kind", "preset", "network"),
    [
        ("mois", "mois-tiny", MoisSam2),
        ("mois-clicks", "mois-tiny", MoisSam2),
        ("slm", "slm-tiny", SlmSam2),
    ],
)
def test_every_kind_of_network_runs_from_its_file(tmp_path, one_thread, kind, preset, network):
    path = write_weights(tmp_path / f"{preset}.pt", preset)
    segmenter = make_segmenter(parse_spec(f"{kind}={path},propagation_slices=1,reference=no"))
    assert isinstance(segmenter, SessionSegmenter)
    assert isinstance(segmenter.model, network)
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
