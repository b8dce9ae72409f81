"""The module's parameters in the scene, and the widgets that show them."""

from __future__ import annotations

from typing import Annotated, Any

from slicer import (
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

EARLIER_NAMES = {"window": "propagationSlices"}
"""Present names of parameters, by the names in scenes that earlier versions saved."""


@parameterNodeWrapper
class Parameters:
    """The choices that are saved with the scene; the .ui file names the widget of each."""

    scan: vtkMRMLScalarVolumeNode
    inside: vtkMRMLMarkupsROINode
    outside: vtkMRMLMarkupsROINode
    example: vtkMRMLSegmentationNode
    exampleScan: vtkMRMLScalarVolumeNode
    earlierScan: vtkMRMLScalarVolumeNode
    earlierLesions: vtkMRMLSegmentationNode
    agreement: Annotated[float, WithinRange(0.05, 1.0)] = 0.63
    propagationSlices: Annotated[int, WithinRange(-1, 50)] = -1
    smallest: Annotated[float, WithinRange(0.0, 100.0)] = 0.1
    exemplars: Annotated[int, WithinRange(1, 100)] = 10


def read_parameters(logic: Any) -> Parameters:
    """Return the parameters of the scene, those of a scene of an earlier version included."""
    node = logic.getParameterNode()
    for saved in logic.getAllParameterNodes():
        for earlier, name in EARLIER_NAMES.items():
            # Wherever an earlier name is, it came with a scene: present versions write none. The
            # present name may be there as well, with the default value, because a wrapper of
            # Slicer's writes that as soon as a scene is read.
            if saved.HasParameter(earlier):
                node.SetParameter(name, saved.GetParameter(earlier))
                saved.UnsetParameter(earlier)
    return Parameters(node)


def connect_widgets(parameters: Parameters, ui: Any) -> int:
    """Let widgets show parameters and change them; return the tag for `disconnectGui`.

    Slicer's `connectGui` does the same, but many versions of it return no tag, so that widgets stay
    connected for ever.
    """
    named = {widget.property("SlicerParameterName"): widget for widget in vars(ui).values()}
    return parameters.connectParametersToGui({name: named[name] for name in named if name})
