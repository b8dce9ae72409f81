"""Stations of a whole-body scan become one scan, or are refused in words."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from dicom_files import DISTANCE, FIRST, PATIENT, SPACING, write_series
from orientations import STORAGE_ORDERS, stored_as

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume, same_grid
from mois_core.io import read_labels, read_scan
from mois_core.io.compose_stations import (
    ComposedVolume,
    compose_stations,
    plan_stations,
    station_count,
)

CORONAL = np.array([[-0.7, 0, 0, 90], [0, 0, 7.8, -40], [0, -0.6, 0, 500], [0, 0, 0, 1]])
"""k grows anteriorly, j inferiorly and i to the left."""


def compose(*stations: Volume) -> ComposedVolume:
    names = [f"station {n}" for n in range(1, len(stations) + 1)]
    return compose_stations(stations, plan_stations(stations, names))


def refusal(*stations: Volume) -> str:
    with pytest.raises(BadInput) as caught:
        compose(*stations)
    return str(caught.value)


def rows(volume: Volume, start: int, stop: int) -> Volume:
    """Some rows of a coronal volume, where they lie."""
    affine = volume.ijk_to_ras.copy()
    affine[:3, 3] += start * affine[:3, 1]
    return Volume(volume.array[:, start:stop], affine)


def moved(volume: Volume, *voxels: float) -> Volume:
    """The same voxels, elsewhere by i, j and k voxels."""
    affine = volume.ijk_to_ras.copy()
    affine[:3, 3] += affine[:3, :3] @ voxels
    return Volume(volume.array, affine)


@pytest.fixture(scope="module")
def a_body() -> Volume:
    noise = np.random.default_rng(7).integers(0, 3000, (5, 60, 8)).astype(np.int16)
    return Volume(noise, CORONAL)


def level(value: float, count: int = 20, kind=np.int16) -> Volume:
    return Volume(np.full((5, count, 8), value, dtype=kind), CORONAL)


# ---- composing ------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS)
def test_a_body_that_was_cut_into_stations_is_whole_again(a_body, order, flips):
    cuts = [rows(a_body, *span) for span in ((0, 25), (20, 44), (40, 60))]
    stations = [stored_as(cut, order, flips) for cut in (cuts[1], cuts[2], cuts[0])]
    whole = compose(*stations)
    assert same_grid(whole, stored_as(a_body, order, flips))
    assert np.array_equal(SliceStack(whole).array, SliceStack(a_body).array)
    assert whole.array.dtype == np.int16
    # The middles of rows 20 to 24 and 40 to 43.
    assert whole.seams_mm == (500 - 22 * 0.6, round(500 - 41.5 * 0.6, 1))
    assert station_count(whole) == 3 and station_count(a_body) == 1


def test_one_station_fades_into_the_other():
    composed = compose(level(0), moved(level(100), 0, 16, 0))
    assert composed.array.shape == (5, 36, 8)
    profile = composed.array[2, :, 3]
    assert np.array_equal(profile[:16], [0] * 16)
    assert np.array_equal(profile[16:20], [20, 40, 60, 80])
    assert np.array_equal(profile[20:], [100] * 16)


def test_stations_that_only_touch_keep_every_voxel():
    composed = compose(level(1), moved(level(2), 0, 20, 0))
    assert np.array_equal(composed.array[0, :, 0], [1] * 20 + [2] * 20)
    assert composed.seams_mm == (round(500 - 19.5 * 0.6, 1),)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_small_gaps_that_add_up_leave_no_empty_plane(order):
    stations = [moved(level(100, 10), 0, 10.44 * n, 0) for n in range(4)]
    composed = compose(*(stations[n] for n in order))
    assert (composed.array == 100).all()


def test_the_grid_reaches_as_far_as_all_stations_and_is_empty_where_none_lies():
    lower = moved(level(50), 2, 15, -1)
    composed = compose(level(70), lower)
    assert composed.array.shape == (6, 35, 10)
    assert np.allclose(composed.ijk_to_ras[:3, 3], moved(level(0), 0, 0, -1).ijk_to_ras[:3, 3])
    assert composed.array[0, 0, 0] == 0 and composed.array[5, 34, 9] == 0
    assert composed.array[1, 0, 0] == 70 and composed.array[0, 34, 9] == 50
    # Only one station lies beside the other in the rows that they share: nothing to blend with.
    assert composed.array[1, 17, 0] == 70 and composed.array[1, 17, 9] == 50


def test_a_station_between_the_voxels_of_another_is_interpolated():
    def field(volume: Volume) -> Volume:
        k, j, i = np.indices(volume.array.shape)
        ras = np.stack([i, j, k, np.ones_like(i)], -1) @ volume.ijk_to_ras.T
        array = (3 * ras[..., 0] - 2 * ras[..., 1] + ras[..., 2]).astype(np.float32)
        return Volume(array, volume.ijk_to_ras)

    composed = compose(field(level(0)), field(moved(level(0), 0.3, 15.4, -0.25)))
    expected = field(composed).array
    # A straight field stays straight; only a station's outermost voxels have a neighbour less.
    inner = np.s_[1:4, [*range(15), *range(16, 34)], 1:7]
    assert np.allclose(composed.array[inner], expected[inner], atol=1e-2)


def test_rounded_positions_change_no_voxel(a_body):
    lower = moved(rows(a_body, 25, 60), 0.02, -0.03, 0.04)
    assert np.array_equal(compose(rows(a_body, 0, 30), lower).array, a_body.array)


# ---- what does not fit ----------------------------------------------------------------------


def test_a_gap_between_stations_is_refused():
    assert "6 mm are missing between station 1 and station 2" in refusal(
        level(1), moved(level(2), 0, 30, 0)
    )


def test_stations_of_one_place_are_refused():
    assert "show the same place" in refusal(level(1), level(2))
    assert "show the same place" in refusal(level(1), moved(level(2), 0, 9, 0))


def test_stations_beside_one_another_are_refused():
    assert "do not lie one below the other" in refusal(level(1), moved(level(2), 5, 18, 0))


def test_other_voxel_sizes_and_directions_are_refused():
    lower = moved(level(2), 0, 18, 0)
    larger = Volume(lower.array, lower.ijk_to_ras @ np.diag([1.1, 1, 1, 1]))
    assert "voxels of different sizes (0.7 x 0.6 x 7.8 and 0.77 x 0.6" in refusal(level(1), larger)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    turned = Volume(lower.array, turn @ lower.ijk_to_ras)
    assert "different directions" in refusal(level(1), turned)
    upside_down = Volume(lower.array, lower.ijk_to_ras @ np.diag([-1, 1, -1, 1]))
    assert "different directions" in refusal(level(1), upside_down)


# ---- DICOM ----------------------------------------------------------------------------------

STEP, ROWS = 30, 34
"""Rows from one station to the next, and of each."""

BODY = np.random.default_rng(1).integers(1, 500, (6, 100, 12)).astype(np.int16)


@pytest.fixture
def a_folder(tmp_path):
    return tmp_path / "Ganzkörper"


def slices(start: int, count: int = 3) -> np.ndarray:
    """Slices of one body from a row on, so that neighbours agree where they overlap."""
    return BODY[:count, start : start + ROWS]


def write_station(folder, uid, number, count=3, **more):
    start = STEP * number
    return write_series(
        folder,
        uid,
        range(count),
        values=slices(start, count),
        down=start * SPACING[1],
        prefix=f"{number}_",
        **more,
    )


def dicom_refusal(folder, **options) -> str:
    with pytest.raises(BadInput) as caught:
        read_scan(folder, **options)
    message = str(caught.value)
    assert "\n" not in message and ".dcm" not in message
    assert PATIENT.split("^")[0] not in message
    return message


def check_is_whole(volume: Volume, stations: int = 3, count: int = 3) -> None:
    rows_in_all = STEP * (stations - 1) + ROWS
    assert isinstance(volume, ComposedVolume)
    assert np.array_equal(volume.array, BODY[:count, :rows_in_all])
    assert np.allclose(volume.ijk_to_ras[:3, 3], FIRST * (-1, -1, 1))
    assert np.allclose(volume.spacing, (*SPACING, DISTANCE))
    # Four rows are shared by each two stations.
    steps = [upper - lower for upper, lower in pairwise(volume.seams_mm)]
    assert volume.seams_mm[0] == pytest.approx(FIRST[2] - 31.5 * SPACING[1], abs=0.05)
    assert np.allclose(steps, STEP * SPACING[1], atol=0.11)


def test_series_that_are_certainly_stations_are_composed_by_themselves(a_folder, capsys):
    for number in (1, 2, 0):
        write_station(a_folder, f"1.2.3.{7 + number}", number)
    check_is_whole(read_scan(a_folder))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "3 stations were composed into one scan; the seams lie at S 381 and 363 mm" in said
    told = []
    read_scan(a_folder, say=told.append)
    assert len(told) == 1 and capsys.readouterr().err == ""
    assert read_scan(a_folder, series="1.2.3.8").array.shape == (3, ROWS, 12)


def test_stations_under_one_uid_are_composed_by_themselves(a_folder):
    for number in (2, 0, 1):
        write_station(a_folder, "1.2.3.7", number)
    check_is_whole(read_scan(a_folder))
    check_is_whole(read_scan(a_folder, series="1.2.3.7"))


@pytest.mark.parametrize(
    "other",
    [
        {"description": "STIR st2"},
        {"count": 4},
        {"tags": {"0020|0052": "1.2.9"}},
    ],
)
def test_what_is_not_certain_is_listed_and_composed_when_asked_for(a_folder, other):
    write_station(a_folder, "1.2.3.7", 0)
    write_station(a_folder, "1.2.3.8", 1, **other)
    message = dicom_refusal(a_folder)
    assert "2 series" in message and "--series UID" in message and "--compose" in message
    assert "1.2.3.7 (STIR, 3 files)" in message
    volume = read_scan(a_folder, compose=True)
    assert isinstance(volume, ComposedVolume) and volume.array.shape[1] == ROWS + STEP


def test_stations_of_one_uid_that_differ_in_number_of_slices_have_to_be_asked_for(a_folder):
    write_station(a_folder, "1.2.3.7", 0)
    write_station(a_folder, "1.2.3.7", 1, count=4)
    assert "have 3 and 4 slices" in dicom_refusal(a_folder)
    assert read_scan(a_folder, compose=True).array.shape == (4, ROWS + STEP, 12)


def test_series_of_another_description_are_composed_if_each_is_named(a_folder):
    for number, part in enumerate(("Kopf", "Thorax", "Becken")):
        write_station(a_folder, f"1.2.3.{7 + number}", number, description=f"STIR {part}")
    write_series(a_folder, "1.2.3.1", range(3), "localizer")
    assert "are described differently" in dicom_refusal(a_folder, compose=True)
    named = ["1.2.3.8", "1.2.3.7", "1.2.3.9"]
    check_is_whole(read_scan(a_folder, series=named, compose=True))
    assert "--compose" in dicom_refusal(a_folder, series=named)


@pytest.mark.parametrize(
    ("tag", "values", "says"),
    [
        ("0018|0081", ("4.6", "9.2"), "echo time 4.6 ms; echo time 9.2 ms"),
        ("0018|0082", ("160", "220"), "inversion time 160 ms; inversion time 220 ms"),
        ("0008|0008", ("A\\B\\WATER", "A\\B\\FAT"), "kind of image"),
    ],
)
def test_stations_of_different_contrast_are_refused(a_folder, tag, values, says):
    uids = ("1.2.3.7", "1.2.3.8")
    for number, (uid, value) in enumerate(zip(uids, values, strict=True)):
        write_station(a_folder, uid, number, tags={tag: value})
    assert "2 series" in dicom_refusal(a_folder)
    for options in ({}, {"series": uids}):
        message = dicom_refusal(a_folder, compose=True, **options)
        assert "different contrast" in message and says in message


def test_t1_and_t2_are_described_differently(a_folder):
    write_station(a_folder, "1.2.3.7", 0, description="T1_cor 1")
    write_station(a_folder, "1.2.3.8", 1, description="T2_cor 2")
    assert "are described differently" in dicom_refusal(a_folder, compose=True)


def test_stations_of_two_studies_are_refused(a_folder):
    write_station(a_folder, "1.2.3.7", 0)
    write_station(a_folder, "1.2.3.8", 1, tags={"0020|000d": "1.2.826.2"})
    assert "2 series" in dicom_refusal(a_folder)
    assert "different studies" in dicom_refusal(a_folder, compose=True)


def test_the_same_place_twice_is_no_pair_of_stations(a_folder):
    write_station(a_folder, "1.2.3.7", 0)
    write_station(a_folder, "1.2.3.8", 0)
    assert "2 series" in dicom_refusal(a_folder)
    message = dicom_refusal(a_folder, compose=True)
    assert "series 1.2.3.7 and series 1.2.3.8 show the same place" in message


def test_a_station_that_is_missing_is_noticed(a_folder):
    write_station(a_folder, "1.2.3.7", 0)
    write_station(a_folder, "1.2.3.9", 2)
    assert "2 series" in dicom_refusal(a_folder)
    assert "16 mm are missing" in dicom_refusal(a_folder, compose=True)


def test_a_missing_slice_of_a_station_is_noticed(a_folder):
    write_station(a_folder, "1.2.3.7", 0, count=4)
    write_station(a_folder, "1.2.3.8", 1, count=4)[2].unlink()
    assert "2 series" in dicom_refusal(a_folder)
    assert "slices missing" in dicom_refusal(a_folder, compose=True)


def test_axial_stations_that_overlap_are_told_apart_by_their_acquisition(a_folder):
    column = np.array([0, 1.0, 0])
    spans = {"1": range(0, 10), "2": range(7, 17)}
    for number, places in spans.items():
        write_series(
            a_folder,
            "1.2.3.7",
            places,
            column=column,
            values=np.repeat(np.array(places, dtype=np.int16), 16 * 12).reshape(-1, 16, 12),
            tags={"0020|0012": number},
            prefix=number,
        )
    volume = read_scan(a_folder)
    assert isinstance(volume, ComposedVolume)
    assert np.array_equal(volume.array[:, 0, 0], range(17))
    assert volume.seams_mm == (FIRST[2] + 8 * DISTANCE,)


def test_labels_are_not_blended(a_folder):
    for number in (0, 1):
        write_station(a_folder, "1.2.3.7", number)
    with pytest.raises(BadInput, match="labels of stations are not composed"):
        read_labels(a_folder)


def test_odd_and_even_slices_are_no_stations(a_folder):
    for number, places in (("1", (0, 2, 4, 6)), ("2", (1, 3))):
        write_series(a_folder, "1.2.3.7", places, tags={"0020|0012": number}, prefix=number)
    assert "slices missing" in dicom_refusal(a_folder)


def test_echoes_in_one_series_are_told_apart(a_folder):
    for echo in ("2.3", "4.6"):
        write_series(a_folder, "1.2.3.7", range(3), tags={"0018|0081": echo}, prefix=echo[0])
    message = dicom_refusal(a_folder)
    assert "2 scans that differ in echo time" in message
    assert "1.2.3.7#2 (echo time 4.6 ms, 3 images)" in message
    assert read_scan(a_folder, series="1.2.3.7#1").array.shape == (3, 16, 12)
