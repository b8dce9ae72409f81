"""A tiny package in the place of nnInteractive: the same calls, as strict, and done at once.

The session takes what `nnInteractiveInferenceSession` 2.6.0 takes and refuses what it refuses; like
that one it prints wherever it goes. Its network marks what is as bright as a positive click and not
further than ten voxels from it, without what is as near to a negative one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_SESSION = """
import json
import os
from pathlib import Path

import numpy as np
import torch


class nnInteractiveInferenceSession:
    def __init__(self, device=torch.device("cuda"), use_torch_compile=False, verbose=False,
                 torch_n_threads=8, do_autozoom=True, interactions_storage="auto",
                 enable_undo=True):
        print("session initialized")
        assert isinstance(device, torch.device)
        self.ready, self.license = False, None

    def initialize_from_trained_model_folder(self, folder, use_fold=None,
                                             checkpoint_name="checkpoint_final.pth"):
        folder = Path(folder)
        if not (folder / "inference_info.json").is_file():
            raise FileNotFoundError("Neither capability metadata nor legacy metadata was found.")
        json.loads((folder / "dataset.json").read_text())
        json.loads((folder / "plans.json").read_text())
        folds = list(folder.glob("fold_*"))
        assert len(folds) == 1, "Attempted to infer fold but there is != 1 fold_ folders"
        assert (folds[0] / checkpoint_name).read_text() == "weights", "cannot be loaded"
        self.license = "CC BY-NC-SA 4.0"
        self.ready = True

    def set_image(self, image, image_properties=None):
        assert self.ready
        assert image.ndim == 4, f"expected a 4d image as input, got {image.ndim}d"
        if not image.any():
            raise ValueError("Input image is entirely zero; cannot determine statistics.")
        self.image, self.points, self.target = image[0].copy(), [], None

    def set_target_buffer(self, target_buffer):
        if target_buffer.ndim != 3:
            raise ValueError("target_buffer must be 3D")
        self.target = target_buffer

    def reset_interactions(self):
        self.points = []
        self.target.fill(0)

    def add_point_interaction(self, coordinates, include_interaction, run_prediction=True,
                              override_capability_checks=False):
        place = tuple(round(i) for i in coordinates)
        assert len(place) == 3
        print(f"Added new point interaction: center {place}, zoom-out factor 1", flush=True)
        if self.image[place] > 500:
            os._exit(9)
        self.points.append((place, include_interaction))
        with (Path(__file__).parent / "predictions").open("a") as file:
            file.write(f"{len(self.points)}")
        places = np.indices(self.image.shape).transpose(1, 2, 3, 0)
        far = [np.linalg.norm(places - np.array(p), axis=-1) for p, _ in self.points]
        found = np.zeros(self.image.shape, bool)
        for (p, positive), distance in zip(self.points, far):
            if positive:
                found |= (distance < 10) & (abs(self.image - self.image[p]) < 5)
        for (p, positive), distance in zip(self.points, far):
            if not positive:
                found &= distance > 3
        self.target[:] = found
"""


def write_environment(folder: Path) -> Path:
    """Write an environment that has nnInteractive; return its Python."""
    package = folder / "packages" / "nnInteractive" / "inference"
    package.mkdir(parents=True)
    (package / "inference_session.py").write_text(_SESSION, "utf-8")
    told = folder / "packages" / "nnInteractive-2.6.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: nnInteractive\nVersion: 2.6.0\n", "utf-8"
    )
    return write_python(folder, str(folder / "packages"))


def write_python(folder: Path, packages: str) -> Path:
    """Write a Python that sees some more packages than ours."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":
        python = folder / "python.bat"
        python.write_text(f'@set "PYTHONPATH={packages}"\n@"{sys.executable}" %*\n', "utf-8")
    else:
        python = folder / "python"
        python.write_text(
            f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" "$@"\n', "utf-8"
        )
        python.chmod(0o755)
    return python


def write_model(folder: Path) -> Path:
    """Write a model's folder as the stand-in reads it."""
    (folder / "fold_0").mkdir(parents=True)
    for name in ("dataset.json", "plans.json", "inference_info.json"):
        (folder / name).write_text("{}", "utf-8")
    (folder / "fold_0" / "checkpoint_final.pth").write_text("weights", "utf-8")
    return folder
