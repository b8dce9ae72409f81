"""Script: the first *Start* in a program without torch, and how long its main thread stood still.

It prints the turns of the main thread that took longest, and what torch's import met.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from typing import Any


class TorchWatch:
    """Notes in which thread torch is imported, and whether its libraries are in memory by then."""

    def __init__(self) -> None:
        self.is_on_main_thread: bool | None = None
        self.are_loaded: bool | None = None

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "torch._C" and self.is_on_main_thread is None:
            self.is_on_main_thread = threading.current_thread() is threading.main_thread()
            if sys.platform == "linux":
                with open("/proc/self/maps", encoding="utf-8") as maps:
                    self.are_loaded = "libtorch_python" in maps.read()


def main() -> None:
    watch = TorchWatch()
    sys.meta_path.insert(0, watch)
    from engine_fixtures import FIRST
    from MOISSAM2SegmentLib.worker.engine import Engine
    from MOISSAM2SegmentLib.workspace.workspace import Workspace
    from scans import clinical_scan_node, timed
    from scene_setup import make_scene

    with tempfile.TemporaryDirectory() as folder:
        scene, keep = make_scene(folder)
        engine = Engine()
        workspace = Workspace(scene, engine)
        scan = clinical_scan_node(scene, FIRST)
        assert "torch" not in sys.modules
        passed: dict[str, int] = {}
        worked: dict[str, int] = {}

        def turns(what: str, action: Any) -> None:
            one = [timed(action)]
            while workspace.needs_pump and not workspace.is_open:
                one.append(timed(workspace.pump))
            passed[what], worked[what] = (
                round(1000 * max(part)) for part in zip(*one, strict=True)
            )

        turns("load the model", lambda: engine.load("phantom", device="cpu"))
        turns("open the scan", lambda: workspace.start(scan, arrange_views=True))
        workspace.cancel()
        result = {
            "ms by the clock": passed,
            "ms of the main thread's own work": worked,
            "imported on the main thread": watch.is_on_main_thread,
            "libraries were loaded before": watch.are_loaded,
        }
        print(json.dumps(result), flush=True)
        workspace.close()
        engine.close()
        scene.Clear(1)
        del keep


if __name__ == "__main__":
    main()
