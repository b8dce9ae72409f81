"""The grey values in which a scan is shown."""

from __future__ import annotations

from typing import Any


def show_grey_window(volume_node: Any, low: float, high: float) -> None:
    """Show these grey values of a scan as black and white, unless the reader has chosen others.

    By default Slicer takes percentiles of all voxels, most of which are air around the body.
    """
    display = volume_node.GetDisplayNode()
    if display is None or not display.GetAutoWindowLevel():
        return
    was_modifying = display.StartModify()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(low, high)
    display.EndModify(was_modifying)
