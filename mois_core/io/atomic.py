"""Write a file completely or not at all.

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
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from mois_core.errors import BadInput

_NAME = re.compile(
    r"\.mois-(?P<place>[0-9a-f]{6})-(?P<process>[1-9][0-9]*)-[0-9a-f]{8}(\.[^.]*){0,2}"
)
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
    _tidy(path.parent)
    ending = "".join(path.suffixes[-2:]).lower()
    name = f".mois-{_place()}-{os.getpid()}-{secrets.token_hex(4)}{ending}"
    temporary = path.with_name(name)
    try:
        yield temporary
        # Without this, a power cut soon after the move can leave an empty file on some systems.
        with open(temporary, "r+b") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BadInput(
            f"{path} cannot be written ({reason}); check the folder's permissions, the free disk "
            "space, and that no other program has the file open."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Remove what killed programs left in a folder, once for each folder and process."""
    key = os.path.realpath(folder)
    if key in _tidied:
        return
    _tidied.add(key)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _is_left_over(entry.name):
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
