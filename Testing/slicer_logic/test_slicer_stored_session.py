"""Tests of sessions that are stored in the scene, saved with it and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine_fixtures import FIRST, SECOND, THIRD
from MOISSAM2SegmentLib.scene.stored_session import (
    decode,
    encode,
    stored_session_of,
    stored_sessions,
)
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from resume_in_new_process import continue_working
from scans import (
    labels_in,
    linear_transform,
    paint,
    place,
    segment_mask,
    settle,
    shows_exactly_its_session,
)
from stub_network import StubNetwork
from stub_sessions import digest, is_exactly

from mois_core.errors import BadInput
from mois_core.network.model_info import ModelInfo
from mois_core.session.lesion import Status
from mois_core.session.state import Settings

HERE = Path(__file__).parent


def worked_on(workspace) -> None:
    """Make clicks, a search, a decision, a name, an edit and a colour."""
    place(workspace, FIRST, "1+")
    settle(workspace)
    workspace.commands.find_similar()
    settle(workspace)
    workspace.commands.accept(2)
    workspace.commands.rename(2, "Läsion")
    settle(workspace)
    paint(workspace, 1, np.s_[5, 6:10, 12:15])
    segmentation = workspace.segments_node.GetSegmentation()
    segmentation.GetSegment("MOISSAM2_3").SetColor(0.1, 0.2, 0.3)
    settle(workspace)


@pytest.mark.parametrize("under", ["nothing", "a transform"])
def test_a_bundle_is_continued_in_a_new_process(an_open_workspace, tmp_path, under):
    workspace = an_open_workspace
    if under == "a transform":
        transform = linear_transform(workspace.scene)
        workspace.volume_node.SetAndObserveTransformNodeID(transform.GetID())
    worked_on(workspace)
    saved = digest(workspace.session.state)
    bundle = tmp_path / "Szene mit Läsionen.mrb"
    assert workspace.scene.WriteToMRB(str(bundle))
    expected = continue_working(workspace)

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, str(HERE / "resume_in_new_process.py"), str(bundle), str(tmp_path)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    after = json.loads((tmp_path / "after.json").read_text(encoding="utf-8"))

    assert after["restored"] == saved
    assert after["messages"] == []
    assert after["names"] == ["Lesion 1", "Läsion", "Lesion 3"]
    assert np.allclose(after["colour"], (0.1, 0.2, 0.3))
    assert after["continued"] == expected
    assert after["layers"] == 1


def test_what_is_stored_is_always_the_present_state(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)

    stored = stored_session_of(workspace.scene, workspace.volume_node)
    content, volume = decode(stored.content), workspace.session.volume
    session, place_before = workspace.engine.resume(content, volume)

    assert place_before is None
    assert digest(session.state) == digest(workspace.session.state)
    assert not stored.node.GetHideFromEditors()
    assert stored.node.GetDefaultStorageNodeClassName() == "vtkMRMLTextStorageNode"


def test_a_scan_that_is_opened_again_goes_on_where_it_stopped(an_open_workspace):
    workspace = an_open_workspace
    worked_on(workspace)
    before = digest(workspace.session.state)
    points = labels_in(workspace.points_node)

    workspace.end()
    assert not workspace.is_open
    scan = stored_sessions(workspace.scene)
    workspace.start(next(scan).referenced("MOISSAM2.volume"))
    settle(workspace)

    assert digest(workspace.session.state) == before
    assert labels_in(workspace.points_node) == points
    assert shows_exactly_its_session(workspace)
    assert len(list(stored_sessions(workspace.scene))) == 1


def test_what_memory_may_be_taken_is_this_computers_choice(an_open_workspace):
    workspace = an_open_workspace
    worked_on(workspace)
    scan = workspace.volume_node
    began_with = workspace.session.settings
    workspace.end()

    budget = Settings(propagation_slices=9, host_budget=2**30)
    workspace.start(scan, budget)
    settle(workspace)

    assert workspace.session.embeddings.host_budget == 2**30
    assert workspace.session.settings == replace(began_with, host_budget=2**30)


def test_what_was_changed_meanwhile_is_taken_over(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST, "1+")
    second = place(workspace, SECOND, "2+")
    place(workspace, THIRD, "3+")
    settle(workspace)
    scan, points, segments = (
        workspace.volume_node,
        workspace.points_node,
        workspace.segments_node.GetSegmentation(),
    )
    workspace.end()

    points.RemoveNthControlPoint(points.GetNthControlPointIndexByID(second))
    segments.GetSegment("MOISSAM2_1").SetName("Knie")
    workspace.start(scan)
    settle(workspace)

    assert workspace.session.lesion(1).name == "Knie"
    assert is_exactly(workspace.session, 1, FIRST)
    assert 2 not in workspace.session.state.lesions
    workspace.end()
    segments.RemoveSegment("MOISSAM2_1")
    workspace.start(scan)
    settle(workspace)
    assert [lesion.id for lesion in workspace.session.lesions] == [3]


def test_segments_and_points_that_were_removed_meanwhile_come_back(an_open_workspace):
    workspace = an_open_workspace
    worked_on(workspace)
    before, scan = digest(workspace.session.state), workspace.volume_node
    nodes = workspace.segments_node, workspace.points_node
    workspace.end()

    for node in nodes:
        workspace.scene.RemoveNode(node)
    workspace.start(scan)
    settle(workspace)

    assert digest(workspace.session.state) == before
    assert shows_exactly_its_session(workspace)
    assert labels_in(workspace.points_node) == ["1+"]


def test_with_another_model_the_lesions_are_taken_over_and_nothing_is_overwritten(
    a_workspace, an_engine, a_volume_node
):
    workspace = a_workspace
    workspace.start(a_volume_node)
    settle(workspace)
    worked_on(workspace)
    before = digest(workspace.session.state)
    masks = {n: workspace.session.mask(n) for n in (1, 2)}
    workspace.end()

    an_engine.use(StubNetwork(), ModelInfo("other", "other.pt", "1" * 64))
    workspace.start(a_volume_node)
    settle(workspace)
    assert "another network" in workspace.messages[-1]
    for lesion_id, mask in masks.items():
        assert np.array_equal(workspace.session.mask(lesion_id), mask)
        assert np.array_equal(segment_mask(workspace, lesion_id), mask)
    assert len(list(stored_sessions(workspace.scene))) == 2
    workspace.end()

    an_engine.use(StubNetwork(), ModelInfo("stub", "stub.pt", "0" * 64))
    workspace.start(a_volume_node)
    settle(workspace)
    assert digest(workspace.session.state) == before
    assert workspace.session.lesion(2).status is Status.ACCEPTED


def test_a_damaged_session_costs_no_lesion(an_open_workspace):
    workspace = an_open_workspace
    worked_on(workspace)
    mask, scan = workspace.session.mask(2), workspace.volume_node
    workspace.end()
    stored = stored_session_of(workspace.scene, scan)
    stored.content = stored.content[:-400]

    workspace.start(scan)
    settle(workspace)

    assert "damaged" in workspace.messages[-1]
    assert np.array_equal(workspace.session.mask(2), mask)
    assert workspace.session.lesion(2).name == "Läsion"
    assert np.allclose(workspace.entries()[2].colour, (0.1, 0.2, 0.3))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 3 * 2**18 - 1, 3 * 2**18, 2**21 + 5])
def test_any_content_becomes_text_and_back(size):
    content = np.random.default_rng(size).bytes(size)

    assert decode(encode(content)) == content
    if size:
        with pytest.raises(BadInput, match="damaged"):
            decode(encode(content)[:-1])
        with pytest.raises(BadInput, match="damaged"):
            decode("ä" + encode(content))


def test_two_scans_have_a_session_each(an_open_workspace, an_engine):
    from scans import scan_node

    first = an_open_workspace
    second = Workspace(first.scene, an_engine)
    second.start(scan_node(first.scene, SECOND, THIRD))
    settle(second)
    place(first, FIRST)
    place(second, SECOND)
    settle(first)
    settle(second)

    assert is_exactly(first.session, 1, FIRST)
    assert is_exactly(second.session, 1, SECOND)
    stored = stored_session_of(first.scene, second.volume_node)
    assert stored.referenced("MOISSAM2.points") is second.points_node
    second.close()
