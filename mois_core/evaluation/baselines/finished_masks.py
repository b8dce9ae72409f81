"""Masks that another program has finished, read back from a folder.

This is how the paper evaluates nnU-Net: it is trained and run by its own program, and what it
wrote is measured like everything else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.segmenters import AutomaticSegmenter, Missing
from mois_core.geometry import Volume, same_grid, turned_like
from mois_core.io import read_labels

_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha", ".mhd")


class FinishedMasks(AutomaticSegmenter):
    """Reads FOLDER/NAME.nii.gz (or another image) for the scan that the results call NAME."""

    def __init__(self, model: str = "") -> None:
        self.masks = Path(model).expanduser() if model else None

    def require(self) -> None:
        if self.masks is None:
            raise BadInput("'masks' needs the folder that holds the masks, like masks=predictions")
        if not self.masks.is_dir():
            raise Missing(
                f"there is no folder {self.masks.name}; let the other program write a mask for "
                "each scan into it, named as the scan is in the results, like NAME.nii.gz"
            )

    def segment(self, volume: Volume) -> np.ndarray:
        assert self.masks is not None
        name = self.surroundings.scan.replace("/", "-")
        paths = (self.masks / f"{name}{ending}" for ending in _ENDINGS)
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise BadInput(f"{self.masks.name} holds no mask of {name}, like {name}{_ENDINGS[0]}")
        labels = read_labels(path, volume)
        on_grid = labels if same_grid(volume, labels) else turned_like(labels, volume)
        if on_grid is None:
            raise BadInput(f"{path.name} does not lie on the voxel grid of its scan")
        return on_grid.array
