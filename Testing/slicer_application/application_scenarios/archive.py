"""A scan from Slicer's DICOM database, and results that go back to where it came from."""

from __future__ import annotations

import importlib.util
from typing import Any
from unittest import SkipTest

import slicer
from MOISSAM2SegmentLib.setup.self_test import check

from application_scenarios.reader import Reader, use_stub

SERIES, EXPORTER = "1.2.3.4", "DICOMSegmentationPlugin"
PIXEL_MM = (0.62, 0.62)


def results_as_dicom(reader: Reader) -> None:
    """Load a scan from a DICOM database, outline a lesion, and import what is saved of it."""
    if importlib.util.find_spec("highdicom") is None:
        raise SkipTest("needs highdicom, which Slicer brings along from 5.12 on")
    from DICOMLib import DICOMUtils

    reader.open(model=use_stub)
    place = reader.folder / "dicom"
    for name in ("scan", "database", "results"):
        (place / name).mkdir(parents=True)
    _write_scan(place / "scan")
    with DICOMUtils.TemporaryDICOMDatabase(str(place / "database")) as database:
        DICOMUtils.importDicom(str(place / "scan"), database)
        (node_id,) = DICOMUtils.loadSeriesByUID([SERIES])
        reader.start(slicer.mrmlScene.GetNodeByID(node_id))
        _click(reader)
        reader.check_segments()
        reader.step("A scan from the DICOM database is open, and a lesion outlined")
        offered = _slicers_own_export(reader.workspace.segments_node)
        reader.record.figure("Slicer's own export of segmentations", offered)
        results: list[Any] = []
        reader.workspace.dicom.write(place / "results", results.append)
        reader.wait()
        check(len(results) == 1, f"DICOM files are written; the panel says: {reader.message}")
        folder = results[0].folder
        names = {file.name for file in folder.iterdir()}
        check({"segmentation.dcm", "measurements.dcm", "outlines"} <= names, "all kinds are there")
        DICOMUtils.importDicom(str(folder), database)
        known = [database.instanceForFile(str(file)) for file in folder.rglob("*.dcm")]
        check(all(known), "Slicer's DICOM database takes every file")
        reader.step(f"{len(known)} DICOM files are written and imported")


def _write_scan(folder: Any) -> None:
    from dicom_files import IDENTITY_TAGS, write_series
    from engine_fixtures import SCENE, scan_of

    values = scan_of(*SCENE)
    how = {"size": values.shape[:0:-1], "spacing": PIXEL_MM, "tags": IDENTITY_TAGS}
    write_series(folder, SERIES, range(len(values)), values=values, **how)


def _click(reader: Reader) -> None:
    from engine_fixtures import FIRST
    from scans import world_of

    reader.click_into(world_of(reader.workspace, *FIRST.middle))


def _slicers_own_export(segments_node: Any) -> str:
    """Return what Slicer's own export says of the segmentation; fail if it refuses it."""
    plugins = getattr(slicer.modules, "dicomPlugins", {})
    if EXPORTER not in plugins:
        return "not in this Slicer"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(segments_node)
    exportables = plugins[EXPORTER]().examineForExport(item)
    check(len(exportables) == 1, "Slicer's own DICOM export takes the segmentation")
    return "offered"
