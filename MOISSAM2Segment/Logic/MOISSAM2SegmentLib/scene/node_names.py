"""Names of nodes in messages, where several nodes may have the same one."""

from __future__ import annotations

from typing import Any

from MOISSAM2SegmentLib.messages import tr as _

ONE_OF_MANY = _("{name} (number {place} of {count} with this name)")


def told_apart(node: Any) -> str:
    """Return a node's name, and which one it is where the scene has others of this name.

    They are counted in the order in which Slicer lists them.
    """
    name, scene, kind = node.GetName(), node.GetScene(), node.GetClassName()
    nodes = [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
    same = [other for other in nodes if other.GetName() == name]
    if len(same) < 2:
        return name
    return ONE_OF_MANY.format(name=name, place=same.index(node) + 1, count=len(same))
