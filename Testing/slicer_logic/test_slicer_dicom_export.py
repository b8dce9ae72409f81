"""*Save as DICOM*: lesions of a scan from Slicer's DICOM database become files for the archive."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer
import vtk
from dicom_files import IDENTITY_TAGS, PATIENT, EnhancedFrame, write_enhanced, write_series
from dicom_results import assert_same_places, errors_in, needs_dciodvfy, places_in, places_of
from dicom_scene import Database, load_series
from engine_fixtures import FIRST, SCENE, SECOND, scan_of
from MOISSAM2SegmentLib.scene.transforms import numpy_to_matrix
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace.dicom_export import FOLDER, NO_LESION, STOPPED
from scans import add_station, linear_transform, place, scan_node, settle

from mois_core.errors import BadInput
from mois_core.results import dicom_files
from mois_core.results.lesion_uids import TAG

highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")

TILTED = np.array([0.0, 0.09950, -0.99504])


@pytest.fixture
def a_database(monkeypatch):
    database = Database()
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    return database


def series(folder, uid: str = "1.2.3.4", **how):
    """Files of the usual scan, in an archive's series."""
    values = how.pop("values", scan_of(*SCENE))
    more = {"size": values.shape[:0:-1], "spacing": (0.62, 0.62), "tags": IDENTITY_TAGS}
    return write_series(folder, uid, range(len(values)), values=values, **more, **how)


@pytest.fixture(params=["classic", "oblique", "multi-frame"])
def some_files(request, tmp_path):
    folder = tmp_path / "Aufnahmen von früher"
    if request.param == "multi-frame":
        values, frames = (
            scan_of(*SCENE),
            [EnhancedFrame(n, spacing=(0.62, 0.62)) for n in range(12)],
        )
        elements = {"FrameOfReferenceUID": "1.2.3.77", "PatientID": "Geheime-Nummer"}
        how = {"size": (32, 32), "pixels": values, "elements": elements}
        return [write_enhanced(folder / "a.dcm", frames, **how)]
    return series(folder, **({"column": TILTED} if request.param == "oblique" else {}))


def opened(workspace, node):
    workspace.start(node)
    settle(workspace)
    assert workspace.is_open, workspace.messages
    return workspace


@pytest.fixture
def a_clicked_scan(a_scene, a_workspace, a_database, some_files):
    """A scan from the database with two clicked lesions and what a search found."""
    workspace = opened(a_workspace, load_series(a_scene, a_database, some_files))
    place(workspace, FIRST)
    place(workspace, SECOND)
    settle(workspace)
    workspace.commands.find_similar()
    settle(workspace)
    return workspace


@pytest.fixture
def a_plain_scan(a_scene, a_workspace, a_database, tmp_path):
    """A scan of one file for each slice, with one clicked lesion."""
    workspace = opened(a_workspace, load_series(a_scene, a_database, series(tmp_path / "scan")))
    place(workspace, FIRST)
    settle(workspace)
    return workspace


def export(workspace, folder):
    results = []
    workspace.dicom.write(folder, results.append)
    settle(workspace)
    assert results, workspace.messages
    return results[0]


def refusal(workspace, folder, *secrets) -> str:
    """Why nothing was written, in one line that names nobody; nothing is left in the folder."""
    before = sorted(folder.rglob("*")) if folder.exists() else []
    try:
        workspace.dicom.write(folder)
    except BadInput as error:
        message = str(error)
    else:
        settle(workspace)
        message = workspace.messages[-1]
    assert "\n" not in message and "Geheim" not in message
    assert (sorted(folder.rglob("*")) if folder.exists() else []) == before
    return message


def test_lesions_lie_in_the_files_where_they_lie_in_the_scene(a_clicked_scan, tmp_path):
    (tmp_path / "out").mkdir()
    result = export(a_clicked_scan, tmp_path / "out")
    assert result.folder == tmp_path / "out" / FOLDER
    dataset = pydicom.dcmread(result.folder / "segmentation.dcm")
    lesions = a_clicked_scan.session.lesions
    assert len(dataset.SegmentSequence) == len(lesions) > 2
    for number, lesion in enumerate(lesions, start=1):
        meant = places_in(a_clicked_scan.session.stack, lesion.mask)
        assert_same_places(places_of(dataset, number), meant)
    assert str(dataset.PatientName) == PATIENT
    assert dataset.StudyInstanceUID == "1.2.826.1"
    pictures = list((result.folder / "outlines").iterdir())
    assert len(pictures) == result.written.pictures > 0
    assert highdicom.sr.srread(result.folder / "measurements.dcm")


@needs_dciodvfy
def test_the_files_follow_the_standard(a_clicked_scan, tmp_path):
    (tmp_path / "out").mkdir()
    files = list(export(a_clicked_scan, tmp_path / "out").folder.rglob("*.dcm"))
    assert len(files) > 2
    assert {file.name: errors_in(file) for file in files} == {file.name: [] for file in files}


def test_segments_refer_to_the_slices_that_slicer_shows_them_on(a_plain_scan, a_database, tmp_path):
    (tmp_path / "out").mkdir()
    folder = export(a_plain_scan, tmp_path / "out").folder
    dataset = pydicom.dcmread(folder / "segmentation.dcm")
    for frame, pixels in zip(
        dataset.PerFrameFunctionalGroupsSequence,
        dataset.pixel_array.reshape(-1, 32, 32),
        strict=True,
    ):
        image = frame.DerivationImageSequence[0].SourceImageSequence[0]
        source = pydicom.dcmread(a_database.files[image.ReferencedSOPInstanceUID])
        # The lesion is what is bright there.
        assert source.pixel_array[pixels > 0].min() > np.median(source.pixel_array)


def test_a_lesion_is_known_by_one_uid_in_the_scene_and_in_the_files(a_clicked_scan, tmp_path):
    (tmp_path / "out").mkdir()
    folder = export(a_clicked_scan, tmp_path / "out").folder
    dataset = pydicom.dcmread(folder / "segmentation.dcm")
    segmentation = a_clicked_scan.segments_node.GetSegmentation()
    tags = []
    for segment_id in segmentation.GetSegmentIDs():
        text = vtk.reference("")
        assert segmentation.GetSegment(segment_id).GetTag(TAG, text)
        tags.append(str(text))
    assert [segment.TrackingUID for segment in dataset.SegmentSequence] == tags


def test_colours_and_names_of_the_users_choice_are_in_the_files(a_plain_scan, tmp_path):
    segment = a_plain_scan.segments_node.GetSegmentation().GetNthSegment(0)
    segment.SetColor(1.0, 0.0, 0.0)
    segment.SetName("Läsion am Knie")
    settle(a_plain_scan)
    (tmp_path / "out").mkdir()
    folder = export(a_plain_scan, tmp_path / "out").folder
    (described,) = pydicom.dcmread(folder / "segmentation.dcm").SegmentSequence
    assert described.SegmentLabel == "Läsion am Knie"
    lab = highdicom.color.CIELabColor.from_dicom_value(described.RecommendedDisplayCIELabValue)
    assert np.abs(np.array(lab.to_rgb()) - (255, 0, 0)).max() <= 2


def test_each_time_there_is_a_new_folder_and_nothing_is_overwritten(a_plain_scan, tmp_path):
    (tmp_path / "out").mkdir()
    first = export(a_plain_scan, tmp_path / "out").folder
    content = (first / "segmentation.dcm").read_bytes()
    second = export(a_plain_scan, tmp_path / "out").folder
    assert second.name == f"{FOLDER}-2"
    assert (first / "segmentation.dcm").read_bytes() == content


def test_a_scan_under_a_transform_is_written_where_its_images_lie(a_plain_scan, tmp_path):
    transform = linear_transform(a_plain_scan.scene)
    a_plain_scan.volume_node.SetAndObserveTransformNodeID(transform.GetID())
    settle(a_plain_scan)
    (tmp_path / "out").mkdir()
    dataset = pydicom.dcmread(export(a_plain_scan, tmp_path / "out").folder / "segmentation.dcm")
    (lesion,) = a_plain_scan.session.lesions
    meant = places_in(a_plain_scan.session.stack, lesion.mask)
    assert_same_places(places_of(dataset, 1), meant)


def test_a_scan_that_does_not_come_from_dicom_is_refused(a_scene, a_workspace, tmp_path):
    workspace = opened(a_workspace, scan_node(a_scene))
    place(workspace, FIRST)
    settle(workspace)
    assert "not loaded from Slicer's DICOM database" in refusal(workspace, tmp_path)
    with pytest.raises(BadInput, match="module DICOM"):
        workspace.dicom.check()


def test_files_that_are_gone_are_counted(a_plain_scan, a_database, tmp_path):
    uids = list(a_database.files)
    os.remove(a_database.files[uids[0]])
    del a_database.files[uids[3]]
    message = refusal(a_plain_scan, tmp_path)
    assert "2 of the 12 DICOM files of scan are not in" in message and "Import" in message


def test_a_database_that_is_closed_is_said_to_be(a_plain_scan, a_database, tmp_path, monkeypatch):
    a_database.isOpen = False
    assert "not open" in refusal(a_plain_scan, tmp_path)
    monkeypatch.delattr(slicer, "dicomDatabase")
    assert "not open" in refusal(a_plain_scan, tmp_path)


def test_without_a_scan_there_is_nothing_to_write(a_workspace, tmp_path):
    with pytest.raises(BadInput, match="Open a scan first"):
        a_workspace.dicom.write(tmp_path)


def test_without_a_lesion_nothing_is_written_and_it_is_said(a_plain_scan, tmp_path):
    a_plain_scan.commands.undo()
    settle(a_plain_scan)
    (tmp_path / "out").mkdir()
    assert refusal(a_plain_scan, tmp_path / "out") == NO_LESION


def test_a_scan_that_was_hardened_elsewhere_is_refused(a_plain_scan, tmp_path):
    node = a_plain_scan.volume_node
    node.ApplyTransformMatrix(numpy_to_matrix(np.eye(4) + np.eye(4, k=3) * 20))
    settle(a_plain_scan)
    assert a_plain_scan.is_open
    assert "do not lie where the scan does" in refusal(a_plain_scan, tmp_path)


def test_slices_that_were_not_loaded_are_missed(a_scene, a_workspace, a_database, tmp_path):
    files = [file for n, file in enumerate(series(tmp_path / "scan")) if n != 4]
    workspace = opened(a_workspace, load_series(a_scene, a_database, files))
    place(workspace, FIRST)
    settle(workspace)
    assert "slices missing" in refusal(workspace, tmp_path)


def test_a_folder_that_cannot_be_written_is_said_to_be(a_plain_scan, tmp_path, monkeypatch):
    whole = Path.mkdir

    def locked(path, *how, **more):
        if path.parent == tmp_path / "locked":
            raise PermissionError(13, "Permission denied")
        return whole(path, *how, **more)

    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(Path, "mkdir", locked)
    message = refusal(a_plain_scan, tmp_path / "locked")
    assert "cannot be written (Permission denied)" in message


def test_a_folder_that_is_not_there_any_more_is_said_to_be(a_plain_scan, tmp_path):
    assert "does not exist" in refusal(a_plain_scan, tmp_path / "gone")


@pytest.mark.parametrize("inside", [".", "results"])
def test_the_folder_of_the_scan_itself_is_refused(a_plain_scan, tmp_path, inside):
    folder = tmp_path / "scan" / inside
    folder.mkdir(exist_ok=True)
    assert "own DICOM files" in refusal(a_plain_scan, folder)


def test_a_run_that_is_cancelled_leaves_nothing(a_plain_scan, tmp_path, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    report = dicom_files.structured_report

    def slow(*how):
        begun.set()
        assert go_on.wait(5)
        return report(*how)

    monkeypatch.setattr(dicom_files, "structured_report", slow)
    (tmp_path / "out").mkdir()
    told = []
    a_plain_scan.engine.worker.progressed.connect(lambda job, *how: told.append((job.name, how)))
    a_plain_scan.dicom.write(tmp_path / "out")
    while not begun.is_set():
        a_plain_scan.pump()
    a_plain_scan.pump()
    a_plain_scan.cancel()
    go_on.set()
    settle(a_plain_scan)

    assert a_plain_scan.messages[-1] == STOPPED
    assert list((tmp_path / "out").iterdir()) == []
    assert ("Save as DICOM", "writing DICOM", 2) in [(name, how[2], how[0]) for name, how in told]


def test_lesions_are_those_of_the_moment_in_which_it_is_their_turn(a_plain_scan, tmp_path):
    is_free, results = threading.Event(), []
    (tmp_path / "out").mkdir()
    a_plain_scan.engine.worker.submit(Job("Other work", lambda *how: is_free.wait(5)))
    place(a_plain_scan, SECOND)
    a_plain_scan.pump()
    a_plain_scan.dicom.write(tmp_path / "out", results.append)
    is_free.set()
    settle(a_plain_scan)
    dataset = pydicom.dcmread(results[0].folder / "segmentation.dcm")
    assert len(dataset.SegmentSequence) == 2


def test_joined_stations_have_a_segmentation_each(a_scene, a_workspace, a_database, tmp_path):
    stations = []
    whole = np.repeat(scan_of(*SCENE), 2, axis=1)
    for uid, rows in (("1.2.3.7", (0, 36)), ("1.2.3.8", (28, 64))):
        values = whole[:, rows[0] : rows[1]]
        files = series(tmp_path / uid, uid, values=values, down=rows[0] * 0.62)
        stations.append(load_series(a_scene, a_database, files, f"station {uid[-1]}"))
    joined = []
    a_workspace.stations.join(stations, joined.append)
    settle(a_workspace)
    workspace = opened(a_workspace, joined[0])
    for block in (FIRST, SECOND):
        slice_index, row, column = block.middle
        ras = workspace.session.stack.point_to_ras(slice_index, column, 2 * row)
        workspace.points_node.AddControlPointWorld(*ras.tolist())
        settle(workspace)

    (tmp_path / "out").mkdir()
    result = export(workspace, tmp_path / "out")

    assert result.written.segmentations == 2
    parts = [pydicom.dcmread(result.folder / f"segmentation-{n}.dcm") for n in (1, 2)]
    referred = [part.ReferencedSeriesSequence[0].SeriesInstanceUID for part in parts]
    assert referred == ["1.2.3.7", "1.2.3.8"]
    for lesion in workspace.session.lesions:
        numbers = [
            [
                s.SegmentNumber
                for s in part.SegmentSequence
                if s.SegmentLabel == f"Lesion {lesion.id}"
            ]
            for part in parts
        ]
        found = [places_of(part, n) for part, own in zip(parts, numbers, strict=True) for n in own]
        places = np.unique(np.round(np.concatenate(found), 3), axis=0)
        assert_same_places(places, places_in(workspace.session.stack, lesion.mask))


def test_stations_one_of_which_is_no_dicom_make_a_scan_that_is_none(
    a_scene, a_workspace, a_database, tmp_path
):
    stations = [add_station(a_scene, number) for number in (0, 1)]
    stations[0].SetAttribute("DICOM.instanceUIDs", "1.2.3.4.1")
    joined = []
    a_workspace.stations.join(stations, joined.append)
    settle(a_workspace)
    workspace = opened(a_workspace, joined[0])
    assert "not loaded from Slicer's DICOM database" in refusal(workspace, tmp_path)
