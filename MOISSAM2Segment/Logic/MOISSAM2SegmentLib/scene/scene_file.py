"""The file that the scene is saved in: whether it has been written since a moment.

Slicer calls nobody when it saves a scene: the events for that are declared and never invoked
(`vtkMRMLScene::StartSaveEvent`, up to 5.12), Python cannot ask when a node was stored, and after a
bundle was written Slicer marks all nodes as modified again. So the file itself is looked at.
"""

from __future__ import annotations

import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUNDLE = ".mrb"
CLOCKS_DIFFER_S = 2.0
"""Some file systems round times to two seconds."""


@dataclass(frozen=True)
class SceneFile:
    """The scene's file at one moment; what is saved from then on is a file of another time."""

    path: str
    changed_ns: int | None
    """When the file was written; None if it is not there."""
    noted_at: float

    @classmethod
    def now(cls, scene: Any) -> SceneFile:
        """Return how the file is now."""
        path = scene.GetURL() or ""
        try:
            changed = Path(path).stat().st_mtime_ns if path else None
        except OSError:
            changed = None
        return cls(path, changed, time.time())

    def has_saved(self, scene: Any, node: Any) -> bool:
        """Return whether the scene was saved since then, with this node as it was then."""
        now = SceneFile.now(scene)
        if now.changed_ns is None:
            return False
        if now.path == self.path:
            is_new = now.changed_ns != self.changed_ns
        else:
            # The scene may have got the name of an older file by opening it.
            is_new = now.changed_ns / 1e9 > self.noted_at - CLOCKS_DIFFER_S
        if not is_new:
            return False
        if now.path.lower().endswith(BUNDLE):
            # The whole scene is in it, unless the disk was full in the middle.
            return zipfile.is_zipfile(now.path)
        return not node.GetModifiedSinceRead()
