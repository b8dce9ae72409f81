"""Tests of the engine: loading, devices, freeing memory, and work on the sample scan."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import torch
from engine_fixtures import FIRST, SECOND
from MOISSAM2SegmentLib.scene.transforms import ijk_to_ras, view_of
from MOISSAM2SegmentLib.setup import sample_data
from MOISSAM2SegmentLib.worker import devices
from MOISSAM2SegmentLib.worker.engine import NO_MODEL, Engine
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from sample_data_module import SampleDataLogic
from scans import place, settle, shows_exactly_its_session
from small_networks import MOIS, lively
from stub_sessions import is_exactly

from mois_core.network.config import preset
from mois_core.network.loading import build
from mois_core.network.model_info import ModelInfo
from mois_core.phantom import is_held_out


def turn(engine) -> None:
    while engine.is_busy:
        engine.pump()


def test_a_model_is_loaded_in_the_background():
    engine, reported, changes = Engine(), [], []
    engine.changed.connect(lambda: changes.append(engine.is_ready))

    engine.load("phantom", device="cpu", done=lambda: reported.append("ready"))
    assert not engine.is_ready
    turn(engine)
    engine.load("mois-tiny", "/nowhere/weights.pt", failed=reported.append)
    turn(engine)

    assert reported[0] == "ready"
    assert "weights.pt" in reported[1]
    assert engine.info.preset == "phantom"
    assert engine.info.checkpoint == "phantom.safetensors"
    engine.unload()
    assert changes == [True, False]
    engine.close()


def test_a_file_tells_which_network_it_is_for_and_precision_can_be_chosen(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"model": build(preset("mois-tiny")).state_dict()}, path)
    engine = Engine()

    engine.load(None, str(path), "cpu", precision="bfloat16")
    turn(engine)

    assert engine.info.preset == "mois-tiny"
    assert engine.info.checkpoint == "weights.pt"
    assert engine.model.dtype == torch.bfloat16
    engine.load(None, str(path), "cpu")
    turn(engine)
    assert engine.model.dtype == torch.float32
    engine.close()


def test_without_a_model_a_scan_is_not_opened_and_the_message_says_why(a_scene, a_volume_node):
    engine = Engine()
    workspace, messages = Workspace(a_scene, engine), []
    workspace.message.connect(messages.append)

    workspace.start(a_volume_node)
    settle(workspace)

    assert messages == [NO_MODEL]
    assert not workspace.is_open
    workspace.close()
    engine.close()


def test_the_processor_is_always_there_and_a_device_that_is_missing_is_replaced():
    names = [device.name for device in devices.available_devices()]

    assert names[-1] == "cpu"
    assert devices.choose_device("cuda:99").name == names[0]
    assert devices.choose_device("cpu").name == "cpu"
    assert devices.free_memory_gib("cpu") is None


def test_work_goes_on_after_memory_was_freed(an_open_workspace, an_engine):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    encoded = workspace.session.embeddings.encoded

    an_engine.rest()
    settle(workspace)
    assert workspace.session.embeddings.device_nbytes == 0
    place(workspace, SECOND, "2+")
    settle(workspace)

    assert is_exactly(workspace.session, 2, SECOND)
    assert workspace.session.embeddings.encoded == encoded


def test_the_sample_scan_is_made_here_and_can_be_worked_on(a_scene, monkeypatch):
    """With a real network, small and with synthetic weights: its masks mean nothing, but they have
    to come back to the scene voxel for voxel."""
    monkeypatch.setattr(sample_data, "SIZE", (128, 64))
    monkeypatch.setattr(sample_data, "SLICES", 8)
    monkeypatch.setattr(sample_data, "LESIONS", 6)
    monkeypatch.setattr(slicer, "mrmlScene", a_scene)
    assert is_held_out(sample_data.SEED)

    node = sample_data.load_phantom()

    assert np.linalg.det(ijk_to_ras(node)[:3, :3]) > 0
    assert np.array_equal(view_of(node).array, view_of(sample_data.load_phantom()).array)
    engine = Engine()
    engine.use(lively(MOIS), ModelInfo("small", "small.pt", "2" * 64))
    workspace, messages = Workspace(a_scene, engine), []
    workspace.message.connect(messages.append)
    workspace.start(node)
    settle(workspace)
    for slice_index, row, column, label in (
        (4, 40, 30, "1+"),
        (4, 60, 20, "1-"),
        (5, 80, 40, "2+"),
    ):
        ras = workspace.session.stack.point_to_ras(slice_index, column, row)
        workspace.points_node.AddControlPointWorld(*ras.tolist(), label)
    settle(workspace)
    workspace.commands.find_similar()
    settle(workspace)

    assert messages == []
    assert workspace.session.lesion(1).mask
    assert shows_exactly_its_session(workspace)
    workspace.close()
    engine.close()


@pytest.fixture
def sample_data_logic(monkeypatch):
    """Slicer's logic for sample data, with no entry yet."""
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    return SampleDataLogic()


def test_slicer_accepts_the_entry_for_its_sample_data_and_finds_it(sample_data_logic):
    sample_data.register(sample_data_logic, "thumbnail.png")

    source = sample_data_logic.sourceForSampleName("MOISSAM2Phantom")
    assert slicer.modules.sampleDataSources == {"MOISSAM2": [source]}
    assert source.thumbnailFileName == "thumbnail.png"
    assert source.customDownloader is sample_data.fetch_phantom


@pytest.mark.parametrize(
    ("left_out", "error"), [("uris", TypeError), ("fileNames", TypeError), (None, ValueError)]
)
def test_slicer_refuses_an_entry_without_lists_of_files(sample_data_logic, left_out, error):
    """What the stand-in has to be as strict about as Slicer: this came up at every start of it."""
    how = {"uris": [], "fileNames": [] if left_out else ["scan.nrrd"], "nodeNames": []}
    how.pop(left_out, None)

    with pytest.raises(error):
        sample_data_logic.registerCustomSampleDataSource("MOISSAM2", "MOISSAM2Phantom", **how)
