"""What is remembered: in the scene what belongs to a scan, on the computer what belongs to it."""

from __future__ import annotations

from typing import Annotated, Any

import qt
from slicer import (
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

PREFIX = "MOISSAM2Segment"


@parameterNodeWrapper
class Parameters:
    """The choices that are saved with the scene."""

    scan: vtkMRMLScalarVolumeNode
    inside: vtkMRMLMarkupsROINode
    outside: vtkMRMLMarkupsROINode
    example: vtkMRMLSegmentationNode
    exampleScan: vtkMRMLScalarVolumeNode
    window: Annotated[int, WithinRange(0, 50)] = 3
    smallest: Annotated[float, WithinRange(0.0, 100.0)] = 0.1
    exemplars: Annotated[int, WithinRange(1, 100)] = 10


def remembered(key: str, otherwise: str = "") -> str:
    """A choice of this computer; Qt gives all of them back as text."""
    return str(qt.QSettings().value(f"{PREFIX}/{key}", otherwise) or otherwise)


def remember(key: str, value: Any) -> None:
    """Keep a choice for the next time on this computer."""
    qt.QSettings().setValue(f"{PREFIX}/{key}", str(value))
