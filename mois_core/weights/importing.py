"""Import of a checkpoint into the store from a file or a zip, for a site without a network.

A zip is never unpacked: the one member that is wanted is read as a stream into a file whose name we
chose, so that no path inside a zip is ever used. (A ``.pt`` file is a zip as well; what a file is
taken for is decided by its suffix.)
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from mois_core.errors import BadInput
from mois_core.progress import CancelToken, Progress, silent
from mois_core.weights import registry, store

STORED_SUFFIX = {".pt": ".pt", ".pth": ".pt", ".safetensors": ".safetensors"}
"""Suffixes of files that can be imported, and the suffix that each gets in the store."""


@dataclass(frozen=True)
class IncomingCheckpoint:
    """What is known beforehand of a checkpoint that is about to enter the store."""

    name: str
    label: str
    """Origin, for its note and for messages."""
    licence: str | None
    sha256: str | None
    """Checksum that the checkpoint must have, if that is known."""


def import_file(
    path: str | os.PathLike[str],
    name: str | None = None,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
    *,
    member: str | None = None,
) -> Path:
    """Copy a checkpoint into the store and return where it is.

    Without a name, a file that is called as published gets the published name and any other keeps
    its own; in that case nothing that is already in the store is replaced. A file that takes the
    name of a published checkpoint whose checksum is known must be that checkpoint.
    """
    path = Path(path).expanduser()
    suffix = _stored_suffix(path, member)
    entry = registry.lookup(name) if name else registry.published_as(path.name)
    chosen = store.check_name(name or (entry.name if entry else path.stem))
    if name is None and store.find(chosen) is not None:
        raise BadInput(
            f"'{chosen}' is already there; 'mois weights import FILE --name {chosen}' replaces it"
        )
    incoming = IncomingCheckpoint(
        name=chosen,
        label=f"imported from {path.name}",
        licence=entry.licence if entry else None,
        sha256=entry.sha256 if entry else None,
    )
    with store.locked_folder(chosen) as folder:
        if path.suffix.lower() == ".zip":
            published = entry.source if entry else None
            preferred = published.member if isinstance(published, registry.Zenodo) else None
            return take_from_zip(path, incoming, folder, progress, cancel, member, preferred)
        with path.open("rb") as stream:
            size = path.stat().st_size
            return _take(stream, size, suffix, incoming, folder, progress, cancel)


def _stored_suffix(path: Path, member: str | None) -> str:
    """Return a file's suffix in the store; refuse one that is no checkpoint or cannot be read."""
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix != ".zip" and suffix not in STORED_SUFFIX:
        raise BadInput(f"{path.name} is not a checkpoint: that is .pt, .pth, .safetensors or .zip")
    if suffix != ".zip" and member is not None:
        raise BadInput(f"{path.name} is not a zip, so there is no member of it to choose")
    try:
        path.open("rb").close()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error
    return STORED_SUFFIX.get(suffix, suffix)


def take_from_zip(
    archive: Path,
    incoming: IncomingCheckpoint,
    folder: Path,
    progress: Progress,
    cancel: CancelToken | None,
    member: str | None = None,
    preferred: str | None = None,
) -> Path:
    """Store the checkpoint inside a zip: the one asked for, the preferred one, or the only one."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            info = _choose(zipped, archive, incoming.name, member, preferred)
            suffix = STORED_SUFFIX[PurePosixPath(info.filename).suffix.lower()]
            with _open_member(zipped, info, archive) as stream:
                return _take(stream, info.file_size, suffix, incoming, folder, progress, cancel)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BadInput(f"{archive} is not a whole zip ({error}); get it again") from error


def _open_member(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> IO[bytes]:
    try:
        return zipped.open(info)
    except RuntimeError as error:
        # A password, or a compression that Python does not know.
        raise BadInput(
            f"{archive} cannot be read ({error}); unpack it yourself and import the checkpoint"
        ) from error


def _choose(
    zipped: zipfile.ZipFile, archive: Path, name: str, member: str | None, preferred: str | None
) -> zipfile.ZipInfo:
    found = [info for info in zipped.infolist() if _is_checkpoint(info)]
    listed = ", ".join(info.filename for info in found)
    if member is not None:
        wanted = [info for info in found if info.filename == member]
        if not wanted:
            raise BadInput(f"{archive.name} has no checkpoint '{member}'; it has: {listed or '-'}")
        return wanted[0]
    if not found:
        raise BadInput(f"{archive} holds no checkpoint (.pt, .pth or .safetensors)")
    best = [info for info in found if PurePosixPath(info.filename).name == preferred]
    for choice in (best, found):
        if len(choice) == 1:
            return choice[0]
    raise BadInput(
        f"{archive.name} holds several checkpoints: {listed}. Choose one: "
        f'mois weights import "{archive}" --name {name} --member MEMBER'
    )


def _is_checkpoint(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    # macOS puts a shadow of every file into its zips, under the same suffix.
    shadow = path.name.startswith("._")
    return path.suffix.lower() in STORED_SUFFIX and not info.is_dir() and not shadow


def _take(
    stream: IO[bytes],
    size: int,
    suffix: str,
    incoming: IncomingCheckpoint,
    folder: Path,
    progress: Progress,
    cancel: CancelToken | None,
) -> Path:
    """Copy a checkpoint, check it and install it; only a whole one ever gets its name."""
    store.require_space(folder, size)
    draft = folder / f"{incoming.name}.import{suffix}"
    digest, done = hashlib.sha256(), 0
    try:
        with draft.open("wb") as file:
            for block in _blocks(stream, incoming.label):
                if cancel is not None:
                    cancel.check()
                file.write(block)
                digest.update(block)
                done += len(block)
                progress(done, size, f"copying {incoming.name}")
            store.sync(file)
        sha256 = digest.hexdigest()
        if incoming.sha256 not in (None, sha256):
            raise BadInput(
                f"this is not the published '{incoming.name}': its SHA-256 is {sha256}, not "
                f"{incoming.sha256}. Copy it again, or import it under another name with --name"
            )
        _check_loadable(draft, incoming.label)
        return store.install(draft, incoming.name, suffix, sha256, incoming.label, incoming.licence)
    finally:
        draft.unlink(missing_ok=True)


def _blocks(stream: IO[bytes], label: str) -> Iterator[bytes]:
    """Yield blocks of a stream; its read errors become `BadInput`, unlike errors of writing."""
    while True:
        try:
            block = stream.read(store.BLOCK)
        except OSError as error:
            raise BadInput(f"reading failed ({label}): {error.strerror or error}") from error
        if not block:
            return
        yield block


def _check_loadable(draft: Path, label: str) -> None:
    # Here, since it brings torch, which 'mois weights list' can do without.
    from mois_core.network.checkpoint import read_checkpoint

    try:
        read_checkpoint(draft)
    except BadInput as error:
        # The draft's path means nothing to whoever gave us the file.
        raise BadInput(str(error).replace(str(draft), f"the file ({label})")) from error
