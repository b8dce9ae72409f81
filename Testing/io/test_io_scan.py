"""Scans and label maps are read as they lie in the patient, or refused in one clear line."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume, same_grid
from mois_core.io import read_labels, read_scan, write_image

OBLIQUE_DIRECTION = (0.8, 0.0, 0.6, 0.6, 0.0, -0.8, 0.0, 1.0, 0.0)


@pytest.fixture
def an_image() -> SimpleITK.Image:
    voxels = np.random.default_rng(3).integers(1, 1000, (6, 20, 30)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((0.6, 0.7, 7.8))
    image.SetOrigin((10, -20, 30))
    image.SetDirection(OBLIQUE_DIRECTION)
    return image


@pytest.fixture
def a_folder(tmp_path):
    folder = tmp_path / "Müller Straße 5"
    folder.mkdir()
    return folder


def refusal(path, **options) -> str:
    with pytest.raises(BadInput) as caught:
        read_scan(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_every_format_gives_the_same_voxels_in_the_same_places(an_image, a_folder, ending):
    path = a_folder / f"ganzer Körper{ending}"
    SimpleITK.WriteImage(an_image, str(path))
    volume = read_scan(path)
    assert np.array_equal(volume.array, SimpleITK.GetArrayFromImage(an_image))
    assert np.allclose(volume.spacing, an_image.GetSpacing(), rtol=1e-6)
    right_posterior = np.array([-1, -1, 1])
    for ijk in [(0, 0, 0), (29, 0, 0), (0, 19, 0), (4, 3, 5)]:
        ras = right_posterior * an_image.TransformIndexToPhysicalPoint(ijk)
        assert np.allclose(volume.ijk_to_ras @ (*ijk, 1), (*ras, 1), atol=1e-4)
        k, j, i = ijk[::-1]
        n, x, y = (round(float(c)) for c in SliceStack(volume).point_from_ras(ras))
        assert SliceStack(volume).image(n)[y, x] == volume.array[k, j, i]


def test_paths_may_be_text(an_image, a_folder):
    SimpleITK.WriteImage(an_image, str(a_folder / "a.nrrd"))
    assert read_scan(str(a_folder / "a.nrrd")).array.shape == (6, 20, 30)


def test_a_lone_slice_is_a_scan(an_image, a_folder):
    SimpleITK.WriteImage(an_image[:, :, 2:3], str(a_folder / "a.nii.gz"))
    assert read_scan(a_folder / "a.nii.gz").array.shape == (1, 20, 30)


def test_what_was_written_is_read_on_the_same_grid(an_image, a_folder):
    SimpleITK.WriteImage(an_image, str(a_folder / "a.nrrd"))
    volume = read_scan(a_folder / "a.nrrd")
    for name in ("b.nii.gz", "b.nrrd"):
        write_image(a_folder / name, volume)
        again = read_scan(a_folder / name)
        assert same_grid(volume, again)
        assert again.array.dtype == np.int16
        assert np.array_equal(again.array, volume.array)


def test_a_file_that_is_not_there(a_folder):
    assert "does not exist" in refusal(a_folder / "a.nii.gz")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".dcm"])
@pytest.mark.parametrize("content", [b"", b"no image at all, but a letter " * 40])
def test_a_file_that_is_no_image(a_folder, ending, content):
    path = a_folder / f"a{ending}"
    path.write_bytes(content)
    assert "is not an image" in refusal(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99])
def test_half_a_file_is_refused_and_nothing_is_printed(an_image, a_folder, capfd, ending, part):
    path = a_folder / f"a{ending}"
    SimpleITK.WriteImage(an_image, str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    assert "incomplete" in refusal(path)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_a_compressed_file_whose_checksum_is_wrong_is_refused(a_folder):
    path = a_folder / "a.nii.gz"
    # Too long for the header's reader to meet the end of the file, where the checksum is.
    noise = np.random.default_rng(3).integers(0, 1000, (20, 100, 100)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), str(path))
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 0xFF
    path.write_bytes(whole)
    assert "damaged" in refusal(path)


def test_a_nifti_named_gz_need_not_be_compressed(an_image, a_folder):
    SimpleITK.WriteImage(an_image, str(a_folder / "a.nii"))
    (a_folder / "b.nii.gz").write_bytes((a_folder / "a.nii").read_bytes())
    assert read_scan(a_folder / "b.nii.gz").array.shape == (6, 20, 30)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_time_series_colour_and_pictures_are_refused(an_image, a_folder, ending):
    path = a_folder / f"a{ending}"
    SimpleITK.WriteImage(SimpleITK.JoinSeries([an_image, an_image]), str(path))
    assert "4-D (30 x 20 x 6 x 2)" in refusal(path)
    SimpleITK.WriteImage(SimpleITK.Compose([an_image] * 3), str(path))
    assert "3 values in each voxel" in refusal(path)
    SimpleITK.WriteImage(an_image[:, :, 0], str(path))
    assert "2-D (30 x 20)" in refusal(path)


def test_complex_values_are_refused(an_image, a_folder):
    values = SimpleITK.Cast(an_image, SimpleITK.sitkComplexFloat32)
    SimpleITK.WriteImage(values, str(a_folder / "a.nrrd"))
    with pytest.raises(BadInput, match=r"complex|values in each voxel"):
        read_scan(a_folder / "a.nrrd")


def test_axes_that_are_not_at_right_angles_are_explained(an_image, a_folder):
    path = a_folder / "a.nii"
    an_image.SetDirection(np.eye(3).ravel())
    SimpleITK.WriteImage(an_image, str(path))
    header = bytearray(path.read_bytes())
    sheared_rows = np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], dtype="<f4")
    header[252:256] = b"\0\0\1\0"  # qform unknown, sform scanner
    header[280:328] = sheared_rows.tobytes()
    path.write_bytes(header)
    assert "not at right angles" in refusal(path)


def test_a_series_is_chosen_from_folders_only(an_image, a_folder):
    SimpleITK.WriteImage(an_image, str(a_folder / "a.nrrd"))
    assert "no DICOM folder" in refusal(a_folder / "a.nrrd", series="1.2.3")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_label_maps_are_whole_numbers_however_they_were_saved(a_folder, dtype):
    labels = np.zeros((3, 4, 5), dtype=dtype)
    labels[1, 2, 3] = 201
    write_image(a_folder / "a.nii.gz", Volume(labels, np.eye(4)))
    read = read_labels(a_folder / "a.nii.gz")
    assert read.array.dtype == np.uint8
    assert np.array_equal(read.array, labels)


@pytest.mark.parametrize("value", [0.5, -1, 70000, np.nan])
def test_other_values_are_no_labels(a_folder, value):
    voxels = np.ones((3, 4, 5), dtype=np.float32)
    voxels[0, 0, 0] = value
    image = SimpleITK.GetImageFromArray(voxels)
    SimpleITK.WriteImage(image, str(a_folder / "a.nrrd"))
    with pytest.raises(BadInput, match="is no label map"):
        read_labels(a_folder / "a.nrrd")
