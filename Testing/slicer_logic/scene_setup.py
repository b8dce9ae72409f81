"""The scene, logics and application object that Slicer makes at its start, for tests without it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import slicer


def make_scene(folder: str) -> tuple[Any, Any]:
    """Return a scene with the logics that Slicer makes, and objects that have to be kept alive."""
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
    """Return the module's engine with the stub network loaded."""
    from MOISSAM2SegmentLib.worker.engine import Engine
    from stub_network import StubNetwork

    from mois_core.network.model_info import ModelInfo

    engine = Engine()
    engine.use(StubNetwork(), ModelInfo("stub", "stub.pt", "0" * 64))
    return engine
