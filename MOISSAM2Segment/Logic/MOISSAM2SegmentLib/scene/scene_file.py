"""The file that the scene is saved in: whether a node has been saved with it since a moment.

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
    written_ns: int | None
    """When the file was written; None if it is not there."""
    named: int
    """VTK's time of the last change of the name of the node's file. Saving a bundle gives it
    another name for a moment; opening somebody else's bundle does not."""
    noted_at: float

    @classmethod
    def now(cls, scene: Any, node: Any) -> SceneFile:
        """Return how the file is now, for a node that has just been changed."""
        path = scene.GetURL() or ""
        try:
            written = Path(path).stat().st_mtime_ns if path else None
        except OSError:
            written = None
        storage = node.GetStorageNode()
        named = storage.GetMTime() if storage is not None else 0
        return cls(path, written, named, time.time())

    def has_saved(self, scene: Any, node: Any) -> bool:
        """Return whether the scene was saved since then, with this node as it was then."""
        now = SceneFile.now(scene, node)
        if now.written_ns is None or now.written_ns == self.written_ns and now.path == self.path:
            return False
        if now.path != self.path and now.written_ns / 1e9 < self.noted_at - CLOCKS_DIFFER_S:
            # The scene got the name of an older file by opening it.
            return False
        if now.path.lower().endswith(BUNDLE):
            # A bundle holds the whole scene, unless the disk was full in the middle.
            return now.named != self.named and zipfile.is_zipfile(now.path)
        return not node.GetModifiedSinceRead()
