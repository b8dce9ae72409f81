"""Where nodes lie in the tree of the module Data: under which folder, study and patient."""

from __future__ import annotations

from typing import Any

import slicer


def parent_of(node: Any) -> int:
    """Return the item that a node lies in; 0 if it is in none."""
    hierarchy, item = _found(node)
    return hierarchy.GetItemParent(item) if item else 0


def study_of(node: Any) -> int | None:
    """Return the item of the DICOM study that a node belongs to, or None."""
    hierarchy, item = _found(node)
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    return (hierarchy.GetItemAncestorAtLevel(item, level) or None) if item else None


def put_beside(node: Any, other: Any) -> int:
    """Put a node where another one lies, such as under its study; return the node's item."""
    hierarchy, _ = _found(node)
    # Where the node has an item already, this moves it.
    return hierarchy.CreateItem(parent_of(other) or hierarchy.GetSceneItemID(), node)


def refer_to_instances(node: Any, uids: str) -> None:
    """Note which DICOM images a node was made of, separated by blanks as Slicer has them."""
    hierarchy, item = _found(node)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMReferencedInstanceUIDsAttributeName()
    hierarchy.SetItemAttribute(item, name, uids)


def _found(node: Any) -> tuple[Any, int]:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    return hierarchy, hierarchy.GetItemByDataNode(node)
