"""Arguments that say which network a command runs, and where."""

from __future__ import annotations

import argparse

from mois_core import weights
from mois_core.errors import BadInput

DEVICES = ("cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16")
_PUBLISHED_AXIS = "coronal"


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


def add_precision(parser: argparse._ActionsContainer) -> None:
    """Declare the precision of a network whose figures should be the same on every machine."""
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="precision of the network (float32)"
    )


def trained_axis(args: argparse.Namespace) -> str:
    """Return along which slices the network was trained, before it is loaded.

    A model that cannot be opened is refused later, after whatever is wrong with the scan.
    """
    try:
        return weights.network_of(args.model, args.preset)[1].axis
    except BadInput:
        return _PUBLISHED_AXIS


def choose_model(args: argparse.Namespace) -> weights.OpenedModel:
    """Open the network that the arguments ask for."""
    return weights.open_checkpoint(args.model, args.preset, args.device, args.dtype)
