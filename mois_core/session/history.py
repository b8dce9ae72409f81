"""Undo and redo without limit: every state is a value, so a history is a list of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

State = TypeVar("State")


@dataclass
class History(Generic[State]):
    """The present state, and the states that undo and redo lead to."""

    present: State
    past: list[tuple[str, State]] = field(default_factory=list)
    future: list[tuple[str, State]] = field(default_factory=list)

    def commit(self, what: str, state: State) -> None:
        """Make a new state the present one; what could be redone is gone."""
        self.past.append((what, self.present))
        self.future.clear()
        self.present = state

    def amend(self, state: State) -> None:
        """Replace the present state as part of the same step; what could be redone is gone."""
        self.future.clear()
        self.present = state

    def undo(self) -> str | None:
        """Go one step back and return its name; None at the beginning."""
        return self._move(self.past, self.future)

    def redo(self) -> str | None:
        """Go one step forward and return its name; None at the end."""
        return self._move(self.future, self.past)

    def _move(self, source: list[tuple[str, State]], target: list[tuple[str, State]]) -> str | None:
        if not source:
            return None
        what, state = source.pop()
        target.append((what, self.present))
        self.present = state
        return what
