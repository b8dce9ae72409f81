"""Write a file completely or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mois_core.errors import BadInput


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
    ending = "".join(path.suffixes[-2:]).lower()
    temporary = path.with_name(f".mois-{secrets.token_hex(4)}{ending}")
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
