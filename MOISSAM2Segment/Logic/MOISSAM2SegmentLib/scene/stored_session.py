"""Sessions stored in the scene, so that they are saved and opened with everything else.

A text node is the one node for content of our own that every way of saving a scene writes: beyond
256 characters it gets a file of its own, in a bundle too. It holds the session's file as base64.
There is no event before Slicer saves a scene, so the node has to be up to date at all times. It
also holds references, which Slicer keeps right, to the scan, segments and points that belong
together. It is not hidden: Slicer versions differ in whether they save hidden nodes.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _

CLASS = "vtkMRMLTextNode"
KIND_KEY, KIND = "MOISSAM2.Kind", "session 1"
VOLUME, SEGMENTS, POINTS, TABLE, COMPARISON_TABLE = ROLES = tuple(
    f"MOISSAM2.{role}" for role in ("volume", "segments", "points", "table", "comparison")
)

# A multiple of 3, so that the encodings of blocks can be joined. The interpreter lets other
# threads run between blocks; in one go a large session would hold up the whole program.
_BLOCK = 3 * 2**18

DAMAGED = _("The work that is stored in this scene is damaged and cannot be continued.")


def encode(content: bytes) -> str:
    """Return bytes as the text of a node. Runs on the worker."""
    starts = range(0, len(content), _BLOCK)
    encoded = (binascii.b2a_base64(content[n : n + _BLOCK], newline=False) for n in starts)
    return b"".join(encoded).decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes that `encode` made a text of; `BadInput` if the text is damaged."""
    step = _BLOCK // 3 * 4
    try:
        encoded = text.strip().encode("ascii")
        starts = range(0, len(encoded), step)
        return b"".join(b64decode(encoded[n : n + step], validate=True) for n in starts)
    except ValueError as error:
        raise BadInput(DAMAGED) from error


class StoredSession:
    """The text node that holds one scan's session."""

    def __init__(self, node: Any) -> None:
        self.node = node

    @classmethod
    def create(cls, scene: Any, volume_node: Any) -> StoredSession:
        """Add a node without content for a scan."""
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
        """Return the node in one of the `ROLES`, or None."""
        return self.node.GetNodeReference(role)

    def refer(self, role: str, node: Any) -> None:
        """Refer to a node in a role from now on."""
        self.node.SetNodeReferenceID(role, node.GetID())


def stored_sessions(scene: Any) -> Iterator[StoredSession]:
    """Yield all sessions that are stored in a scene."""
    for index in range(scene.GetNumberOfNodesByClass(CLASS)):
        node = scene.GetNthNodeByClass(index, CLASS)
        if node.GetAttribute(KIND_KEY) == KIND:
            yield StoredSession(node)


def stored_session_of(scene: Any, volume_node: Any) -> StoredSession | None:
    """Return the stored session of a scan; None if the scene has none."""
    for stored in stored_sessions(scene):
        if stored.referenced(VOLUME) is volume_node:
            return stored
    return None
