"""Keeping the session that is stored in the scene up to date, without blocking the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from MOISSAM2SegmentLib.scene.stored_session import ROLES, VOLUME, StoredSession, encode
from MOISSAM2SegmentLib.worker.engine import PLACE
from MOISSAM2SegmentLib.worker.jobs import Job, Worker
from MOISSAM2SegmentLib.workspace.step_record import STEPS, StepRecord

if TYPE_CHECKING:
    from mois_core.session import Session
    from mois_core.session.state import State


class SessionSaver:
    """Packs one session on the worker for saving and puts the result into its node."""

    def __init__(
        self, worker: Worker, stored: StoredSession, session: Session, record: StepRecord
    ) -> None:
        self._stored: StoredSession | None = stored
        self._worker = worker
        self._session = session
        self._record = record
        self._saved: State | None = None
        self._is_packing = False
        self._references: dict[str, Any] = {}
        self._scene = stored.node.GetScene()
        self.on_stored: Callable[[State, Any, str], None] = lambda state, node, text: None
        """Called when a state has been stored, with its node and the node's text."""

    def save(self) -> None:
        """Store the present state in the background, if it is not stored yet."""
        if self._is_packing or self._saved is self._session.state:
            return
        self._is_packing = True
        self._worker.submit(Job("Save", self._pack, self._put, self._failed, owner=self))

    def referenced(self, role: str) -> Any:
        """Return the node that has a role; None if there is none."""
        if self._stored is not None:
            return self._stored.referenced(role)
        return self._references.get(role)

    def refer(self, role: str, node: Any) -> None:
        """Refer to a node in a role from now on."""
        if self._stored is not None:
            self._stored.refer(role, node)
        else:
            self._references[role] = node

    def is_in(self, node: Any) -> bool:
        """Return whether the session is stored in this node."""
        return self._stored is not None and self._stored.node is node

    def forget_node(self) -> None:
        """Let go of the node, which is being removed; the next state is stored in a new one."""
        assert self._stored is not None
        self._references = {role: self._stored.referenced(role) for role in ROLES}
        self._stored = None

    def close(self, store: bool) -> None:
        """Stop storing; with ``store`` the present state is stored first, and waited for."""
        self._worker.abandon(self)
        if store and self._saved is not self._session.state:
            self._put(self._pack())

    def _pack(self, *_: Any) -> tuple[State, str]:
        from mois_core.session.session_file import to_bytes

        # Read first: a step that is finished meanwhile makes this state old, not wrong.
        state = self._session.state
        notes = {
            STEPS: self._record.up_to(state),
            PLACE: self._session.volume.ijk_to_ras.tolist(),
        }
        return state, encode(to_bytes(self._session, notes))

    def _put(self, packed: tuple[State, str]) -> None:
        state, text = packed
        self._is_packing = False
        self._saved = state
        if self._stored is None:
            self._stored = StoredSession.create(self._scene, self._references[VOLUME])
            for role, node in self._references.items():
                if node is not None:
                    self._stored.refer(role, node)
        self._stored.content = text
        self.on_stored(state, self._stored.node, text)
        self.save()

    def _failed(self, text: str) -> None:
        self._is_packing = False
