"""VTK observers that are removed with their owner.

VTK keeps its callbacks alive. Each of ours therefore refers to its owner only weakly: an owner that
is dropped is collected, and its observers call nothing any more. A callback also captures no node,
because a closure that holds the node it observes crashes Slicer when both are collected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

import vtk

Callback = Callable[[Any, str], None]


class Observers:
    """The VTK observers of one owner."""

    def __init__(self) -> None:
        self._tags: list[tuple[Any, int]] = []

    def add(self, observed: Any, event: int, method: Callback, priority: float = 0.0) -> int:
        """Have a bound method called as ``method(caller, event)``; return the observer's tag."""
        tag = observed.AddObserver(event, _weakly(method), priority)
        self._tags.append((observed, tag))
        return tag

    def add_with_object(self, observed: Any, event: int, method: Callable[..., None]) -> None:
        """Have a bound method called as ``method(caller, event, object)``.

        For events that VTK sends with an object, such as the node that is being removed.
        """
        forward = _weakly(method)
        forward.CallDataType = vtk.VTK_OBJECT
        self._tags.append((observed, observed.AddObserver(event, forward)))

    def remove(self, observed: Any) -> None:
        """Stop observing one object."""
        for owner, tag in self._tags:
            if owner is observed:
                owner.RemoveObserver(tag)
        self._tags = [pair for pair in self._tags if pair[0] is not observed]

    def clear(self) -> None:
        """Stop observing all objects."""
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._tags.clear()

    def __len__(self) -> int:
        return len(self._tags)


def _weakly(method: Callable[..., None]) -> Callable[..., None]:
    reference = WeakMethod(method)

    def forward(caller: Any, event: str, data: Any = None) -> None:
        target = reference()
        if target is None:
            return
        if data is None:
            target(caller, event)
        else:
            target(caller, event, data)

    return forward
