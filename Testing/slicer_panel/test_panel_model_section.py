"""Tests of the section *Model*: weights are downloaded, imported, chosen and removed."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections.abc import Callable
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


class SlowLoading:
    """Keeps networks from being loaded until they are let go.

    Its devices are a fast one that needs no card, and the processor.
    """

    def __init__(self, monkeypatch) -> None:
        from MOISSAM2SegmentLib.worker import devices

        from mois_core import weights

        self.began, self.go_on = threading.Event(), threading.Event()
        self.asked: list[tuple[str, str, str | None]] = []
        """Of each network its name, device and precision."""
        self.error: Exception | None = None
        """What keeps the next network from being loaded."""
        self._open = weights.open_checkpoint
        found = [devices.Device("fast", "a fast one"), devices.Device("cpu", "processor")]
        for module in (devices.__name__, "MOISSAM2SegmentPanel.advanced_section"):
            monkeypatch.setattr(f"{module}.available_devices", lambda: found)
        monkeypatch.setattr(weights, "open_checkpoint", self._open_slowly)

    def _open_slowly(self, path: str, preset: str | None, device: str, precision: str | None):
        self.asked.append((Path(path).stem, device, precision))
        self.began.set()
        assert self.go_on.wait(60)
        error, self.error = self.error, None
        if error is not None:
            raise error
        return self._open(path, preset, "cpu", precision)


@pytest.fixture
def a_start(a_user, dialogs, tmp_path, a_small_checkpoint, monkeypatch):
    """A user with two models who has pressed Start with the second, which is being loaded."""
    for name in ("first", "second"):
        file = tmp_path / f"{name}.pt"
        file.write_bytes(a_small_checkpoint)
        dialogs.path = str(file)
        a_user.press("fileButton")
        a_user.wait()
    a_user.loading = SlowLoading(monkeypatch)
    a_user.find("advancedSection").click()
    a_user.wait()
    a_user.find("modelSection").click()
    scan_node(a_user.scene)
    a_user.panel.enter()
    a_user.press("startButton")
    assert a_user.loading.began.wait(5)
    assert "model is loaded" in a_user.hint
    yield a_user
    a_user.loading.go_on.set()


def choose_model(user: User) -> None:
    box = user.find("modelBox")
    box.setCurrentIndex(box.findText("first"))


def choose_device(user: User) -> None:
    user.find("deviceBox").setCurrentIndex(2)


def choose_precision(user: User) -> None:
    user.find("precisionBox").setCurrentIndex(2)


CHOICES = [
    pytest.param(choose_model, ("first", "fast", None), id="model"),
    pytest.param(choose_device, ("second", "cpu", None), id="device"),
    pytest.param(choose_precision, ("second", "fast", "bfloat16"), id="precision"),
]


def uses_what_it_shows(user: User) -> bool:
    """Return whether the network in use, if there is one, is the one that the panel tells of."""
    engine, index = user.panel.engine, user.find("deviceBox").currentIndex()
    if not engine.is_ready:
        return not user.workspace.is_open and "Ready on" not in user.find("modelLabel").text()
    name, summary = Path(engine.info.checkpoint).stem, user.find("summaryLabel").text()
    is_half = user.find("precisionBox").currentIndex() == 2
    return (
        user.find("modelBox").currentText() == name
        and summary.startswith(name) == user.workspace.is_open
        and engine.device == ("fast", "fast", "cpu")[index]
        and (engine.model.dtype == torch.bfloat16) == is_half
    )


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


@pytest.mark.parametrize(("choose", "wanted"), CHOICES)
def test_what_is_chosen_while_a_model_is_loaded_ends_the_start(
    a_start: User, choose: Callable, wanted: tuple
):
    user = a_start
    choose(user)
    user.turn()
    assert user.can("startButton")
    assert user.hint == "Press Start to work on the scan that is chosen."

    user.loading.go_on.set()
    user.wait()
    assert not user.workspace.is_open
    assert uses_what_it_shows(user)
    user.start()

    assert user.loading.asked == [("second", "fast", None), wanted]
    assert uses_what_it_shows(user)


@pytest.mark.parametrize(("choose", "wanted"), CHOICES)
def test_start_is_pressed_again_before_the_model_of_before_has_come(
    a_start: User, choose: Callable, wanted: tuple
):
    user = a_start
    choose(user)
    user.turn()

    user.press("startButton")
    assert not user.can("startButton")
    assert "model is loaded" in user.hint
    user.loading.go_on.set()
    user.wait()

    assert user.workspace.is_open
    assert user.loading.asked[1:] == [wanted]
    assert uses_what_it_shows(user)


def test_a_file_that_arrives_while_a_model_is_loaded_is_not_said_to_be_in_use(
    a_user, dialogs, tmp_path, a_small_checkpoint, monkeypatch
):
    user = a_user
    scan_node(user.scene)
    first = tmp_path / "first.pt"
    first.write_bytes(a_small_checkpoint)
    dialogs.path = str(first)
    user.press("fileButton")
    user.wait()
    loading = SlowLoading(monkeypatch)
    user.panel.enter()
    dialogs.path = str(first.rename(tmp_path / "second.pt"))

    user.press("fileButton")
    user.press("startButton")
    while "second" not in user.find("modelBox").currentText():
        user.turn()
    loading.go_on.set()
    user.wait()

    assert not user.workspace.is_open
    assert uses_what_it_shows(user)


@pytest.mark.parametrize("choose", [lambda user: None, choose_model], ids=["same", "other"])
def test_a_model_that_cannot_be_loaded_is_not_said_to_be_in_use(a_start: User, choose: Callable):
    user = a_start
    user.loading.error = ZeroDivisionError("a defect")

    choose(user)
    user.loading.go_on.set()
    user.wait()

    # Of a model that is not wanted any more nobody wants to hear.
    assert ("ZeroDivisionError" in user.message) == (choose is not choose_model)
    assert "loaded when you start" in user.find("modelLabel").text()
    assert uses_what_it_shows(user)
    user.start()
    assert uses_what_it_shows(user)


@pytest.mark.parametrize("choose", [lambda user: None, choose_model], ids=["same", "other"])
def test_what_is_in_use_is_shown_after_loading_was_cancelled(a_start: User, choose: Callable):
    user = a_start

    user.press("cancelButton")
    choose(user)
    user.loading.go_on.set()
    user.wait()

    assert not user.workspace.is_open and not user.panel.engine.is_ready
    assert user.can("startButton")
    assert uses_what_it_shows(user)
    user.start()
    assert user.workspace.is_open and uses_what_it_shows(user)


@pytest.mark.parametrize("choose", [choose_device, choose_precision], ids=["device", "precision"])
def test_a_device_that_is_chosen_at_work_is_used_from_the_next_start_on(
    a_start: User, choose: Callable
):
    user = a_start
    user.loading.go_on.set()
    user.wait()

    choose(user)
    user.wait()
    assert user.workspace.is_open
    assert user.message == "The work goes on as before. The next start uses this."
    user.find("scanBox").setCurrentNode(None)
    user.wait()
    user.start()

    assert len(user.loading.asked) == 2
    assert uses_what_it_shows(user)


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
