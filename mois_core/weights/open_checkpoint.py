"""From a name, or a file of weights, to a network that is ready to run: the one way for all.

A network with random weights draws masks that look like results. So a network is opened only from
a checkpoint: one that ships with the program, was downloaded or imported, or lies in a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mois_core.models import SHIPPED
from mois_core.network.model_info import ModelInfo
from mois_core.weights import registry, store

if TYPE_CHECKING:
    from mois_core.network.config import NetworkConfig
    from mois_core.network.model import Sam2


@dataclass(frozen=True, eq=False)
class OpenedModel:
    """A network ready to run, and what a report says about it."""

    network: Sam2
    info: ModelInfo


def network_of(
    name_or_path: str | os.PathLike[str], preset: str | None = None
) -> tuple[str, NetworkConfig]:
    """Return the preset and the config of the network that `open_checkpoint` would load."""
    from mois_core.network.config import preset as config_of
    from mois_core.network.loading import network_in

    published = registry.lookup(os.fspath(name_or_path))
    if published is None:
        # Trying which network a file fits takes two seconds, and this one is known.
        known = SHIPPED if name_or_path == SHIPPED else None
        return network_in(store.resolve(name_or_path), preset or known)
    preset = preset or published.preset
    return preset, config_of(preset)


def open_checkpoint(
    name_or_path: str | os.PathLike[str],
    preset: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> OpenedModel:
    """Load the network of a checkpoint; never downloads.

    Without ``preset`` the network is the one that was published under this name, or else the one
    that the file itself tells. Without ``device`` it is cuda if there is one. ``dtype`` is the
    precision of the parts that cost time: bfloat16 on cuda if not given, float32 elsewhere.
    """
    # Here, since torch takes seconds that 'mois weights list' need not wait for.
    import torch

    from mois_core.network.loading import load_model

    path = store.resolve(name_or_path)
    preset, config = network_of(name_or_path, preset)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype is None:
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    network = load_model(config, path, device, getattr(torch, dtype))
    return OpenedModel(network, ModelInfo(preset, path.name, store.checksum(path)))
