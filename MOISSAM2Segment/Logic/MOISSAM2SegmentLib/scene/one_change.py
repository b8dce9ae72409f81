"""Several changes of a node that views and observers see as one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_change(node: Any) -> Iterator[None]:
    """Hold a node's events back until a block ends."""
    was_modifying = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(was_modifying)
