"""Reading a Markups list as a whole, and changing single control points of it.

Points are told apart by Markups' own ids, which stay when others are deleted. Events are no good
for that: inside `NodeModify` they come without the index of the point they are about.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import slicer

from mois_core.io.click_labels import write_click_label

POSITIVE_COLOUR = (0.20, 0.85, 0.55)
NEGATIVE_COLOUR = (1.00, 0.42, 0.10)
"""Bluish green and vermilion, which most colour-blind readers tell apart; labels differ too."""

CLASS = "vtkMRMLMarkupsFiducialNode"
GLYPH_SCALE, TEXT_SCALE = 1.5, 2.0
"""Largest size of points and labels, where Slicer's own is 3. In slices a point is 0.2 % of the
screen's diagonal across for each 1 of its scale: 7 pixels on 1920 x 1080. A lesion of 1 cm has 9
where a view shows a whole body."""


class ControlPoint(NamedTuple):
    """A control point that has been placed."""

    id: str
    label: str
    world: np.ndarray
    is_selected: bool


def placed_points(node: Any) -> list[ControlPoint]:
    """Return the points with a position; one that is being placed has none yet."""
    points = []
    for index in range(node.GetNumberOfControlPoints()):
        if _is_placed(node, index):
            world = np.array(node.GetNthControlPointPositionWorld(index))
            label = node.GetNthControlPointLabel(index)
            is_selected = bool(node.GetNthControlPointSelected(index))
            point_id = node.GetNthControlPointID(index)
            points.append(ControlPoint(point_id, label, world, is_selected))
    return points


def _is_placed(node: Any, index: int) -> bool:
    status = node.GetNthControlPointPositionStatus(index)
    return status == slicer.vtkMRMLMarkupsNode.PositionDefined


def new_list(scene: Any, name: str) -> Any:
    """Add a Markups list whose points hide no lesion, and show by their colour what they mean."""
    node = scene.AddNewNodeByClass(CLASS, name)
    node.CreateDefaultDisplayNodes()
    colour_by_kind(node)
    display = node.GetDisplayNode()
    if display is not None:
        display.SetGlyphScale(min(display.GetGlyphScale(), GLYPH_SCALE))
        display.SetTextScale(min(display.GetTextScale(), TEXT_SCALE))
    return node


def colour_by_kind(node: Any) -> None:
    """Give selected points the colour of positive clicks, and the others that of negative ones.

    Markups have one colour for selected points and one for the others; `add_point` and
    `mark_point` select the positive ones.
    """
    display = node.GetDisplayNode()
    if display is not None:
        display.SetSelectedColor(*POSITIVE_COLOUR)
        display.SetColor(*NEGATIVE_COLOUR)


def add_point(node: Any, world: np.ndarray, lesion_id: int, positive: bool) -> str:
    """Add a point for a click and return its id."""
    index = node.AddControlPointWorld(
        *np.asarray(world).tolist(), write_click_label(lesion_id, positive)
    )
    node.SetNthControlPointSelected(index, positive)
    return node.GetNthControlPointID(index)


def mark_point(node: Any, point_id: str, lesion_id: int, positive: bool) -> None:
    """Label and colour a point as a lesion's click, if it is not so already."""
    index = node.GetNthControlPointIndexByID(point_id)
    if index < 0:
        return
    label = write_click_label(lesion_id, positive)
    if node.GetNthControlPointLabel(index) != label:
        node.SetNthControlPointLabel(index, label)
    if bool(node.GetNthControlPointSelected(index)) != positive:
        node.SetNthControlPointSelected(index, positive)


def move_point(node: Any, point_id: str, world: np.ndarray) -> None:
    """Move a point to a place in the world, if it is there."""
    index = node.GetNthControlPointIndexByID(point_id)
    if index >= 0:
        node.SetNthControlPointPositionWorld(index, *np.asarray(world).tolist())


def remove_point(node: Any, point_id: str) -> None:
    """Remove a point, if it is there."""
    index = node.GetNthControlPointIndexByID(point_id)
    if index >= 0:
        node.RemoveNthControlPoint(index)
