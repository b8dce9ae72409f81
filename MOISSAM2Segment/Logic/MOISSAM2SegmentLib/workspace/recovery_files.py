"""Recovery files of the work that goes on, in case that Slicer dies.

Nothing is written unless the user allowed it: the files hold patient data. A file is deleted when
the scene is saved or closed, when its scan is removed, and when Slicer ends. Work on a scan that
was left for another one is unsaved as long as the scene is, so its file stays until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.observers import Observers
from MOISSAM2SegmentLib.scene.scene_file import SceneFile
from MOISSAM2SegmentLib.scene.stored_session import StoredSession, decode
from MOISSAM2SegmentLib.worker.jobs import Job, Worker
from MOISSAM2SegmentLib.workspace import recovery_folder
from MOISSAM2SegmentLib.workspace.recovery_folder import OwnFolder, WorkNote

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.state import State
    from MOISSAM2SegmentLib.signal import Signal

EVERY_S = 5.0
"""The shortest time between two files of one work."""
AGAIN_S = 60.0
"""When writing failed, the time until it is tried again."""
PATIENCE_S = 5.0
"""How long the end waits for a file that is being written, so that it can be deleted."""

NOT_KEPT = _("Your work goes on, but no recovery file could be kept: {reason}. Save the scene.")
NOT_DELETED = _("The recovery file {path} could not be deleted ({reason}).")


@dataclass(eq=False)
class _Work:
    """The work on one scan, as far as it is not saved with the scene."""

    volume_node: Any
    note: WorkNote
    known: State | None = None
    """The state that needs no file: it was there when the scan was opened."""
    folder: OwnFolder | None = None
    path: Path | None = None
    """The file; None while there is none."""
    stored: Any = None
    """The node with the session."""
    text: str = ""
    """What is in that node and in no file yet; empty if there is nothing to be written."""
    scene_file: SceneFile | None = None
    """The scene's file when the node was last changed."""
    next_time: float = 0.0
    is_writing: bool = False


class RecoveryFiles:
    """Keeps a file of each work that is not saved with the scene."""

    def __init__(self, scene: Any, worker: Worker, message: Signal) -> None:
        """Files are written on ``worker``; ``message`` is called with text for the user."""
        self.scene = scene
        self.root: Path | None = None
        """The folder with recovery files."""
        self.is_allowed = False
        self._worker = worker
        self._message = message
        self._observers = Observers()
        self._own: OwnFolder | None = None
        self._count = 0
        self._works: list[_Work] = []
        self._has_complained = False

    def allow(self, is_allowed: bool) -> None:
        """Begin to keep files, or stop and delete those of this Slicer."""
        self.is_allowed = is_allowed
        if not is_allowed:
            for work in self._works:
                self._delete(work)
        self.tick()

    def follow(
        self, volume_node: Any, session: Session, resumed: StoredSession | None
    ) -> Callable[[State, Any, str], None]:
        """Keep the work on a scan from now on; return the function to call when it is stored."""
        self._observe()
        work = next((w for w in self._works if resumed and w.stored is resumed.node), None)
        if work is None:
            shape, matrix = session.volume.array.shape, session.volume.ijk_to_ras
            note = WorkNote("", "", "", list(shape), matrix.tolist(), 0)
            work = _Work(volume_node, note)
            self._works.append(work)
        work.known = session.state

        def stored(state: State, node: Any, text: str) -> None:
            work.stored, work.scene_file = node, SceneFile.now(self.scene, node)
            if state is work.known or work not in self._works:
                return
            work.text, work.known = text, None
            work.note = replace(
                work.note,
                kept_at=datetime.now().isoformat(sep=" ", timespec="minutes"),
                scan_name=volume_node.GetName() or "",
                scan_file=_file_of(volume_node),
                lesions=sum(lesion.status.counts for lesion in state.lesions.values()),
            )
            self.tick()

        return stored

    def adopt(self, volume_node: Any, note: WorkNote, folder: OwnFolder, path: Path) -> _Work:
        """Treat the file of a Slicer that died as one of this Slicer's work on a scan."""
        self._observe()
        work = _Work(volume_node, note, folder=folder, path=path)
        self._works.append(work)
        return work

    def tick(self) -> None:
        """Write what is due, and delete what was saved. To be called every few seconds."""
        now = time.monotonic()
        for work in self._works:
            if self._is_saved(work):
                work.text = ""
                self._delete(work)
            elif self.is_allowed and work.text and not work.is_writing and now >= work.next_time:
                self._write(work)

    def forget(self, volume_node: Any = None) -> None:
        """Delete the files of the work on a scan, or of all work: it is saved, or not wanted."""
        for work in list(self._works):
            if volume_node is None or work.volume_node is volume_node:
                self._works.remove(work)
                self._delete(work)

    def close(self) -> None:
        """Delete all files of this Slicer, which ends as it should; those of others stay."""
        self._observers.clear()
        self.is_allowed = False
        end = time.monotonic() + PATIENCE_S
        while any(work.is_writing for work in self._works) and time.monotonic() < end:
            self._worker.pump()
        self.forget()
        if self._own is not None:
            self._own.release()
            self._own = None

    def _observe(self) -> None:
        if not len(self._observers):
            kinds = slicer.vtkMRMLScene
            self._observers.add(self.scene, kinds.StartCloseEvent, self._on_close)
            event = kinds.NodeAboutToBeRemovedEvent
            self._observers.add_with_object(self.scene, event, self._on_remove)

    def _on_close(self, caller: Any, event: str) -> None:
        self.forget()

    def _on_remove(self, caller: Any, event: str, node: Any) -> None:
        # Without a node, `forget` would forget all.
        if node is not None:
            self.forget(node)

    def _is_saved(self, work: _Work) -> bool:
        is_kept = work.path is not None or bool(work.text)
        return (
            is_kept
            and not work.is_writing
            and work.scene_file is not None
            and work.scene_file.has_saved(self.scene, work.stored)
        )

    def _write(self, work: _Work) -> None:
        try:
            path = work.path or self._new_path(work)
        except BadInput as error:
            self._not_written(work, str(error))
            return
        text, note = work.text, work.note
        work.text, work.is_writing = "", True
        work.next_time = time.monotonic() + EVERY_S

        def write(*_: Any) -> None:
            recovery_folder.write(path, decode(text), note)

        def done(_: Any) -> None:
            work.is_writing, work.path = False, path
            self._has_complained = False
            if work not in self._works or not self.is_allowed:
                self._delete(work)

        def failed(reason: str) -> None:
            work.is_writing = False
            work.text = work.text or text
            self._not_written(work, reason)

        self._worker.submit(Job("Keep", write, done, failed, owner=self))

    def _new_path(self, work: _Work) -> Path:
        assert self.root is not None
        if self._own is None:
            self._own = OwnFolder.create(self.root)
        self._count += 1
        work.folder = self._own
        return self._own.path / f"{self._count}{recovery_folder.ENDING}"

    def _not_written(self, work: _Work, reason: str) -> None:
        work.next_time = time.monotonic() + AGAIN_S
        if not self._has_complained:
            self._has_complained = True
            self._message(NOT_KEPT.format(reason=reason.rstrip(".")))

    def _delete(self, work: _Work) -> None:
        # A file that is being written is deleted when it is there, see `_write`.
        path, work.path = work.path, None
        if path is None:
            return
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            work.path = path
            self._message(NOT_DELETED.format(path=path, reason=error.strerror))
            return
        if work.folder is not None and work.folder is not self._own:
            work.folder.release()
        work.folder = None


def _file_of(node: Any) -> str:
    """Return the one file that a scan was loaded from; a DICOM series has no single one."""
    storage = node.GetStorageNode()
    if storage is None or storage.GetNumberOfFileNames() > 1 or not storage.GetFileName():
        return ""
    return storage.GetFullNameFromFileName() or ""


def default_root() -> Path:
    """Return the folder with recovery files: beside Slicer's settings.

    That folder belongs to the user's account and is kept, whereas Slicer empties its cache.
    """
    return Path(slicer.app.slicerUserSettingsFilePath).parent / recovery_folder.NAME
