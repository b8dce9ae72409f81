"""A patient's two visits in the scene: phantoms, the earlier lesions as segments, some found again.

The registration is made once for all tests; the one test that times it makes its own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import slicer
from follow_up_visits import SEED, SMALL
from MOISSAM2SegmentLib.scene.transforms import right_handed
from scans import settle, volume_node

import mois_core.followup.course  # noqa: F401  imported first, it keeps the real registration
from mois_core.followup import registration
from mois_core.followup.registration import Registration, register
from mois_core.geometry import Volume
from mois_core.phantom import make_follow_up, make_phantom

LEFT_OUT = 3
"""How many lesions of the later scan are not outlined at first."""


@cache
def visits() -> tuple[Any, Any]:
    """Return the phantoms of two visits."""
    first = make_phantom(SEED, **SMALL)
    return first, make_follow_up(first, 1, posture=0.7)[0]


@cache
def made_registration() -> Registration:
    """Return how the first visit's scan lies on the second one's."""
    first, second = (right_handed(Volume(v.scan, v.ijk_to_ras)) for v in visits())
    return register(first, second)


def register_once(monkeypatch) -> list[int]:
    """Have scans registered by what is known already; return a list that counts the times."""
    times: list[int] = []

    def known(earlier: Volume, later: Volume, progress: Any, cancel: Any) -> Registration:
        times.append(1)
        cancel.check()
        progress(0, 3, "Registering: position")
        return made_registration()

    monkeypatch.setattr(registration, "register", known)
    return times


def scan_of_visit(scene: Any, visit: int, name: str = "") -> Any:
    """Add the scan of the first (0) or the second visit (1)."""
    phantom = visits()[visit]
    volume = right_handed(Volume(phantom.scan, phantom.ijk_to_ras))
    return volume_node(scene, volume.array, volume.ijk_to_ras, name or ("earlier", "now")[visit])


def labels_of_visit(visit: int) -> np.ndarray:
    """Return the true lesions of a visit in the order of its scan's node."""
    phantom = visits()[visit]
    return right_handed(Volume(phantom.instances, phantom.ijk_to_ras)).array


def segments_of(scene: Any, scan: Any, labels: np.ndarray, name: str = "earlier lesions") -> Any:
    """Add a segmentation of label values on a scan, as Slicer makes it of a label map."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    label_map = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(label_map, labels.astype(np.int16))
    label_map.CopyOrientation(scan)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.ImportLabelmapToSegmentationNode(label_map, node)
    scene.RemoveNode(label_map)
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        segment.SetName(f"Tumour {segment.GetLabelValue()}")
    return node


def outline_again(workspace: Any) -> list[int]:
    """Outline most lesions of the open second scan, as their truth is; return those left out.

    All those that are left out were there before.
    """
    labels = labels_of_visit(1).copy()
    before = set(np.unique(labels_of_visit(0)).tolist())
    there = [value for value in np.unique(labels)[1:].tolist() if value in before]
    left_out = there[-LEFT_OUT:]
    labels[np.isin(labels, left_out)] = 0
    workspace.work.run("Outline", lambda session, *_: session.add_lesions(labels))
    settle(workspace)
    return left_out


class Reader:
    """Somebody who works on the second visit's scan, with the first one's in the scene."""

    def __init__(self, workspace, scene) -> None:
        self.workspace, self.scene = workspace, scene
        self.earlier = scan_of_visit(scene, 0)
        self.segments = segments_of(scene, self.earlier, labels_of_visit(0))
        self.scan = scan_of_visit(scene, 1)
        workspace.start(self.scan)
        settle(workspace)
        self.left_out = outline_again(workspace)

    @property
    def comparison(self):
        return self.workspace.comparison

    def compare(self, **how):
        self.comparison.compare(self.earlier, self.segments, **how)
        settle(self.workspace)
        return self.comparison.result

    def rows(self) -> dict:
        return {row.lesion: row for row in self.comparison.result.changes}


def composite(view):
    return slicer.vtkMRMLSliceLogic.GetSliceCompositeNode(view)


def picture_of(reader) -> dict:
    """Everything about the reader's nodes and views that a comparison touches."""
    nodes = (reader.earlier, reader.segments)
    displays = (reader.segments, reader.workspace.segments_node, reader.workspace.points_node)
    slices = [reader.scene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in ("Red", "Green")]
    composites = [composite(view) for view in slices if view is not None]
    return {
        "transforms": [node.GetTransformNodeID() for node in nodes],
        "displays": [node.GetNumberOfDisplayNodes() for node in displays],
        "seen": [node.GetDisplayNode().GetVisibility() for node in displays],
        "views": [tuple(node.GetDisplayNode().GetViewNodeIDs()) for node in displays],
        "linked": [(c.GetLinkedControl(), c.GetHotLinkedControl()) for c in composites if c],
        "transform nodes": reader.scene.GetNumberOfNodesByClass("vtkMRMLTransformNode"),
        "colours": [
            reader.segments.GetSegmentation().GetSegment(one).GetColor()
            for one in reader.segments.GetSegmentation().GetSegmentIDs()
        ],
    }
