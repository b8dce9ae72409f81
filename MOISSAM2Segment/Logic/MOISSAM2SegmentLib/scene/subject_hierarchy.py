"""Where nodes lie in the tree of the module Data: under which folder, study and patient."""

from __future__ import annotations

from datetime import date, datetime
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


def patient_of(node: Any) -> str | None:
    """Return the ID of the DICOM patient that a node belongs to, only to be compared, or None."""
    names = slicer.vtkMRMLSubjectHierarchyConstants
    return _above(node, names.GetDICOMLevelPatient(), names.GetDICOMPatientIDAttributeName())


def study_day(node: Any) -> date | None:
    """Return the day of the DICOM study that a node belongs to, or None."""
    names = slicer.vtkMRMLSubjectHierarchyConstants
    text = _above(node, names.GetDICOMLevelStudy(), names.GetDICOMStudyDateAttributeName())
    try:
        return datetime.strptime(text or "", "%Y%m%d").date()
    except ValueError:
        return None


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


def _above(node: Any, level: str, attribute: str) -> str | None:
    """Return what is noted with the patient or the study that a node lies under, or None."""
    hierarchy, item = _found(node)
    above = hierarchy.GetItemAncestorAtLevel(item, level) if item else 0
    return hierarchy.GetItemAttribute(above, attribute).strip() or None if above else None


def _found(node: Any) -> tuple[Any, int]:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    return hierarchy, hierarchy.GetItemByDataNode(node)
