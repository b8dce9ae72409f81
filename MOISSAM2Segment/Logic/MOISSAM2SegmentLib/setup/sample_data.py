"""The sample scan: a phantom that is made on this computer.

Sample data is usually downloaded. A phantom need not be: it has the same voxels on every computer,
works without a network, and shows no patient.
"""

from __future__ import annotations

from typing import Any

import slicer

from mois_core.geometry import Volume
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.transforms import numpy_to_matrix, right_handed

CATEGORY = "MOISSAM2"
NAME = "MOISSAM2Phantom"
NODE_NAME = "Whole-body phantom"

FAILED = _("The sample scan could not be made.")

SEED = 100_001
"""From 100000 on, seeds are never used for training."""

SIZE, SLICES, LESIONS = (512, 160), 20, 20
"""Half the resolution of a real scan in each direction: made in seconds, and quick to search."""


def make_phantom_volume() -> Volume:
    """Return the phantom's scan. Needs no scene, so it may be called on any thread."""
    from mois_core.phantom import PhantomSettings, make_phantom

    settings = PhantomSettings(lesions=LESIONS, slices=SLICES, size=SIZE)
    phantom = make_phantom(SEED, settings)
    return Volume(phantom.scan, phantom.ijk_to_ras)


def add_volume(scene: Any, volume: Volume, name: str = NODE_NAME) -> Any:
    """Add a volume node with a scan to a scene."""
    volume = right_handed(volume)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, volume.array)
    node.SetIJKToRASMatrix(numpy_to_matrix(volume.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    return node


def load_phantom() -> Any:
    """Add the phantom to the scene and return its node, as scripts want it."""
    return add_volume(slicer.mrmlScene, make_phantom_volume())


def fetch_phantom(source: Any = None) -> Any:
    """Add the phantom to the scene and show it, as Slicer shows every scan that it loads.

    Slicer's module Sample Data calls this when its button is pressed, with the entry that was
    registered. It shows neither an outcome nor an error of its own.
    """
    with slicer.util.tryWithErrorDisplay(FAILED, waitCursor=True):
        node = load_phantom()
        application = slicer.app.applicationLogic()
        application.GetSelectionNode().SetActiveVolumeID(node.GetID())
        application.PropagateVolumeSelection()
        return node


def register(sample_data_logic: Any, thumbnail: str | None = None) -> None:
    """Offer the phantom in Slicer's module Sample Data.

    The lists of files to download are empty: Slicer takes their lengths, also of those that are
    left out. They also make ``SampleData.downloadSample`` fail, because it calls no downloader of
    ours: scripts use `load_phantom`.
    """
    sample_data_logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        thumbnailFileName=thumbnail,
        uris=[],
        fileNames=[],
        nodeNames=[],
        customDownloader=fetch_phantom,
    )
