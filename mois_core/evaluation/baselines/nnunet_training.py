"""Train nnU-Net on the scans that MOIS-SAM2 is trained on, and show it scans the same way later.

Its first axis is where slices are thick, and its network knows no other: so training scans and
those that are predicted later are given to it upright, with the same grey values.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.nnunet_process import DATASET, MODEL, NnUnetProcess
from mois_core.geometry import SliceStack, Volume
from mois_core.io.atomic import atomic_write
from mois_core.session.intensity import normalise
from mois_core.training.config import DataConfig
from mois_core.training.scans import in_plain_values, scan_fields, training_cases

TRAINING = "training.json"
"""What a model was given, beside its weights: minutes, steps, parameters, scans."""

_PREPARED = "prepared"
"""Its key for how scans are to be sliced and scaled; models trained by others have none."""
_ASKED = "asked"
"""Its key for the minutes and scans that the training was asked for."""


@dataclass(frozen=True, eq=False)
class UprightScan:
    """A scan as a model that was trained here is to see it."""

    stack: SliceStack
    grey_window: tuple[float, float] | None = None

    def volume(self) -> Volume:
        """Return it as training cases are: upright slices in bytes."""
        brightness = normalise(self.stack.volume.array, self.grey_window)
        images = np.rint(self.stack.from_volume(brightness)).astype(np.uint8)
        return upright(images, (self.stack.slice_spacing, *self.stack.pixel_spacing))


def upright(images: np.ndarray, voxel_mm: tuple[float, float, float]) -> Volume:
    """Return slices as a volume with voxels of that size; where it lay is not kept."""
    between, down, across = voxel_mm
    to_ras = np.array([[-across, 0, 0, 0], [0, 0, between, 0], [0, -down, 0, 0], [0, 0, 0, 1]])
    return Volume(images, to_ras)


def read_told(model: Path) -> dict[str, Any]:
    """Return what is known of a model's training, or nothing if others trained it."""
    path = model / TRAINING
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def upright_scan(model: Path, volume: Volume) -> UprightScan | None:
    """Return how a model is to see a scan; None for as it is, if others trained the model."""
    fields = read_told(model).get(_PREPARED)
    if fields is None:
        return None
    window = fields.get("grey_window")
    return UprightScan(SliceStack(volume, fields.get("axis", "coronal")), window and tuple(window))


def train_nnunet(process: NnUnetProcess, data: DataConfig, minutes: float) -> Path:
    """Train nnU-Net for some minutes; return the model's folder, or that of the same training.

    Of the scans nothing stays: what nnU-Net needed of them for its training is deleted.
    """
    if minutes <= 0:
        raise BadInput(f"a training needs more than 0 minutes, not {minutes:g}")
    model = process.work / "nnUNet_results" / DATASET / MODEL
    asked = {"minutes": minutes, "data": in_plain_values(data)}
    earlier = read_told(model)
    if _PREPARED in earlier:
        if earlier.get(_ASKED) != asked:
            raise BadInput(
                f"{process.work} has a model of other minutes or scans; choose another --out"
            )
        return model
    count = 0

    def cases() -> Iterator[tuple[Volume, np.ndarray]]:
        nonlocal count
        for case in training_cases(data):
            if case.voxel_mm is None:
                raise BadInput(
                    "the scans were prepared by an older version, which did not keep the size of "
                    "voxels; prepare them again, or name another --cache"
                )
            count += 1
            yield upright(case.images, case.voxel_mm), case.labels

    process.train(cases(), minutes)
    told = read_told(model) | {"scans": count, _PREPARED: scan_fields(data), _ASKED: asked}
    with atomic_write(model / TRAINING) as temporary:
        temporary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        shutil.rmtree(process.work / name)
    return model


def given_to_nnunet(model: Path) -> dict[str, object]:
    """Return what a model was given, as tables tell it."""
    own = (_PREPARED, _ASKED)
    return {name: value for name, value in read_told(model).items() if name not in own}
