"""A scan to try everything on: a phantom, made here and now by our own code.

Sample data is usually downloaded. Ours need not be: it is the same voxels in every place and for
every version of it, works without a network, and shows nobody's body.
"""

from __future__ import annotations

from typing import Any

import slicer

from mois_core.geometry import Volume
from MOISSAM2SegmentLib.scene.transforms import numpy_to_matrix, right_handed

CATEGORY = "MOISSAM2"
NAME = "MOISSAM2Phantom"
NODE_NAME = "Whole-body phantom"

SEED = 100_001
"""Seeds from 100000 on are never trained on."""

SIZE, SLICES, LESIONS = (512, 160), 20, 20
"""Half the resolution of a real scan in each direction: made in seconds, and quick to search."""


def make_phantom_volume() -> Volume:
    """The phantom's scan. No scene needed, so it can be made on any thread."""
    from mois_core.phantom import PhantomSettings, make_phantom

    settings = PhantomSettings(lesions=LESIONS, slices=SLICES, size=SIZE)
    phantom = make_phantom(SEED, settings)
    return Volume(phantom.scan, phantom.ijk_to_ras)


def add_volume(scene: Any, volume: Volume, name: str = NODE_NAME) -> Any:
    """A volume node for a scan."""
    volume = right_handed(volume)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, volume.array)
    node.SetIJKToRASMatrix(numpy_to_matrix(volume.ijk_to_ras))
    node.CreateDefaultDisplayNodes()
    return node


def load_phantom(source: Any = None) -> Any:
    """Put the phantom into the scene. Sample Data calls this with its own description of it."""
    return add_volume(slicer.mrmlScene, make_phantom_volume())


def register(sample_data_logic: Any, thumbnail: str | None = None) -> None:
    """Offer the phantom in Slicer's Sample Data module."""
    sample_data_logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        thumbnailFileName=thumbnail,
        nodeNames=NODE_NAME,
        customDownloader=load_phantom,
    )
