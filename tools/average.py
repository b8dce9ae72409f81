"""Average the weights of runs that began from the same weights, to a file that can ship.

Run as ``python -m tools.average RUN/newest.pt ... --out FILE.safetensors``. What each
run learned by chance cancels out, so the mean may do better than its parts; measure it. A single
file is only converted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_write
from mois_core.network.checkpoint import read_checkpoint


def average(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of all weights, in float32."""
    first = states[0]
    for other in states[1:]:
        shapes = [{name: t.shape for name, t in state.items()} for state in (first, other)]
        if shapes[0] != shapes[1]:
            raise BadInput("these weights are of networks that differ; average runs of one config")
    return {
        name: torch.stack([state[name].float() for state in states]).mean(dim=0).contiguous()
        for name in first
    }


def main() -> None:
    """Read checkpoints, average them and write the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+", help="checkpoints or safetensors")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    args = parser.parse_args()
    mean = average([read_checkpoint(path) for path in args.weights])
    with atomic_write(args.out) as temporary:
        save_file(mean, temporary)


if __name__ == "__main__":
    main()
