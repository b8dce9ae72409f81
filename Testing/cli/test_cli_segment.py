"""``mois segment`` from files to files: what was clicked, what was found, and what is written."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import slicerio
from command_line import (
    labels_on_slices,
    mois,
    use_stub,
    write_clicks,
    write_scene,
    write_weights,
)
from engine_fixtures import FIRST, OTHER_KIND, SCENE, SECOND, THIRD, painted, scan_of, volume_of
from PIL import Image

from mois_core import weights
from mois_core.geometry import SliceStack, Volume, same_grid
from mois_core.io import read_labels, read_scan, write_image
from mois_core.results.lesion_report import COLUMNS
from mois_core.session.session_file import restore

pytestmark = pytest.mark.usefixtures("one_thread")

VOXEL_CM3 = volume_of(scan_of()).voxel_volume_cm3


@pytest.fixture
def a_case(tmp_path):
    """A scan, and two clicks: lesion 1 in the first block, lesion 7 in the second."""
    folder = tmp_path / "Fälle 1"
    scan = write_scene(folder)
    volume = read_scan(scan)
    clicks = [(1, True, FIRST.middle), (7, True, SECOND.middle)]
    write_clicks(folder / "clicks.mrk.json", volume, clicks)
    return folder


@pytest.fixture
def the_stub(monkeypatch):
    return use_stub(monkeypatch)


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny.pt", "mois-tiny")


def segment(case, *more, out="lesions.seg.nrrd", points="clicks.mrk.json", model="stub"):
    scan = case / "scan.nii.gz"
    with_points = ("--points", case / points) if points else ()
    return mois("segment", scan, *with_points, "--model", model, "--out", case / out, *more)


def test_a_real_network_runs_from_files_to_files(a_case, tiny_weights, capsys):
    write_scene(a_case, volume=volume_of(scan_of(FIRST, SECOND, slices=6)))
    code = segment(
        a_case,
        *("--report", a_case / "table.json", "--picture", a_case / "picture.png"),
        model=tiny_weights,
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "2 clicked" in captured.out and captured.err == ""
    written = read_labels(a_case / "lesions.seg.nrrd")
    scan = read_scan(a_case / "scan.nii.gz")
    assert same_grid(written, scan)
    report = json.loads((a_case / "table.json").read_text(encoding="utf-8"))
    assert report["model"] == {
        "preset": "mois-tiny",
        "checkpoint": "tiny.pt",
        "sha256": weights.checksum(tiny_weights),
    }
    assert {row["lesion"] for row in report["lesions"][:2]} == {1, 7}
    with Image.open(a_case / "picture.png") as picture:
        assert picture.format == "PNG"
    assert len(list(a_case.iterdir())) == 5


def test_lesions_keep_their_numbers_and_findings_take_the_next(a_case, the_stub):
    assert segment(a_case, out="labels.nii.gz") == 0
    labels = labels_on_slices(a_case / "labels.nii.gz")
    assert np.array_equal(labels == 1, painted(FIRST))
    assert np.array_equal(labels == 7, painted(SECOND))
    assert np.array_equal(labels == 8, painted(THIRD))
    assert set(np.unique(labels)) == {0, 1, 7, 8}
    assert not labels[OTHER_KIND.where].any()


def test_segments_are_named_and_coloured(a_case, the_stub):
    assert segment(a_case) == 0
    read = slicerio.read_segmentation(str(a_case / "lesions.seg.nrrd"))
    assert [s["name"] for s in read["segments"]] == ["Lesion 1", "Lesion 7", "Lesion 8"]
    assert [s["labelValue"] for s in read["segments"]] == [1, 7, 8]
    assert len({tuple(s["color"]) for s in read["segments"]}) == 3


def test_the_report_has_a_row_for_every_lesion(a_case, the_stub):
    assert segment(a_case, "--report", a_case / "table.csv") == 0
    with open(a_case / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [(r["lesion"], r["status"], r["clicks"]) for r in rows] == [
        ("1", "prompted", "1"),
        ("7", "prompted", "1"),
        ("8", "found", "0"),
    ]
    for row, block in zip(rows, (FIRST, SECOND, THIRD), strict=True):
        assert int(row["voxels"]) == block.voxels
        assert float(row["volume_cm3"]) == pytest.approx(block.voxels * VOXEL_CM3, rel=1e-5)
        assert float(row["mean"]) == block.brightness and float(row["sd"]) == 0


def test_without_search_only_clicked_lesions_are_written(a_case, the_stub):
    assert segment(a_case, "--no-search", out="labels.nii.gz") == 0
    assert set(np.unique(labels_on_slices(a_case / "labels.nii.gz"))) == {0, 1, 7}
    assert not the_stub.calls["decode_search"]
    assert the_stub.calls["encode"] < 12


def test_the_window_limits_how_far_a_lesion_is_propagated(a_case, the_stub):
    assert segment(a_case, "--no-search", "--window", 1, out="labels.nii.gz") == 0
    labels = labels_on_slices(a_case / "labels.nii.gz")
    middle = FIRST.middle[0]
    assert sorted(set(np.nonzero(labels == 1)[0])) == [middle - 1, middle, middle + 1]


def test_a_negative_click_takes_away(a_case, the_stub):
    volume = read_scan(a_case / "scan.nii.gz")
    n, row, column = FIRST.middle
    clicks = [(1, True, FIRST.middle), (1, False, (n, row + 3, column + 3))]
    write_clicks(a_case / "two.mrk.json", volume, clicks)
    assert segment(a_case, "--no-search", points="two.mrk.json", out="labels.nii.gz") == 0
    on_slice = labels_on_slices(a_case / "labels.nii.gz")[n] == 1
    assert on_slice.any() and not on_slice[row + 1, column + 1]


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0)])
def test_the_same_lesions_come_out_however_the_scan_is_stored(a_case, the_stub, order):
    volume = read_scan(a_case / "scan.nii.gz")
    stored = np.ascontiguousarray(np.flip(volume.array.transpose(order), 0))
    axes = [2 - axis for axis in reversed(order)]
    affine = volume.ijk_to_ras[:, [*axes, 3]].copy()
    affine[:, 3] += affine[:, 2] * (stored.shape[0] - 1)
    affine[:, 2] *= -1
    other = Volume(stored, affine)
    assert np.array_equal(SliceStack(other).array, SliceStack(volume).array)
    write_image(a_case / "scan.nii.gz", other)
    assert segment(a_case, out="labels.nii.gz") == 0
    written = read_labels(a_case / "labels.nii.gz")
    assert same_grid(written, other)
    assert np.array_equal(SliceStack(written).array == 1, painted(FIRST))


def test_the_search_can_be_limited(a_case, the_stub):
    volume = read_scan(a_case / "scan.nii.gz")
    region = np.zeros(volume.array.shape, dtype=np.uint8)
    SliceStack(volume).from_volume(region)[THIRD.where] = 3
    write_image(a_case / "region.nii.gz", Volume(region, volume.ijk_to_ras))
    limits = ("--outside", a_case / "region.nii.gz")
    assert segment(a_case, *limits, out="labels.nii.gz") == 0
    assert set(np.unique(labels_on_slices(a_case / "labels.nii.gz"))) == {0, 1, 7}
    limits = ("--inside", a_case / "region.nii.gz")
    assert segment(a_case, *limits, out="labels.nii.gz") == 0
    assert np.array_equal(labels_on_slices(a_case / "labels.nii.gz") == 8, painted(THIRD))


def test_an_earlier_scan_says_what_to_search_for(a_case, the_stub, tmp_path):
    before = volume_of(scan_of(SECOND, OTHER_KIND))
    outlined = volume_of(painted(SECOND).astype(np.uint8) * 5)
    write_image(tmp_path / "before.nii.gz", before)
    write_image(tmp_path / "outlined.nii.gz", outlined)
    earlier = (
        *("--exemplar-labels", tmp_path / "outlined.nii.gz"),
        *("--exemplar-scan", tmp_path / "before.nii.gz"),
    )
    assert segment(a_case, *earlier, points=None, out="labels.nii.gz") == 0
    found = labels_on_slices(a_case / "labels.nii.gz") > 0
    assert np.array_equal(found, painted(FIRST) | painted(SECOND) | painted(THIRD))


def test_thin_slices_are_averaged_and_results_come_back_on_them(a_case, the_stub, capsys):
    thick = scan_of(*SCENE)
    affine = volume_of(thick).ijk_to_ras @ np.diag([1, 1, 1 / 6, 1])
    thin = Volume(np.repeat(thick, 6, axis=0), affine)
    write_image(a_case / "scan.nii.gz", thin)
    n, row, column = FIRST.middle
    write_clicks(a_case / "clicks.mrk.json", thin, [(1, True, (6 * n + 2, row, column))])
    assert segment(a_case, "--no-search") == 0
    assert "--thicken" in capsys.readouterr().err
    report = ("--report", a_case / "table.csv", "--picture", a_case / "picture.png")
    assert segment(a_case, "--thicken", *report, out="labels.nii.gz") == 0
    written = read_labels(a_case / "labels.nii.gz")
    assert same_grid(written, thin)
    labels = SliceStack(written).array
    assert np.array_equal(labels == 1, np.repeat(painted(FIRST), 6, axis=0))
    with open(a_case / "table.csv", encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert int(row["voxels"]) == 6 * FIRST.voxels


def test_a_saved_session_goes_on(a_case, the_stub):
    assert segment(a_case, "--save-session", a_case / "session.zip") == 0
    session = restore(a_case / "session.zip", the_stub, read_scan(a_case / "scan.nii.gz"))
    assert [lesion.id for lesion in session.lesions] == [1, 7, 8]
    session.accept(8)
    assert session.model_info.preset == "stub"


def test_a_scan_of_another_direction_is_worked_on_with_a_warning(a_case, the_stub, capsys):
    affine = volume_of(scan_of()).ijk_to_ras @ np.diag([1, 14.0, 0.08, 1])
    turned = Volume(scan_of(), affine)
    write_image(a_case / "scan.nii.gz", turned)
    write_clicks(a_case / "clicks.mrk.json", turned, [(1, True, FIRST.middle)])
    assert segment(a_case, "--no-search") == 0
    assert "Warning: The scan was acquired in axial slices" in capsys.readouterr().err


def test_clicks_on_nothing_give_an_empty_result_and_say_so(a_case, the_stub, monkeypatch, capsys):
    def nothing(mask, *_):
        return np.zeros_like(mask)

    monkeypatch.setattr(the_stub, "_prompted", nothing)
    assert segment(a_case, out="labels.nii.gz") == 0
    assert "nothing to search for" in capsys.readouterr().err
    assert not labels_on_slices(a_case / "labels.nii.gz").any()


def test_one_slice_is_a_scan_too(a_case, the_stub):
    single = volume_of(scan_of(*SCENE)[FIRST.middle[0] : FIRST.middle[0] + 1])
    write_image(a_case / "scan.nii.gz", single)
    write_clicks(a_case / "clicks.mrk.json", single, [(1, True, (0, *FIRST.middle[1:]))])
    assert segment(a_case, "--picture", a_case / "p.png", out="labels.nii.gz") == 0
    assert labels_on_slices(a_case / "labels.nii.gz")[0, FIRST.middle[1], FIRST.middle[2]] == 1


def test_results_name_neither_the_scan_nor_its_folder(a_case, the_stub):
    report = ("--report", a_case / "table.json", "--save-session", a_case / "session.zip")
    assert segment(a_case, *report) == 0
    for name in ("table.json", "session.zip", "lesions.seg.nrrd"):
        content = (a_case / name).read_bytes()
        assert b"scan.nii" not in content
        assert a_case.name.encode() not in content
