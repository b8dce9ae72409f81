"""A DICOM folder gives the series that was asked for, if it is whole."""

from __future__ import annotations

import os

import numpy as np
import pydicom
import pytest
from dicom_files import DISTANCE, FIRST, NORMAL, write_series

from mois_core.errors import BadInput
from mois_core.io import read_labels, read_scan


def refusal(folder, **options) -> str:
    with pytest.raises(BadInput) as caught:
        read_scan(folder, **options)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    assert "Geheim" not in message and ".dcm" not in message
    return message


@pytest.fixture
def a_folder(tmp_path):
    return tmp_path / "Aufnahme für später"


def test_a_folder_with_one_series_is_a_scan(a_folder, capfd):
    write_series(a_folder, "1.2.3.4", range(5))
    (a_folder / "read me.txt").write_text("not DICOM", "utf-8")
    volume = read_scan(a_folder)
    assert np.array_equal(volume.array[:, 0, 0], [1, 2, 3, 4, 5])
    assert np.allclose(volume.spacing, (0.7, 0.6, DISTANCE))
    assert np.allclose(volume.ijk_to_ras[:3, 3], FIRST * (-1, -1, 1))
    assert np.allclose(volume.ijk_to_ras[:3, 2], NORMAL * DISTANCE * (-1, -1, 1))
    assert capfd.readouterr() == ("", "")


def test_slices_are_stacked_by_position_whatever_their_numbers(a_folder):
    write_series(a_folder, "1.2.3.4", [3, 0, 4, 1, 2])
    assert np.array_equal(read_scan(a_folder).array[:, 0, 0], [2, 4, 5, 1, 3])


def test_several_series_are_listed_and_one_is_chosen(a_folder):
    write_series(a_folder, "1.2.3.4", range(5), "STIR Körper")
    write_series(a_folder / "T1", "1.2.3.5", range(3))
    message = refusal(a_folder)
    assert "2 series" in message and "--series UID" in message
    assert "1.2.3.4 (STIR Körper, 5 files); 1.2.3.5 (STIR, 3 files)" in message
    assert read_scan(a_folder, series="1.2.3.5").array.shape[0] == 3
    assert read_scan(a_folder, series="1.2.3.4").array.shape[0] == 5
    assert "no series 9.9" in refusal(a_folder, series="9.9")


def test_one_file_of_a_series_is_a_lone_slice(a_folder):
    file = write_series(a_folder, "1.2.3.4", range(3))[1]
    assert read_scan(file).array.shape == (1, 16, 12)
    lone = a_folder / "lone"
    lone.mkdir()
    os.replace(file, lone / "x.dcm")
    assert read_scan(lone).array.shape == (1, 16, 12)


def test_a_label_map_may_be_a_series_too(a_folder):
    write_series(a_folder, "1.2.3.4", [2, 0, 1])
    labels = read_labels(a_folder)
    assert labels.array.dtype == np.uint8
    assert np.array_equal(labels.array[:, 0, 0], [2, 3, 1])


def test_a_lone_image_may_keep_to_itself_where_it_lies_but_several_may_not(a_folder):
    for file in write_series(a_folder, "1.2.3.4", range(2)):
        image = pydicom.dcmread(file)
        del image.ImagePositionPatient, image.ImageOrientationPatient
        image.save_as(file)
    assert "does not say where its slices lie" in refusal(a_folder)
    file.unlink()
    for path in (a_folder, next(a_folder.glob("*.dcm"))):
        assert read_scan(path).array.shape == (1, 16, 12)


def test_pixel_sizes_may_not_be_mixed(a_folder):
    write_series(a_folder, "1.2.3.4", [0, 1])
    write_series(a_folder / "more", "1.2.3.4", [2, 3], spacing=(0.7, 0.65))
    assert "different pixel sizes" in refusal(a_folder)


@pytest.mark.parametrize("slopes", [(1, 0.00005, 0.37, 2), (1, 0.082, 0.304, 0.526), (2, 2, 2, 2)])
def test_each_slice_is_scaled_as_its_own_file_says(tmp_path, slopes):
    for file, slope in zip(write_series(tmp_path / "a", "1.2.3", range(4)), slopes, strict=True):
        dataset = pydicom.dcmread(file)
        dataset.RescaleSlope, dataset.RescaleIntercept = str(slope), "0"
        dataset.PixelData = np.full((dataset.Rows, dataset.Columns), 30000, np.int16).tobytes()
        dataset.save_as(file)
    scan = read_scan(tmp_path / "a")
    means = sorted(float(slice_.mean()) for slice_ in scan.array)
    assert means == pytest.approx(sorted(30000 * slope for slope in slopes), rel=1e-5)


def test_a_folder_without_images(a_folder):
    a_folder.mkdir()
    (a_folder / "notes.txt").write_text("nothing", "utf-8")
    assert "holds no DICOM images" in refusal(a_folder)


def test_missing_slices_are_refused(a_folder):
    write_series(a_folder, "1.2.3.4", [0, 1, 2, 4, 5])
    assert "usually 7.80 mm apart, once 15.60 mm" in refusal(a_folder)


def test_rounded_positions_are_no_missing_slices(a_folder):
    write_series(a_folder, "1.2.3.4", [0, 1.02, 1.99, 3.01, 4])
    assert read_scan(a_folder).array.shape[0] == 5


def test_several_images_at_one_position_are_refused(a_folder):
    write_series(a_folder, "1.2.3.4", [0, 0, 1, 1, 2, 2])
    assert "several images at one position" in refusal(a_folder)


def test_images_of_different_sizes_or_directions_are_refused(a_folder, tmp_path):
    write_series(a_folder, "1.2.3.4", [0, 1])
    write_series(a_folder / "more", "1.2.3.4", [2, 3], size=(12, 18))
    assert "different sizes" in refusal(a_folder)
    localizer = tmp_path / "localizer"
    write_series(localizer, "1.2.3.4", [0, 1])
    write_series(localizer / "more", "1.2.3.4", [2], column=np.array([0, 1.0, 0]))
    assert "different directions" in refusal(localizer)


def test_slices_stacked_at_an_angle_are_refused(a_folder):
    write_series(a_folder, "1.2.3.4", range(5), sideways=(0, 0, 2))
    assert "tilted" in refusal(a_folder)


@pytest.mark.parametrize("which", [0, 2, 4])
def test_a_damaged_file_is_noticed(a_folder, which):
    file = write_series(a_folder, "1.2.3.4", range(5))[which]
    file.write_bytes(file.read_bytes()[:-60])
    assert "damaged or incomplete" in refusal(a_folder)


def test_reports_beside_the_images_are_passed_over_unless_they_are_damaged(a_folder):
    file = write_series(a_folder, "1.2.3.4", range(5))[0]
    report = pydicom.dcmread(file)
    for keyword in ("PixelData", "Rows", "Columns", "SeriesInstanceUID"):
        delattr(report, keyword)
    report.SOPClassUID = pydicom.uid.Comprehensive3DSRStorage
    report.SeriesInstanceUID = "1.2.3.5"
    report.save_as(a_folder / "report.dcm")
    assert read_scan(a_folder).array.shape == (5, 16, 12)
    whole = (a_folder / "report.dcm").read_bytes()
    (a_folder / "report.dcm").write_bytes(whole[:-3])
    assert "damaged or incomplete" in refusal(a_folder)
