"""Script that works on a scan with recovery files, says where it is, and waits to be killed."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from engine_fixtures import FIRST, SECOND
from scans import place, scan_node, settle
from scene_setup import make_scene, stub_engine
from stub_sessions import digest

KILLED_IN_THE_MIDDLE, KILLED_AFTERWARDS = "middle", "afterwards"


def say(line: str) -> None:
    print(line, flush=True)


def write_half(folder) -> None:
    """Make the next recovery file stop in the middle of being written, for ever."""

    def half(path, content, note):
        from mois_core.io.atomic import atomic_write

        with atomic_write(path) as temporary:
            temporary.write_bytes(content[: len(content) // 2])
            say("writing")
            time.sleep(600)

    folder.write = half


def main(root: str, moment: str) -> None:
    from MOISSAM2SegmentLib.workspace import recovery_files, recovery_folder
    from MOISSAM2SegmentLib.workspace.workspace import Workspace

    recovery_files.EVERY_S = 0.0
    scene, _keep = make_scene(tempfile.mkdtemp())
    workspace = Workspace(scene, stub_engine())
    workspace.recovery.look_in(Path(root))
    workspace.recovery.files.allow(True)
    workspace.start(scan_node(scene))
    settle(workspace)
    place(workspace, FIRST)
    settle(workspace)
    workspace.commands.find_similar()
    settle(workspace)
    workspace.recovery.tick()
    settle(workspace)
    say(digest(workspace.session.labels()))
    if moment == KILLED_IN_THE_MIDDLE:
        write_half(recovery_folder)
        place(workspace, SECOND, "9+")
    settle(workspace, 600)
    say("idle")
    time.sleep(600)


if __name__ == "__main__":
    main(*sys.argv[1:])
