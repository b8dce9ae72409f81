"""Keeps the stored session up to date, beside the work and never in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from MOISSAM2SegmentLib.scene.stored_session import (
    POINTS,
    SEGMENTS,
    TABLE,
    VOLUME,
    StoredSession,
    encode,
)
from MOISSAM2SegmentLib.worker.jobs import Job, Worker

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.state import State


class SessionSaver:
    """Packs one session on a thread of its own and puts the result into its node."""

    def __init__(
        self, worker: Worker, stored: StoredSession, session: Session, owner: object
    ) -> None:
        self.stored: StoredSession | None = stored
        self._worker = worker
        self._session = session
        self._kept: State | None = None
        self._is_packing = False
        self._references: dict[str, Any] = {}
        self._scene = stored.node.GetScene()

    def keep(self) -> None:
        """See to it that the present state is stored soon."""
        if self._is_packing or self._kept is self._session.state:
            return
        self._is_packing = True
        self._worker.submit(Job("Keep", self._pack, self._put, self._failed, owner=self))

    def refer(self, role: str, node: Any) -> None:
        """Say which node has a role from now on."""
        if self.stored is not None:
            self.stored.refer(role, node)
        else:
            self._references[role] = node

    def is_in(self, node: Any) -> bool:
        """Whether the session is stored in this node."""
        return self.stored is not None and self.stored.node is node

    def lose(self) -> None:
        """The node is being removed; another one takes its place with the next state."""
        roles = (VOLUME, SEGMENTS, POINTS, TABLE)
        self._references = {role: self.stored.referenced(role) for role in roles}
        self.stored = None

    def close(self, store: bool) -> None:
        """Stop; with ``store`` the present state is stored now, and waited for."""
        self._worker.abandon(self)
        if store and self._kept is not self._session.state:
            self._put(self._pack())

    def _pack(self, *_: Any) -> tuple[State, str]:
        from mois_core.session.session_file import to_bytes

        # Read first: a step that is finished meanwhile makes this state old, not wrong.
        state = self._session.state
        return state, encode(to_bytes(self._session))

    def _put(self, packed: tuple[State, str]) -> None:
        state, text = packed
        self._is_packing = False
        self._kept = state
        if self.stored is None:
            self.stored = StoredSession.create(self._scene, self._references[VOLUME])
            for role, node in self._references.items():
                if node is not None:
                    self.stored.refer(role, node)
        self.stored.content = text
        self.keep()

    def _failed(self, text: str) -> None:
        self._is_packing = False
