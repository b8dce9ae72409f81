"""``mois segment --dicom-out``: from an archive's files to files for the archive, or a refusal."""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipfile

import numpy as np
import pydicom
import pytest
from command_line import mois, use_stub, write_clicks, write_scene
from dicom_files import IDENTITY_TAGS, PATIENT, write_series
from dicom_results import assert_same_places, errors_in, needs_dciodvfy, places_of
from engine_fixtures import FIRST, SCENE, SECOND, scan_of

from mois_core.io import read_labels, read_scan
from mois_core.session.session_file import DOCUMENT

pytest.importorskip("highdicom", reason="highdicom is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def a_case(tmp_path, monkeypatch):
    """An archive's series, and two clicks: lesion 1 in the first block, lesion 7 in the second."""
    use_stub(monkeypatch)
    return write_case(tmp_path / "Fälle 1", scan_of(*SCENE))


def write_case(case, values, **more):
    case.mkdir()
    how = {"size": (32, 32), "values": values, "spacing": (0.62, 0.62), "tags": IDENTITY_TAGS}
    write_series(case / "dicom", "1.2.3.4", range(len(values)), **how, **more)
    return case


def segment(case, *more, clicks=((1, True, FIRST.middle), (7, True, SECOND.middle))):
    scan = case / "dicom" if (case / "dicom").exists() else case / "scan.nii.gz"
    write_clicks(case / "clicks.mrk.json", read_scan(scan), clicks)
    how = ("--points", case / "clicks.mrk.json", "--model", "stub", "--out", case / "o.nii.gz")
    return mois("segment", scan, *how, "--dicom-out", case / "pacs", *more)


def labels_by_places(case):
    labels = read_labels(case / "o.nii.gz")
    for number in np.unique(labels.array[labels.array > 0]).tolist():
        voxels = np.argwhere(labels.array == number)[:, ::-1]
        ras = voxels @ labels.ijk_to_ras[:3, :3].T + labels.ijk_to_ras[:3, 3]
        yield number, ras * (-1, -1, 1)


def check_same_lesions(case):
    dataset = pydicom.dcmread(case / "pacs" / "segmentation.dcm")
    lesions = list(labels_by_places(case))
    assert len(dataset.SegmentSequence) == len(lesions)
    for segment_number, (number, places) in enumerate(lesions, start=1):
        assert dataset.SegmentSequence[segment_number - 1].SegmentLabel == f"Lesion {number}"
        assert_same_places(places_of(dataset, segment_number), places)
    return dataset


def test_lesions_arrive_as_dicom_beside_the_other_files(a_case, capsys):
    assert segment(a_case, "--report", a_case / "o.csv") == 0, capsys.readouterr().err
    dataset = check_same_lesions(a_case)
    assert len(dataset.SegmentSequence) >= 3
    kinds = [segment.SegmentAlgorithmType for segment in dataset.SegmentSequence]
    assert kinds[:2] == ["SEMIAUTOMATIC"] * 2 and set(kinds[2:]) == {"AUTOMATIC"}
    pictures = list((a_case / "pacs" / "outlines").iterdir())
    out, _ = capsys.readouterr()
    assert f"{a_case / 'pacs'}: 1 segmentation, measurements and {len(pictures)} pictures" in out
    assert (a_case / "o.csv").exists()


def test_a_study_that_is_exported_with_its_results_can_be_read_again(a_case, capsys):
    assert segment(a_case, "--no-search") == 0
    shutil.copytree(a_case / "pacs", a_case / "dicom" / "from the archive")
    how = ("--points", a_case / "clicks.mrk.json", "--model", "stub", "--no-search")
    again = ("--out", a_case / "again.nii.gz", "--dicom-out", a_case / "again")
    capsys.readouterr()
    assert mois("segment", a_case / "dicom", *how, *again) == 2
    assert "3 series" in capsys.readouterr().err
    assert mois("segment", a_case / "dicom", "--series", "1.2.3.4", *how, *again) == 0
    first, second = (
        pydicom.dcmread(a_case / folder / "segmentation.dcm") for folder in ("pacs", "again")
    )
    assert np.array_equal(first.pixel_array, second.pixel_array)
    tracked = [[s.TrackingUID for s in dataset.SegmentSequence] for dataset in (first, second)]
    assert tracked[0] == tracked[1]


@needs_dciodvfy
def test_the_files_follow_the_standard(a_case):
    assert segment(a_case, "--no-search") == 0
    for file in (a_case / "pacs").rglob("*.dcm"):
        assert errors_in(file) == []


def test_averaged_slices_come_back_on_those_of_the_archive(tmp_path, monkeypatch):
    use_stub(monkeypatch)
    monkeypatch.setattr("dicom_files.DISTANCE", 2.6)
    case = write_case(tmp_path / "thin", np.repeat(scan_of(FIRST, SECOND), 3, axis=0))
    middles = [(3 * block.middle[0] + 1, *block.middle[1:]) for block in (FIRST, SECOND)]
    clicks = [(number, True, at) for number, at in zip((1, 7), middles, strict=True)]
    assert segment(case, "--thicken", "--no-search", clicks=clicks) == 0
    check_same_lesions(case)


def test_the_patient_is_in_the_dicom_files_and_nowhere_else(a_case, capfd):
    more = ("--report", a_case / "o.json", "--save-session", a_case / "o.mois")
    assert segment(a_case, *more, "--picture", a_case / "o.png") == 0
    secrets = [part.encode() for part in ("Geheim", PATIENT, "1.2.826.1", "1.2.3.77", "19900102")]
    for name in ("o.json", "o.nii.gz", "o.mois", "o.png"):
        content = (a_case / name).read_bytes()
        assert not any(secret in content for secret in secrets)
    with zipfile.ZipFile(a_case / "o.mois") as session:
        assert not any(secret in session.read(DOCUMENT) for secret in secrets)
    said = "".join(capfd.readouterr())
    assert not any(secret.decode() in said for secret in secrets)
    assert b"Geheim" in (a_case / "pacs" / "segmentation.dcm").read_bytes()


def refused(case, capsys, *more, **how) -> str:
    before = sorted(case.rglob("*"))
    assert segment(case, *more, **how) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "Geheim" not in err
    assert {path.name for path in set(case.rglob("*")) - set(before)} <= {"clicks.mrk.json"}
    return err


def test_what_is_no_dicom_is_refused(tmp_path, monkeypatch, capsys):
    use_stub(monkeypatch)
    write_scene(tmp_path / "case")
    assert "no DICOM scan" in refused(tmp_path / "case", capsys)


def test_a_folder_that_holds_something_is_refused(a_case, capsys):
    (a_case / "pacs").mkdir()
    (a_case / "pacs" / "mine.dcm").write_text("mine", "utf-8")
    assert "holds something already" in refused(a_case, capsys)
    assert (a_case / "pacs" / "mine.dcm").read_text("utf-8") == "mine"


def test_a_folder_in_that_of_the_scan_is_refused(a_case, capsys):
    assert "read as part of it" in refused(a_case, capsys, "--dicom-out", a_case / "dicom" / "new")


def test_a_place_that_cannot_be_written_is_refused(a_case, capsys, monkeypatch):
    whole = tempfile.TemporaryFile

    def locked(dir=None, **how):
        if dir == a_case / "locked":
            raise PermissionError(13, "Permission denied")
        return whole(dir=dir, **how)

    (a_case / "locked").mkdir()
    monkeypatch.setattr("mois_core.cli.outputs.tempfile.TemporaryFile", locked)
    message = refused(a_case, capsys, "--dicom-out", a_case / "locked" / "pacs")
    assert "cannot be written (Permission denied)" in message


def test_another_patients_file_is_refused_before_anything_is_outlined(a_case, capsys):
    file = next((a_case / "dicom").iterdir())
    dataset = pydicom.dcmread(file)
    dataset.PatientID = "Geheim-2"
    dataset.save_as(file)
    assert "more than one patient" in refused(a_case, capsys)


def test_without_highdicom_it_is_said_how_to_get_it(a_case, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert "pip install highdicom" in refused(a_case, capsys)


def test_without_a_lesion_the_other_files_are_there_and_it_is_said(a_case, capsys, monkeypatch):
    monkeypatch.setattr("mois_core.results.dicom_files.dicom_lesions", lambda *a: [])
    monkeypatch.setattr("mois_core.results.dicom_files.check_writable", lambda *a: None)
    assert segment(a_case, "--no-search") == 0
    assert "there is none" in capsys.readouterr().out
    assert (a_case / "o.nii.gz").exists() and not (a_case / "pacs").exists()


def test_if_dicom_files_fail_nothing_is_left(a_case, capsys, monkeypatch):
    def full(*args, **how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mois_core.results.dicom_files.structured_report", full)
    monkeypatch.setattr("mois_core.results.dicom_files.check_writable", lambda *a: None)
    assert "No space left" in refused(a_case, capsys, "--no-search")
