"""The line about unsaved work: asked once, offered after Slicer died, restored; and the script."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import slicer
from engine_fixtures import FIRST, SECOND
from MOISSAM2SegmentLib.workspace import recovery_files, recovery_folder
from scans import paint, scan_node, segment_mask
from scene_setup import stub_engine
from stub_sessions import digest
from user import User


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    monkeypatch.setattr(recovery_files, "EVERY_S", 0.0)


@pytest.fixture
def root(tmp_path) -> Path:
    """Beside Slicer's settings, which `a_slicer` keeps there."""
    return tmp_path / recovery_folder.NAME


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]


def is_shown(user: User, name: str = "recoveryFrame") -> bool:
    return user.find(name).isVisible()


def line_of(user: User) -> str:
    return user.find("recoveryLabel").text()


def tick(user: User) -> None:
    """Let the time pass after which the panel's timer looks again."""
    user.panel.recovery._timer.real.timeout.emit()
    user.wait()


@pytest.fixture
def after_a_crash(a_slicer, one_thread, a_scene, root, tmp_path):
    """A user who opens the module on an empty scene after Slicer died; and the labels of then."""
    user = User(stub_engine())
    user.open()
    scan_node(a_scene)
    user.start()
    user.click_into(FIRST)
    user.press("recoveryYesButton")
    tick(user)
    labels = digest(user.workspace.session.labels())
    shutil.copytree(root, tmp_path / "as it was")
    user.close()
    a_scene.Clear(0)
    shutil.rmtree(root)
    shutil.move(tmp_path / "as it was", root)
    user = User(stub_engine())
    user.open()
    yield user, labels
    user.close()


# ---- the question ------------------------------------------------------------------------------


def test_the_question_comes_when_there_is_something_to_lose(a_started_panel, root):
    assert not is_shown(a_started_panel)
    a_started_panel.click_into(FIRST)

    assert is_shown(a_started_panel)
    assert str(root) in a_started_panel.find("recoveryYesButton").toolTip()
    assert "patient data" in line_of(a_started_panel)
    assert not a_started_panel.panel.recovery._timer.isActive()
    assert not root.exists()


def test_who_agrees_has_a_file_until_the_end(a_started_panel, root):
    a_started_panel.click_into(FIRST)
    a_started_panel.press("recoveryYesButton")
    a_started_panel.wait()

    assert not is_shown(a_started_panel)
    assert str(root) in a_started_panel.message
    assert a_started_panel.find("recoveryBox").isChecked()
    assert len(files_in(root)) == 1
    a_started_panel.click_into(SECOND)
    assert not is_shown(a_started_panel)
    a_started_panel.close()
    assert list(root.iterdir()) == []


def test_who_refuses_is_not_asked_again(a_started_panel, root):
    a_started_panel.click_into(FIRST)
    a_started_panel.press("recoveryNoButton")
    a_started_panel.click_into(SECOND)
    a_started_panel.wait()

    assert not is_shown(a_started_panel)
    assert not a_started_panel.panel.recovery._timer.isActive()
    assert not root.exists()
    a_started_panel.close()
    again = User(stub_engine())
    again.open()
    again.start()
    assert again.workspace.state.lesions
    assert not is_shown(again)
    again.close()


def test_the_choice_can_be_changed(a_started_panel, root):
    a_started_panel.click_into(FIRST)
    a_started_panel.press("recoveryNoButton")
    box = a_started_panel.find("recoveryBox")
    assert str(root) in box.toolTip()
    box.click()
    a_started_panel.wait()
    assert len(files_in(root)) == 1

    box.click()
    a_started_panel.wait()
    assert files_in(root) == []


# ---- after a crash -----------------------------------------------------------------------------


def test_after_a_crash_the_work_is_offered_and_restored(after_a_crash):
    user, labels = after_a_crash
    assert is_shown(user)
    assert "on scan scan (1 lesion) was not saved" in line_of(user)
    scan_node(user.scene)
    user.press("recoveryYesButton")
    user.wait()

    assert user.workspace.is_open
    assert digest(user.workspace.session.labels()) == labels
    assert len(user.rows()) == 1
    assert not is_shown(user)


def test_without_the_scan_the_line_says_which_is_needed(after_a_crash):
    user, labels = after_a_crash
    user.press("recoveryYesButton")
    assert "load the scan scan (" in line_of(user)
    assert " voxels, " in line_of(user)
    assert not is_shown(user, "recoveryYesButton")

    scan_node(user.scene)
    tick(user)
    assert digest(user.workspace.session.labels()) == labels


def test_a_scan_whose_file_is_there_can_be_loaded_from_the_line(
    after_a_crash, root, tmp_path, monkeypatch
):
    user, labels = after_a_crash
    (file,) = files_in(root)
    scan_file = tmp_path / "scan.nrrd"
    scan_file.touch()
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    note = {**json.loads(entries[recovery_folder.NOTE]), "scan_file": str(scan_file)}
    entries[recovery_folder.NOTE] = json.dumps(note).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    loaded: list[str] = []

    def load(path: str) -> None:
        loaded.append(path)
        scan_node(user.scene)

    monkeypatch.setattr(slicer.util, "loadVolume", load)
    user.panel.enter()
    user.press("recoveryYesButton")
    assert user.find("recoveryYesButton").text() == "Load the scan"
    user.press("recoveryYesButton")
    user.wait()

    assert loaded == [str(scan_file)]
    assert digest(user.workspace.session.labels()) == labels


def test_who_does_not_restore_now_is_asked_again_next_time(after_a_crash, root):
    user, _ = after_a_crash
    user.press("recoveryYesButton")
    user.press("recoveryNoButton")
    assert not is_shown(user)
    assert len(files_in(root)) == 1

    user.panel.enter()
    assert is_shown(user)


def test_deleting_is_asked_for_once_more(after_a_crash, root, dialogs):
    user, _ = after_a_crash
    dialogs.yes = False
    user.press("recoveryNoButton")
    assert len(files_in(root)) == 1
    dialogs.yes = True
    user.press("recoveryNoButton")

    assert "cannot be brought back" in dialogs.asked[-1]
    assert list(root.iterdir()) == []
    assert not is_shown(user)


def test_a_damaged_file_can_only_be_deleted(after_a_crash, root):
    user, _ = after_a_crash
    (file,) = files_in(root)
    file.write_bytes(file.read_bytes()[:100])
    user.panel.enter()
    assert "damaged" in line_of(user)
    assert not is_shown(user, "recoveryYesButton")

    user.press("recoveryNoButton")
    assert list(root.iterdir()) == []


# ---- the script --------------------------------------------------------------------------------


def test_what_was_done_is_copied_as_a_script(a_started_panel, a_slicer):
    a_started_panel.click_into(FIRST)
    a_started_panel.find("advancedSection").setProperty("collapsed", False)
    a_started_panel.find("scriptButton").click()

    assert "logic.click((" in a_slicer.copied
    assert a_started_panel.message.startswith("The script was copied.")
    assert "lacks" not in a_started_panel.message


def test_a_script_that_lacks_steps_is_said_to(a_started_panel, a_slicer):
    a_started_panel.click_into(FIRST)
    workspace = a_started_panel.workspace
    paint(workspace, 1, (slice(0, 2), slice(0, 2), slice(0, 2)))
    a_started_panel.wait()
    assert segment_mask(workspace, 1)[0, 0, 0] or segment_mask(workspace, 1)[-1, 0, 0]
    a_started_panel.find("scriptButton").click()

    assert "# Not in this script" in a_slicer.copied
    assert "lacks" in a_started_panel.message


def test_without_a_scan_there_is_no_script(a_panel):
    assert not a_panel.find("scriptButton").isEnabled()
