"""How lesions are drawn in slices: filled or as lines only, and hidden for a moment.

What the display node says counts for all segments. Slicer draws each segment's own flags within it,
and takes most of a second to change one of hundreds.
"""

from __future__ import annotations

from typing import Any


def switch_fill(node: Any) -> bool:
    """Draw a segmentation's lesions as lines only, or filled again; return whether filled."""
    display = node.GetDisplayNode()
    if display is None:
        return False
    is_filled = not display.GetVisibility2DFill()
    was_modifying = display.StartModify()
    display.SetVisibility2DFill(is_filled)
    display.SetVisibility2DOutline(True)
    display.EndModify(was_modifying)
    return is_filled


def are_shown(node: Any) -> bool:
    """Return whether a segmentation is drawn at all."""
    display = node.GetDisplayNode()
    return display is None or bool(display.GetVisibility())


def show(node: Any, wanted: bool) -> None:
    """Draw a segmentation, or hide it."""
    display = node.GetDisplayNode()
    if display is not None:
        display.SetVisibility(wanted)
