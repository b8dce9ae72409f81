"""Requests to the servers of checkpoints: the description of a file, its bytes, clear errors.

Of the hub's own library only the address and the metadata of a file are used, so that
``HF_ENDPOINT`` and the hub's conventions hold. Its ``hf_hub_download`` keeps the bytes in a cache
of its own, reports to a progress bar rather than to a callback and cannot be cancelled between two
blocks; so the bytes come by the standard library, the same way for both servers, with the same
resume, proxy settings (``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY``), cancel and messages.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse

from mois_core import __version__
from mois_core.errors import BadInput
from mois_core.weights import registry

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as gone."""
RECORD_LIMIT = 1 << 22
"""Bytes of a record's description that we are ready to read."""
ZENODO = "https://zenodo.org"
ZENODO_VARIABLE = "MOIS_ZENODO_ENDPOINT"
"""A mirror in place of Zenodo, as ``HF_ENDPOINT`` names one in place of the hub."""
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@dataclass(frozen=True)
class RemoteFile:
    """Address, size and checksum of a file as its server describes it."""

    url: str
    size: int
    algorithm: str
    digest: str
    licence: str | None


def refuse_offline(entry: registry.PublishedCheckpoint) -> None:
    """Raise `BadInput` if this computer has been told to stay off the network."""
    for variable in OFFLINE_VARIABLES:
        if os.environ.get(variable, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise BadInput(f"{variable} is set, so nothing is downloaded. {by_hand(entry)}")


def describe(entry: registry.PublishedCheckpoint) -> RemoteFile:
    """Ask the server for the address, size and checksum of a published file."""
    if isinstance(entry.source, registry.Zenodo):
        return _describe_zenodo(entry, entry.source)
    return _describe_hub(entry, entry.source)


def _describe_hub(entry: registry.PublishedCheckpoint, source: registry.HuggingFace) -> RemoteFile:
    # Imported here: it takes a second that 'mois weights list' need not wait for.
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    # The hub's library reads its variable once, when it is imported; a person may set it later.
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    url = hf_hub_url(source.repo, source.file, endpoint=endpoint)
    try:
        # No token: the files are public, and a token would travel along to wherever they are kept.
        told = get_hf_file_metadata(url, token=False, timeout=TIMEOUT)
    except Exception as error:
        # Which library carries the hub's requests, and so what its errors derive from, has changed
        # with every major version.
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise BadInput(_explain(entry, url, status, error)) from error
    sha256 = told.etag if told.etag and re.fullmatch("[0-9a-f]{64}", told.etag) else None
    if entry.sha256 and sha256 not in (None, entry.sha256):
        raise BadInput(
            f"{host(url)} offers another {source.file} (SHA-256 {sha256}) than the one published "
            f"as '{entry.name}' ({entry.sha256}); nothing was downloaded"
        )
    return _verifiable(entry, url, told.size or entry.size, "sha256", sha256 or entry.sha256, None)


def _describe_zenodo(entry: registry.PublishedCheckpoint, source: registry.Zenodo) -> RemoteFile:
    endpoint = os.environ.get(ZENODO_VARIABLE, "").rstrip("/") or ZENODO
    record_url = f"{endpoint}/api/records/{source.record}"
    with open_url(record_url, entry) as response:
        try:
            record = json.loads(response.read(RECORD_LIMIT))
            files = {file["key"]: file for file in record["files"]}
            licence = (record.get("metadata", {}).get("license") or {}).get("id")
        except (OSError, http.client.HTTPException) as error:
            raise BadInput(_explain(entry, record_url, None, error)) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadInput(
                f"{record_url} did not answer with the description of a record; something between "
                f"(the login page of a proxy?) may have. {by_hand(entry)}"
            ) from error
    file = files.get(source.file)
    if file is None:
        raise BadInput(
            f"{source.page} has no file {source.file} any more; it has: {', '.join(files) or '-'}"
        )
    algorithm, _, digest = str(file.get("checksum", "")).partition(":")
    url = f"{record_url}/files/{urllib.parse.quote(source.file)}/content"
    return _verifiable(entry, url, file.get("size"), algorithm, digest, licence)


def _verifiable(
    entry: registry.PublishedCheckpoint,
    url: str,
    size: int | None,
    algorithm: str,
    digest: str | None,
    licence: str | None,
) -> RemoteFile:
    """Return a `RemoteFile`, or raise `BadInput` if a download could not be verified."""
    if not isinstance(size, int) or not digest or algorithm not in ("md5", "sha256"):
        raise BadInput(
            f"{host(url)} does not tell the size and checksum of {entry.source.file}, so a "
            f"download could not be verified. {by_hand(entry)}"
        )
    return RemoteFile(url, size, algorithm, digest.lower(), licence)


def open_url(url: str, entry: registry.PublishedCheckpoint, start: int = 0) -> HTTPResponse:
    """Open an address, from a byte on if the server can: status 206 says that it does.

    Proxies are those of the environment or else of the system.
    """
    headers = {"User-Agent": f"MOISSAM2/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT, context=_certificates())
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return open_url(url, entry)
        raise BadInput(_explain(entry, url, error.code, error)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BadInput(_explain(entry, url, None, getattr(error, "reason", error))) from error


def _certificates() -> ssl.SSLContext:
    """Return certificates that this computer trusts; hospitals add that of their proxy there."""
    try:
        import truststore
    except ImportError:
        return ssl.create_default_context()
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _explain(
    entry: registry.PublishedCheckpoint, url: str, status: int | None, error: object
) -> str:
    """Return what a failed request means to the person who asked for it."""
    where = host(url)
    if status in (401, 403):
        return f"{where} refuses {entry.source.file} ({status}). {by_hand(entry)}"
    if status == 407:
        return (
            "the proxy wants a user name and a password (407): set HTTPS_PROXY to "
            "http://USER:PASSWORD@HOST:PORT"
        )
    if status == 404:
        return (
            f"{where} has no {entry.source.file} at {url} any more (404); see {entry.source.page}"
        )
    if status is not None:
        return f"{where} cannot serve {entry.source.file} just now ({status}); try again later"
    first_line = str(error).strip().partition("\n")[0] or type(error).__name__
    return (
        f"cannot reach {where} ({first_line}). Behind a proxy, set HTTPS_PROXY. Without a network: "
        f"{by_hand(entry)}"
    )


def host(url: str) -> str:
    """Return the host of an address, the part that a person recognises."""
    return urllib.parse.urlsplit(url).hostname or url


def by_hand(entry: registry.PublishedCheckpoint) -> str:
    """Return instructions to get a file with another computer."""
    return (
        f"Get {entry.source.file} from {entry.source.page} on another computer and run "
        f"'mois weights import {entry.source.file} --name {entry.name}'"
    )
