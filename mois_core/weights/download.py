"""Download of a published checkpoint: resumable, verified, and only then given its name.

An unfinished file carries the start of the checksum that it must end up with in its name. So only
the same content is ever resumed, and a file that changed on the server starts afresh.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from mois_core.errors import BadInput
from mois_core.progress import CancelToken, Progress, silent
from mois_core.weights import registry, server, store
from mois_core.weights.importing import IncomingCheckpoint, take_from_zip
from mois_core.weights.server import RemoteFile


def download(
    name: str,
    progress: Progress = silent,
    cancel: CancelToken | None = None,
    *,
    force: bool = False,
) -> Path:
    """Bring a published checkpoint into the store and return where it is.

    One that is already there is not asked for again, unless it is damaged or ``force`` says so.
    After a cut or a cancel the next call goes on where this one stopped.
    """
    entry = registry.get(name)
    if not force and (path := _already_there(entry)):
        return path
    server.refuse_offline(entry)
    cancel = cancel or CancelToken()
    with store.locked_folder(name) as folder:
        # Whoever held the folder until now may have been downloading this very file.
        if not force and (path := _already_there(entry)):
            return path
        cancel.check()
        remote = server.describe(entry)
        zipped = isinstance(entry.source, registry.Zenodo)
        part = folder / f"{name}.{remote.digest[:12]}.{'zip' if zipped else 'part'}"
        for stale in store.partials(name):
            if stale != part:
                stale.unlink()
        _transfer(remote, part, entry, progress, cancel)
        if not zipped:
            return store.install(
                part, name, Path(entry.source.file).suffix, remote.digest, remote.url,
                entry.licence,
            )  # fmt: skip
        incoming = IncomingCheckpoint(
            name, remote.url, entry.licence or remote.licence, entry.sha256
        )
        path = take_from_zip(
            part, incoming, folder, progress, cancel, preferred=entry.source.member
        )
        part.unlink()
        return path


def _already_there(entry: registry.PublishedCheckpoint) -> Path | None:
    path = store.find(entry.name)
    if path is None or entry.sha256 in (None, store.checksum(entry.name)):
        return path
    return None


def _transfer(
    remote: RemoteFile,
    part: Path,
    entry: registry.PublishedCheckpoint,
    progress: Progress,
    cancel: CancelToken,
) -> None:
    """Complete an unfinished file and verify it.

    After a cut the file stays, for the next call to resume; one with a wrong checksum is deleted.
    """
    digest, have = hashlib.new(remote.algorithm, usedforsecurity=False), 0
    if part.exists():
        with part.open("rb") as file:
            while block := file.read(store.BLOCK):
                cancel.check()
                digest.update(block)
                have += len(block)
    if have < remote.size:
        store.require_space(part.parent, remote.size - have)
        with server.open_url(remote.url, entry, start=have) as response:
            if have and response.status != HTTPStatus.PARTIAL_CONTENT:
                digest, have = hashlib.new(remote.algorithm, usedforsecurity=False), 0
            _expect(response, remote.size - have, remote, entry)
            with part.open("ab" if have else "wb") as file:
                while have <= remote.size:
                    cancel.check()
                    try:
                        # Whatever has arrived: on a slow line a full block would delay a cancel.
                        block = response.read1(store.BLOCK)
                    except (OSError, HTTPException) as error:
                        raise BadInput(_cut(remote, entry, have, error)) from error
                    if not block:
                        break
                    file.write(block)
                    digest.update(block)
                    have += len(block)
                    progress(have, remote.size, f"downloading {entry.name}")
                store.sync(file)
    if have < remote.size:
        raise BadInput(_cut(remote, entry, have, "the connection was closed"))
    if digest.hexdigest() != remote.digest:
        part.unlink()
        raise BadInput(
            f"what arrived as {entry.source.file} is not what {server.host(remote.url)} promised "
            f"({remote.algorithm} {digest.hexdigest()} instead of {remote.digest}); it was "
            "deleted. Try again"
        )


def _expect(
    response: HTTPResponse, due: int, remote: RemoteFile, entry: registry.PublishedCheckpoint
) -> None:
    if response.length not in (None, due):
        raise BadInput(
            f"{server.host(remote.url)} answered with {response.length} bytes where {due} of "
            f"{entry.source.file} were due; something between (the login page of a proxy?) may "
            f"have answered. {server.by_hand(entry)}"
        )


def _cut(remote: RemoteFile, entry: registry.PublishedCheckpoint, have: int, why: object) -> str:
    return (
        f"the download stopped at {store.megabytes(have)} of {store.megabytes(remote.size)} "
        f"({why}). Run 'mois weights download {entry.name}' again to go on from there"
    )
