"""Every segmentation that Slicer writes is read on the scan's grid: layers, cropped, old, empty."""

from __future__ import annotations

import nrrd
import numpy as np
import pytest
from slicer_skipping import missing

from mois_core.errors import BadInput
from mois_core.geometry import Volume, same_grid
from mois_core.io import read_labels, write_image
from mois_core.io.slicer_segments import read_segment_names

OBLIQUE = np.array([[-0.56, 0, 4.68, 90], [-0.42, 0, -6.24, -40], [0, -0.6, 0, 500], [0, 0, 0, 1]])
"""Of a scan of 0.7 x 0.6 x 7.8 mm voxels."""

needs_slicer = pytest.mark.skipif(bool(missing(["slicer-core"])), reason="needs slicer-core")


@pytest.fixture
def a_scan() -> Volume:
    return Volume(np.zeros((5, 12, 8), dtype=np.int16), OBLIQUE)


@pytest.fixture
def first(a_scan) -> np.ndarray:
    mask = np.zeros(a_scan.array.shape, dtype=np.uint8)
    mask[1:3, 2:6, 3:6] = 1
    return mask


@pytest.fixture
def second(a_scan) -> np.ndarray:
    """Overlaps with the first."""
    mask = np.zeros(a_scan.array.shape, dtype=np.uint8)
    mask[2:4, 4:8, 4:7] = 1
    return mask


def write_layers(path, layers, affine, segments, offset="0 0 0", **more):
    """Write layers [k, j, i] with the header fields that Slicer writes; segments are theirs."""
    lps = np.diag([-1, -1, 1, 1]) @ affine
    header = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"],
        "space directions": np.vstack([np.full(3, np.nan), lps[:3, :3].T]),
        "space origin": lps[:3, 3],
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": offset,
    }
    for n, fields in enumerate(segments):
        header[f"Segment{n}_ID"] = f"Segment_{n}"
        header |= {f"Segment{n}_{key}": str(value) for key, value in fields.items()}
    nrrd.write(str(path), np.stack(layers).transpose(0, 3, 2, 1), header | more)
    return path


# ---- written by Slicer itself ---------------------------------------------------------------


@needs_slicer
@pytest.mark.parametrize("is_cropped", [False, True])
def test_segments_that_overlap_lie_in_layers_and_the_later_one_wins(
    a_scan, first, second, tmp_path, is_cropped
):
    from slicer_segmentations import write_in_slicer

    path = write_in_slicer(tmp_path / "a.seg.nrrd", a_scan, [first, second], is_cropped)
    assert nrrd.read_header(str(path))["dimension"] == 4
    labels = read_labels(path, a_scan)
    assert same_grid(labels, a_scan) and labels.array.dtype == np.uint8
    assert np.array_equal(labels.array, np.where(second, 2, first))
    other_way = write_in_slicer(tmp_path / "b.seg.nrrd", a_scan, [second, first], is_cropped)
    assert np.array_equal(read_labels(other_way, a_scan).array, np.where(first, 2, second))


@needs_slicer
def test_a_cropped_segmentation_is_put_in_its_place(a_scan, first, tmp_path):
    from slicer_segmentations import write_in_slicer

    apart = np.roll(first, (2, 6, 2), axis=(0, 1, 2))
    path = write_in_slicer(tmp_path / "a.seg.nrrd", a_scan, [first, apart], is_cropped=True)
    assert nrrd.read_header(str(path))["dimension"] == 3  # it puts into one layer what it can
    assert read_labels(path).array.shape != a_scan.array.shape
    labels = read_labels(path, a_scan)
    assert same_grid(labels, a_scan)
    assert np.array_equal(labels.array, first + 2 * apart)


@needs_slicer
@pytest.mark.parametrize("is_cropped", [False, True])
def test_an_empty_segmentation_has_no_labels(a_scan, first, tmp_path, is_cropped):
    from slicer_segmentations import write_in_slicer

    path = write_in_slicer(tmp_path / "a.seg.nrrd", a_scan, [first * 0], is_cropped)
    labels = read_labels(path, a_scan)
    assert same_grid(labels, a_scan) and not labels.array.any()


# ---- label values ---------------------------------------------------------------------------


def test_segments_keep_label_values_that_no_two_share(a_scan, first, second, tmp_path):
    segments = [{"Layer": 0, "LabelValue": 7}, {"Layer": 1, "LabelValue": 300}]
    layers = [first * 7, second.astype(np.uint16) * 300]
    path = write_layers(tmp_path / "a.seg.nrrd", layers, OBLIQUE, segments)
    assert np.array_equal(read_labels(path).array, np.where(second, 300, first.astype(int) * 7))


def test_several_segments_may_share_a_layer(a_scan, first, second, tmp_path):
    apart = np.roll(first, (2, 6, 2), axis=(0, 1, 2))
    segments = [
        {"Layer": 1, "LabelValue": 1},
        {"Layer": 0, "LabelValue": 1},
        {"Layer": 0, "LabelValue": 2},
    ]
    path = write_layers(tmp_path / "a.seg.nrrd", [first + 2 * apart, second], OBLIQUE, segments)
    expected = np.where(apart, 3, np.where(first, 2, second))
    assert np.array_equal(read_labels(path).array, expected)


def test_layers_of_old_versions_are_one_for_each_segment(a_scan, first, second, tmp_path):
    path = write_layers(tmp_path / "a.seg.nrrd", [first, second], OBLIQUE, [{}, {}])
    assert np.array_equal(read_labels(path, a_scan).array, np.where(second, 2, first))


# ---- what does not fit ----------------------------------------------------------------------


def test_a_crop_that_lies_between_the_voxels_is_left_where_it_is(a_scan, first, tmp_path):
    affine = OBLIQUE.copy()
    affine[:3, 3] += affine[:3, :3] @ (0.3, 0, 0)
    cropped = [first[1:3, 2:6, 3:6]] * 2
    path = write_layers(tmp_path / "a.seg.nrrd", cropped, affine, [{}, {}], "3 2 1")
    assert not same_grid(read_labels(path, a_scan), a_scan)


def test_labels_outside_of_the_scan_are_not_cut_off(a_scan, first, tmp_path):
    beyond = OBLIQUE.copy()
    beyond[:3, 3] += beyond[:3, :3] @ (-2, 0, 0)
    path = write_layers(tmp_path / "a.seg.nrrd", [first, first], beyond, [{}, {}])
    labels = read_labels(path, a_scan)
    assert np.array_equal(labels.array[1:3, 2:6, 1:4], first[1:3, 2:6, 3:6] * 2)
    beyond[:3, 3] += beyond[:3, :3] @ (-2, 0, 0)
    path = write_layers(tmp_path / "b.seg.nrrd", [first, first], beyond, [{}, {}])
    assert not same_grid(read_labels(path, a_scan), a_scan)


def test_a_plain_label_map_is_never_moved(a_scan, first, tmp_path):
    affine = OBLIQUE.copy()
    affine[:3, 3] += affine[:3, :3] @ (3, 2, 1)
    write_image(tmp_path / "a.nrrd", Volume(first[1:3, 2:6, 3:6], affine))
    assert read_labels(tmp_path / "a.nrrd", a_scan).array.shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("segments", "says"),
    [
        ([{}], "voxels that belong to no segment"),
        ([{}, {"Layer": 2}], "a layer that is not there"),
        ([{}, {"LabelValue": "one"}], "no layer or label value"),
        ([{}, {"LabelValue": 5}], "voxels that belong to no segment"),
    ],
)
def test_damaged_fields_are_noticed(first, second, tmp_path, segments, says):
    path = write_layers(tmp_path / "a.seg.nrrd", [first, second], OBLIQUE, segments)
    with pytest.raises(BadInput, match=says):
        read_labels(path)


def test_other_images_of_several_values_are_still_refused(first, tmp_path):
    affine = {"space": "left-posterior-superior", "kinds": ["vector", *["domain"] * 3]}
    nrrd.write(str(tmp_path / "a.nrrd"), np.stack([first] * 2).transpose(0, 3, 2, 1), affine)
    with pytest.raises(BadInput, match="2 values in each voxel"):
        read_labels(tmp_path / "a.nrrd")


# ---- names and colours ----------------------------------------------------------------------


def test_segments_are_called_by_the_label_values_that_they_are_read_with(
    a_scan, first, second, tmp_path
):
    fields = {"LabelValue": 5, "Name": "left arm", "Color": "0.25 1.5 0"}
    segments = [fields, {**fields, "Layer": 1, "LabelValue": 9, "Name": "", "Color": "red"}]
    path = write_layers(tmp_path / "a.seg.nrrd", [first * 5, second * 9], OBLIQUE, segments)
    assert read_segment_names(path) == {5: ("left arm", (0.25, 1, 0)), 9: ("", None)}

    segments[1]["LabelValue"] = 5
    path = write_layers(tmp_path / "b.seg.nrrd", [first * 5, second * 5], OBLIQUE, segments)
    assert list(read_segment_names(path)) == np.unique(read_labels(path).array)[1:].tolist()


def test_what_is_no_segmentation_has_no_segments(a_scan, tmp_path):
    write_image(tmp_path / "a.nrrd", a_scan)
    assert read_segment_names(tmp_path / "a.nrrd") == {}
    assert read_segment_names(tmp_path) == {}
