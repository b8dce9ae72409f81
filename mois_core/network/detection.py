"""Which preset a checkpoint belongs to, told by the names and shapes of its weights.

No two presets have the same ones, so a file needs no label to be recognised, and a file that
fits none is refused before anything is computed with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mois_core.errors import BadInput
from mois_core.network.config import PRESETS
from mois_core.network.loading import build


def preset_of(state: Mapping[str, Tensor], source: str) -> str:
    """The preset that a state dict fits exactly. ``source`` names it in errors."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    for name in PRESETS:
        if shapes == _shapes(name):
            return name
    raise BadInput(
        f"{source} fits none of the models {', '.join(PRESETS)}; if it is meant for one of them, "
        "name it with --preset to see what differs"
    )


def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    # On torch's meta device a network has shapes but takes no memory and no time to fill.
    with torch.device("meta"):
        network = build(PRESETS[name])
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}
