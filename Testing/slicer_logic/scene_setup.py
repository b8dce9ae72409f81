"""What Slicer has in place before any module is used, for tests without Slicer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import slicer


def make_scene(folder: str) -> tuple[Any, Any]:
    """A scene with the logics that Slicer would have made; and what to hold on to."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.SetTemporaryPath(folder)
    colours = application.GetColorLogic()
    colours.SetMRMLScene(scene)
    colours.AddDefaultColorNodes()
    modules = {}
    for name, kind in {
        "Volumes": slicer.vtkSlicerVolumesLogic,
        "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic,
        "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
        "Markups": slicer.vtkSlicerMarkupsLogic,
    }.items():
        logic = kind()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name, logic)
        modules[name.lower()] = SimpleNamespace(logic=lambda logic=logic: logic)
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.GetCacheManager().SetRemoteCacheDirectory(folder)
    remote.SetMRMLApplicationLogic(application)
    remote.SetMRMLScene(scene)
    remote.AddDataIOToScene()
    slicer.mrmlScene = scene
    slicer.modules = SimpleNamespace(**modules)
    slicer.app = SimpleNamespace(
        applicationLogic=lambda: application, temporaryPath=folder, processEvents=lambda: None
    )
    return scene, (application, remote, modules)


def stub_engine() -> Any:
    """The module's engine with the stub network ready, on its two threads."""
    from MOISSAM2SegmentLib.worker.engine import Engine
    from stub_network import StubNetwork

    from mois_core.network.model_info import ModelInfo

    engine = Engine()
    engine.use(StubNetwork(), ModelInfo("stub", "stub.pt", "0" * 64))
    return engine
