"""The folder of checkpoints: one per user, whole files only, each with a note on where it is from.

A checkpoint called NAME lies there as ``NAME.pt`` or ``NAME.safetensors``, with its note beside it
(``NAME.pt.json``: checksum, source, licence, date), so that a checksum is computed once. Whatever
is not whole yet lies in the sub-folder ``partial`` and gets its name by a rename on the same disk.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from mois_core import models
from mois_core.errors import BadInput
from mois_core.weights import registry

FOLDER_VARIABLE = "MOIS_WEIGHTS_DIR"
SUFFIXES = (".pt", ".safetensors")
BLOCK = 1 << 18
"""Bytes between two looks at the cancel token: a blink at any disk or network speed."""
DISK_RESERVE = 1 << 24
"""Bytes that a download leaves free, for the system whose disk this usually is."""
WINDOWS_PATH_LIMIT = 259
"""Characters of the longest path that a Windows program can count on (MAX_PATH, less its end)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


class NotHere(BadInput):
    """Weights that were asked for are not on this computer; the message says how to get them."""


@dataclass(frozen=True)
class CheckpointNote:
    """Origin and checksum of a stored file, valid while its ``size`` and ``mtime_ns`` are these."""

    sha256: str
    size: int
    mtime_ns: int
    source: str
    licence: str | None
    date: str


def store_dir() -> Path:
    """Return the user's folder of checkpoints, which need not exist yet."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    try:
        if chosen:
            return Path(chosen).expanduser().absolute()
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        else:
            base = Path(os.environ.get("XDG_DATA_HOME") or "")
            # The XDG specification has relative paths ignored.
            base = base if base.is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise BadInput(
            f"cannot tell where your home folder is; set {FOLDER_VARIABLE} to a folder for the "
            "weights"
        ) from error
    return base / "MOISSAM2" / "weights"


def check_name(name: str) -> str:
    """Return the name of a checkpoint if every system can use it as a file name."""
    if not _NAME.fullmatch(name) or name.endswith(".") or _WINDOWS_DEVICE.fullmatch(name):
        raise BadInput(
            f"'{name}' cannot be the name of a checkpoint: use up to 64 letters, digits and . _ + -"
        )
    if name == models.SHIPPED:
        # A file of that name would never be read.
        raise BadInput(f"'{name}' comes with the program; give the checkpoint another name")
    return name


def find(name: str) -> Path | None:
    """Return the stored file of this name, or None."""
    if not _NAME.fullmatch(name):
        return None
    candidates = (store_dir() / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def stored_names() -> list[str]:
    """Return the names of all stored checkpoints, downloaded or imported."""
    folder = store_dir()
    try:
        files = sorted(folder.iterdir())
    except OSError:
        return []
    found = (path for path in files if path.suffix in SUFFIXES and path.is_file())
    return [path.name.removesuffix(path.suffix) for path in found if _NAME.fullmatch(path.stem)]


def partial_bytes(name: str) -> int:
    """Return the bytes of unfinished downloads of this name, which the next one resumes."""
    return sum(path.stat().st_size for path in partials(name))


def partials(name: str) -> list[Path]:
    """Return the unfinished files of this name.

    The lock is not among them, since another program may be about to take it.
    """
    folder = store_dir() / "partial"
    pattern = re.compile(rf"{re.escape(name)}\.([0-9a-f]{{12}}|import)\.(part|zip|pt|safetensors)")
    try:
        return [path for path in sorted(folder.iterdir()) if pattern.fullmatch(path.name)]
    except OSError:
        return []


@contextmanager
def locked_folder(name: str) -> Iterator[Path]:
    """Hold the folder for unfinished files of this name, against any other program or thread."""
    folder = store_dir() / "partial"
    check_length(folder / f"{name}.0123456789ab.part")
    with _disk_errors():
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BadInput(f"'{name}' is being written by another program right now") from error
        try:
            yield folder
        finally:
            lock.release()


def require_space(folder: Path, size: int) -> None:
    """Raise `BadInput` if the disk has no room for ``size`` bytes, before hours of downloading."""
    free = shutil.disk_usage(folder).free
    if free < size + DISK_RESERVE:
        raise BadInput(
            f"not enough space in {store_dir()}: {megabytes(size)} needed, {megabytes(free)} free. "
            f"Make room, or set {FOLDER_VARIABLE} to a folder on another disk"
        )


def sync(file: BinaryIO) -> None:
    """Write a file through to the disk, so that a rename cannot overtake its content."""
    file.flush()
    os.fsync(file.fileno())


def install(
    finished: Path, name: str, suffix: str, sha256: str, source: str, licence: str | None
) -> Path:
    """Move a finished file to its name in the store; a crash leaves the old file or the new one."""
    path = store_dir() / f"{name}{suffix}"
    check_length(_note_path(path))
    # A note that outlived its file would vouch for a stranger; a file without one is only hashed.
    _note_path(path).unlink(missing_ok=True)
    os.replace(finished, path)
    _write_note(path, sha256, source, licence)
    for other in SUFFIXES:
        if other != suffix:
            _delete(store_dir() / f"{name}{other}")
    return path


def note(path: Path) -> CheckpointNote | None:
    """Return the note of a stored file, or None if there is none or the file has changed since."""
    found = _read_note(path)
    if found is None:
        return None
    status = path.stat()
    return found if (found.size, found.mtime_ns) == (status.st_size, status.st_mtime_ns) else None


def checksum(name_or_path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a checkpoint, computed once for a stored file."""
    path = resolve(name_or_path)
    known = note(path) if path.parent == store_dir() else None
    if known:
        return known.sha256
    status = path.stat()
    sha256 = _cached_sha256(path, status.st_size, status.st_mtime_ns)
    if path.parent == store_dir():
        # A folder copied from another computer has new times; what the note says still holds.
        old = _read_note(path)
        same = old if old and old.sha256 == sha256 else None
        # In a folder that only an administrator can write, it is computed again next time.
        with suppress(OSError):
            _write_note(path, sha256, same.source if same else "", same.licence if same else None)
    return sha256


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of any file, read anew; of a folder, that of all its names and files."""
    if os.path.isdir(path):
        whole = hashlib.sha256()
        for file in sorted(file for file in Path(path).rglob("*") if file.is_file()):
            name = file.relative_to(path).as_posix()
            whole.update(f"{name}\0{sha256_of(file)}\n".encode())
        return whole.hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file that a shipped name, a stored name or a path means; never downloads."""
    text = os.fspath(name_or_path)
    if text == models.SHIPPED:
        return _shipped_file()
    stored = find(text)
    if stored is not None:
        return stored
    entry = registry.lookup(text)
    if entry is not None:
        size = f" ({megabytes(entry.size)})" if entry.size else ""
        raise NotHere(
            f"the weights of '{text}' are not on this computer. Run 'mois weights download {text}'"
            f"{size}; without a network, 'mois weights import FILE --name {text}'"
        )
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise BadInput(f"{path} is a folder; give the checkpoint file in it")
    known = ", ".join(dict.fromkeys([*registry.names(), *stored_names()]))
    raise NotHere(f"'{text}' is neither a file nor the name of a checkpoint ({known})")


def _shipped_file() -> Path:
    path = models.shipped_weights()
    if path is None:
        raise NotHere(
            f"this version comes without the weights of '{models.SHIPPED}'; choose another model"
        )
    return path


def remove(name: str) -> list[Path]:
    """Delete a checkpoint and its unfinished downloads; return the deleted files."""
    if find(name) is None and not partials(name):
        raise BadInput(f"there is no checkpoint called '{name}' in {store_dir()}")
    with locked_folder(name):
        stored = [path for s in SUFFIXES if (path := store_dir() / f"{name}{s}").is_file()]
        doomed = [*stored, *partials(name)]
        for path in doomed:
            _delete(path)
    return doomed


@dataclass(frozen=True)
class ListedCheckpoint:
    """One line of the list of checkpoints: published, stored, or both."""

    name: str
    title: str
    licence: str | None
    size: int | None
    page: str
    path: Path | None
    partial: int
    """Bytes of an unfinished download that the next one starts from."""


def list_entries() -> list[ListedCheckpoint]:
    """Return all published checkpoints, then those imported under a name of their own."""
    return [_listed(name) for name in dict.fromkeys([*registry.names(), *stored_names()])]


def _listed(name: str) -> ListedCheckpoint:
    entry, path = registry.lookup(name), find(name)
    known = note(path) if path else None
    licence = (entry and entry.licence) or (known and known.licence) or None
    return ListedCheckpoint(
        name=name,
        title=entry.title if entry else "imported",
        licence=licence,
        size=path.stat().st_size if path else entry and entry.size,
        page=entry.source.page if entry else known.source if known else "",
        path=path,
        partial=partial_bytes(name),
    )


def megabytes(size: int) -> str:
    """Return a number of bytes as text in megabytes."""
    return f"{size / 1e6:,.1f} MB" if size < 10e6 else f"{size / 1e6:,.0f} MB"


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn errors of the disk into `BadInput` that names the folder and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
            raise BadInput(
                f"no space left in {store_dir()}. Make room and try again (a download goes on "
                f"where it stopped), or set {FOLDER_VARIABLE} to a folder on another disk"
            ) from error
        raise BadInput(
            f"cannot write to {store_dir()} ({error.strerror or error}). Set {FOLDER_VARIABLE} to "
            "a folder that you can write to"
        ) from error


def check_length(path: Path, windows: bool = sys.platform == "win32") -> None:
    """Raise `BadInput` for a path too long for Windows, whose own error would not say so."""
    if windows and len(str(path)) > WINDOWS_PATH_LIMIT:
        raise BadInput(
            f"the path {path} is longer than Windows allows ({WINDOWS_PATH_LIMIT} characters); "
            f"set {FOLDER_VARIABLE} to a shorter folder"
        )


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    _note_path(path).unlink(missing_ok=True)


def _note_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _read_note(path: Path) -> CheckpointNote | None:
    try:
        return CheckpointNote(**json.loads(_note_path(path).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_note(path: Path, sha256: str, source: str, licence: str | None) -> None:
    status = path.stat()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps(
        asdict(CheckpointNote(sha256, status.st_size, status.st_mtime_ns, source, licence, now)),
        indent=2,
    )
    draft = _note_path(path).with_suffix(".tmp")
    draft.write_text(text, "utf-8")
    os.replace(draft, _note_path(path))


@functools.lru_cache(maxsize=32)
def _cached_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Return a file's SHA-256. ``size`` and ``mtime_ns`` make a changed file another one."""
    return sha256_of(path)
