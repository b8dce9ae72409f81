"""Scans in the scene as Slicer's module DICOM loads them, with Slicer's own reader.

What is done here is what `DICOMScalarVolumePlugin.py` and `DICOMPlugin.py` do in 5.10 and 5.12.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import slicer
import vtk


class Database:
    """The part of ctkDICOMDatabase that is used, as it is in both: `isOpen` is a property, and an
    image that is not known has no file."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.isOpen = True

    def add(self, files: Sequence[Path]) -> None:
        for file in files:
            self.files[str(pydicom.dcmread(file).SOPInstanceUID)] = str(file)

    def fileForInstance(self, sopInstanceUID: str) -> str:  # noqa: N802 - CTK's name
        assert isinstance(sopInstanceUID, str)
        return self.files.get(sopInstanceUID, "")

    def instanceForFile(self, fileName: str) -> str:  # noqa: N802 - CTK's name
        return next((uid for uid, file in self.files.items() if file == fileName), "")


def load_series(scene: Any, database: Database, files: Sequence[Path], name: str = "scan") -> Any:
    """Import files into the database and load them as one volume."""
    database.add(files)
    paths = [str(file) for file in _sorted(files)]
    reader = slicer.vtkITKArchetypeImageSeriesScalarReader()
    reader.SetArchetype(paths[0])
    for path in paths:
        reader.AddFileName(path)
    reader.SetSingleFile(0)
    reader.SetOutputScalarTypeToNative()
    reader.SetDesiredCoordinateOrientationToNative()
    reader.SetUseNativeOriginOn()
    reader.SetDICOMImageIOApproachToGDCM()
    reader.Update()
    plain = vtk.vtkImageChangeInformation()
    plain.SetInputConnection(reader.GetOutputPort())
    plain.SetOutputSpacing(1, 1, 1)
    plain.SetOutputOrigin(0, 0, 0)
    plain.Update()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetAndObserveImageData(plain.GetOutputDataObject(0))
    node.SetRASToIJKMatrix(reader.GetRasToIjkMatrix())
    node.CreateDefaultDisplayNodes()
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    if not slicer.vtkMRMLVolumeNode.IsIJKCoordinateSystemRightHanded(matrix):
        slicer.vtkMRMLVolumeNode.ReverseSliceOrder(node.GetImageData(), matrix)
        node.SetIJKToRASMatrix(matrix)
        paths.reverse()
    header = pydicom.dcmread(paths[0])
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in paths]
    put_in_study(scene, node, uids, header.StudyInstanceUID, header.SeriesInstanceUID)
    return node


def put_in_study(
    scene: Any, node: Any, uids: Sequence[str], study: str = "1.2.826.1", series: str = "1.2.3.4"
) -> int:
    """Put a scan under its study as one from the database, and return the study's item."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    tree.SetItemUID(tree.CreateItem(tree.GetSceneItemID(), node), "DICOM", series)
    insert = slicer.vtkSlicerSubjectHierarchyModuleLogic.InsertDicomSeriesInHierarchy
    insert(tree, "patient", study, series)
    node.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    return tree.GetItemByUID("DICOM", study)


def _sorted(files: Sequence[Path]) -> list[Path]:
    """Sort the files of a series along the normal of their slices, as Slicer does."""
    headers = {file: pydicom.dcmread(file) for file in files}
    if len(files) == 1:
        return list(files)
    axes = np.array(headers[files[0]].ImageOrientationPatient, dtype=float)
    normal = np.cross(axes[:3], axes[3:])
    places = {f: np.array(h.ImagePositionPatient, dtype=float) for f, h in headers.items()}
    return sorted(files, key=lambda file: float(places[file] @ normal))
