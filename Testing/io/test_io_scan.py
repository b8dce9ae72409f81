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
    assert "no stations to join" in refusal(a_folder / "a.nrrd", compose=True)


@pytest.mark.parametrize(
    "ending",
    [".NII.GZ", ".NII", ".nii.GZ", ".Nii.gz", ".nIi", ".NRRD", ".Nrrd", ".MHA", ".mHa"],
)
def test_endings_may_be_written_in_capitals(an_image, a_folder, ending, capfd):
    plain = a_folder / f"a{ending.lower()}"
    SimpleITK.WriteImage(an_image, str(plain))
    path = plain.rename(a_folder / f"B{ending}")
    volume = read_scan(path)
    assert np.array_equal(volume.array, SimpleITK.GetArrayFromImage(an_image))
    assert np.allclose(volume.spacing, an_image.GetSpacing(), rtol=1e-6)
    assert np.array_equal(read_labels(path).array, volume.array)
    assert capfd.readouterr() == ("", "")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "incomplete" in refusal(path)


def test_a_detached_meta_header_in_capitals_finds_its_voxels(an_image, a_folder):
    SimpleITK.WriteImage(an_image, str(a_folder / "a.mhd"))
    path = (a_folder / "a.mhd").rename(a_folder / "a.MHD")
    assert np.array_equal(read_scan(path).array, SimpleITK.GetArrayFromImage(an_image))


def test_what_an_image_remembers_of_another_format_means_nothing(an_image, a_folder):
    SimpleITK.WriteImage(an_image * 0, str(a_folder / "a.nii"))
    remembering = SimpleITK.ReadImage(str(a_folder / "a.nii"))
    assert remembering.HasMetaDataKey("vox_offset")
    remembering.SetMetaData("0008|0016", "1.2.840.10008.5.1.4.1.1.4")
    SimpleITK.WriteImage(remembering, str(a_folder / "b.nrrd"), useCompression=True)
    assert read_scan(a_folder / "b.nrrd").array.shape == (6, 20, 30)


# ---- values that are no finite numbers ------------------------------------------------------


def with_gaps(path, values, places, kind=np.float32):
    """Write noise of 6 x 20 x 30 voxels, some of them with other values; return the noise."""
    noise = np.random.default_rng(3).uniform(1, 1000, (6, 20, 30)).astype(kind)
    array = noise.copy()
    for value, place in zip(values, places, strict=True):
        array[place] = value
    image = SimpleITK.GetImageFromArray(array)
    SimpleITK.WriteImage(image, str(path))
    return noise


FEW = [(0, 0, 0), (3, 7, 29), (5, 19, 29)]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_few_values_that_are_no_numbers_become_0_and_this_is_said(a_folder, ending, kind):
    path = a_folder / f"a{ending}"
    noise = with_gaps(path, (np.nan, np.inf, -np.inf), FEW, kind)
    said = []
    volume = read_scan(path, say=said.append)
    expected = noise.copy()
    for place in FEW:
        expected[place] = 0
    assert np.array_equal(volume.array, expected) and volume.array.dtype == kind
    assert said == [
        f"{path}: 0 was put in the place of 3 voxels whose values were not finite numbers."
    ]


def test_where_nobody_listens_it_is_said_on_stderr(a_folder, capsys):
    with_gaps(a_folder / "a.nii.gz", [np.nan], FEW[:1])
    read_scan(a_folder / "a.nii.gz")
    assert "0 was put in the place of 1 voxel" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd"])
def test_more_of_them_are_refused(a_folder, ending):
    with_gaps(a_folder / f"a{ending}", [np.nan] * 4, [*FEW, (1, 1, 1)])
    assert "4 voxels whose values are not finite numbers" in refusal(a_folder / f"a{ending}")


def test_a_repaired_voxel_is_0_whatever_the_scale_of_the_file(a_folder):
    path = a_folder / "a.nii"
    noise = with_gaps(path, [np.nan], FEW[1:2])
    header = bytearray(path.read_bytes())
    header[112:120] = np.array([2, 500], dtype="<f4").tobytes()  # slope and intercept
    path.write_bytes(header)
    volume = read_scan(path, say=lambda text: None)
    assert volume.array[FEW[1]] == 0
    assert np.allclose(volume.array[1, 1], noise[1, 1] * 2 + 500)


def test_bytes_in_the_other_order_are_counted_as_they_are(a_folder):
    path = a_folder / "a.nii"
    noise = with_gaps(path, [np.nan], FEW[1:2])
    stored = bytearray(path.read_bytes())
    widths = [(0, 4, 1), (40, 2, 8), (70, 2, 3), (76, 4, 8), (108, 4, 3), (252, 2, 2), (256, 4, 18)]
    widths.append((352, 4, noise.size))
    for start, width, count in widths:
        stop = start + width * count
        stored[start:stop] = np.frombuffer(stored[start:stop], f"<i{width}").byteswap().tobytes()
    path.write_bytes(stored)
    said = []
    volume = read_scan(path, say=said.append)
    assert "1 voxel" in said[0] and volume.array[FEW[1]] == 0
    assert np.array_equal(volume.array[1], noise[1])


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_a_label_map_with_values_that_are_no_numbers_is_none(a_folder, ending):
    labels = np.ones((6, 20, 30), dtype=np.float32)
    labels[2, 3, 4] = np.nan
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(a_folder / f"a{ending}"))
    with pytest.raises(BadInput, match="is no label map"):
        read_labels(a_folder / f"a{ending}")


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
