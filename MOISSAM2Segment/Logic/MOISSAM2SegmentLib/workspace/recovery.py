"""Work that was not saved when Slicer died: offered, restored as soon as its scan is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.scene_file import SceneFile
from MOISSAM2SegmentLib.scene.stored_session import (
    POINTS,
    SEGMENTS,
    VOLUME,
    StoredSession,
    encode,
    stored_sessions,
)
from MOISSAM2SegmentLib.scene.transforms import view_of
from MOISSAM2SegmentLib.signal import Signal
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace import recovery_folder
from MOISSAM2SegmentLib.workspace.recovery_files import NOT_DELETED, RecoveryFiles
from MOISSAM2SegmentLib.workspace.recovery_folder import LeftBehind, OwnFolder, WorkNote

if TYPE_CHECKING:
    from MOISSAM2SegmentLib.worker.engine import Engine

SCANS = "vtkMRMLScalarVolumeNode"

DAMAGED = _("The recovery file is damaged; the work in it cannot be restored. It can be deleted.")
IN_USE = _("This work is being restored in another Slicer, or was deleted there.")
OTHER_SCAN = _(
    "{name} has the size and place of the scan that this work was done on, but it is another scan. "
    "Nothing was restored."
)
RESTORED = _("The work was restored. Save the scene to keep it.")


@dataclass(eq=False)
class _Restoring:
    """A file that the user wants to be restored, and the scans that were compared."""

    left: LeftBehind
    note: WorkNote
    folder: OwnFolder
    compared: set[tuple[str, int]] = field(default_factory=set)
    is_comparing: bool = False


class Recovery:
    """The recovery files of this Slicer, and those that Slicers left behind when they died."""

    def __init__(self, scene: Any, engine: Engine, message: Signal) -> None:
        self.scene = scene
        self.files = RecoveryFiles(scene, engine.save_worker, message)
        self.offers: list[LeftBehind] = []
        """What can be restored or deleted."""
        self.changed = Signal()
        """Called when `offers` or `wanted` have changed."""
        self.restored = Signal()
        """Called with the scan whose work is in the scene now, to be opened."""
        self._worker = engine.worker
        self._message = message
        self._restoring: _Restoring | None = None

    def look_in(self, root: Path) -> None:
        """Use this folder, and find what Slicers that died have left in it."""
        self.files.root = root
        self.offers = list(recovery_folder.left_behind(root))
        self.changed()

    def tick(self) -> None:
        """Do what is due. To be called every few seconds."""
        self.files.tick()
        self._look_for_scan()

    def close(self) -> None:
        """Delete the files of this Slicer, which ends as it should; others stay."""
        self.changed.clear()
        self.restored.clear()
        self.leave()
        self.files.close()

    @property
    def wanted(self) -> LeftBehind | None:
        """The work that is restored as soon as its scan is there; None if there is none."""
        return self._restoring.left if self._restoring is not None else None

    def restore(self, left: LeftBehind) -> None:
        """Put the work into the scene as soon as its scan is there; raises `BadInput`.

        `restored` is called then. Until it does, `wanted` is that work.
        """
        if left.note is None:
            raise BadInput(DAMAGED)
        self.leave()
        self._restoring = _Restoring(left, left.note, self._taken_over(left))
        self.offers.remove(left)
        self._look_for_scan()
        self.changed()

    def leave(self) -> None:
        """Stop waiting for a scan. The file stays, and is offered again at the next start."""
        if self._restoring is not None:
            self._worker.abandon(self)
            self._restoring.folder.release()
            self._restoring = None
            self.changed()

    def delete(self, left: LeftBehind) -> None:
        """Delete a file that a Slicer left behind; raises `BadInput`."""
        folder = self._taken_over(left)
        try:
            left.path.unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise BadInput(NOT_DELETED.format(path=left.path, reason=reason)) from error
        finally:
            folder.release()
        self.offers.remove(left)
        self.changed()

    def _taken_over(self, left: LeftBehind) -> OwnFolder:
        folder = OwnFolder.of_the_dead(left.path.parent) if left.path.exists() else None
        if folder is None:
            self.offers.remove(left)
            self.changed()
            raise BadInput(IN_USE)
        return folder

    def _look_for_scan(self) -> None:
        """Compare scans of the right size and place with that of the work, in the background."""
        restoring = self._restoring
        if restoring is None or restoring.is_comparing:
            return
        scans = []
        for node in _scans_like(self.scene, restoring.note):
            key = (node.GetID(), node.GetImageData().GetMTime())
            if key not in restoring.compared:
                restoring.compared.add(key)
                scans.append((node, view_of(node)))
        if not scans:
            return
        restoring.is_comparing = True

        def compare(*_: Any) -> tuple[Any, str] | None:
            from mois_core.session.session_file import describe

            content = recovery_folder.read_whole(restoring.left.path)
            if content is None:
                return None
            saved = describe(content)
            for node, volume in scans:
                try:
                    saved.check_scan(volume)
                except BadInput:
                    continue
                return node, encode(content)
            return None, ""

        def take(found: tuple[Any, str] | None) -> None:
            restoring.is_comparing = False
            if found is None:
                give_up(DAMAGED, note=None)
                return
            node, text = found
            if node is None:
                self._message(OTHER_SCAN.format(name=scans[-1][0].GetName()))
            elif node.GetScene() is self.scene:
                self._put(restoring, node, text)

        def give_up(reason: str, note: WorkNote | None = restoring.note) -> None:
            self.leave()
            self.offers.insert(0, LeftBehind(restoring.left.path, note))
            self._message(reason)
            self.changed()

        self._worker.submit(Job("Restore", compare, take, give_up, owner=self))

    def _put(self, restoring: _Restoring, node: Any, text: str) -> None:
        self._restoring = None
        for earlier in stored_sessions(self.scene):
            if earlier.referenced(VOLUME) is node:
                _hide(earlier)
        stored = StoredSession.create(self.scene, node)
        stored.content = text
        path = restoring.left.path
        work = self.files.adopt(node, restoring.note, restoring.folder, path)
        work.stored = stored.node
        work.scene_file = SceneFile.now(self.scene, stored.node)
        self._message(RESTORED)
        self.changed()
        self.restored(node)


def _hide(stored: StoredSession) -> None:
    """Hide lesions and points of an earlier state, which stay in the scene."""
    for role in (SEGMENTS, POINTS):
        node = stored.referenced(role)
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(False)


def _scans_like(scene: Any, note: WorkNote) -> Iterator[Any]:
    """Yield the loaded scans with the size and place of the one that a work was done on."""
    known = note.stack()
    for index in range(scene.GetNumberOfNodesByClass(SCANS)):
        node = scene.GetNthNodeByClass(index, SCANS)
        try:
            stack = SliceStack(view_of(node))
        except BadInput:
            continue
        if stack.array.shape == known.array.shape and stack.lies_at(known.to_ras):
            yield node
