"""Undo and redo: every state is a value, so a history is a list of them.

States share what did not change between them, and the history counts what the others keep alive
beyond the present one. Where that is too much, the oldest steps cannot be undone any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State")


class Difference(NamedTuple):
    """Bytes by which two states that follow each other differ."""

    before: int
    """What only the state before keeps alive."""
    after: int
    """What only the state after keeps alive."""


def _unmeasured(before: object, after: object) -> Difference:
    return Difference(0, 0)


@dataclass
class History(Generic[State]):
    """The present state, and the states that undo and redo lead to."""

    present: State
    budget: int | None = None
    """Bytes that states may keep alive beyond the present one; None for any number."""
    measure: Callable[[State, State], Difference] = _unmeasured
    past: list[tuple[str, State]] = field(default_factory=list)
    future: list[tuple[str, State]] = field(default_factory=list)
    nbytes: int = 0
    """Bytes that past and future keep alive beyond the present state."""
    _past_steps: list[Difference] = field(default_factory=list)
    _future_steps: list[Difference] = field(default_factory=list)

    def commit(self, what: str, state: State) -> None:
        """Make a new state the present one; what could be redone is gone."""
        self._forget_future()
        self._take_step(what, self.present, state)

    def amend(self, state: State) -> None:
        """Replace the present state as part of the same step; what could be redone is gone."""
        self._forget_future()
        if self.past:
            self.nbytes -= self._past_steps.pop().before
            self._take_step(*self.past.pop(), state)
        else:
            self.present = state

    def undo(self) -> str | None:
        """Go one step back and return its name; None at the beginning."""
        if not self.past:
            return None
        step = self._past_steps.pop()
        self._future_steps.append(step)
        self.nbytes += step.after - step.before
        return self._move(self.past, self.future)

    def redo(self) -> str | None:
        """Go one step forward and return its name; None at the end."""
        if not self.future:
            return None
        step = self._future_steps.pop()
        self._past_steps.append(step)
        self.nbytes += step.before - step.after
        return self._move(self.future, self.past)

    def _move(self, source: list[tuple[str, State]], target: list[tuple[str, State]]) -> str:
        what, state = source.pop()
        target.append((what, self.present))
        self.present = state
        return what

    def _take_step(self, what: str, before: State, after: State) -> None:
        step = self.measure(before, after)
        self.past.append((what, before))
        self._past_steps.append(step)
        self.nbytes += step.before
        self.present = after
        self._forget_oldest()

    def _forget_future(self) -> None:
        self.nbytes -= sum(step.after for step in self._future_steps)
        self.future.clear()
        self._future_steps.clear()

    def _forget_oldest(self) -> None:
        """Forget steps beyond the budget, but never the last one.

        What that one keeps was there a moment ago, before the step that is now done.
        """
        if self.budget is None:
            return
        count = 0
        while self.nbytes > self.budget and count < len(self.past) - 1:
            self.nbytes -= self._past_steps[count].before
            count += 1
        del self.past[:count], self._past_steps[:count]
