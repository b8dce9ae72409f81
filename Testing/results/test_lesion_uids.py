"""A lesion has one UID: in segments, in DICOM files, in sessions, and in the next comparison."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from command_line import mois, use_stub, write_clicks
from dicom_files import IDENTITY_TAGS, write_series
from engine_fixtures import FIRST, SCENE, SECOND, scan_of

from mois_core.cli.compare import read_time_point
from mois_core.cli.progress_bar import progress_bar
from mois_core.followup.stored_uids import read_uids, write_with_uids
from mois_core.geometry import Volume
from mois_core.io import read_scan
from mois_core.results.lesion_uids import numbered_uid

highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def a_series(tmp_path, monkeypatch):
    use_stub(monkeypatch)
    values = scan_of(*SCENE)
    how = {"size": (32, 32), "values": values, "spacing": (0.62, 0.62), "tags": IDENTITY_TAGS}
    write_series(tmp_path / "dicom", "1.2.3.4", range(len(values)), **how)
    return tmp_path / "dicom"


def segment(folder, *more) -> None:
    words = ("--model", "stub", "--out", folder / "o.seg.nrrd", "--dicom-out", folder / "pacs")
    saved = ("--save-session", folder / "o.mois")
    assert mois("segment", folder.parent / "dicom", *words, *saved, *more) == 0


def clicks(series):
    path = series.parent / "clicks.mrk.json"
    where = [(1, True, FIRST.middle), (7, True, SECOND.middle)]
    return "--points", write_clicks(path, read_scan(series), where)


def in_segmentation(folder) -> dict[int, str]:
    dataset = pydicom.dcmread(folder / "pacs" / "segmentation.dcm")
    numbers = [int(segment.TrackingID.split()[-1]) for segment in dataset.SegmentSequence]
    return dict(zip(numbers, [s.TrackingUID for s in dataset.SegmentSequence], strict=True))


def in_report(folder) -> dict[int, str]:
    report = highdicom.sr.srread(folder / "pacs" / "measurements.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    return {int(group.tracking_identifier.split()[-1]): group.tracking_uid for group in groups}


def in_next_comparison(folder, name) -> dict[int, str]:
    with progress_bar() as bar:
        point = read_time_point(folder.parent / "dicom", folder / name, None, bar)
    return {value: point.uid(value) for value in point.lesions}


def everywhere(folder) -> dict[int, str]:
    """The UIDs in all files of a run, by number; there is no other in any of them."""
    uids = in_segmentation(folder)
    assert in_report(folder) == uids
    assert read_uids(folder / "o.seg.nrrd") == uids
    for name in ("o.seg.nrrd", "o.mois"):
        assert in_next_comparison(folder, name) == uids
    assert len(set(uids.values())) == len(uids)
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in uids.values())
    return uids


def test_all_files_of_a_run_name_a_lesion_alike(a_series, tmp_path):
    (tmp_path / "one").mkdir()
    segment(tmp_path / "one", *clicks(a_series))
    uids = everywhere(tmp_path / "one")
    assert {1, 7} < uids.keys()

    (tmp_path / "two").mkdir()
    segment(tmp_path / "two", "--session", tmp_path / "one" / "o.mois", "--no-search")
    assert everywhere(tmp_path / "two") == uids


def test_outlined_lesions_keep_the_uids_that_their_file_has(a_series, tmp_path):
    scan, labels = read_scan(a_series), None
    (tmp_path / "one").mkdir()
    segment(tmp_path / "one", *clicks(a_series), "--no-search")
    labels = read_scan(tmp_path / "one" / "o.seg.nrrd").array
    tracked = tmp_path / "tracked.seg.nrrd"
    segments = [(1, "knee", (1.0, 0.0, 0.0)), (7, "hip", (0.0, 1.0, 0.0))]
    write_with_uids(tracked, scan, labels, segments, {1: "2.25.11", 7: "2.25.77"})

    (tmp_path / "two").mkdir()
    segment(tmp_path / "two", "--lesions", tracked, "--no-search")
    assert everywhere(tmp_path / "two") == {1: "2.25.11", 7: "2.25.77"}


def test_the_copy_of_a_segment_is_no_second_lesion_of_its_uid(a_series, tmp_path):
    scan = read_scan(a_series)
    labels = (scan.array > scan.array.mean()).astype("uint8")
    labels[::2] *= 2
    segments = [(n, f"Lesion {n}", (1.0, 0.0, 0.0)) for n in (1, 2)]
    path = tmp_path / "copied.seg.nrrd"
    write_with_uids(path, scan, labels, segments, {1: "2.25.5", 2: "2.25.5"})
    assert read_uids(path) == {}
    with progress_bar() as bar:
        point = read_time_point(a_series, path, None, bar)
    assert point.uid(1) != point.uid(2)


def test_where_a_scan_lies_does_not_change_what_its_lesions_are_called(a_series):
    scan = read_scan(a_series)
    moved = scan.ijk_to_ras.copy()
    moved[:3, 3] += 5
    assert numbered_uid(Volume(scan.array, moved), 3) == numbered_uid(scan, 3)
    assert numbered_uid(Volume(scan.array + 1, moved), 3) != numbered_uid(scan, 3)


@pytest.mark.parametrize("text", ["not a UID at all", "2.25." + "7" * 75, "2.25.07", "3.1", ""])
def test_what_is_no_uid_is_not_taken_for_one(tmp_path, text):
    labels = np.zeros((2, 4, 4), dtype=np.uint8)
    labels[0, 1], labels[1, 2] = 1, 2
    path = tmp_path / "o.seg.nrrd"
    segments = [(n, f"Lesion {n}", (1.0, 0.0, 0.0)) for n in (1, 2)]
    write_with_uids(path, Volume(labels, np.eye(4)), labels, segments, {1: text, 2: "2.25.5"})
    assert read_uids(path) == {2: "2.25.5"}
