"""A case as the network sees it: every slice stretched to the model's size, lesions looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_write
from mois_core.network.config import Size
from mois_core.network.model import SliceFeatures
from mois_core.session.preprocess import FULL_BRIGHTNESS, model_input
from mois_core.training.training_case import TrainingCase


@dataclass(frozen=True)
class LesionOnSlice:
    """One lesion on one slice of a case."""

    slice_index: int
    lesion_id: int
    appearance: int
    row: int
    """Row of the middle of the lesion's box on the slice."""
    column: int
    """Column of the middle of the lesion's box on the slice."""
    pixels: int


@dataclass(frozen=True, eq=False)
class ResizedCase:
    """A case at the model's size, kept in bytes, so that hundreds of scans fit into memory."""

    name: str
    images: np.ndarray
    """uint8 [slices, rows, columns]."""
    labels: np.ndarray
    """uint8 lesion ids [slices, rows, columns]."""
    appearances: np.ndarray
    """uint8, the appearance of the lesion with each id."""
    features: SliceFeatures | None = None
    """What an encoder that does not change makes of every slice."""

    @classmethod
    def of(cls, case: TrainingCase, size: Size) -> ResizedCase:
        """Resize images as inference does, and labels to the nearest voxel."""
        images = np.stack([model_input(image, size)[0].numpy() for image in case.images])
        labels = torch.from_numpy(case.labels)[:, None].float()  # (slices, 1, rows, columns)
        labels = F.interpolate(labels, size, mode="nearest-exact")[:, 0]
        rounded = np.rint(images * FULL_BRIGHTNESS).astype(np.uint8)
        return cls(case.name, rounded, labels.numpy().astype(np.uint8), case.appearances)

    def save(self, path: Path) -> None:
        """Write the case as one file, whole or not at all."""
        arrays = {"images": self.images, "labels": self.labels, "appearances": self.appearances}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with atomic_write(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path) -> ResizedCase:
        """Open a case that `save` wrote. Processes that open the same file share its memory."""
        try:
            tensors = load_file(path)
            return cls(path.stem, **{name: tensor.numpy() for name, tensor in tensors.items()})
        except (OSError, SafetensorError, TypeError) as error:
            raise BadInput(f"{path} is damaged; remove it, and it is made again") from error

    @property
    def count(self) -> int:
        """Number of slices."""
        return self.images.shape[0]

    @cached_property
    def lesions_on_slices(self) -> tuple[LesionOnSlice, ...]:
        """Every lesion on every slice that it can be seen on."""
        found = []
        for slice_index, plane in enumerate(self.labels):
            sizes = np.bincount(plane.ravel(), minlength=len(self.appearances))
            for lesion_id, box in enumerate(ndimage.find_objects(plane), start=1):
                if box is None:
                    continue
                row, column = ((side.start + side.stop) // 2 for side in box)
                appearance = int(self.appearances[lesion_id])
                pixels = int(sizes[lesion_id])
                found.append(LesionOnSlice(slice_index, lesion_id, appearance, row, column, pixels))
        return tuple(found)
