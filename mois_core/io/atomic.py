"""Write a file, or a folder of files, completely or not at all.

A program that is killed cannot remove what it was writing. So a temporary file's name tells which
process writes it, and the next program that writes to the folder removes those of processes that
have ended. A folder can be shared between computers, and between containers that count processes
each for itself: only a process of the same kind can be asked for, the others are left alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from mois_core.errors import BadInput

_NAME = re.compile(
    r"\.mois-(?P<place>[0-9a-f]{6})-(?P<process>[1-9][0-9]*)-[0-9a-f]{8}(\.[^.]*){0,2}"
)
_FOLDER_ENDING = ".folder"
_PROCESSES = "/proc/self/ns/pid"
"""On Linux a link that tells which processes are counted together with this one."""

_WINDOWS_SYNCHRONIZE = 0x0010_0000
_WINDOWS_NO_SUCH_PROCESS = 87
_WINDOWS_ENDED = 0

_tidied: set[str] = set()


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Give the block a temporary path to write to; if it succeeds, the file moves to `path`.

    The temporary file lies in the same folder, since a move between disks can be interrupted,
    and has the same ending, since writers choose their format by it. If the block fails or the
    program is killed, what was at `path` before is still there, whole. Errors of the file system
    become `BadInput`.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise BadInput(f"{path} cannot be written: its folder does not exist.")
    if path.is_dir():
        raise BadInput(f"{path} cannot be written: it is a folder; give a file name.")
    temporary = _temporary(path, "".join(path.suffixes[-2:]).lower())
    advice = (
        "check the folder's permissions, the free disk space, and that no other program has the "
        "file open"
    )
    with _told(path, advice):
        try:
            yield temporary
            _to_disk(temporary)
            os.replace(temporary, path)
        finally:
            # Where nothing can be written, nothing can be removed either.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def make_folder(path: str | os.PathLike) -> Path:
    """Make a folder to write to, and those above it, as far as they are not there; return it."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise BadInput(f"{path} is a file; give a folder to write to.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInput(f"{path} cannot be made a folder to write to ({reason}).") from error
    return path


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give the block a temporary folder to fill; if it succeeds, the folder moves to `path`.

    Nothing is ever overwritten: at `path` there may be nothing, or an empty folder. If the block
    writes nothing, nothing is made. Otherwise as `atomic_write`.
    """
    path = Path(path)
    check_folder_is_free(path)
    advice = "check the folder's permissions and the free disk space, and that it is still empty"
    with _told(path, advice), _folder_beside(path) as temporary:
        yield temporary
        written = [file for file in sorted(temporary.rglob("*")) if file.is_file()]
        for file in written:
            _to_disk(file)
        if written:
            if path.is_dir():
                path.rmdir()  # fails, as it should, if something has come into it since
            os.rename(temporary, path)


@contextmanager
def temporary_folder(parent: str | os.PathLike) -> Iterator[Path]:
    """Give the block a folder in `parent` that is gone afterwards, with whatever is still in it."""
    advice = "check its permissions and the free disk space"
    with _told(parent, advice), _folder_beside(Path(parent) / "any") as temporary:
        yield temporary


@contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """Make a temporary folder beside `path` for a block, and remove it."""
    temporary = _temporary(path, _FOLDER_ENDING)
    try:
        temporary.mkdir()
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _told(path: str | os.PathLike, advice: str) -> Iterator[None]:
    """Turn errors of the file system into `BadInput` that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInput(f"{path} cannot be written ({reason}); {advice}.") from error


def check_folder_is_free(path: Path) -> None:
    """Refuse a folder that `atomic_folder` could not make."""
    if not path.parent.is_dir():
        raise BadInput(f"{path} cannot be written: the folder that it would lie in does not exist.")
    if path.is_symlink() or os.path.ismount(path):
        raise BadInput(f"{path} cannot be written: it is a link or a disk; give a folder in it.")
    try:
        is_free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from error
    if not is_free:
        raise BadInput(f"{path} holds something already; give a new folder, or an empty one.")


def _temporary(path: Path, ending: str) -> Path:
    """Return a name beside `path` that tells who writes, and tidy up there."""
    _tidy(path.parent)
    name = f".mois-{_place()}-{os.getpid()}-{secrets.token_hex(4)}{ending}"
    return path.with_name(name)


def _to_disk(file: Path) -> None:
    # Without this, a power cut soon after the move can leave an empty file on some systems.
    with open(file, "r+b") as written:
        os.fsync(written.fileno())


def _tidy(folder: Path) -> None:
    """Remove what killed programs left in a folder, once for each folder and process."""
    key = os.path.realpath(folder)
    if key in _tidied:
        return
    _tidied.add(key)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _is_left_over(entry.name):
                if entry.name.endswith(_FOLDER_ENDING) and entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        os.unlink(entry.path)


def _is_left_over(name: str) -> bool:
    found = _NAME.fullmatch(name)
    return bool(found) and found["place"] == _place() and not _is_running(int(found["process"]))


@cache
def _place() -> str:
    """Return a code for this computer, and for the container if there is one."""
    processes = ""
    with suppress(OSError):
        processes = os.readlink(_PROCESSES)
    return hashlib.sha256(f"{platform.node()} {processes}".encode()).hexdigest()[:6]


def _is_running(process: int) -> bool:
    if sys.platform == "win32":
        return _is_running_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to someone else, or is no process at all
        return True
    return True


def _is_running_on_windows(process: int) -> bool:
    # There `os.kill` would not ask for the process but end it.
    import ctypes

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(_WINDOWS_SYNCHRONIZE, False, process)
    if not handle:
        return ctypes.get_last_error() != _WINDOWS_NO_SUCH_PROCESS
    handle = ctypes.c_void_p(handle)
    try:
        return kernel.WaitForSingleObject(handle, 0) != _WINDOWS_ENDED
    finally:
        kernel.CloseHandle(handle)
