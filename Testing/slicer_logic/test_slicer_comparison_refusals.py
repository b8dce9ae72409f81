"""Scans and lesions that cannot be compared: it is said why, and nothing is changed."""

from __future__ import annotations

import json

import slicer
from compared_scans import labels_of_visit, picture_of, scan_of_visit, segments_of
from scans import linear_transform, settle

from mois_core.errors import BadInput


def refused(reader, **how) -> str:
    """Return what is said when nothing can be compared, and see that nothing was changed."""
    before, lesions = picture_of(reader), dict(reader.workspace.state.lesions)
    count = len(reader.workspace.messages)
    try:
        reader.compare(**how)
    except BadInput as error:
        said = str(error)
    else:
        (said,) = reader.workspace.messages[count:]
    assert reader.comparison.result is None
    assert picture_of(reader) == before
    assert reader.workspace.state.lesions == lesions
    return said


def test_the_same_scan_and_the_same_lesions_are_refused(a_reader):
    a_reader.earlier, earlier = a_reader.scan, a_reader.earlier
    assert "scan that you work on" in refused(a_reader)
    a_reader.earlier, segments = earlier, a_reader.segments
    a_reader.segments = a_reader.workspace.segments_node
    assert "lesions of the scan that you work on" in refused(a_reader)
    a_reader.segments = segments
    assert a_reader.compare() is not None


def test_an_empty_segmentation_is_refused(a_reader):
    a_reader.segments = a_reader.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    a_reader.segments.CreateDefaultDisplayNodes()
    assert "empty" in refused(a_reader)
    a_reader.segments.GetSegmentation().AddEmptySegment("one")
    assert "empty" in refused(a_reader) or "surfaces" in refused(a_reader)


def test_lesions_of_another_grid_are_refused(a_reader):
    other = scan_of_visit(a_reader.scene, 0, "finer")
    other.SetSpacing(*(0.9 * part for part in other.GetSpacing()))
    labels = labels_of_visit(0)
    a_reader.segments = segments_of(a_reader.scene, other, labels)
    assert "not outlined on the voxels" in refused(a_reader)


def test_lesions_beyond_the_scan_are_refused(a_reader):
    other = scan_of_visit(a_reader.scene, 0, "moved by whole voxels")
    right, *rest = other.GetOrigin()
    other.SetOrigin(right + 30 * other.GetSpacing()[0], *rest)
    a_reader.segments = segments_of(a_reader.scene, other, labels_of_visit(0))
    assert "outside the earlier scan" in refused(a_reader)


def test_lesions_as_surfaces_only_are_refused(a_reader):
    segmentation = a_reader.segments.GetSegmentation()
    segmentation.CreateRepresentation("Closed surface")
    segmentation.SetSourceRepresentationName("Closed surface")
    segmentation.RemoveRepresentation("Binary labelmap")
    assert "surfaces only" in refused(a_reader)


def test_lesions_under_another_transform_than_their_scan_are_refused(a_reader):
    moved = linear_transform(a_reader.scene)
    a_reader.segments.SetAndObserveTransformNodeID(moved.GetID())
    assert "another transform" in refused(a_reader)


def file_under(scene, node, patient: str, study: str, day: str) -> None:
    """File a scan under a patient and a study, as DICOMPlugin.py of Slicer 5.10 and 5.12 does."""
    names = slicer.vtkMRMLSubjectHierarchyConstants
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    uid = f"{study}.1"
    series = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(
        hierarchy.GetSceneItemID(), node
    )
    hierarchy.SetItemUID(series, names.GetDICOMUIDName(), uid)
    slicer.vtkSlicerSubjectHierarchyModuleLogic.InsertDicomSeriesInHierarchy(
        hierarchy, patient, study, uid
    )
    item = hierarchy.GetItemByUID(names.GetDICOMUIDName(), patient)
    hierarchy.SetItemAttribute(item, names.GetDICOMPatientIDAttributeName(), patient)
    item = hierarchy.GetItemByUID(names.GetDICOMUIDName(), study)
    hierarchy.SetItemAttribute(item, names.GetDICOMStudyDateAttributeName(), day)


def test_scans_in_the_wrong_order_are_refused_without_telling_dates(a_reader, registrations):
    file_under(a_reader.scene, a_reader.earlier, "P", "1.2.1", "20240102")
    file_under(a_reader.scene, a_reader.scan, "P", "1.2.2", "20230102")
    said = refused(a_reader)
    assert "made after" in said and "20" not in said
    assert not registrations


def test_the_time_between_dicom_scans_is_told(a_reader, tmp_path):
    file_under(a_reader.scene, a_reader.earlier, "P", "1.2.1", "20220102")
    file_under(a_reader.scene, a_reader.scan, "P", "1.2.2", "20230102")
    a_reader.compare()
    a_reader.comparison.write(str(tmp_path / "change.json"))
    settle(a_reader.workspace)
    assert (
        json.loads((tmp_path / "change.json").read_text("utf-8"))["scans"][1]["days_since_first"]
        == 365
    )


def test_scans_of_different_patients_are_refused_unless_they_are_wanted(a_reader, registrations):
    file_under(a_reader.scene, a_reader.earlier, "SECRET-A", "1.2.1", "20220102")
    file_under(a_reader.scene, a_reader.scan, "SECRET-B", "1.2.2", "20230102")
    said = refused(a_reader)
    assert "different patients" in said and "SECRET" not in said
    assert a_reader.comparison.is_refused and not registrations

    assert a_reader.compare(checked=False) is not None
    assert not a_reader.comparison.is_refused


def test_a_registration_that_cannot_be_right_is_refused_unless_it_is_wanted(
    a_reader, registrations, monkeypatch
):
    from mois_core.followup.registration_quality import RegistrationQuality

    monkeypatch.setattr(RegistrationQuality, "why_not", "they do not agree at all.")
    said = refused(a_reader)
    assert "they do not agree at all" in said and "Compare all the same" in said
    assert a_reader.comparison.is_refused

    assert a_reader.compare(checked=False) is not None
    assert len(registrations) == 1, "what was registered is used"
    assert not a_reader.comparison.is_refused
