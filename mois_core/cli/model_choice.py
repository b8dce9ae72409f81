"""``--model`` and what goes with it, for every command that runs a network.

A network with random weights draws masks that look like results. So a command runs only with a
checkpoint: one that was downloaded or imported, one given as a file, or one that ships with the
program. Nothing here downloads.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mois_core
from mois_core import weights
from mois_core.errors import BadInput
from mois_core.weights import registry

if TYPE_CHECKING:
    from mois_core.network.model import Sam2
    from mois_core.session.state import ModelInfo

DEVICES = ("cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16")
SHIPPED = "phantom"
"""The preset whose weights are part of the program."""


@dataclass(frozen=True, eq=False)
class ChosenModel:
    """A network ready to run, and what a report says about it."""

    network: Sam2
    info: ModelInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare which network runs, and where."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        required=True,
        metavar="PRESET_OR_FILE",
        help="a name from 'mois weights list', or a .pt or .safetensors file",
    )
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="which network a file is for (without: told by its weights)",
    )
    group.add_argument(
        "--device", choices=DEVICES, help="where to compute (without: cuda if there is one)"
    )
    group.add_argument(
        "--dtype",
        choices=DTYPES,
        help="precision of the parts that cost time (without: bfloat16 on cuda, else float32); "
        "on processors with bfloat16 units that is several times faster",
    )


def choose_model(args: argparse.Namespace) -> ChosenModel:
    """Find, read and set up the network that the arguments ask for."""
    path = shipped_weights() if args.model == SHIPPED else weights.resolve(args.model)
    if not path.is_file():
        raise BadInput(
            f"this version comes without the weights of '{SHIPPED}'; choose another model"
        )
    known = registry.lookup(args.model)
    return load(path, args.preset or (known.preset if known else None), args.device, args.dtype)


def load(path: Path, preset: str | None, device: str | None, dtype: str | None) -> ChosenModel:
    """The network in a checkpoint file; what is None is found out or chosen."""
    import torch

    from mois_core.network.checkpoint import read_checkpoint
    from mois_core.network.detection import preset_of
    from mois_core.network.loading import load_model
    from mois_core.session.state import ModelInfo

    if preset is None:
        preset = preset_of(read_checkpoint(path), str(path))
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype is None:
        dtype = "bfloat16" if device == "cuda" else "float32"
    network = load_model(preset, path, device, getattr(torch, dtype))
    return ChosenModel(network, ModelInfo(preset, path.name, weights.checksum(path)))


def shipped_weights() -> Path:
    """Where the weights that come with the program lie."""
    return Path(mois_core.__file__).parent / "models" / f"{SHIPPED}.safetensors"
