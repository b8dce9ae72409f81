"""Volumes of a scene as stations of one whole-body scan, and the node of that scan."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import slicer

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.dicom_scan import note_stations
from MOISSAM2SegmentLib.scene.subject_hierarchy import parent_of, put_beside, study_of
from MOISSAM2SegmentLib.scene.transforms import (
    linear_between,
    numpy_to_matrix,
    right_handed,
    view_of,
)

if TYPE_CHECKING:
    from mois_core.io.compose_stations import ComposedVolume

SCAN = "vtkMRMLScalarVolumeNode"
SEAMS = "MOISSAM2.SeamsMm"
"""Attribute of a composed scan: where its seams lie (S, in mm), from the head down."""

COMPOSED = _("{name} (composed)")
NOT_LINEAR = _(
    "{name} is under a transform that bends it. Harden the transform in the module Data, or take "
    "the volume out of it, and try again."
)
OTHER_STUDY = _("{first} and {other} belong to different studies and cannot be joined.")


def station_volumes(nodes: Sequence[Any]) -> list[Volume]:
    """Return volumes where they lie in the world, with the nodes' own voxels.

    Raises `BadInput` if they cannot be stations of one scan, as far as nodes tell.
    """
    studies = {node: study_of(node) for node in nodes}
    for node in nodes[1:]:
        if None not in (studies[nodes[0]], studies[node]) and studies[nodes[0]] != studies[node]:
            names = {"first": nodes[0].GetName(), "other": node.GetName()}
            raise BadInput(OTHER_STUDY.format(**names))
    return [_in_world(node) for node in nodes]


def certain_stations(scene: Any) -> list[Any]:
    """Return the volumes of a scene that certainly are stations of one scan; none without any.

    They lie in one place of the subject hierarchy, have as many slices and the same name but for
    numbers, and follow one another. Where several scans do, nothing is certain.
    """
    from mois_core.io.compose_stations import plan_stations

    groups: dict[tuple, list[Any]] = defaultdict(list)
    for node in scalar_volumes(scene):
        if node.GetAttribute(SEAMS) is None and node.GetImageData() is not None:
            slices = int(min(node.GetImageData().GetDimensions()))
            name = re.sub(r"\d+", "", node.GetName()).casefold()
            groups[parent_of(node), name, slices].append(node)
    found = []
    for nodes in groups.values():
        if len(nodes) > 1:
            try:
                plan_stations(station_volumes(nodes), [node.GetName() for node in nodes])
            except BadInput:
                continue
            found.append(nodes)
    return found[0] if len(found) == 1 else []


def scalar_volumes(scene: Any) -> list[Any]:
    """Return the volumes that can be scans, which label maps cannot, in the scene's order."""
    nodes = slicer.util.getNodesByClass(SCAN, scene)
    return [n for n in nodes if n.GetClassName() == SCAN and not n.GetHideFromEditors()]


def add_composed(scene: Any, sources: Sequence[Any], volume: ComposedVolume) -> Any:
    """Add the scan that stations make beside the uppermost of them, and return its node.

    It lies in the world as they do, under no transform. ``sources`` begin with the uppermost.
    """
    composed = right_handed(volume)
    name = scene.GenerateUniqueName(COMPOSED.format(name=sources[0].GetName()))
    node = scene.AddNewNodeByClass(SCAN, name)
    slicer.util.updateVolumeFromArray(node, composed.array)
    node.SetIJKToRASMatrix(numpy_to_matrix(composed.ijk_to_ras))
    node.SetAttribute(SEAMS, " ".join(f"{mm:g}" for mm in volume.seams_mm))
    node.SetDescription(volume.note)
    node.CreateDefaultDisplayNodes()
    put_beside(node, sources[0])
    note_stations(node, sources)
    return node


def _in_world(node: Any) -> Volume:
    matrix = linear_between(node.GetParentTransformNode(), None)
    if matrix is None:
        raise BadInput(NOT_LINEAR.format(name=node.GetName()))
    volume = view_of(node)
    return Volume(volume.array, matrix @ volume.ijk_to_ras)
