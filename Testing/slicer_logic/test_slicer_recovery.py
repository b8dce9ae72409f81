"""Recovery files: what is left of unsaved work when Slicer dies, on Slicer's own scene."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
from engine_fixtures import CORONAL, FIRST, SCENE, SECOND, scan_of
from MOISSAM2SegmentLib.scene.transforms import right_handed
from MOISSAM2SegmentLib.workspace import recovery_files, recovery_folder
from MOISSAM2SegmentLib.workspace.recovery import DAMAGED, IN_USE, OTHER_SCAN
from MOISSAM2SegmentLib.workspace.recovery_folder import LeftBehind, OwnFolder
from orientations import stored_as
from paths import LOGIC, ROOT, TESTING
from scans import place, scan_node, settle, shows_exactly_its_session, volume_node
from stub_sessions import digest
from work_until_killed import KILLED_AFTERWARDS, KILLED_IN_THE_MIDDLE

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume

HERE = Path(__file__).parent


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "settings" / recovery_folder.NAME


@pytest.fixture
def at_once(monkeypatch) -> None:
    """Write a file after every change, without the pause."""
    monkeypatch.setattr(recovery_files, "EVERY_S", 0.0)


@pytest.fixture
def an_allowed_workspace(an_open_workspace, root, at_once):
    an_open_workspace.recovery.look_in(root)
    an_open_workspace.recovery.files.allow(True)
    return an_open_workspace


def click(workspace, block=FIRST) -> None:
    place(workspace, block)
    settle(workspace)
    tick(workspace)


def tick(workspace) -> None:
    """Do what the panel's timer does every few seconds."""
    workspace.recovery.tick()
    settle(workspace)


def files_in(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


def ran_until(root: Path, moment: str) -> tuple[str, subprocess.Popen]:
    """Start a Slicer that works, until the moment; return a digest of its labels before that."""
    folders = [HERE, TESTING / "support", LOGIC, ROOT]
    process = subprocess.Popen(
        [sys.executable, str(HERE / "work_until_killed.py"), str(root), moment],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    labels = process.stdout.readline().strip()
    assert process.stdout.readline().strip() in ("writing", "idle")
    return labels, process


def killed(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def what_a_dead_slicer_left(tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("dead") / recovery_folder.NAME
    labels, process = ran_until(folder, KILLED_AFTERWARDS)
    killed(process)
    return labels, folder


@pytest.fixture
def a_dead_slicer(what_a_dead_slicer_left, root) -> str:
    """The digest of the labels of a Slicer that was killed while nothing was going on."""
    labels, folder = what_a_dead_slicer_left
    shutil.copytree(folder, root)
    return labels


@pytest.fixture
def a_new_slicer(a_workspace, root, at_once):
    """A workspace that has found what others left behind, and opens what was restored."""
    a_workspace.recovery.restored.connect(a_workspace.start)
    a_workspace.recovery.look_in(root)
    return a_workspace


def restore(workspace) -> None:
    workspace.recovery.restore(workspace.recovery.offers[0])
    settle(workspace)


# ---- permission ------------------------------------------------------------------------------


def test_without_permission_nothing_is_written(an_open_workspace, root, at_once):
    an_open_workspace.recovery.look_in(root)
    click(an_open_workspace)

    assert not root.exists()


def test_with_permission_only_the_user_can_read_what_is_written(an_allowed_workspace, root):
    click(an_allowed_workspace)

    (file,) = files_in(root)
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for folder in (root, file.parent):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_scan_without_changes_needs_no_file(an_allowed_workspace, root):
    tick(an_allowed_workspace)

    assert not root.exists()


def test_when_permission_is_taken_back_the_file_is_deleted(an_allowed_workspace, root):
    click(an_allowed_workspace)
    an_allowed_workspace.recovery.files.allow(False)
    assert files_in(root) == []

    click(an_allowed_workspace, SECOND)
    assert files_in(root) == []


def test_a_file_that_is_being_written_when_permission_is_taken_back_does_not_stay(
    an_allowed_workspace, root, monkeypatch
):
    write = recovery_folder.write
    monkeypatch.setattr(recovery_folder, "write", lambda *given: (time.sleep(0.2), write(*given)))
    place(an_allowed_workspace, FIRST)
    while not an_allowed_workspace.recovery.files._works[0].is_writing:
        an_allowed_workspace.pump()
    an_allowed_workspace.recovery.files.allow(False)
    settle(an_allowed_workspace)

    assert files_in(root) == []


# ---- how often, how much ---------------------------------------------------------------------


def test_files_are_written_at_most_every_few_seconds(an_open_workspace, root, monkeypatch):
    written = []
    write = recovery_folder.write
    monkeypatch.setattr(
        recovery_folder, "write", lambda *given: (written.append(given[2].lesions), write(*given))
    )
    an_open_workspace.recovery.look_in(root)
    an_open_workspace.recovery.files.allow(True)
    click(an_open_workspace)
    click(an_open_workspace, SECOND)
    assert written == [1]

    (work,) = an_open_workspace.recovery.files._works
    work.next_time -= recovery_files.EVERY_S
    tick(an_open_workspace)
    assert written == [1, 2]
    tick(an_open_workspace)
    assert written == [1, 2]


def test_a_full_disk_is_said_once_and_not_made_fuller(an_allowed_workspace, root, monkeypatch):
    monkeypatch.setattr(recovery_folder, "RESERVE", 2**80)
    click(an_allowed_workspace)
    click(an_allowed_workspace, SECOND)
    (work,) = an_allowed_workspace.recovery.files._works
    work.next_time = 0.0
    tick(an_allowed_workspace)

    assert files_in(root) == []
    (message,) = an_allowed_workspace.messages
    assert "disk is almost full" in message
    assert "Save the scene" in message

    monkeypatch.setattr(recovery_folder, "RESERVE", 0)
    work.next_time = 0.0
    tick(an_allowed_workspace)
    assert len(files_in(root)) == 1


def test_a_file_has_a_largest_size(an_allowed_workspace, root, monkeypatch):
    monkeypatch.setattr(recovery_folder, "MOST_BYTES", 1000)
    click(an_allowed_workspace)

    assert files_in(root) == []
    assert len(an_allowed_workspace.messages) == 1


def test_a_folder_that_cannot_be_made_is_said(an_open_workspace, tmp_path, at_once):
    (tmp_path / "settings").write_text("a file", "utf-8")
    an_open_workspace.recovery.look_in(tmp_path / "settings" / "recovery")
    an_open_workspace.recovery.files.allow(True)
    click(an_open_workspace)

    (message,) = an_open_workspace.messages
    assert str(tmp_path) in message


# ---- deleted when it is not needed any more --------------------------------------------------


def saved_as_bundle(scene, folder: Path) -> None:
    """Save the scene as qSlicerSceneWriter::writeToMRB does."""
    path = str(folder / "scene.mrb")
    scene.SetURL(path)
    scene.SetRootDirectory(str(folder))
    assert scene.WriteToMRB(path)
    scene.SetStorableNodesModifiedSinceRead()


def saved_as_files(scene, folder: Path) -> None:
    """Save the scene as Slicer's dialog does: each node, and qSlicerSceneWriter::writeToMRML."""
    scene.SetURL(str(folder / "scene.mrml"))
    scene.SetRootDirectory(str(folder))
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLStorableNode")
        if node.GetSaveWithScene() and not node.GetHideFromEditors():
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
            if storage is not None:
                ending = storage.GetDefaultWriteFileExtension()
                storage.SetFileName(str(folder / f"{node.GetID()}.{ending}"))
                assert storage.WriteData(node)
    assert scene.Commit()


@pytest.mark.parametrize("saved", [saved_as_bundle, saved_as_files])
def test_saving_the_scene_deletes_the_file_until_the_next_change(
    an_allowed_workspace, root, tmp_path, saved
):
    click(an_allowed_workspace)
    assert len(files_in(root)) == 1
    (tmp_path / "saved").mkdir()
    saved(an_allowed_workspace.scene, tmp_path / "saved")
    tick(an_allowed_workspace)
    assert files_in(root) == []

    click(an_allowed_workspace, SECOND)
    assert len(files_in(root)) == 1
    tick(an_allowed_workspace)
    assert len(files_in(root)) == 1

    saved(an_allowed_workspace.scene, tmp_path / "saved")
    tick(an_allowed_workspace)
    assert files_in(root) == []


def test_a_bundle_that_is_not_whole_has_saved_nothing(an_allowed_workspace, root, tmp_path):
    click(an_allowed_workspace)
    saved_as_bundle(an_allowed_workspace.scene, tmp_path)
    bundle = tmp_path / "scene.mrb"
    bundle.write_bytes(bundle.read_bytes()[: bundle.stat().st_size // 2])
    tick(an_allowed_workspace)

    assert len(files_in(root)) == 1


def test_a_bundle_of_somebody_else_that_is_opened_besides_has_saved_nothing(
    an_allowed_workspace, root, tmp_path
):
    """It gives the scene its name, and it may be younger than the last change."""
    click(an_allowed_workspace)
    other = slicer.vtkMRMLScene()
    path = str(tmp_path / "other.mrb")
    assert other.WriteToMRB(path)
    an_allowed_workspace.scene.SetURL(path)
    tick(an_allowed_workspace)

    assert len(files_in(root)) == 1


def test_closing_the_scene_deletes_the_file(an_allowed_workspace, root):
    click(an_allowed_workspace)
    an_allowed_workspace.scene.Clear(0)

    assert files_in(root) == []


def test_removing_the_scan_deletes_the_file(an_allowed_workspace, root):
    click(an_allowed_workspace)
    an_allowed_workspace.scene.RemoveNode(an_allowed_workspace.volume_node)

    assert files_in(root) == []


def test_the_end_of_slicer_deletes_everything(an_allowed_workspace, root):
    place(an_allowed_workspace, FIRST)
    settle(an_allowed_workspace)
    click(an_allowed_workspace, SECOND)
    an_allowed_workspace.close()

    assert list(root.iterdir()) == []


def test_work_that_was_left_for_another_scan_is_kept_until_the_scene_is_saved(
    an_allowed_workspace, root, tmp_path
):
    click(an_allowed_workspace)
    an_allowed_workspace.start(scan_node(an_allowed_workspace.scene, FIRST))
    settle(an_allowed_workspace)
    click(an_allowed_workspace)
    assert len(files_in(root)) == 2

    saved_as_bundle(an_allowed_workspace.scene, tmp_path)
    tick(an_allowed_workspace)
    assert files_in(root) == []


# ---- restored ----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [KILLED_AFTERWARDS, KILLED_IN_THE_MIDDLE])
def test_after_a_kill_the_work_is_restored_with_the_same_labels(a_new_slicer, root, moment):
    labels, process = ran_until(root, moment)
    killed(process)
    a_new_slicer.recovery.look_in(root)
    (offer,) = a_new_slicer.recovery.offers
    assert offer.note.scan_name == "scan"
    scan_node(a_new_slicer.scene)
    restore(a_new_slicer)

    assert a_new_slicer.is_open
    assert digest(a_new_slicer.session.labels()) == labels
    assert len(a_new_slicer.session.lesions) == offer.note.lesions > 1
    assert shows_exactly_its_session(a_new_slicer)


def test_restored_work_is_kept_until_it_is_saved(a_dead_slicer, a_new_slicer, root, tmp_path):
    scan_node(a_new_slicer.scene)
    restore(a_new_slicer)
    (before,) = files_in(root)
    a_new_slicer.recovery.files.allow(True)
    click(a_new_slicer, SECOND)
    assert files_in(root) == [before]

    saved_as_bundle(a_new_slicer.scene, tmp_path)
    tick(a_new_slicer)
    assert files_in(root) == []


def test_work_is_restored_as_soon_as_its_scan_is_there(a_dead_slicer, a_new_slicer):
    restore(a_new_slicer)
    assert a_new_slicer.recovery.wanted is not None
    tick(a_new_slicer)
    assert not a_new_slicer.is_open

    scan_node(a_new_slicer.scene)
    tick(a_new_slicer)
    assert digest(a_new_slicer.session.labels()) == a_dead_slicer
    assert a_new_slicer.recovery.wanted is None


def test_work_is_restored_on_the_scan_from_a_file_with_other_axes(a_dead_slicer, a_new_slicer):
    usual = right_handed(Volume(scan_of(*SCENE), CORONAL))
    turned = stored_as(usual, (1, 2, 0), (True, True, False))
    volume_node(a_new_slicer.scene, np.ascontiguousarray(turned.array), turned.ijk_to_ras)

    restore(a_new_slicer)

    stack = a_new_slicer.session.stack.from_volume(a_new_slicer.session.labels())
    assert digest(SliceStack(usual).to_volume(stack)) == a_dead_slicer


def test_another_patients_scan_is_refused(a_dead_slicer, a_new_slicer, root):
    other = scan_of(*SCENE, slices=12)
    other[5, 5, 5] += 1
    volume_node(a_new_slicer.scene, other, CORONAL, name="another")
    restore(a_new_slicer)

    assert a_new_slicer.messages == [OTHER_SCAN.format(name="another")]
    assert not a_new_slicer.is_open
    assert a_new_slicer.scene.GetNumberOfNodesByClass("vtkMRMLTextNode") == 0
    assert len(files_in(root)) == 1
    tick(a_new_slicer)
    assert len(a_new_slicer.messages) == 1

    scan_node(a_new_slicer.scene)
    tick(a_new_slicer)
    assert digest(a_new_slicer.session.labels()) == a_dead_slicer


def test_a_scan_of_another_place_is_not_even_compared(a_dead_slicer, a_new_slicer):
    moved = CORONAL.copy()
    moved[0, 3] += 1.0
    scan_node(a_new_slicer.scene, matrix=moved)
    restore(a_new_slicer)

    assert a_new_slicer.messages == []
    assert a_new_slicer.recovery.wanted is not None


def test_earlier_lesions_of_the_scene_are_hidden_and_stay(a_dead_slicer, a_new_slicer):
    a_new_slicer.start(scan_node(a_new_slicer.scene))
    settle(a_new_slicer)
    earlier = a_new_slicer.segments_node
    restore(a_new_slicer)

    assert digest(a_new_slicer.session.labels()) == a_dead_slicer
    assert a_new_slicer.segments_node is not earlier
    assert not earlier.GetDisplayNode().GetVisibility()


def test_with_another_network_the_file_stays(a_dead_slicer, a_new_slicer, root):
    from stub_network import StubNetwork

    from mois_core.network.model_info import ModelInfo

    a_new_slicer.engine.use(StubNetwork(), ModelInfo("other", "other.pt", "1" * 64))
    scan = scan_node(a_new_slicer.scene)
    restore(a_new_slicer)
    assert any("another network" in message for message in a_new_slicer.messages)
    a_new_slicer.recovery.files.allow(True)
    click(a_new_slicer)
    assert len(files_in(root)) == 2

    a_new_slicer.engine.use(StubNetwork(), ModelInfo("stub", "stub.pt", "0" * 64))
    a_new_slicer.start(scan)
    settle(a_new_slicer)
    assert digest(a_new_slicer.session.labels()) == a_dead_slicer


def test_the_file_that_a_scan_came_from_is_told(an_allowed_workspace, root, tmp_path):
    path = tmp_path / "scan of a patient.nrrd"
    node = an_allowed_workspace.volume_node
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path))
    an_allowed_workspace.start(node)
    settle(an_allowed_workspace)
    click(an_allowed_workspace)

    (file,) = files_in(root)
    assert recovery_folder.read_note(file).scan_file == str(path)


# ---- deleted, damaged, shared ------------------------------------------------------------------


def test_what_was_left_behind_can_be_deleted(a_dead_slicer, a_new_slicer, root):
    a_new_slicer.recovery.delete(a_new_slicer.recovery.offers[0])

    assert a_new_slicer.recovery.offers == []
    assert list(root.iterdir()) == []


def test_what_is_left_is_offered_again(a_dead_slicer, a_new_slicer, root):
    restore(a_new_slicer)
    a_new_slicer.recovery.leave()
    a_new_slicer.recovery.look_in(root)

    assert len(a_new_slicer.recovery.offers) == 1


def test_half_a_file_is_damaged_and_can_be_deleted(a_dead_slicer, a_new_slicer, root):
    (file,) = files_in(root)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    a_new_slicer.recovery.look_in(root)
    (offer,) = a_new_slicer.recovery.offers
    assert offer == LeftBehind(file, None)
    with pytest.raises(BadInput, match="damaged"):
        a_new_slicer.recovery.restore(offer)

    a_new_slicer.recovery.delete(offer)
    assert list(root.iterdir()) == []


def test_a_changed_byte_is_found_before_anything_is_restored(a_dead_slicer, a_new_slicer, root):
    (file,) = files_in(root)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)
    a_new_slicer.recovery.look_in(root)
    scan_node(a_new_slicer.scene)
    restore(a_new_slicer)

    assert a_new_slicer.messages == [DAMAGED]
    assert not a_new_slicer.is_open
    (offer,) = a_new_slicer.recovery.offers
    assert offer.note is None
    a_new_slicer.recovery.delete(offer)
    assert list(root.iterdir()) == []


def test_the_files_of_a_slicer_that_runs_are_left_alone(a_new_slicer, root):
    _, process = ran_until(root, KILLED_AFTERWARDS)
    try:
        if hasattr(signal, "SIGSTOP"):
            # One that hangs is not dead either.
            process.send_signal(signal.SIGSTOP)
        a_new_slicer.recovery.look_in(root)
        assert a_new_slicer.recovery.offers == []
        (file,) = files_in(root)
        a_new_slicer.recovery.files.allow(True)
        a_new_slicer.start(scan_node(a_new_slicer.scene))
        settle(a_new_slicer)
        click(a_new_slicer)
        assert len(files_in(root)) == 2
        a_new_slicer.close()
        assert files_in(root) == [file]
    finally:
        killed(process)


def test_two_slicers_do_not_restore_the_same_work(a_dead_slicer, a_new_slicer):
    (offer,) = a_new_slicer.recovery.offers
    other = OwnFolder.of_the_dead(offer.path.parent)
    assert other is not None

    for choice in (a_new_slicer.recovery.restore, a_new_slicer.recovery.delete):
        a_new_slicer.recovery.offers = [offer]
        with pytest.raises(BadInput) as raised:
            choice(offer)
        assert str(raised.value) == IN_USE
    other.release()
    assert offer.path.is_file()


def test_what_a_killed_slicer_had_only_begun_to_write_is_removed(a_workspace, root):
    begun = OwnFolder.create(root)
    (begun.path / ".mois-abcdef-1-12345678.session").write_bytes(b"half a patient")
    os.close(begun._lock)
    a_workspace.recovery.look_in(root)

    assert a_workspace.recovery.offers == []
    assert list(root.iterdir()) == []


def test_a_folder_that_is_not_there_is_no_problem(a_workspace, tmp_path):
    a_workspace.recovery.look_in(tmp_path / "nowhere")

    assert a_workspace.recovery.offers == []
    assert not (tmp_path / "nowhere").exists()
