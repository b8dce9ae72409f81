"""Average the weights of runs that began from the same weights, to a file that can ship.

Run as ``python -m tools.average RUN/newest.pt ... --out FILE.safetensors``. What each
run learned by chance cancels out, so the mean may do better than its parts; measure it. A single
file is only converted. With ``--half`` the file is half as large.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_write
from mois_core.network.checkpoint import read_file, scans_in, weights_in, write_safetensors

SMALLEST_HALVED = 4096
"""Tensors with fewer values stay in float32: norms, biases, and the frequencies that tell where a
click is, which half precision would move. They take next to no room."""


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


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with all large tensors in float16, which a network reads as they are."""
    made = {
        name: value.half() if value.numel() >= SMALLEST_HALVED else value
        for name, value in state.items()
    }
    lost = [name for name, value in made.items() if not value.isfinite().all()]
    if lost:
        raise BadInput(f"{lost[0]} has values that float16 cannot hold; write it without --half")
    return made


def convert(files: Sequence[Path], out: Path, half: bool) -> None:
    """Write the mean of the weights in some files, which may be a single one."""
    contents = [read_file(path) for path in files]
    scans = scans_in(contents[0])
    if any(scans_in(content) != scans for content in contents):
        raise BadInput("these weights are of scans that were prepared in different ways")
    mean = average([weights_in(*pair) for pair in zip(contents, files, strict=True)])
    with atomic_write(out) as temporary:
        write_safetensors(halved(mean) if half else mean, temporary, scans)


def main() -> None:
    """Read checkpoints, average them and write the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+", help="checkpoints or safetensors")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store large tensors as float16")
    args = parser.parse_args()
    convert(args.weights, args.out, args.half)


if __name__ == "__main__":
    main()
