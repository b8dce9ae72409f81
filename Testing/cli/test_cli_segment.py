"""``mois segment`` from files to files: what was clicked, what was found, and what is written."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import nrrd
import numpy as np
import pytest
import SimpleITK
import slicerio
from command_line import (
    labels_on_slices,
    mois,
    use_stub,
    write_clicks,
    write_scene,
    write_weights,
)
from dicom_files import EnhancedFrame, write_enhanced
from engine_fixtures import FIRST, OTHER_KIND, SCENE, SECOND, THIRD, painted, scan_of, volume_of
from paths import ROOT
from PIL import Image

from mois_core import weights
from mois_core.geometry import SliceStack, Volume, same_grid
from mois_core.io import read_labels, read_points, read_scan, write_image
from mois_core.results.lesion_report import COLUMNS
from mois_core.session.prompt_notices import IN_LESION
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


def test_the_distance_limits_how_far_a_lesion_is_propagated(a_case, the_stub):
    assert segment(a_case, "--no-search", "--propagation-mm", 8, out="labels.nii.gz") == 0
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
    assert segment(a_case, "--no-search", out="labels.nii.gz") == 0
    assert capsys.readouterr().err == ""
    # 24 mm each way of the click, which is six slices for one of the scene.
    followed = np.nonzero(labels_on_slices(a_case / "labels.nii.gz") == 1)[0]
    assert set(followed) == set(range(6 * FIRST.slices[0], 6 * FIRST.slices[1]))
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


# ---- files as hospitals have them -----------------------------------------------------------


def write_frames(file, scan: np.ndarray, order, rows=slice(None)) -> float:
    """Write the slices of a scan as an enhanced DICOM file; return how far down its rows begin."""
    spacing = (0.62, 0.62)
    down = (rows.start or 0) * spacing[1]
    frames = [EnhancedFrame(n, down=down, spacing=spacing) for n in order]
    pixels = scan[list(order), rows]
    write_enhanced(file, frames, uid=f"1.2.3.{rows.start or 0}", size=(32, 32), pixels=pixels)
    return down


def test_an_enhanced_file_gives_the_lesions_that_a_plain_one_gives(a_case, the_stub):
    # DICOM counts the slices from the front: backwards, as this scan is seen.
    scan = scan_of(*SCENE)
    order = [*range(0, 12, 2), *range(1, 12, 2)]
    write_frames(a_case / "scan.dcm", scan[::-1], order)
    volume = read_scan(a_case / "scan.dcm")
    assert np.array_equal(SliceStack(volume).array, scan)
    clicks = [(1, True, FIRST.middle), (7, True, SECOND.middle)]
    points = write_clicks(a_case / "dicom.mrk.json", volume, clicks)
    out = a_case / "labels.nii.gz"
    words = ("segment", a_case / "scan.dcm", "--points", points, "--model", "stub", "--out", out)
    assert mois(*words) == 0
    assert same_grid(read_labels(out), volume)
    labels = labels_on_slices(out)
    for lesion_id, block in ((1, FIRST), (7, SECOND), (8, THIRD)):
        assert np.array_equal(labels == lesion_id, painted(block))


def test_stations_become_one_scan_with_a_lesion_across_the_seam(a_case, the_stub, capsys):
    scan = np.concatenate([scan_of(FIRST), scan_of(THIRD)[:, 2:]], axis=1)
    across = (slice(3, 8), slice(26, 40), slice(5, 12))
    scan[across] = scan_of(FIRST)[FIRST.where].max()
    folder = a_case / "dicom"
    for start in (30, 0):
        write_frames(folder / f"{start}.dcm", scan[::-1], range(12), slice(start, start + 32))
    volume = read_scan(folder)
    assert np.array_equal(SliceStack(volume).array, scan)
    capsys.readouterr()
    points = write_clicks(a_case / "dicom.mrk.json", volume, [(1, True, (5, 32, 8))])
    out = a_case / "labels.nii.gz"
    words = ("segment", folder, "--points", points, "--model", "stub", "--out", out)
    report = ("--report", a_case / "table.json")
    assert mois(*words, *report, "--no-search") == 0
    said = capsys.readouterr().err
    assert said.count("2 stations were composed into one scan; the seam lies at S 381 mm") == 1
    assert labels_on_slices(out).shape == (12, 62, 32)
    parameters = json.loads((a_case / "table.json").read_text(encoding="utf-8"))["parameters"]
    assert parameters["stations"] == 2
    named = ("--series", "1.2.3.0", "--series", "1.2.3.30", "--compose")
    assert mois(*words, *named, "--no-search") == 0
    assert mois(*words, "--series", "1.2.3.0", "--no-search") == 2  # the click is not in it


def test_a_click_that_makes_no_sense_is_said_and_reported(a_case, the_stub, capsys):
    volume = read_scan(a_case / "scan.nii.gz")
    slice_index, row, column = FIRST.middle
    twice = [(1, True, FIRST.middle), (2, True, (slice_index, row - 2, column - 2))]
    points = write_clicks(a_case / "twice.mrk.json", volume, twice)
    words = (
        "segment",
        a_case / "scan.nii.gz",
        "--points",
        points,
        "--model",
        "stub",
        "--no-search",
    )
    outputs = ("--out", a_case / "labels.nii.gz", "--report", a_case / "table.json")
    assert mois(*words, *outputs) == 0
    text = IN_LESION.format(lesion=2, other=1)
    assert capsys.readouterr().err.splitlines().count(text) == 1
    document = json.loads((a_case / "table.json").read_text(encoding="utf-8"))
    assert document["notices"] == [text]
    assert [row["lesion"] for row in document["lesions"]] == [1, 2]


def write_layers(path, volume, masks, box=None) -> None:
    """Write masks of slices as the layers of a segmentation of Slicer, or only a box of them."""
    layers = [SliceStack(volume).to_volume(mask.astype(np.uint8)) for mask in masks]
    box = box or tuple(slice(0, size) for size in volume.array.shape)
    affine = volume.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in reversed(box)]
    lps = np.diag([-1, -1, 1, 1]) @ affine
    header = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.vstack([np.full(3, np.nan), lps[:3, :3].T]),
        "space origin": lps[:3, 3],
        "Segmentation_ReferenceImageExtentOffset": " ".join(str(p.start) for p in reversed(box)),
    }
    for n in range(len(layers)):
        header |= {f"Segment{n}_ID": f"S{n}", f"Segment{n}_Layer": str(n)}
        header[f"Segment{n}_LabelValue"] = "1"
    nrrd.write(str(path), np.stack([a[box] for a in layers]).transpose(0, 3, 2, 1), header)


def test_segmentations_of_slicer_limit_the_search(a_case, the_stub):
    volume = read_scan(a_case / "scan.nii.gz")
    masks = [painted(SECOND), painted(THIRD)]
    write_layers(a_case / "whole.seg.nrrd", volume, masks)
    filled = np.argwhere(SliceStack(volume).to_volume(masks[0] | masks[1]))
    box = tuple(slice(a, b + 1) for a, b in zip(filled.min(0), filled.max(0), strict=True))
    write_layers(a_case / "cropped.seg.nrrd", volume, masks, box)
    for name in ("whole.seg.nrrd", "cropped.seg.nrrd"):
        for option, numbers in (("--outside", {0, 1, 7}), ("--inside", {0, 1, 7, 8})):
            assert segment(a_case, option, a_case / name, out="labels.nii.gz") == 0
            assert set(np.unique(labels_on_slices(a_case / "labels.nii.gz"))) == numbers


def test_layers_of_an_earlier_segmentation_say_what_to_search_for(a_case, the_stub, tmp_path):
    volume = read_scan(a_case / "scan.nii.gz")
    box = (slice(2, 9), slice(4, 30), slice(2, 14))
    write_layers(tmp_path / "a.seg.nrrd", volume, [painted(FIRST), painted(SECOND)], box)
    earlier = ("--exemplar-labels", tmp_path / "a.seg.nrrd")
    assert segment(a_case, *earlier, points=None, out="labels.nii.gz") == 0
    found = labels_on_slices(a_case / "labels.nii.gz") > 0
    assert np.array_equal(found, painted(FIRST) | painted(SECOND) | painted(THIRD))


def test_clicks_may_come_in_the_older_table_of_slicer(a_case, the_stub):
    clicks = read_points(a_case / "clicks.mrk.json")
    lines = ["# Markups fiducial file version = 4.11", "# CoordinateSystem = RAS"]
    for click in clicks:
        place = ",".join(map(str, click.ras))
        lines.append(f"1,{place},0,0,0,1,1,1,0,{click.label},,")
    (a_case / "clicks.fcsv").write_text("\n".join(lines), "utf-8")
    assert segment(a_case, out="a.nii.gz") == 0
    assert segment(a_case, out="b.nii.gz", points="clicks.fcsv") == 0
    assert (a_case / "a.nii.gz").read_bytes() == (a_case / "b.nii.gz").read_bytes()


def test_endings_in_capitals_are_the_same_endings(a_case, the_stub):
    assert segment(a_case, out="a.nii.gz") == 0
    (a_case / "scan.nii.gz").rename(a_case / "SCAN.nii.GZ")
    out = (
        "--out",
        a_case / "B.NII.GZ",
        "--picture",
        a_case / "B.PNG",
        "--report",
        a_case / "B.CSV",
    )
    points = ("--points", a_case / "clicks.mrk.json", "--model", "stub")
    assert mois("segment", a_case / "SCAN.nii.GZ", *points, *out) == 0
    assert (a_case / "a.nii.gz").read_bytes() == (a_case / "B.NII.GZ").read_bytes()
    assert (a_case / "B.CSV").read_text(encoding="utf-8").startswith("lesion,")
    with Image.open(a_case / "B.PNG") as picture:
        assert picture.format == "PNG"


def test_values_that_are_no_numbers_are_repaired_and_this_is_said(a_case, the_stub, capsys):
    scan = scan_of(*SCENE).astype(np.float32)
    scan[0, 20, 20:23] = np.nan
    volume = volume_of(scan)
    image = SimpleITK.GetImageFromArray(volume.array)
    image.CopyInformation(SimpleITK.ReadImage(str(a_case / "scan.nii.gz")))
    SimpleITK.WriteImage(image, str(a_case / "scan.nii.gz"))
    assert segment(a_case, out="labels.nii.gz") == 0
    assert "0 was put in the place of 3 voxels" in capsys.readouterr().err
    labels = labels_on_slices(a_case / "labels.nii.gz")
    assert np.array_equal(labels == 1, painted(FIRST))


def test_a_home_that_cannot_be_written_is_nothing_to_speak_of(a_case, tiny_weights):
    write_scene(a_case, volume=volume_of(scan_of(FIRST, slices=6)))
    write_clicks(
        a_case / "clicks.mrk.json", read_scan(a_case / "scan.nii.gz"), [(1, True, FIRST.middle)]
    )
    nowhere = str(a_case / "scan.nii.gz" / "home")  # below a file, where even root cannot write
    gone = ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    environment |= {"HOME": nowhere, "USERPROFILE": nowhere, "LOCALAPPDATA": nowhere}
    files = ("--out", a_case / "o.nii.gz", "--picture", a_case / "o.png")
    words = (a_case / "scan.nii.gz", "--points", a_case / "clicks.mrk.json", *files, "--no-search")
    ran = subprocess.run(
        [sys.executable, "-m", "mois_core", "segment", *words, "--model", tiny_weights],
        env=environment,
        cwd=ROOT,
        capture_output=True,
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert (a_case / "o.png").exists()
