"""*Save*, *As DICOM, for the archive...*: what the user is asked, is told, and has then."""

from __future__ import annotations

import sys
import threading

import pydicom
import pytest
import slicer
from dicom_files import IDENTITY_TAGS, write_series
from dicom_scene import Database, load_series
from engine_fixtures import FIRST, SCENE, scan_of

pytest.importorskip("highdicom", reason="highdicom is not installed")


@pytest.fixture
def a_user(a_panel, tmp_path, monkeypatch):
    """A user who has clicked a lesion on a scan from Slicer's DICOM database."""
    database, values = Database(), scan_of(*SCENE)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    how = {"size": (32, 32), "values": values, "spacing": (0.62, 0.62), "tags": IDENTITY_TAGS}
    files = write_series(tmp_path / "scan", "1.2.3.4", range(len(values)), **how)
    load_series(a_panel.scene, database, files)
    a_panel.start()
    a_panel.press("newLesionButton")
    a_panel.click_into(FIRST)
    return a_panel


def test_a_folder_is_chosen_and_the_files_are_in_a_new_one_inside(a_user, dialogs, tmp_path):
    dialogs.path = str(tmp_path / "für das Archiv")
    (tmp_path / "für das Archiv").mkdir()

    a_user.save("dicom")
    a_user.wait()

    assert len(dialogs.asked) == 1 and "name the patient" in dialogs.asked[0]
    (folder,) = (tmp_path / "für das Archiv").iterdir()
    assert str(folder) in a_user.message and "patient's name in them" in a_user.message
    dataset = pydicom.dcmread(folder / "segmentation.dcm")
    assert [segment.SegmentLabel for segment in dataset.SegmentSequence] == ["Lesion 1"]
    assert (folder / "measurements.dcm").exists() and any((folder / "outlines").iterdir())


def test_one_who_chooses_no_folder_has_nothing(a_user, dialogs, tmp_path):
    a_user.save("dicom")
    a_user.wait()
    assert len(dialogs.asked) == 1 and a_user.message == ""
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["scan"]


def test_a_scan_that_is_no_dicom_is_refused_before_anything_is_asked(a_started_panel, dialogs):
    user = a_started_panel
    user.press("newLesionButton")
    user.click_into(FIRST)
    user.save("dicom")
    assert "not loaded from Slicer's DICOM database" in user.message
    assert dialogs.asked == []


def test_without_a_lesion_there_is_nothing_to_save(a_user):
    a_user.press("undoButton")
    a_user.wait()
    assert not a_user.can("saveReportButton")


def without_highdicom(monkeypatch):
    """A Slicer that lacks highdicom, and the module that installs."""
    from MOISSAM2SegmentLib.setup import install

    whole = install.installed_version
    monkeypatch.setattr(
        install, "installed_version", lambda name: None if name == "highdicom" else whole(name)
    )
    return install


def test_highdicom_is_asked_for_and_one_who_declines_is_told(a_user, dialogs, monkeypatch):
    without_highdicom(monkeypatch)
    dialogs.yes = False
    a_user.save("dicom")
    assert len(dialogs.asked) == 1 and "highdicom" in dialogs.asked[0]
    assert "no DICOM file was written" in a_user.message


def test_without_the_internet_it_is_said_what_to_do(a_user, dialogs, monkeypatch):
    install = without_highdicom(monkeypatch)

    def offline(requirements):
        raise RuntimeError("Could not find a version that satisfies the requirement")

    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", offline, raising=False)
    a_user.save("dicom")
    assert "Without the Internet" in a_user.message and "highdicom" in a_user.message
    assert dialogs.asked == [install.QUESTION.format(names="highdicom", size="")]


def test_cancel_stops_the_writing_and_leaves_nothing(a_user, dialogs, tmp_path, monkeypatch):
    from mois_core.results import dicom_files

    begun, go_on = threading.Event(), threading.Event()
    report = dicom_files.structured_report

    def slow(*how):
        begun.set()
        assert go_on.wait(20)
        return report(*how)

    monkeypatch.setattr(dicom_files, "structured_report", slow)
    (tmp_path / "out").mkdir()
    dialogs.path = str(tmp_path / "out")
    a_user.save("dicom")
    while not begun.is_set() or "riting DICOM" not in a_user.find("progressLabel").text():
        a_user.turn()
    a_user.press("cancelButton")
    go_on.set()
    a_user.wait()

    assert a_user.message == "Stopped. No DICOM file was written."
    assert list((tmp_path / "out").iterdir()) == []
