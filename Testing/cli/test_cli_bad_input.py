"""Whatever cannot be used is refused in one line, with exit code 2 and nothing written."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import SimpleITK
import torch
from command_line import mois, use_stub, write_clicks, write_scene, write_weights
from dicom_files import EnhancedFrame, write_enhanced, write_series
from engine_fixtures import FIRST, scan_of, volume_of
from stub_network import StubNetwork

from mois_core import models, weights
from mois_core.cli import model_choice, result_files
from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.io import read_scan, write_image
from mois_core.network.model_info import ModelInfo
from mois_core.session import Session

pytestmark = pytest.mark.usefixtures("one_thread")

RESULTS = ("lesions.seg.nrrd", "table.csv", "picture.png")


@pytest.fixture
def a_case(tmp_path, monkeypatch):
    """A scan and a click that would do, on a computer without any weights."""
    monkeypatch.setenv("MOIS_WEIGHTS_DIR", str(tmp_path / "store"))
    folder = tmp_path / "case"
    scan = write_scene(folder)
    write_clicks(folder / "clicks.mrk.json", read_scan(scan), [(1, True, FIRST.middle)])
    return folder


@pytest.fixture
def the_stub(monkeypatch):
    return use_stub(monkeypatch)


@pytest.fixture
def refused(a_case, capfd):
    """Run `mois segment` on the case with other words, and give the one line it says."""

    def run(*more, scan="scan.nii.gz", points="clicks.mrk.json", model="stub", out=RESULTS[0]):
        before = sorted(a_case.iterdir())
        code = mois(
            *("segment", a_case / scan, "--points", a_case / points, "--model", model),
            *("--out", a_case / out, "--report", a_case / RESULTS[1]),
            *("--picture", a_case / RESULTS[2], *more),
        )
        said = capfd.readouterr()
        assert code == 2
        assert said.out == ""
        assert sorted(a_case.iterdir()) == before
        line = said.err.strip().splitlines()[-1]
        assert line.startswith("mois segment: ")
        assert "Traceback" not in said.err
        return line.removeprefix("mois segment: ")

    return run


def save(folder, name, array) -> str:
    write_image(folder / name, Volume(array, volume_of(scan_of()).ijk_to_ras))
    return name


# ---- scans ----------------------------------------------------------------------------------


def test_a_scan_that_is_not_there(refused, the_stub):
    assert "does not exist" in refused(scan="other.nii.gz")


def test_a_file_that_is_no_image(refused, the_stub, a_case):
    (a_case / "scan.txt").write_text("no image", "utf-8")
    assert "not an image that can be read" in refused(scan="scan.txt")


def test_a_scan_that_is_cut_short(refused, the_stub, a_case):
    path = a_case / "scan.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])
    assert "incomplete" in refused()


def test_a_scan_with_values_that_are_no_numbers(refused, the_stub, a_case):
    array = scan_of().astype(np.float32)
    array[3, 4] = np.nan
    image = SimpleITK.GetImageFromArray(array)
    points = points_file(a_case, ("F-1", [-3, -3, 3]))
    # NIfTI readers put zeros in their place, NRRD readers do not.
    for name in ("nan.nrrd", "nan.nii.gz"):
        SimpleITK.WriteImage(image, str(a_case / name))
        assert "32 voxels whose values are not finite" in refused(scan=name, points=points)


@pytest.mark.parametrize(("value", "words"), [(0, "no voxel is above 0"), (7, "no contrast")])
def test_a_scan_that_shows_nothing(refused, the_stub, a_case, value, words):
    array = np.full((12, 32, 32), value, dtype=np.int16)
    assert words in refused(scan=save(a_case, "flat.nii.gz", array))


def test_a_scan_with_a_time_axis(refused, the_stub, a_case):
    image = SimpleITK.GetImageFromArray(np.ones((2, 3, 4, 5), np.int16), isVector=False)
    SimpleITK.WriteImage(image, str(a_case / "4d.nii.gz"))
    assert "is 4-D (5 x 4 x 3 x 2)" in refused(scan="4d.nii.gz")


def test_a_colour_image(refused, the_stub, a_case):
    image = SimpleITK.GetImageFromArray(np.ones((3, 4, 5, 3), dtype=np.uint8), isVector=True)
    SimpleITK.WriteImage(image, str(a_case / "rgb.nrrd"))
    assert "3 values in each voxel" in refused(scan="rgb.nrrd")


def test_a_dicom_folder_with_several_series_lists_them(refused, the_stub, a_case):
    write_series(a_case / "dicom", "1.2.3.4", range(3), "STIR")
    write_series(a_case / "dicom", "1.2.3.5", range(2), "T1")
    line = refused(scan="dicom")
    assert "--series" in line and "1.2.3.4 (STIR, 3 files)" in line and "T1" in line
    assert "no series 9.9" in refused("--series", "9.9", scan="dicom")


def test_stations_that_cannot_be_composed(refused, the_stub, a_case):
    write_series(a_case / "dicom", "1.2.3.4", range(3), "STIR")
    write_series(a_case / "dicom", "1.2.3.5", range(3), "T1", down=2)
    line = refused(scan="dicom")
    assert "join the stations of one scan with --compose" in line
    both = ("--series", "1.2.3.4", "--series", "1.2.3.5")
    assert "--compose" in refused(*both, scan="dicom")
    assert "are described differently (STIR; T1)" in refused("--compose", scan="dicom")
    assert "show the same place" in refused("--compose", *both, scan="dicom")
    assert "no stations to join" in refused("--compose")


def test_an_enhanced_file_of_two_time_points_lists_them(refused, the_stub, a_case):
    frames = [EnhancedFrame(n, time=time) for n in range(3) for time in (1, 2)]
    write_enhanced(a_case / "scan.dcm", frames)
    line = refused(scan="scan.dcm")
    assert "2 scans that differ in time point; choose one with --series: 1.2.3.9#1" in line
    assert "number of a scan" in refused("--series", "1.2.3.9#one", scan="scan.dcm")


# ---- clicks ---------------------------------------------------------------------------------


def points_file(folder, *points) -> str:
    listed = [{"label": label, "position": place} for label, place in points]
    markup = {"type": "Fiducial", "coordinateSystem": "RAS", "controlPoints": listed}
    (folder / "other.mrk.json").write_text(json.dumps({"markups": [markup]}), "utf-8")
    return "other.mrk.json"


def test_a_click_outside_the_scan_is_named(refused, the_stub, a_case):
    points = points_file(a_case, ("F-1", [-1, 10, -1]), ("F-2", [500, 10, -1]))
    line = refused(points=points)
    assert "'F-2' at R 500.0, A 10.0, S -1.0 mm lies outside the scan" in line


def test_a_lesion_that_is_only_clicked_away(refused, the_stub, a_case):
    points = points_file(a_case, ("1+", [-1, 10, -1]), ("2-", [-2, 10, -1]))
    assert "lesion 2 has no positive click, only '2-'" in refused(points=points)


def test_clicks_that_cannot_be_read(refused, the_stub, a_case):
    assert "cannot be opened" in refused(points="missing.mrk.json")
    (a_case / "broken.mrk.json").write_text("{", "utf-8")
    assert "not valid JSON" in refused(points="broken.mrk.json")
    assert "no placed points" in refused(points=points_file(a_case))


@pytest.mark.parametrize(
    ("label", "more", "words"),
    [
        ("65536+", (), "lesion number 65536; the highest is 65535"),
        ("70000+", ("--no-search",), "lesion number 70000; the highest is 65535"),
        ("65535+", (), "65535 leaves too few numbers"),
        ("64536+", (), "64536 leaves too few numbers"),
    ],
)
def test_numbers_of_lesions_are_checked_before_a_network_is_loaded(
    refused, a_case, monkeypatch, label, more, words
):
    def load(args):
        raise AssertionError("the network is loaded")

    monkeypatch.setattr(model_choice, "choose_model", load)
    assert words in refused(*more, points=points_file(a_case, (label, [-1, 10, -1])))


def test_a_negative_click_with_a_typographic_minus_stays_negative(refused, the_stub, a_case):
    points = points_file(a_case, ("1+", [-1, 10, -1]), ("2\N{MINUS SIGN}", [-2, 10, -1]))
    assert "lesion 2 has no positive click" in refused(points=points)


def test_points_in_other_units(refused, the_stub, a_case):
    points = points_file(a_case, ("1+", [-1, 10, -1]))
    document = json.loads((a_case / points).read_text("utf-8"))
    document["markups"][0]["coordinateUnits"] = "m"
    (a_case / points).write_text(json.dumps(document), "utf-8")
    assert "at R -1000.0, A 10000.0, S -1000.0 mm lies outside the scan" in refused(points=points)
    (a_case / "empty.fcsv").write_text("", "utf-8")
    assert "does not begin as Slicer's point lists" in refused(points="empty.fcsv")


# ---- models ---------------------------------------------------------------------------------


def test_weights_that_are_not_on_this_computer(refused):
    assert "mois weights download sam2.1-t" in refused(model="sam2.1-t")


@pytest.mark.parametrize("name", ["mois-tiny", "slm-tiny", "slm-sam2-t", "no-such-model"])
def test_a_preset_never_runs_with_random_weights(refused, name):
    assert "neither a file nor the name of a checkpoint" in refused(model=name)


def test_the_shipped_model_without_its_file(refused, monkeypatch):
    monkeypatch.setattr(models, "shipped_weights", lambda: None)
    assert "comes without the weights of 'phantom'" in refused(model="phantom")


def test_files_that_are_no_checkpoint(refused, tmp_path):
    (tmp_path / "empty.pt").touch()
    assert "is empty" in refused(model=tmp_path / "empty.pt")
    (tmp_path / "text.pt").write_text("no weights", "utf-8")
    refused(model=tmp_path / "text.pt")
    assert "is a folder" in refused(model=tmp_path)


def test_a_checkpoint_that_is_cut_short(refused, tmp_path):
    path = write_weights(tmp_path / "tiny.pt", "mois-tiny")
    path.write_bytes(path.read_bytes()[:-10_000])
    assert str(path) in refused(model=path)


def test_a_checkpoint_of_no_model_we_know(refused, tmp_path):
    torch.save({"weight": torch.ones(3)}, tmp_path / "other.pt")
    line = refused(model=tmp_path / "other.pt")
    assert "fits none of the models" in line and "--preset" in line
    line = refused("--preset", "mois-tiny", model=tmp_path / "other.pt")
    assert "does not fit this model" in line and "missing" in line


def test_a_model_that_cannot_search(refused, tmp_path, a_case):
    path = write_weights(tmp_path / "slm.pt", "slm-tiny")
    assert "slm-tiny cannot search; add --no-search" in refused(model=path)
    words = ("segment", a_case / "scan.nii.gz", "--points", a_case / "clicks.mrk.json")
    out = a_case / "labels.nii.gz"
    assert mois(*words, "--model", path, "--out", out, "--no-search", "--window", 1) == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this computer has a GPU")
def test_a_device_that_is_not_there(refused, tmp_path):
    path = write_weights(tmp_path / "tiny.pt", "mois-tiny")
    assert "no device 'cuda'" in refused("--device", "cuda", model=path)


# ---- results --------------------------------------------------------------------------------


def test_endings_that_we_do_not_write(refused, the_stub, a_case):
    assert ".seg.nrrd" in refused(out="lesions.stl")
    assert ".csv or .json" in refused("--report", a_case / "table.xlsx")
    assert ".png" in refused("--picture", a_case / "picture.jpg")


def test_places_that_cannot_be_written_to(refused, the_stub, a_case):
    assert "folder does not exist" in refused(out="missing/lesions.seg.nrrd")
    (a_case / "folder.png").mkdir()
    assert "it is a folder" in refused("--picture", a_case / "folder.png")
    if os.name == "posix":
        assert "cannot be written" in refused("--report", "/proc/table.csv")


def test_results_never_take_the_place_of_an_input_or_of_each_other(refused, the_stub, a_case):
    assert "is also an input" in refused(out="scan.nii.gz")
    assert "is also --report" in refused("--save-session", a_case / RESULTS[1])


def test_what_the_published_app_keeps_is_not_limited(refused, the_stub):
    line = refused("--reference", "--min-confidence", "0.5")
    assert "--reference keeps all findings" in line and "leave out --min-confidence" in line


def test_a_full_disk_at_the_end_leaves_nothing(refused, the_stub, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mois_core.io.atomic.os.fsync", full_disk)
    line = refused()
    assert "No space left" in line and ".mois-" not in line


def test_one_result_that_fails_takes_the_others_with_it(refused, the_stub, monkeypatch):
    def broken(path, *_):
        raise BadInput(f"{path} cannot be drawn")

    monkeypatch.setattr("mois_core.results.picture.draw_picture", broken)
    line = refused()
    assert "picture.png cannot be drawn" in line and ".mois-" not in line


# ---- options --------------------------------------------------------------------------------


def test_numbers_that_make_no_sense(refused, the_stub):
    assert "propagated each way" in refused("--window", -1)
    assert "propagated each way" in refused("--propagation-slices", -1)
    assert "0 mm or more" in refused("--propagation-mm", -1)
    assert "exemplar" in refused("--exemplars", 0)
    assert "volume" in refused("--smallest", -1)
    for word in ("nan", "inf", "small"):
        assert "--smallest" in refused("--smallest", word)


def test_options_that_need_each_other(refused, the_stub, a_case):
    assert "--exemplar-labels" in refused("--exemplar-scan", a_case / "scan.nii.gz")
    mask = a_case / save(a_case, "mask.nii.gz", np.ones((12, 32, 32), dtype=np.uint8))
    assert "leave out --thicken" in refused("--thicken", "--lesions", mask)
    assert "give one of them" in refused("--lesions", mask, "--session", mask)
    assert "give one of" in refused("--propagation-mm", 10, "--propagation-slices", 2)


def test_without_clicks_or_exemplars_there_is_nothing_to_do(a_case, capsys):
    words = ("segment", a_case / "scan.nii.gz", "--model", "x", "--out", a_case / "l.nii.gz")
    assert mois(*words) == 2
    said = capsys.readouterr().err
    assert all(option in said for option in ("--points", "--lesions", "--session"))
    labels = ("--exemplar-labels", a_case / "scan.nii.gz")
    assert mois(*words, *labels, "--no-search") == 2
    assert "nothing to do" in capsys.readouterr().err


def test_regions_and_exemplars_of_another_scan(refused, the_stub, a_case):
    small = np.ones((12, 32, 16), dtype=np.uint8)
    region = a_case / save(a_case, "small.nii.gz", small)
    for option in ("--inside", "--outside", "--exemplar-labels", "--lesions"):
        line = refused(option, region)
        assert "does not lie on the same voxels" in line and "16 x 32 x 12" in line
    nothing = a_case / save(a_case, "nothing.nii.gz", np.zeros((12, 32, 32), dtype=np.uint8))
    assert "nothing of the scan to search" in refused("--inside", nothing)
    assert "no outlined lesion" in refused("--exemplar-labels", nothing)
    assert "no outlined lesion" in refused("--lesions", nothing)
    shades = a_case / save(a_case, "shades.nii.gz", np.full((12, 32, 32), -5, dtype=np.int16))
    assert "is no label map" in refused("--inside", shades)


# ---- interruptions --------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["prepare", "clicks", "find_similar", "writing"])
def test_ctrl_c_at_any_moment_leaves_nothing(a_case, the_stub, monkeypatch, capsys, where):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    if where == "writing":
        monkeypatch.setattr(result_files.lesion_report, "write_report", interrupted)
    else:
        monkeypatch.setattr(Session, where, interrupted)
    before = sorted(a_case.iterdir())
    code = mois(
        *("segment", a_case / "scan.nii.gz", "--points", a_case / "clicks.mrk.json"),
        *("--model", "stub", "--out", a_case / RESULTS[0], "--report", a_case / RESULTS[1]),
    )
    assert code == 130
    assert capsys.readouterr().err == "mois segment: cancelled\n"
    assert sorted(a_case.iterdir()) == before


def test_a_full_device_is_survived_and_said(a_case, monkeypatch, capsys):
    class Crowded(StubNetwork):
        def attend_to_exemplars(self, *given):
            if not self.calls["full"]:
                self.calls["full"] += 1
                raise torch.OutOfMemoryError("out of memory")
            return super().attend_to_exemplars(*given)

    chosen = weights.OpenedModel(Crowded(), ModelInfo("stub"))
    monkeypatch.setattr(model_choice, "choose_model", lambda args: chosen)
    code = mois(
        *("segment", a_case / "scan.nii.gz", "--points", a_case / "clicks.mrk.json"),
        *("--model", "stub", "--out", a_case / RESULTS[0]),
    )
    assert code == 0
    assert "memory was full" in capsys.readouterr().err
    assert (a_case / RESULTS[0]).exists()
