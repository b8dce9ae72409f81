"""Enhanced (multi-frame) DICOM: frames lie where they say, or the file is refused in words."""

from __future__ import annotations

import contextlib

import numpy as np
import pydicom
import pytest
from dicom_files import (
    DEFLATED,
    DISTANCE,
    EXPLICIT,
    IMPLICIT,
    PATIENT,
    RUN_LENGTHS,
    SPACING,
    EnhancedFrame,
    write_enhanced,
    write_series,
)

from mois_core.errors import BadInput
from mois_core.geometry import same_grid
from mois_core.io import read_scan
from mois_core.io.compose_stations import ComposedVolume
from mois_core.io.dicom_elements import UnreadableElements, read_elements

ORDERS = [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (0, 2, 4, 1, 3)]


def refusal(path, **options) -> str:
    with pytest.raises(BadInput) as caught:
        read_scan(path, **options)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    assert PATIENT.split("^")[0] not in message
    return message


@pytest.fixture
def a_file(tmp_path):
    return tmp_path / "Aufnahme für später" / "a.dcm"


def frames_at(places, **more) -> list[EnhancedFrame]:
    """Frames whose pixels tell their places."""
    return [EnhancedFrame(place, value=10 * place + 1, **more) for place in places]


def values(volume) -> list[int]:
    return volume.array[:, 0, 0].tolist()


# ---- where frames lie -----------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_frames_are_stacked_by_position_in_whatever_order_they_are_stored(a_file, order, capfd):
    write_enhanced(a_file, frames_at(order))
    write_series(a_file.parent / "classic", "1.2.3.4", range(5))
    classic = read_scan(a_file.parent / "classic")
    for path, options in ((a_file, {}), (a_file.parent, {"series": "1.2.3.9"})):
        volume = read_scan(path, **options)
        assert values(volume) == [1, 11, 21, 31, 41]
        assert same_grid(volume, classic)
        assert np.allclose(volume.spacing, (*SPACING, DISTANCE))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("are_lengths_undefined", [False, True])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED, RUN_LENGTHS])
def test_every_way_of_storing_the_same_file_gives_the_same(a_file, syntax, are_lengths_undefined):
    frames = frames_at(ORDERS[2])
    write_enhanced(a_file, frames, syntax=syntax, are_lengths_undefined=are_lengths_undefined)
    volume = read_scan(a_file)
    assert values(volume) == [1, 11, 21, 31, 41]
    assert np.allclose(volume.spacing, (*SPACING, DISTANCE))


def test_each_voxel_of_an_oblique_file_lies_where_its_frame_says(a_file):
    row, column = np.array([0.8, 0.6, 0]), np.array([0.36, -0.48, -0.8])
    noise = np.random.default_rng(5).integers(0, 4000, (5, 16, 12))
    frames = [EnhancedFrame(place, row=row, column=column) for place in ORDERS[2]]
    write_enhanced(a_file, frames, pixels=noise)
    volume = read_scan(a_file)
    for frame, pixels in zip(frames, noise, strict=True):
        for j, i in ((0, 0), (15, 3), (7, 11)):
            lps = frame.position + i * SPACING[0] * row + j * SPACING[1] * column
            ijk = volume.ras_to_ijk @ (-lps[0], -lps[1], lps[2], 1)
            assert np.allclose(ijk, np.round(ijk), atol=1e-3)
            found = tuple(int(n) for n in np.round(ijk[2::-1]))
            assert volume.array[found] == pixels[j, i]


def test_an_image_that_is_alone_is_as_thick_as_it_says(a_file):
    volume = read_scan(write_enhanced(a_file, frames_at([2])))
    assert volume.array.shape == (1, 16, 12)
    assert np.allclose(volume.spacing, (*SPACING, DISTANCE))


def test_a_scan_may_come_in_several_files(a_file):
    write_enhanced(a_file, frames_at([0, 2, 4]))
    other = write_enhanced(a_file.with_name("b.dcm"), frames_at([3, 1]))
    data = pydicom.dcmread(other)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9.2"
    data.save_as(other)
    assert values(read_scan(a_file.parent)) == [1, 11, 21, 31, 41]


def test_frames_that_are_scaled_differently_get_their_own_intensities(a_file):
    scaled = [(2.0, 5.0), (0.5, 0.0), (3.0, -1.0)]
    frames = [EnhancedFrame(n, value=100, rescaling=scaled[n]) for n in (2, 0, 1)]
    assert values(read_scan(write_enhanced(a_file, frames))) == [205, 50, 299]


# ---- several scans in one file --------------------------------------------------------------

SCANS = [
    ("echo time 2.3 ms", "echo time 4.6 ms", {"echo": 2.3}, {"echo": 4.6}),
    ("time point 1", "time point 2", {"time": 1}, {"time": 2}),
    ("b-value 50 s/mm2", "b-value 800 s/mm2", {"b_value": 50.0}, {"b_value": 800.0}),
    (
        "kind of image DERIVED\\PRIMARY\\DIXON\\FAT",
        "kind of image DERIVED\\PRIMARY\\DIXON\\WATER",
        {"kind": ["DERIVED", "PRIMARY", "DIXON", "FAT"]},
        {"kind": ["DERIVED", "PRIMARY", "DIXON", "WATER"]},
    ),
    ("dimension 1 1", "dimension 1 2", {"dimensions": (1, 1)}, {"dimensions": (2, 1)}),
]


@pytest.mark.parametrize(("first", "second", "one", "other"), SCANS)
def test_scans_of_the_same_place_are_told_apart_and_one_is_chosen(
    a_file, first, second, one, other
):
    frames = []
    for place in (1, 0, 2):  # mixed, as scanners store echoes
        for number, traits in enumerate((one, other), start=1):
            # Every frame has a trigger time of its own, which must not part them.
            trigger = 10.0 * len(frames)
            frames.append(EnhancedFrame(place, 100 * number + place, trigger=trigger, **traits))
    pointers = (0x0018_9087, 0x0020_9057) if "dimensions" in one else ()
    write_enhanced(a_file, frames, pointers=pointers)
    message = refusal(a_file)
    assert "2 scans" in message and "--series" in message
    assert f"1.2.3.9#1 ({first}, 3 images); 1.2.3.9#2 ({second}, 3 images)" in message
    assert refusal(a_file.parent).count("#") == 2
    assert values(read_scan(a_file, series="1.2.3.9#1")) == [100, 101, 102]
    assert values(read_scan(a_file.parent, series="1.2.3.9#2")) == [200, 201, 202]
    assert "no #3" in refusal(a_file, series="1.2.3.9#3")


def test_two_traits_together_may_be_needed(a_file):
    frames = [
        EnhancedFrame(place, 100 * time + 10 * echo + place, echo=float(echo), time=time)
        for place in range(3)
        for time in (1, 2)
        for echo in (3, 5)
    ]
    write_enhanced(a_file, frames)
    assert "4 scans that differ in echo time and time point" in refusal(a_file)
    assert values(read_scan(a_file, series="1.2.3.9#4")) == [250, 251, 252]


def test_images_at_one_place_that_nothing_tells_apart_are_refused(a_file):
    write_enhanced(a_file, frames_at([0, 1, 2, 0, 1, 2]))
    assert "several images at one position" in refusal(a_file)


def test_a_time_point_that_was_broken_off_is_refused(a_file):
    frames = [EnhancedFrame(place, time=1) for place in range(4)]
    write_enhanced(a_file, frames + [EnhancedFrame(place, time=2) for place in range(2)])
    assert "several images at one position" in refusal(a_file)


def test_stations_in_one_file_are_composed(a_file, capsys):
    upper = [EnhancedFrame(place, 100, stack="1") for place in range(3)]
    down = 22 * SPACING[1]
    lower = [EnhancedFrame(place, 200, down=down, stack="2") for place in range(3)]
    write_enhanced(a_file, lower + upper, size=(12, 40))
    volume = read_scan(a_file)
    assert isinstance(volume, ComposedVolume)
    assert volume.array.shape == (3, 40 + 22, 12)
    assert volume.array[0, 0, 0] == 100 and volume.array[0, -1, 0] == 200
    assert "2 stations were composed" in capsys.readouterr().err


# ---- what makes no scan ---------------------------------------------------------------------


def test_a_missing_frame_is_noticed(a_file):
    write_enhanced(a_file, frames_at([0, 1, 3, 4, 5]))
    assert "usually 7.80 mm apart, once 15.60 mm" in refusal(a_file)


def test_frames_stacked_at_an_angle_are_refused(a_file):
    frames = [EnhancedFrame(place, sideways=(0, 0, 2 * place)) for place in range(5)]
    write_enhanced(a_file, frames)
    assert "tilted" in refusal(a_file)


def test_frames_of_several_directions_or_pixel_sizes_are_refused(a_file):
    straight = frames_at([0, 1, 2])
    write_enhanced(a_file, [*straight, EnhancedFrame(3, column=(0, 1.0, 0))])
    assert "different directions" in refusal(a_file)
    write_enhanced(a_file, [*straight, EnhancedFrame(3, spacing=(0.9, 0.9))])
    assert "different pixel sizes" in refusal(a_file)


def test_several_images_without_places_are_refused(a_file):
    write_enhanced(a_file, frames_at([0, 1, 2]), has_groups=False)
    assert "does not say where its slices lie" in refusal(a_file)


def test_frames_without_a_description_are_noticed(a_file):
    data = pydicom.dcmread(write_enhanced(a_file, frames_at([0, 1, 2])))
    del data.PerFrameFunctionalGroupsSequence[2]
    data.save_as(a_file)
    assert "3 images in a file that describes 2" in refusal(a_file)


def test_a_place_that_is_no_place_is_refused(a_file):
    data = pydicom.dcmread(write_enhanced(a_file, frames_at([0, 1, 2])))
    data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient = ""
    data.save_as(a_file)
    assert "positions in a way that cannot be read" in refusal(a_file)


def test_a_file_that_is_cut_short_is_refused(a_file):
    whole = write_enhanced(a_file, frames_at(range(5))).read_bytes()
    for part in (0.3, 0.6, 0.99):
        a_file.write_bytes(whole[: int(part * len(whole))])
        refusal(a_file)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_damaged_elements_never_end_in_anything_but_a_refusal(a_file, syntax):
    whole = write_enhanced(a_file, frames_at(range(3)), syntax=syntax).read_bytes()
    random = np.random.default_rng(3)
    sequences = (0x5200_9229, 0x5200_9230, 0x0020_9113)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(132, len(whole) - 1200, 3):
            damaged[place] = random.integers(256)
        a_file.write_bytes(damaged)
        with contextlib.suppress(UnreadableElements):
            read_elements(a_file, sequences)


# ---- the reader of elements -----------------------------------------------------------------


def test_elements_are_those_that_pydicom_reads(a_file):
    write_enhanced(a_file, frames_at([3, 1]), are_lengths_undefined=True)
    elements = read_elements(a_file, (0x5200_9230, 0x0020_9113))
    assert elements[0x0020_000E].rstrip(b"\0") == b"1.2.3.9"
    assert 0x5200_9229 not in elements and 0x7FE0_0010 not in elements
    expected = pydicom.dcmread(a_file).PerFrameFunctionalGroupsSequence
    for own, item in zip(elements[0x5200_9230], expected, strict=True):
        stored = own[0x0020_9113][0][0x0020_0032]
        assert [float(n) for n in stored.split(b"\\")] == list(
            item.PlanePositionSequence[0].ImagePositionPatient
        )


def test_sequences_that_another_program_did_not_know_are_read(a_file, monkeypatch):
    monkeypatch.setattr(pydicom.config, "replace_un_with_known_vr", False)
    data = pydicom.dcmread(write_enhanced(a_file, frames_at(ORDERS[2]), syntax=IMPLICIT))
    data.save_as(a_file, implicit_vr=True)
    content = a_file.read_bytes()
    group = b"\x00\x52\x30\x92"
    start = content.index(group)
    length = int.from_bytes(content[start + 4 : start + 8], "little")
    stored = content[start + 8 : start + 8 + length]
    data.file_meta.TransferSyntaxUID = EXPLICIT
    del data.PerFrameFunctionalGroupsSequence
    data.add_new(0x5200_9230, "UN", stored)
    data.save_as(a_file, implicit_vr=False)
    assert group + b"UN" in a_file.read_bytes()
    assert values(read_scan(a_file)) == [1, 11, 21, 31, 41]
