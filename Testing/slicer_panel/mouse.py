"""Where the mouse goes in slice views: around a lesion, or along it."""

from __future__ import annotations

from typing import Any

import slicer
from engine_fixtures import Block
from scans import world_of


def view_of(tag: str, middle: Any) -> Any:
    """Return the widget of a view that shows a place."""
    slicer.app.processEvents()
    widget = slicer.app.layoutManager().sliceWidget(tag)
    node = widget.mrmlSliceNode()
    node.SetFieldOfView(60, 60 * node.GetDimensions()[1] / node.GetDimensions()[0], 1)
    node.JumpSliceByCentering(*middle)
    node.UpdateMatrices()
    return widget


def corners(user: Any, block: Block) -> list:
    """Return opposite corners of a box around a lesion, on its middle slice, in the world."""
    n = block.middle[0]
    (top, bottom), (left, right) = block.rows, block.columns
    ends = [(top - 1, left - 1), (bottom, right)]
    return [world_of(user.workspace, n, row, column) for row, column in ends]


def along(user: Any, block: Block, row: int | None = None) -> list:
    """Return places along a row of a lesion, by default its middle one, in the world."""
    n, middle, _ = block.middle
    columns = range(block.columns[0], block.columns[1])
    return [world_of(user.workspace, n, middle if row is None else row, c) for c in columns]
