"""A session kept in the scene, so that it is saved and opened with everything else.

A text node is the one node made for content of our own that every way of saving a scene writes:
beyond 256 characters it gets a file of its own, in a bundle too. It holds the session's file as
base64. Slicer tells nobody that it is about to save, so what is in the node has to be up to date
at all times. The node also says, by references that Slicer keeps right, which scan, segments and
points belong together. It is not hidden: Slicer versions differ in whether they save what is.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from mois_core.errors import BadInput

CLASS = "vtkMRMLTextNode"
KIND_KEY, KIND = "MOISSAM2.Kind", "session 1"
VOLUME, SEGMENTS, POINTS, TABLE = (
    f"MOISSAM2.{role}" for role in ("volume", "segments", "points", "table")
)

# A multiple of 3, so that the pieces' encodings can be joined. The interpreter lets other
# threads run between pieces; in one go a large session would hold up the whole program.
_PIECE = 3 * 2**18

DAMAGED = "The work that is stored in this scene is damaged and cannot be continued."


def encode(content: bytes) -> str:
    """Bytes as the text of a node. Made for the worker thread."""
    pieces = range(0, len(content), _PIECE)
    encoded = (binascii.b2a_base64(content[n : n + _PIECE], newline=False) for n in pieces)
    return b"".join(encoded).decode("ascii")


def decode(text: str) -> bytes:
    """What `encode` made a text of."""
    step = _PIECE // 3 * 4
    try:
        encoded = text.strip().encode("ascii")
        pieces = range(0, len(encoded), step)
        return b"".join(b64decode(encoded[n : n + step], validate=True) for n in pieces)
    except ValueError as error:
        raise BadInput(DAMAGED) from error


class StoredSession:
    """The text node that stands for one scan's session."""

    def __init__(self, node: Any) -> None:
        self.node = node

    @classmethod
    def create(cls, scene: Any, volume_node: Any) -> StoredSession:
        """A node without content for a scan."""
        node = scene.AddNewNodeByClass(CLASS, f"{volume_node.GetName()} MOISSAM2 session")
        node.SetAttribute(KIND_KEY, KIND)
        node.SetNodeReferenceID(VOLUME, volume_node.GetID())
        return cls(node)

    @property
    def content(self) -> str:
        """The encoded session; empty if nothing was stored yet."""
        return self.node.GetText() or ""

    @content.setter
    def content(self, text: str) -> None:
        self.node.SetText(text)

    def referenced(self, role: str) -> Any:
        """The node in a role (`VOLUME`, `SEGMENTS`, `POINTS`, `TABLE`), or None."""
        return self.node.GetNodeReference(role)

    def refer(self, role: str, node: Any) -> None:
        """Say which node has a role."""
        self.node.SetNodeReferenceID(role, node.GetID())


def stored_sessions(scene: Any) -> Iterator[StoredSession]:
    """All sessions in a scene."""
    for index in range(scene.GetNumberOfNodesByClass(CLASS)):
        node = scene.GetNthNodeByClass(index, CLASS)
        if node.GetAttribute(KIND_KEY) == KIND:
            yield StoredSession(node)


def stored_session_of(scene: Any, volume_node: Any) -> StoredSession | None:
    """The session on a scan, if the scene has one."""
    for stored in stored_sessions(scene):
        if stored.referenced(VOLUME) is volume_node:
            return stored
    return None
