"""Layouts of Slicer's views: one scan, its own plane large; or the same beside an earlier scan.

The views of the scan are Slicer's own (Red, Yellow, Green, 1), so all of its controls stay; those
of the earlier scan are beside them in a comparison only. Slicer knows our
layouts only while it has been told them. A saved scene therefore leaves the layout out while one
of ours is shown: opened where the module is missing, it would have no views at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import vtk

from MOISSAM2SegmentLib.scene.observers import Observers

CLASS = "vtkMRMLLayoutNode"
SCAN, SCAN_AND_TABLE, COMPARISON, COMPARISON_AND_TABLE = 77101, 77102, 77103, 77104
"""Ids of our layouts; Slicer's own end at 100, and extensions use numbers of three digits."""
OURS = (SCAN, SCAN_AND_TABLE, COMPARISON, COMPARISON_AND_TABLE)
FOUR_UP, FOUR_UP_AND_TABLE = 3, 34
_WITH_TABLE = {SCAN: SCAN_AND_TABLE, COMPARISON: COMPARISON_AND_TABLE}
OURS_WITH_TABLE = tuple(_WITH_TABLE.values())

VIEW_OF_AXIS = {"axial": "Red", "sagittal": "Yellow", "coronal": "Green"}
"""The slice view that has an orientation in Slicer's own layouts."""
EARLIER = {axis: f"Earlier{axis.capitalize()}" for axis in VIEW_OF_AXIS}
"""The slice view that shows the earlier scan in an orientation."""

_LABELS = {"Red": ("R", "#F34A33"), "Yellow": ("Y", "#EDD54C"), "Green": ("G", "#6EB04B")}
_THEN, _EARLIER_COLOUR = "then", "#8C8C8C"
_LARGE, _BESIDE = 600, 400
_WIDE, _TALL = 350, 650
_EQUAL = 500
_VIEWS, _TABLE = 700, 300


def layout_description(axis: str, with_table: bool = False) -> str:
    """Return Slicer's XML for the layout in which the view of an axis is large.

    Beside it, a body is wide in the axial view, and tall in all others.
    """
    wide, tall = "axial", [name for name in ("coronal", "sagittal") if name != axis]
    if axis == wide:
        pair = _side_by_side(*map(_slice_view, tall))
        beside = _one_below_another((_TALL, pair), (_WIDE, _view("vtkMRMLViewNode", "1", "1")))
    else:
        pair = _side_by_side(*map(_slice_view, tall), _view("vtkMRMLViewNode", "1", "1"))
        beside = _one_below_another((_WIDE, _slice_view(wide)), (_TALL, pair))
    views = _layout("horizontal", (_LARGE, _slice_view(axis)), (_BESIDE, beside))
    return _described(views, with_table)


def comparison_description(axis: str, with_table: bool = False) -> str:
    """Return Slicer's XML for the layout in which two scans are side by side, the earlier one left.

    Their view of an axis is large, with that of another one below it.
    """
    rows = [
        _side_by_side(_slice_view(one, EARLIER), _slice_view(one)) for one in compared_axes(axis)
    ]
    views = _one_below_another(*zip((_TALL, _WIDE), rows, strict=True))
    return _described(views, with_table)


def compared_axes(axis: str) -> tuple[str, str]:
    """Return the views in which scans are compared, the large one first."""
    return axis, "coronal" if axis == "axial" else "axial"


def _described(views: Element, with_table: bool) -> str:
    if with_table:
        table = _view("vtkMRMLTableViewNode", "TableView1", "T")
        views = _one_below_another((_VIEWS, views), (_TABLE, table))
    return ElementTree.tostring(views, encoding="unicode")


def _side_by_side(*contents: Element) -> Element:
    return _layout("horizontal", *((_EQUAL, content) for content in contents))


def _one_below_another(*contents: tuple[int, Element]) -> Element:
    return _layout("vertical", *contents)


def _layout(direction: str, *contents: tuple[int, Element]) -> Element:
    layout = Element("layout", type=direction, split="true")
    for size, content in contents:
        SubElement(layout, "item", splitSize=str(size)).append(content)
    return layout


def _slice_view(axis: str, tags: Mapping[str, str] = VIEW_OF_AXIS) -> Element:
    label, colour = _LABELS[VIEW_OF_AXIS[axis]]
    if tags is EARLIER:
        label, colour = f"{label} {_THEN}", _EARLIER_COLOUR
    orientation = axis.capitalize()
    return _view("vtkMRMLSliceNode", tags[axis], label, orientation=orientation, viewcolor=colour)


def _view(kind: str, tag: str, label: str, **properties: str) -> Element:
    view = Element("view", {"class": kind, "singletontag": tag})
    for name, value in {**properties, "viewlabel": label}.items():
        SubElement(view, "property", name=name, action="default").text = value
    return view


def layout_node(scene: Any) -> Any:
    """Return Slicer's layout node; None if Slicer runs without a window."""
    return scene.GetSingletonNode(CLASS, CLASS)


def show_layout(layout: Any, number: int) -> None:
    """Show a layout as Slicer's own menu does: a view that is maximized would stay the only one."""
    was_modifying = layout.StartModify()
    layout.RemoveAllMaximizedViewNodes()
    layout.SetViewArrangement(number)
    layout.EndModify(was_modifying)


def leave_unknown_layout(scene: Any) -> None:
    """Show Slicer's four views if it was closed in a layout of ours, which it restores as nothing.

    Called at the start, when Slicer has restored its window.
    """
    layout = layout_node(scene)
    if layout is not None and layout.GetViewArrangement() in OURS:
        show_layout(layout, FOUR_UP)


def table_layout(scene: Any) -> int:
    """Return the layout with a table that suits the one that is shown."""
    layout = layout_node(scene)
    shown = None if layout is None else layout.GetViewArrangement()
    return shown if shown in OURS_WITH_TABLE else _WITH_TABLE.get(shown, FOUR_UP_AND_TABLE)


class ScanLayout:
    """Shows a layout for a scan, or for two, and the reader's own again.

    A layout that the reader chooses in between stays.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._before: int | None = None
        self._observers = Observers()

    @property
    def is_shown(self) -> bool:
        """Whether there is a layout of the reader's own to go back to."""
        return self._before is not None

    def choose(self, axis: str, is_comparison: bool = False) -> None:
        """Show the layout in which the view of this axis is large, if there is a window.

        Another one of ours with the same views is left as it is, such as the one with a table.
        """
        layout = layout_node(self._scene)
        if layout is None:
            return
        before = layout.GetViewArrangement()
        wanted = COMPARISON if is_comparison else SCAN
        was_modifying = layout.StartModify()
        for number in (SCAN, SCAN_AND_TABLE):
            _describe(layout, number, layout_description(axis, number == SCAN_AND_TABLE))
        for number in (COMPARISON, COMPARISON_AND_TABLE):
            description = comparison_description(axis, number == COMPARISON_AND_TABLE)
            _describe(layout, number, description)
        if before not in (wanted, _WITH_TABLE[wanted]):
            show_layout(layout, wanted)
            layout.SaveWithSceneOff()
        layout.EndModify(was_modifying)
        if before not in OURS:
            self._before = before
            self._observers.add(layout, vtk.vtkCommand.ModifiedEvent, self._on_layout)

    def give_back(self) -> None:
        """Show the layout that the reader had, unless another one was chosen since."""
        layout, before = layout_node(self._scene), self._before
        self._forget(layout)
        if layout is not None and before is not None and layout.GetViewArrangement() in OURS:
            show_layout(layout, before)

    def _on_layout(self, layout: Any, event: str) -> None:
        if layout.GetViewArrangement() not in OURS:
            self._forget(layout)

    def _forget(self, layout: Any) -> None:
        if self._before is not None and layout is not None:
            layout.SaveWithSceneOn()
        self._before = None
        self._observers.clear()


def _describe(layout: Any, number: int, description: str) -> None:
    if not layout.AddLayoutDescription(number, description):
        layout.SetLayoutDescription(number, description)
