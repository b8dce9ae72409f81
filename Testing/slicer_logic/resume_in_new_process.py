"""Script that opens a bundle in a process of its own and resumes the work in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from engine_fixtures import SECOND
from scans import place, settle
from scene_setup import make_scene, stub_engine
from stub_sessions import digest


def continue_working(workspace) -> list[str]:
    """Make another click and another search; return a digest of the masks after each."""
    place(workspace, SECOND, "9+")
    settle(workspace)
    masks = [digest(workspace.session.labels())]
    workspace.commands.find_similar()
    settle(workspace)
    return [*masks, digest(workspace.session.labels())]


def main(bundle: str, folder: str) -> None:
    from MOISSAM2SegmentLib.scene.stored_session import stored_sessions
    from MOISSAM2SegmentLib.workspace.workspace import Workspace

    scene, keep = make_scene(folder)
    unpacked = Path(folder, "unpacked")
    unpacked.mkdir()
    assert scene.ReadFromMRB(bundle)
    engine = stub_engine()
    workspace = Workspace(scene, engine)
    messages: list[str] = []
    workspace.message.connect(messages.append)
    (stored,) = stored_sessions(scene)
    workspace.start(stored.referenced("MOISSAM2.volume"))
    settle(workspace)
    segmentation = workspace.segments_node.GetSegmentation()
    result = {
        "restored": digest(workspace.session.state),
        "names": [entry.name for entry in workspace.entries()],
        "colour": segmentation.GetSegment("MOISSAM2_3").GetColor(),
        "layers": segmentation.GetNumberOfLayers(),
        "continued": continue_working(workspace),
        "messages": messages,
    }
    Path(folder, "after.json").write_text(json.dumps(result), encoding="utf-8")
    workspace.close()
    engine.close()
    scene.Clear(1)
    del keep


if __name__ == "__main__":
    main(*sys.argv[1:])
