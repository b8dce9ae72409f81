"""Session files with other content than the program wrote."""

from __future__ import annotations

import io
import json
import zipfile


def document_of(content: bytes) -> dict:
    """Return what a session file says in words."""
    return json.loads(zipfile.ZipFile(io.BytesIO(content)).read("session.json"))


def with_document(content: bytes, document: dict) -> bytes:
    """Return the file with another document."""
    return rewritten(content, session=json.dumps(document).encode())


def rewritten(content: bytes, **changed: bytes | None) -> bytes:
    """Return the file with some entries replaced (None takes one out)."""
    copy = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            entry = changed.get(name.split(".")[0], old.read(name))
            if entry is not None:
                new.writestr(name, entry)
    return copy.getvalue()
