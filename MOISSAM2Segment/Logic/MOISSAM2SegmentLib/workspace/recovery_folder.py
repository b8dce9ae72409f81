"""The folder with recovery files: what a Slicer keeps of unsaved work in case that it dies.

Every Slicer has a folder of its own in it, and a locked file beside that. The system takes the lock
away when the program ends in whatever way, so a folder that can be locked belongs to a Slicer that
died; a number of a process, which is given again, would not tell. The files hold patient data: only
the user's own account may read them.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume
from mois_core.io.atomic import atomic_write
from MOISSAM2SegmentLib.messages import tr as _

NAME = "MOISSAM2-recovery"
LOCK, ENDING = ".lock", ".session"
NOTE = "recovery.json"
"""Entry of the file, which is a session file otherwise."""

MOST_BYTES = 2**29
RESERVE = 2**28
"""Bytes of the disk that are left free: Slicer needs them to save the scene."""

TOO_LARGE = _("it would take more than {most} MB")
DISK_FULL = _("the disk is almost full")
NO_LOCK = _("the folder {folder} cannot be locked")
NOT_MADE = _("the folder {folder} cannot be made ({reason})")


@dataclass(frozen=True)
class WorkNote:
    """What a recovery file tells about the work in it before there is a network."""

    kept_at: str
    """Local date and time, to the minute."""
    scan_name: str
    scan_file: str
    """The file that the scan was loaded from; empty if it has none, or several."""
    shape: list[int]
    """Voxels along k, j and i."""
    ijk_to_ras: list[list[float]]
    lesions: int

    def stack(self) -> SliceStack:
        """Return the slices of the scan without their voxels."""
        voxels = np.broadcast_to(np.uint8(0), self.shape)
        return SliceStack(Volume(voxels, np.array(self.ijk_to_ras)))


@dataclass(frozen=True)
class LeftBehind:
    """A recovery file of a Slicer that died."""

    path: Path
    note: WorkNote | None
    """None if the file is damaged."""


class OwnFolder:
    """A folder that one Slicer writes to, locked against others while it lives."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, root: Path) -> OwnFolder:
        """Make a new folder in the one with recovery files; raises `BadInput`."""
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            root.chmod(0o700)
            began = time.strftime("%Y%m%d-%H%M%S")
            for number in range(100):
                path = root / f"{os.getpid()}-{began}-{number}"
                # Locked before the folder is made: without the lock it would look left behind.
                lock = None if path.exists() else _locked(path)
                if lock is not None:
                    path.mkdir(mode=0o700)
                    return cls(path, lock)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise BadInput(NOT_MADE.format(folder=root, reason=reason)) from error
        raise BadInput(NO_LOCK.format(folder=root))

    @classmethod
    def of_the_dead(cls, path: Path) -> OwnFolder | None:
        """Take a folder over whose Slicer has ended; None if it has not."""
        lock = _locked(path)
        return cls(path, lock) if lock is not None else None

    def release(self) -> None:
        """Give the folder up, and remove it if nothing is left to restore."""
        if not files_in(self.path):
            # What a killed program had not finished is no work, but patient data nevertheless.
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        if not self.path.exists():
            with suppress(OSError):
                _lock_file(self.path).unlink()


def files_in(folder: Path) -> list[Path]:
    """Return the recovery files in a folder, without those that were only begun."""
    return sorted(path for path in _entries(folder) if path.name[0].isdigit())


def left_behind(root: Path) -> Iterator[LeftBehind]:
    """Yield the files of Slicers that died, and tidy up after those that left none."""
    for path in sorted(entry for entry in _entries(root) if entry.is_dir()):
        folder = OwnFolder.of_the_dead(path)
        if folder is not None:
            found = files_in(path)
            folder.release()
            yield from (LeftBehind(file, read_note(file)) for file in found)


def write(path: Path, content: bytes, note: WorkNote) -> None:
    """Write a session file as a recovery file, whole or not at all; raises `BadInput`."""
    if len(content) > MOST_BYTES:
        raise BadInput(TOO_LARGE.format(most=MOST_BYTES // 10**6))
    if shutil.disk_usage(path.parent).free < len(content) + RESERVE:
        raise BadInput(DISK_FULL)
    with atomic_write(path) as temporary:
        made = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | _BINARY, 0o600)
        with os.fdopen(made, "w+b") as file:
            file.write(content)
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(NOTE, json.dumps(asdict(note)))


def read_note(path: Path) -> WorkNote | None:
    """Return what a file tells about itself; None if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read(NOTE))
        note = WorkNote(**{field.name: document[field.name] for field in fields(WorkNote)})
        # Raises for what is no place of a scan.
        note.stack()
        return note
    except Exception:
        return None


def read_whole(path: Path) -> bytes | None:
    """Return the session file after every part of it was checked; None if one is damaged."""
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return content if archive.testzip() is None else None
    except Exception:
        # A damaged length or name makes the reader fail in many ways.
        return None


_BINARY = getattr(os, "O_BINARY", 0)


def _entries(root: Path) -> list[Path]:
    try:
        return list(root.iterdir())
    except OSError:
        return []


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + LOCK)


def _locked(path: Path) -> int | None:
    """Return the open, locked file beside a folder; None if another program has locked it."""
    name = _lock_file(path)
    try:
        lock = os.open(name, os.O_CREAT | os.O_RDWR | _BINARY, 0o600)
    except OSError:
        return None
    try:
        _lock(lock)
        # Somebody who tidied up may have removed the name since it was opened.
        is_there = os.path.samestat(os.fstat(lock), name.stat())
    except OSError:
        is_there = False
    if not is_there:
        os.close(lock)
        return None
    return lock


def _lock(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
