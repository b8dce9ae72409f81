"""A case as the network sees it: every slice stretched to the model's size, lesions looked up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from mois_core.session.preprocess import FULL_BRIGHTNESS, model_input
from mois_core.training.cases import TrainingCase


@dataclass(frozen=True)
class Sight:
    """One lesion on one slice."""

    slice: int
    lesion: int
    kind: int
    row: int
    column: int
    """The middle of the lesion's box."""
    pixels: int


@dataclass(frozen=True, eq=False)
class ResizedCase:
    """A case at the model's size. Kept in bytes, so that hundreds of scans fit into memory."""

    name: str
    images: np.ndarray
    """uint8 [slices, size, size]."""
    labels: np.ndarray
    """uint8 [slices, size, size]."""
    kinds: np.ndarray

    @classmethod
    def of(cls, case: TrainingCase, size: int) -> ResizedCase:
        """Resize images as inference does, and labels to the nearest voxel."""
        images = np.stack([model_input(image, size)[0].numpy() for image in case.images])
        labels = torch.from_numpy(case.labels)[:, None].float()
        labels = F.interpolate(labels, (size, size), mode="nearest-exact")[:, 0]
        rounded = np.rint(images * FULL_BRIGHTNESS).astype(np.uint8)
        return cls(case.name, rounded, labels.numpy().astype(np.uint8), case.kinds)

    @property
    def count(self) -> int:
        """How many slices there are."""
        return self.images.shape[0]

    @cached_property
    def sights(self) -> tuple[Sight, ...]:
        """Every lesion on every slice that it can be seen on."""
        found = []
        for number, plane in enumerate(self.labels):
            sizes = np.bincount(plane.ravel(), minlength=len(self.kinds))
            for lesion, box in enumerate(ndimage.find_objects(plane), start=1):
                if box is None:
                    continue
                row, column = ((cut.start + cut.stop) // 2 for cut in box)
                kind = int(self.kinds[lesion])
                found.append(Sight(number, lesion, kind, row, column, int(sizes[lesion])))
        return tuple(found)
