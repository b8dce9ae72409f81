"""Make the weights of a small network from nothing: phantoms, every stage, the file.

Run as ``python -m tools.make_weights --out DIR``. It takes hours, with one process for each core,
which share the GPUs if there are any. Stopped or killed, the same command goes on where it was. The
end is ``DIR/phantom.safetensors``, in half precision; docs/training.md tells when it may ship.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# Run as a file, Python looks for imports beside it and not in the project's root.
sys.path.insert(0, str(Path(__file__).parents[1]))

from mois_core.errors import BadInput
from mois_core.network.loading import load_model
from mois_core.training.checkpoints import NEWEST
from mois_core.training.config import TrainConfig
from mois_core.training.config_file import read_stages
from mois_core.training.initial_network import network_config
from mois_core.training.parallel import cores
from tools.average import convert

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "mois_core" / "training" / "configs" / "phantom.json"


def processes_for(stages: Mapping[str, TrainConfig]) -> int:
    """Return how many processes to train with on this machine.

    Each needs a scan of its own in every step, and their number is the same in all stages. A core
    cannot give a GPU enough to do, so processes share one.
    """
    return max(1, min(cores(), *(config.sampling.scans for config in stages.values())))


def training(config: Path | str, out: Path | str, processes: int) -> list[str]:
    """Return what follows ``python`` to train all stages of a config, or go on with them."""
    command = ["mois_core", "train", "--config", str(config), "--out", str(out)]
    if processes < 2:
        return ["-m", *command]
    start = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return ["-m", *start, "--module", *command]


def train(config: Path, out: Path, processes: int) -> None:
    """Train all stages of a config, or go on with them."""
    done = subprocess.run([sys.executable, *training(config, out, processes)], check=False)
    if done.returncode:
        raise BadInput(f"the training ended with {done.returncode}; the same command goes on")


def make_weights(config: Path, out: Path, processes: int | None = None) -> Path:
    """Train from nothing, or go on, and return the file of weights at the end of it."""
    stages = read_stages(config)
    train(config, out, processes or processes_for(stages))
    last, settings = list(stages.items())[-1]
    weights = out / f"{config.stem}.safetensors"
    convert([out / last / NEWEST], weights, half=True)
    load_model(network_config(settings), checkpoint=weights)
    return weights


def main() -> None:
    """Train and convert as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--config", type=Path, default=CONFIG, metavar="FILE", help="stages to train (phantom.json)"
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="processes to train with (one per core)"
    )
    args = parser.parse_args()
    config, out = args.config.resolve(), args.out.resolve()
    # A config's own paths are relative to the project.
    os.chdir(ROOT)
    try:
        weights = make_weights(config, out, args.processes)
    except BadInput as error:
        sys.exit(f"make_weights: {error}")
    print(f"{weights}: {weights.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
