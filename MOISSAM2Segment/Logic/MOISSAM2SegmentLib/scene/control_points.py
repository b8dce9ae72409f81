"""The Markups list that holds a scan's clicks: reading it whole, and changing single points.

Points are told apart by Markups' own IDs, which stay when others are deleted. Events are no good
for that: inside `NodeModify` they come without saying which point they are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import slicer

from mois_core.io.click_labels import write_click_label

POSITIVE_COLOUR = (0.20, 0.85, 0.55)
NEGATIVE_COLOUR = (1.00, 0.42, 0.10)
"""Bluish green and vermilion, which most colour-blind readers tell apart; the label says it too."""

CLASS = "vtkMRMLMarkupsFiducialNode"


class ControlPoint(NamedTuple):
    """A point that has been placed."""

    id: str
    label: str
    world: np.ndarray


def placed_points(node: Any) -> list[ControlPoint]:
    """All points with a position; what is being placed or was left undefined is not there yet."""
    points = []
    for index in range(node.GetNumberOfControlPoints()):
        if _is_placed(node, index):
            world = np.array(node.GetNthControlPointPositionWorld(index))
            label = node.GetNthControlPointLabel(index)
            points.append(ControlPoint(node.GetNthControlPointID(index), label, world))
    return points


def _is_placed(node: Any, index: int) -> bool:
    status = node.GetNthControlPointPositionStatus(index)
    return status == slicer.vtkMRMLMarkupsNode.PositionDefined


def new_list(scene: Any, name: str) -> Any:
    """A Markups list in which positive and negative clicks have different colours."""
    node = scene.AddNewNodeByClass(CLASS, name)
    node.CreateDefaultDisplayNodes()
    colour_by_kind(node)
    return node


def colour_by_kind(node: Any) -> None:
    """Markups have one colour for selected points and one for the others: ours are selected if
    they are positive."""
    display = node.GetDisplayNode()
    if display is not None:
        display.SetSelectedColor(*POSITIVE_COLOUR)
        display.SetColor(*NEGATIVE_COLOUR)


@contextmanager
def one_change(node: Any) -> Iterator[None]:
    """Let views and observers see several changes as one."""
    was_modifying = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(was_modifying)


def add_point(node: Any, world: np.ndarray, lesion: int, positive: bool) -> str:
    """A new point for a click; gives its ID."""
    index = node.AddControlPointWorld(
        *np.asarray(world).tolist(), write_click_label(lesion, positive)
    )
    node.SetNthControlPointSelected(index, positive)
    return node.GetNthControlPointID(index)


def mark_point(node: Any, point: str, lesion: int, positive: bool) -> None:
    """Label and colour a point as a lesion's click, if it is not so already."""
    index = node.GetNthControlPointIndexByID(point)
    if index < 0:
        return
    label = write_click_label(lesion, positive)
    if node.GetNthControlPointLabel(index) != label:
        node.SetNthControlPointLabel(index, label)
    if bool(node.GetNthControlPointSelected(index)) != positive:
        node.SetNthControlPointSelected(index, positive)


def move_point(node: Any, point: str, world: np.ndarray) -> None:
    """Put a point elsewhere."""
    index = node.GetNthControlPointIndexByID(point)
    if index >= 0:
        node.SetNthControlPointPositionWorld(index, *np.asarray(world).tolist())


def remove_point(node: Any, point: str) -> None:
    """Take a point away; it may be gone already."""
    index = node.GetNthControlPointIndexByID(point)
    if index >= 0:
        node.RemoveNthControlPoint(index)
