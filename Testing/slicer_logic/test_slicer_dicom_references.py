"""What Slicer's own DICOM export needs: codes, algorithms, images and the place under the study.

`DICOMSegmentationPlugin.py` (in Slicer from 5.12 on, before in the extension QuantitativeReporting)
reads exactly what `told` reads here, and refuses segments that do not tell it.
"""

from __future__ import annotations

import pytest
import slicer
import vtk
from dicom_scene import put_in_study
from engine_fixtures import FIRST, SECOND
from MOISSAM2SegmentLib.scene.segment_tags import NEUROFIBROMA
from MOISSAM2SegmentLib.workspace.workspace import Workspace
from scans import add_station, paint, place, scan_node, settle, world_of

from mois_core.results.lesion_uids import TAG, lesion_uid

CONSTANTS = slicer.vtkMRMLSubjectHierarchyConstants
IMAGES = " ".join(f"1.2.3.4.{n}" for n in range(12))


def hierarchy(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


@pytest.fixture
def a_dicom_scan(a_scene):
    node = scan_node(a_scene)
    node.study = put_in_study(a_scene, node, IMAGES.split())
    return node


@pytest.fixture
def an_open_workspace(a_workspace, a_dicom_scan):
    a_workspace.start(a_dicom_scan)
    settle(a_workspace)
    return a_workspace


def text_of(segment, tag: str) -> str | None:
    text = vtk.mutable("")
    return str(text) if segment.GetTag(tag, text) else None


def told(workspace) -> dict[str, dict]:
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    segments = {}
    segmentation = workspace.segments_node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        segment, entry = segmentation.GetSegment(segment_id), slicer.vtkSlicerTerminologyEntry()
        tag = text_of(segment, slicer.vtkSegment.GetTerminologyEntryTagName())
        assert logic.DeserializeTerminologyEntry(tag, entry)
        codes = [
            (part.GetCodingSchemeDesignator(), part.GetCodeValue(), part.GetCodeMeaning())
            for part in (entry.GetCategoryObject(), entry.GetTypeObject())
        ]
        segments[segment.GetName()] = {
            "codes": codes,
            "kind": text_of(segment, "DICOM.SegmentAlgorithmType"),
            "by": text_of(segment, "DICOM.SegmentAlgorithmName"),
            "uid": text_of(segment, TAG),
        }
    return segments


def test_each_segment_says_what_it_is_and_how_it_came_about(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    workspace.commands.find_similar()
    settle(workspace)

    segments = told(workspace)
    assert len(segments) == len(workspace.session.lesions) > 2
    for segment in segments.values():
        assert segment["codes"] == [
            ("SCT", "49755003", "Morphologically Altered Structure"),
            ("SCT", "404029005", "Neurofibroma"),
        ]
        assert segment["by"] == "MOISSAM2, network stub"
    kinds = [segment["kind"] for segment in segments.values()]
    assert kinds == ["SEMIAUTOMATIC"] + ["AUTOMATIC"] * (len(kinds) - 1)
    uids = {le.name or f"Lesion {le.id}": lesion_uid(workspace.session.volume, le)
            for le in workspace.session.lesions}  # fmt: skip
    assert {name: segment["uid"] for name, segment in segments.items()} == uids


def test_a_finding_that_is_refined_is_no_automatic_one_any_more(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    workspace.commands.find_similar()
    settle(workspace)
    finding = next(le.id for le in workspace.session.lesions if le.is_finding)
    assert told(workspace)[f"Lesion {finding}"]["kind"] == "AUTOMATIC"

    place(workspace, SECOND, f"{finding}+")
    settle(workspace)
    assert told(workspace)[f"Lesion {finding}"]["kind"] == "SEMIAUTOMATIC"

    workspace.commands.undo()
    settle(workspace)
    assert told(workspace)[f"Lesion {finding}"]["kind"] == "AUTOMATIC"


def test_terminology_that_the_user_chooses_stays(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    chosen = NEUROFIBROMA.replace("404029005^Neurofibroma", "108369006^Neoplasm")
    segment = workspace.segments_node.GetSegmentation().GetNthSegment(0)
    segment.SetTerminology(chosen)

    place(workspace, SECOND)
    paint(workspace, 1, FIRST.where)
    settle(workspace)

    assert segment.GetTerminology() == chosen
    assert told(workspace)["Lesion 2"]["codes"][1][2] == "Neurofibroma"


def test_segments_of_an_earlier_version_tell_it_after_the_next_step(an_open_workspace):
    workspace = an_open_workspace
    place(workspace, FIRST)
    settle(workspace)
    node = workspace.volume_node
    segment = workspace.segments_node.GetSegmentation().GetNthSegment(0)
    workspace.end()
    segment.SetTerminology(slicer.vtkSegment().GetTerminology())
    for tag in ("DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName", TAG):
        segment.RemoveTag(tag)

    workspace.start(node)
    settle(workspace)
    place(workspace, SECOND)
    settle(workspace)

    first = told(workspace)["Lesion 1"]
    assert first["codes"][1][2] == "Neurofibroma" and first["kind"] == "SEMIAUTOMATIC"
    assert first["uid"] == lesion_uid(workspace.session.volume, workspace.session.lesion(1))


def test_a_segment_of_the_users_own_is_left_as_it_is(an_editor):
    segmentation = an_editor.node.GetSegmentation()
    before = segmentation.GetNthSegment(0).GetTerminology()
    an_editor.click(world_of(an_editor.workspace, *FIRST.middle))
    settle(an_editor.workspace)

    segment = segmentation.GetNthSegment(0)
    assert segment.GetTerminology() == before
    assert text_of(segment, "DICOM.SegmentAlgorithmType") is None


def test_segments_lie_under_the_study_of_the_scan_and_refer_to_its_images(an_open_workspace):
    node, scan = an_open_workspace.segments_node, an_open_workspace.volume_node
    tree = hierarchy(scan.GetScene())
    item = tree.GetItemByDataNode(node)
    assert tree.GetItemParent(item) == scan.study
    assert tree.GetItemAncestorAtLevel(item, CONSTANTS.GetDICOMLevelStudy()) == scan.study
    assert tree.GetItemAttribute(item, "DICOM.ReferencedInstanceUIDs").split() == IMAGES.split()
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is scan


def test_a_scan_of_another_file_has_its_segments_beside_it(a_scene, a_workspace):
    tree = hierarchy(a_scene)
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "my scans")
    scan = scan_node(a_scene)
    tree.CreateItem(folder, scan)
    a_workspace.start(scan)
    settle(a_workspace)
    item = tree.GetItemByDataNode(a_workspace.segments_node)
    assert tree.GetItemParent(item) == folder
    assert tree.GetItemAttribute(item, "DICOM.ReferencedInstanceUIDs") == ""


def test_joined_stations_have_their_segments_under_the_study_too(a_scene, an_engine):
    stations = [add_station(a_scene, number) for number in (0, 1)]
    study = [put_in_study(a_scene, station, IMAGES.split()) for station in stations][0]
    workspace = Workspace(a_scene, an_engine)
    joined = []
    workspace.stations.join(stations, joined.append)
    settle(workspace)
    workspace.start(joined[0])
    settle(workspace)
    tree = hierarchy(a_scene)
    item = tree.GetItemByDataNode(workspace.segments_node)
    assert tree.GetItemAncestorAtLevel(item, CONSTANTS.GetDICOMLevelStudy()) == study
    workspace.close()
