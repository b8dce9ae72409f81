"""nnU-Net: the network that configures itself, trained and run by its own program.

F. Isensee et al., Nature Methods 18 (2021) 203-211. ``docs/baselines.md`` says what is its own and
what is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.nnunet_process import (
    GET_IT,
    PREDICT,
    NnUnetProcess,
    check_model,
)
from mois_core.evaluation.baselines.nnunet_training import given_to_nnunet, upright_scan
from mois_core.evaluation.segmenters import AutomaticSegmenter, Missing
from mois_core.geometry import Volume


class NnUnet(AutomaticSegmenter):
    """Predicts each scan by a process of nnU-Net, with a model that it trained before."""

    works_elsewhere = True

    def __init__(self, model: str = "", python: str = "", threads: int = 0) -> None:
        self.model = Path(model).expanduser() if model else None
        self.python = Path(python).expanduser() if python else None
        self.threads = int(threads) or None

    def require(self) -> None:
        if self.python is None:
            raise Missing(f"nnU-Net runs in an environment of its own; {GET_IT}")
        NnUnetProcess(self.python, Path()).command(PREDICT)
        if self.model is None:
            raise BadInput("'nnunet' needs a trained model's folder, like nnunet=FOLDER")
        if not self.model.is_dir():
            raise Missing(
                f"there is no folder {self.model.name}; train a model with 'mois train-baseline "
                "nnunet', or give the folder of one that was trained before"
            )
        check_model(self.model)

    def given(self) -> Mapping[str, object]:
        return given_to_nnunet(self.model) if self.model else {}

    def segment(self, volume: Volume) -> np.ndarray:
        self.require()
        assert self.model is not None and self.python is not None
        work = self.surroundings.folder()
        device = self.surroundings.device
        process = NnUnetProcess(self.python.absolute(), work.absolute(), device, self.threads)
        model = self.model.absolute()
        upright = upright_scan(model, volume)
        if upright is None:
            return process.predict(model, volume)
        return upright.stack.to_volume(process.predict(model, upright.volume()))
