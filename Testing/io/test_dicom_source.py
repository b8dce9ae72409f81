"""The headers that DICOM results carry on are whole and of one patient, or are refused in words."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_files import IDENTITY, IDENTITY_TAGS, EnhancedFrame, write_series
from dicom_results import SIZE, ArchivedScan, classic, enhanced, noise

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.io import read_scan, write_image
from mois_core.io.dicom_source import read_dicom_source, source_of_files


def refusal(path, scan=None, **how) -> str:
    scan = scan or read_scan(path, say=lambda text: None, **how)
    with pytest.raises(BadInput) as caught:
        read_dicom_source(path, scan, **how)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    assert "Geheim" not in message and not any(value in message for value in ("19900102", "A1"))
    return message


def change(path, **elements) -> None:
    """Set elements of one file; None removes them."""
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


@pytest.fixture
def a_folder(tmp_path):
    return classic(tmp_path / "Aufnahme für später", [2, 0, 1, 3])


def test_headers_are_in_the_order_of_the_scans_slices(a_folder):
    scan = ArchivedScan.read(a_folder)
    (station,) = scan.source.stations
    lps = [header.ImagePositionPatient for header in station.headers]
    slices = scan.stack.volume.ijk_to_ras @ [[0] * 4, [0] * 4, range(4), [1] * 4]
    assert np.allclose(lps, (slices[:3].T) * (-1, -1, 1), atol=1e-3)
    assert scan.source.header.PatientID == IDENTITY["PatientID"]


def test_what_is_no_dicom_has_nobody_to_belong_to(tmp_path, a_folder):
    volume = read_scan(a_folder)
    write_image(tmp_path / "scan.nii.gz", volume)
    assert "no DICOM scan" in refusal(tmp_path / "scan.nii.gz", volume)


def test_files_of_another_patient_are_not_filed_with_this_one(a_folder):
    change(sorted(a_folder.iterdir())[2], PatientID="Geheim-2")
    assert "more than one patient (PatientID" in refusal(a_folder)


def test_the_same_number_of_another_hospital_is_another_patient(a_folder):
    change(sorted(a_folder.iterdir())[1], IssuerOfPatientID="Geheimes Haus")
    assert "more than one patient" in refusal(a_folder)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_files_of_another_study_or_place_are_refused(a_folder, keyword):
    change(sorted(a_folder.iterdir())[2], **{keyword: "1.2.3.99"})
    try:
        message = refusal(a_folder)
    except BadInput as error:  # reading the scan refuses some of it by itself
        message = str(error)
    assert "mixes files of more than one" in message


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_what_results_refer_to_has_to_be_there(a_folder, keyword):
    for file in a_folder.iterdir():
        change(file, **{keyword: None})
    message = refusal(a_folder)
    assert keyword in message and "export it anew" in message


def test_a_lone_image_without_a_place_is_refused(a_folder):
    (file, *others) = sorted(a_folder.iterdir())
    change(file, ImagePositionPatient=None, ImageOrientationPatient=None)
    assert "does not say where" in refusal(file)


def test_names_that_were_removed_are_left_empty(a_folder):
    for file in a_folder.iterdir():
        change(file, PatientName=None, PatientID=None, AccessionNumber=None, PatientSex="X")
    header = ArchivedScan.read(a_folder).source.header
    assert (header.PatientName, header.PatientID, header.PatientSex) == ("", "", "")


def test_slices_in_several_multi_frame_files_are_refused(tmp_path):
    for n in range(3):
        file = enhanced(tmp_path / "scan" / f"{n}.dcm", [EnhancedFrame(n)])
        change(file, SOPInstanceUID=f"1.2.3.9.{n + 5}")
    assert "3 multi-frame files" in refusal(tmp_path / "scan")


def test_missing_slices_are_refused_as_they_are_when_the_scan_is_read(tmp_path):
    folder = classic(tmp_path / "scan", [0, 1, 3, 4])
    anything = Volume(np.zeros((4, 4, 4)), np.eye(4))
    assert "slices missing" in refusal(folder, anything)


def test_a_folder_that_has_changed_since_is_noticed(a_folder):
    scan = read_scan(a_folder)
    last = max(a_folder.iterdir(), key=lambda f: pydicom.dcmread(f).ImagePositionPatient[1])
    last.unlink()
    assert "has changed" in refusal(a_folder, scan)


def test_directions_that_are_rounded_differently_are_the_same(a_folder):
    file = sorted(a_folder.iterdir())[1]
    change(file, ImageOrientationPatient=[1, 0, 0.00002, 0, 0, -1])
    headers = ArchivedScan.read(a_folder).source.stations[0].headers
    assert len({str(header.ImageOrientationPatient) for header in headers}) == 1


WHAT = "The scan's images"


def as_slicer_has_it(volume):
    """A volume with the last slice first, as Slicer turns left-handed scans round."""
    turn = np.diag([1.0, 1.0, -1.0, 1.0])
    turn[2, 3] = volume.array.shape[0] - 1
    return Volume(volume.array[::-1], volume.ijk_to_ras @ turn)


def refusal_of_files(files, volume) -> str:
    with pytest.raises(BadInput) as caught:
        source_of_files(files, volume, WHAT)
    message = str(caught.value)
    assert message.startswith(WHAT)
    assert not any(str(file.parent) in message or "Geheim" in message for file in files)
    return message


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_files_that_another_program_read_give_the_same_source(a_folder, is_turned):
    scan = ArchivedScan.read(a_folder)
    volume = as_slicer_has_it(scan.stack.volume) if is_turned else scan.stack.volume
    source, turned = source_of_files(sorted(a_folder.iterdir(), reverse=True), volume, WHAT)
    uids = [[h.SOPInstanceUID for h in s.stations[0].headers] for s in (source, scan.source)]
    assert uids[0] == uids[1]
    assert np.array_equal(turned.array, scan.stack.volume.array)
    assert np.allclose(turned.ijk_to_ras, scan.stack.volume.ijk_to_ras)


def test_other_files_of_the_folder_play_no_part(a_folder):
    scan, files = ArchivedScan.read(a_folder), list(a_folder.iterdir())
    classic(a_folder / "more", tags={"0020|000e": "1.2.3.5"})
    source, _ = source_of_files(files, scan.stack.volume, WHAT)
    assert len(source.stations[0].headers) == 4


def test_a_scan_that_was_moved_or_cropped_since_does_not_lie_on_its_images(a_folder):
    volume, files = ArchivedScan.read(a_folder).stack.volume, list(a_folder.iterdir())
    moved = volume.ijk_to_ras.copy()
    moved[0, 3] += 1
    assert "moved, cropped or resampled" in refusal_of_files(files, Volume(volume.array, moved))
    cropped = Volume(volume.array[:, 1:], volume.ijk_to_ras)
    assert "moved, cropped or resampled" in refusal_of_files(files, cropped)


def test_slices_that_were_left_out_when_the_scan_was_loaded_are_missing(a_folder):
    volume, files = ArchivedScan.read(a_folder).stack.volume, sorted(a_folder.iterdir())
    assert "slices missing" in refusal_of_files([*files[:2], files[3]], volume)


def test_a_file_that_is_damaged_since_is_named_by_nothing_of_its_path(a_folder):
    volume, files = ArchivedScan.read(a_folder).stack.volume, sorted(a_folder.iterdir())
    files[1].write_bytes(b"nothing")
    assert "damaged" in refusal_of_files(files, volume)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0)])
def test_frames_that_follow_one_another_are_those_that_any_program_reads(tmp_path, order):
    file = enhanced(tmp_path / "a.dcm", [EnhancedFrame(n) for n in order])
    scan = ArchivedScan.read(file)
    source, turned = source_of_files([file], as_slicer_has_it(scan.stack.volume), WHAT)
    assert np.array_equal(turned.array, scan.stack.volume.array)
    assert source.stations[0].frame_numbers == scan.source.stations[0].frame_numbers


def test_frames_in_disorder_are_refused(tmp_path):
    file = enhanced(tmp_path / "a.dcm", [EnhancedFrame(n) for n in (0, 2, 1, 3, 4)])
    volume = ArchivedScan.read(file).stack.volume
    assert "not in the order of their places" in refusal_of_files([file], volume)


def test_several_scans_in_one_file_are_refused(tmp_path):
    beside = [EnhancedFrame(n, echo=echo) for n in range(3) for echo in (30.0, 80.0)]
    file = enhanced(tmp_path / "a.dcm", beside)
    volume = ArchivedScan.read(file, series="1.2.3.9#1").stack.volume
    assert "2 scans" in refusal_of_files([file], volume)


def test_stations_that_were_joined_are_found_in_their_files(tmp_path):
    files = []
    for uid, down in (("1.2.3.7", 12), ("1.2.3.8", 0)):
        more = {"size": SIZE, "down": down, "values": noise(4), "tags": IDENTITY_TAGS}
        files += write_series(tmp_path / "scan", uid, range(4), **more)
    scan = ArchivedScan.read(tmp_path / "scan", compose=True)
    source, turned = source_of_files(files, as_slicer_has_it(scan.stack.volume), WHAT)
    assert np.array_equal(turned.array, scan.stack.volume.array)
    assert [s.box for s in source.stations] == [s.box for s in scan.source.stations]
    series = [s.header.SeriesInstanceUID for s in source.stations]
    assert series == ["1.2.3.8", "1.2.3.7"]
