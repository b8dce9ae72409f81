"""Tests of the section *Model*: weights are downloaded, imported, chosen and removed."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_fixtures import FIRST, SECOND
from scans import scan_node, shows_exactly_its_session
from user import User
from weights_server import Server, zip_bytes

from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.network.config import preset
from mois_core.network.loading import build
from mois_core.weights import registry, store

MOIS = "mois-sam2-b+"
SMALL = "mois-tiny"


@pytest.fixture(scope="module")
def a_small_checkpoint() -> bytes:
    """A checkpoint of a real network of the smallest size, in the published form."""
    file = io.BytesIO()
    torch.save({"model": fill_synthetic(build(preset(SMALL))).state_dict()}, file)
    return file.getvalue()


@pytest.fixture
def a_server(monkeypatch, a_small_checkpoint):
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    small = tuple(
        dataclasses.replace(entry, preset=SMALL) if entry.name == MOIS else entry
        for entry in registry.ENTRIES
    )
    monkeypatch.setattr(registry, "ENTRIES", small)
    with Server() as server:
        server.behaviour.zenodo_file = zip_bytes({"MOIS_SAM2/checkpoint.pt": a_small_checkpoint})
        monkeypatch.setenv("MOIS_ZENODO_ENDPOINT", server.url + "/")
        yield server


@pytest.fixture
def a_user(a_slicer, one_thread):
    """A user of the panel with its own engine, on a computer without weights."""
    user = User()
    user.open()
    yield user
    user.close()


def start_with_a_file(user: User, dialogs, file: Path, content: bytes) -> None:
    """Import weights from a file and start on a scan with them."""
    file.write_bytes(content)
    dialogs.path = str(file)
    scan_node(user.scene)
    user.press("fileButton")
    user.wait()
    user.start()


def test_nothing_is_downloaded_without_a_yes(a_user, a_server, dialogs):
    dialogs.yes = False
    assert "Not on this computer" in a_user.find("modelLabel").text()

    a_user.press("downloadButton")
    a_user.wait()

    assert "Download the weights" in dialogs.asked[0]
    assert str(store.store_dir()) in dialogs.asked[0]
    assert a_server.asked == []
    assert store.find(MOIS) is None


def test_from_a_download_to_lesions_with_a_real_network(a_user, a_server, dialogs):
    user = a_user
    scan_node(user.scene)
    user.panel.enter()

    user.press("downloadButton")
    user.wait()
    assert store.find(MOIS) is not None
    assert "on this computer now" in user.message
    assert not user.can("downloadButton")
    user.start()
    assert "Ready on" in user.find("modelLabel").text()
    assert user.workspace.session.model_info.preset == SMALL
    for block in (FIRST, SECOND):
        user.press("newLesionButton")
        user.click_into(block)
    user.find("smallestBox").setValue(0.0)
    user.press("searchButton")
    user.wait(120)
    assert len(user.rows()) >= 2
    user.press("undoButton")
    user.wait()
    user.press("undoButton")
    user.wait()
    assert len(user.rows()) == 1
    user.press("reportButton")
    user.wait()
    assert "lesion" in user.message
    assert shows_exactly_its_session(user.workspace)
    assert np.array_equal(user.workspace.session.labels() > 0, user.workspace.session.mask(1))


def test_a_download_that_fails_says_why_and_what_to_do(a_user, a_server):
    a_server.behaviour.status = 503

    a_user.press("downloadButton")
    a_user.wait()

    assert "503" in a_user.message or "answer" in a_user.message
    assert a_user.can("downloadButton")


def test_a_download_is_cancelled_and_goes_on_later(a_user, a_server):
    a_server.behaviour.seconds_per_write = 0.05

    a_user.press("downloadButton")
    while not store.partials(MOIS):
        a_user.turn()
    a_user.press("cancelButton")
    a_user.wait()
    assert "goes on where" in a_user.message
    assert store.find(MOIS) is None
    a_server.behaviour.seconds_per_write = 0.0
    a_user.press("downloadButton")
    a_user.wait()

    assert store.find(MOIS) is not None


def test_a_file_of_weights_is_imported_and_its_network_recognised(
    a_user, dialogs, tmp_path, a_small_checkpoint
):
    start_with_a_file(a_user, dialogs, tmp_path / "Gewichte Müller.pt", a_small_checkpoint)

    assert store.stored_names() == ["Gewichte-Muller"]
    assert a_user.workspace.session.model_info.preset == SMALL


@pytest.mark.parametrize("stem", ["a/b", "..", "", "模型", "x" * 200, " best (3) ", "+._-"])
def test_every_file_name_becomes_one_that_the_store_takes(a_slicer, stem):
    from MOISSAM2SegmentPanel.model_section import storable_name

    assert store.check_name(storable_name(stem))


def test_the_demonstration_is_there_but_is_not_what_the_panel_begins_with(a_user):
    box = a_user.find("modelBox")
    titles = [box.itemText(index) for index in range(box.count())]
    assert any("for the sample scan only" in title for title in titles)
    assert "for the sample scan only" not in box.currentText()


def test_starting_without_weights_says_what_to_do(a_user):
    scan_node(a_user.scene)
    a_user.panel.enter()

    a_user.press("startButton")
    a_user.wait()

    assert "Download the model or use a file first" in a_user.message
    assert a_user.can("startButton")


def test_work_is_kept_when_the_model_is_exchanged_and_goes_on_when_it_is_back(
    a_user, dialogs, tmp_path, a_small_checkpoint
):
    for name in ("first", "second"):
        file = tmp_path / f"{name}.pt"
        file.write_bytes(a_small_checkpoint)
        dialogs.path = str(file)
        a_user.press("fileButton")
        a_user.wait()
    scan_node(a_user.scene)
    a_user.start()
    a_user.press("newLesionButton")
    a_user.click_into(FIRST)
    box = a_user.find("modelBox")

    box.setCurrentIndex(box.findText("first"))
    a_user.wait()
    assert "other model" in a_user.message
    assert not a_user.workspace.is_open
    a_user.start()

    assert len(a_user.rows()) == 1


def test_no_file_chosen_is_no_mistake(a_user, dialogs):
    dialogs.path = ""

    a_user.press("fileButton")
    a_user.wait()

    assert a_user.message == ""


def test_a_file_that_is_no_model_is_refused_with_a_message(a_user, dialogs, tmp_path):
    file = tmp_path / "brief.pt"
    file.write_bytes(b"Sehr geehrte Frau Kollegin")
    dialogs.path = str(file)

    a_user.press("fileButton")
    a_user.wait()

    assert "brief" in a_user.message
    assert "Traceback" not in a_user.message
    assert store.stored_names() == []


def test_stored_weights_are_replaced_and_removed_after_a_question_only(
    a_user, dialogs, tmp_path, a_small_checkpoint
):
    file = tmp_path / "mine.pt"
    file.write_bytes(a_small_checkpoint)
    dialogs.path = str(file)
    a_user.press("fileButton")
    a_user.wait()
    assert store.stored_names() == ["mine"]

    dialogs.yes = False
    a_user.press("fileButton")
    a_user.press("removeButton")
    a_user.wait()
    assert "Replace it?" in dialogs.asked[2]
    assert "Delete" in dialogs.asked[-1]
    assert store.stored_names() == ["mine"]
    dialogs.yes = True
    a_user.press("removeButton")
    a_user.wait()

    assert store.stored_names() == []
    assert not a_user.can("removeButton")


def test_the_chosen_model_is_remembered_on_this_computer(a_user):
    box = a_user.find("modelBox")
    box.setCurrentIndex(2)
    chosen = box.currentText()
    a_user.close()

    again = User()
    again.open()

    assert again.find("modelBox").currentText() == chosen
    again.close()


def test_another_model_or_device_is_loaded_at_the_next_start(
    a_user, dialogs, tmp_path, a_small_checkpoint
):
    start_with_a_file(a_user, dialogs, tmp_path / "mine.pt", a_small_checkpoint)
    assert a_user.workspace.session.model.dtype == torch.float32
    a_user.find("scanBox").setCurrentNode(None)
    a_user.wait()

    a_user.find("precisionBox").setCurrentIndex(2)
    a_user.wait()
    assert not a_user.panel.engine.is_ready
    a_user.start()

    assert a_user.workspace.session.model.dtype == torch.bfloat16


def test_devices_are_listed_by_names_that_people_know_and_a_choice_is_kept(a_user):
    box = a_user.find("deviceBox")
    assert box.count() == 1
    a_user.find("advancedSection").click()
    a_user.wait()

    names = [box.itemText(n) for n in range(box.count())]
    assert names[0] == "The fastest there is"
    assert names[-1].startswith("processor (")
    box.setCurrentIndex(box.count() - 1)
    assert a_user.panel.model.device == "cpu"
    a_user.find("precisionBox").setCurrentIndex(1)
    a_user.close()
    again = User()
    again.open()

    assert (again.panel.model.device, again.panel.model.precision) == ("cpu", "float32")
    again.close()
