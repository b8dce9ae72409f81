"""One scan to learn from: upright slices, lesions by number, and which of them look alike.

A case is what `mois prepare` writes and what phantoms are turned into. Held-out phantoms are
refused here, at the only door, so that no config can let one in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume
from mois_core.io.atomic import atomic_write
from mois_core.phantom import PhantomSettings, is_held_out, make_phantom
from mois_core.session.intensity import BRIGHTEST, normalise
from mois_core.session.state import Settings

AS_PREPARED = Settings(axis="coronal", grey_window=(0.0, float(BRIGHTEST)))
"""Settings by which a network sees a case as it is, however its scan was sliced and scaled."""

MOST_LESIONS = 255
"""Lesion numbers are kept in a byte; the published preparation keeps the 255 largest as well."""


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """A scan and its lesions as [slices, rows, columns], upright as the session sees them."""

    name: str
    images: np.ndarray
    """uint8, brightness 0 to 255 as in inference, rounded."""
    labels: np.ndarray
    """uint8 lesion ids, 0 for none."""
    appearances: np.ndarray
    """uint8, the appearance of the lesion with each id; all 0 where appearances are not known."""
    voxel_mm: tuple[float, float, float] | None = None
    """Millimetres from slice to slice, row to row and column to column; None in older files."""

    def __post_init__(self) -> None:
        if self.images.shape != self.labels.shape:
            raise ValueError(f"images {self.images.shape} and labels {self.labels.shape} differ")

    @property
    def count(self) -> int:
        """Number of slices."""
        return self.images.shape[0]

    def volume(self) -> Volume:
        """Return the scan as a session takes it, with `AS_PREPARED`.

        Where it lay in the patient is not kept.
        """
        to_ras = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
        return Volume(self.images, to_ras)

    def save(self, path: Path) -> None:
        """Write the case as one compressed file, whole or not at all."""
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            # Called "kinds" in the file since the first prepared cases.
            arrays = {"images": self.images, "labels": self.labels, "kinds": self.appearances}
            if self.voxel_mm is not None:
                arrays["voxel_mm"] = np.array(self.voxel_mm)
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> TrainingCase:
        """Read a case that `save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as file:
                voxel_mm = tuple(file["voxel_mm"].tolist()) if "voxel_mm" in file else None
                return cls(path.stem, file["images"], file["labels"], file["kinds"], voxel_mm)
        except (OSError, KeyError, ValueError) as error:
            raise BadInput(
                f"{path} is no prepared case, or is damaged; run 'mois prepare' again"
            ) from error


def case_of(
    name: str,
    volume: Volume,
    labels: np.ndarray,
    appearances: np.ndarray,
    axis: str = "coronal",
    grey_window: tuple[float, float] | None = None,
) -> TrainingCase:
    """Return a case of a volume and its lesion ids, both in the volume's own order [k, j, i]."""
    stack = SliceStack(volume, axis)
    images = stack.from_volume(normalise(volume.array, grey_window))
    return TrainingCase(
        name,
        np.ascontiguousarray(np.rint(images), dtype=np.uint8),
        np.ascontiguousarray(stack.from_volume(labels), dtype=np.uint8),
        np.asarray(appearances, dtype=np.uint8),
        (stack.slice_spacing, *stack.pixel_spacing),
    )


def phantom_case(seed: int, settings: PhantomSettings) -> TrainingCase:
    """Return a phantom as a case; a phantom that is held out for testing is refused."""
    if is_held_out(seed):
        raise BadInput(f"phantom {seed} is held out for testing and must not be trained on")
    phantom = make_phantom(seed, settings)
    appearances = np.zeros(len(phantom.lesions) + 1, dtype=np.uint8)
    for lesion in phantom.lesions:
        appearances[lesion.id] = lesion.appearance
    volume = Volume(phantom.scan, phantom.ijk_to_ras)
    return case_of(f"phantom-{seed}", volume, phantom.instances, appearances)
