"""Test of a scene that an earlier version saved: it opens, and work goes on from it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from MOISSAM2SegmentLib.scene.stored_session import stored_sessions
from paths import DATA
from resume_in_new_process import continue_working
from scans import labels_in, settle, shows_exactly_its_session

EARLIER = DATA / "earlier"


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_a_scene_of_an_earlier_version_goes_on(a_workspace):
    expected = json.loads((EARLIER / "scene-1.json").read_text(encoding="utf-8"))
    workspace = a_workspace
    assert workspace.scene.ReadFromMRB(str(EARLIER / "scene-1.mrb"))
    (stored,) = stored_sessions(workspace.scene)

    workspace.start(stored.referenced("MOISSAM2.volume"))
    settle(workspace)

    session, before = workspace.session, expected["restored"]
    assert workspace.messages == []
    assert sha256(session.labels()) == before["labels"]
    assert [
        [le.id, le.status.value, le.name, len(le.clicks), sha256(session.mask(le.id))]
        for le in session.lesions
    ] == before["lesions"]
    assert labels_in(workspace.points_node) == before["points"]
    assert [entry.name for entry in workspace.entries()] == before["names"]
    segmentation = workspace.segments_node.GetSegmentation()
    assert np.allclose(segmentation.GetSegment("MOISSAM2_3").GetColor(), before["colour"])
    assert shows_exactly_its_session(workspace)
    assert continue_working(workspace) == expected["continued_labels"]
