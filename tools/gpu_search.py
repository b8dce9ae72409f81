"""Time what a user waits for on a scan of full size: encoding it, ten clicks, the search with them.

Run as ``python -m tools.gpu_search --device cuda``. The weights are synthetic, which changes no
time of the network; how long findings take to be told apart depends on what is marked, so the
search alone is timed as well. Every time ends when the device has finished.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

# Run as a file, Python looks for imports beside it and not in the project's root.
sys.path.insert(0, str(Path(__file__).parents[1]))

from mois_core.bench.machine import PRECISIONS, describe, seconds_of
from mois_core.bench.operations import COLUMNS, EXEMPLARS, PRESENT_BIAS, ROWS, SLICES, noise
from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.io.atomic import atomic_write
from mois_core.network.config import preset
from mois_core.network.exemplar import MoisSam2
from mois_core.network.loading import build, usable_device
from mois_core.progress import silent
from mois_core.session import NewClick, Session
from mois_core.session.state import Settings


def network(name: str, device: torch.device, precision: str) -> MoisSam2:
    """Return a network with synthetic weights that see an object everywhere."""
    model = fill_synthetic(build(preset(name)), score_bias=PRESENT_BIAS)
    if not isinstance(model, MoisSam2):
        raise BadInput(f"{name} cannot search; choose a MOIS-SAM2 model")
    model.requires_grad_(False).eval().to(device)
    return model.set_precision(PRECISIONS[precision])


def one_scan(model: MoisSam2, volume: Volume) -> dict[str, float]:
    """Return the seconds of each thing that a user does with a scan, in their order."""
    device = model.device
    session = Session(model, volume, Settings(gate=False))
    seconds = {"encode all slices": seconds_of(session.prepare, device)}
    stack, middle = session.stack, session.stack.count // 2
    rows, columns = volume.array.shape[1:]
    places = np.linspace(0.2, 0.8, EXEMPLARS)
    points = stack.point_to_ras(middle, columns * places, rows * places)
    clicks = [NewClick(point) for point in points]
    seconds[f"{EXEMPLARS} clicks on a slice"] = seconds_of(
        lambda: session.clicks(clicks, propagate=False), device
    )
    everything = range(stack.count)
    seconds["search all slices"] = seconds_of(
        lambda: session.search.run(everything, session.exemplars_for, silent, None), device
    )
    # With keys and queries of the first; what a user waits for is the sum of both.
    seconds["search again, and tell findings apart"] = seconds_of(session.find_similar, device)
    return seconds


def measure(
    name: str, device: torch.device, precision: str, size: tuple[int, int, int], repeats: int
) -> dict[str, Any]:
    """Return the figures of several scans one after the other; the first one warms up."""
    model, volume = network(name, device, precision), noise(*size)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with torch.no_grad():
        first, *rest = [one_scan(model, volume) for _ in range(1 + repeats)]
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {
        "machine": asdict(describe(device)),
        "network": name,
        "precision": precision,
        "slices": size[0],
        "rows": size[1],
        "columns": size[2],
        "exemplars": EXEMPLARS,
        "repeats": repeats,
        "first_seconds": first,
        "median_seconds": {
            step: statistics.median(seconds[step] for seconds in rest) for step in first
        },
        "fastest_seconds": {step: min(seconds[step] for seconds in rest) for step in first},
        "peak_memory_bytes": peak,
    }


def main() -> None:
    """Measure as the command line says, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="mois-sam2-b+", help="which network (mois-sam2-b+)")
    parser.add_argument("--device", default="cuda", help="cpu, cuda or mps (cuda)")
    parser.add_argument("--dtype", choices=PRECISIONS, default="bfloat16", help="(bfloat16)")
    parser.add_argument("--slices", type=int, default=SLICES, metavar="N", help=f"({SLICES})")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="scans timed (5)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures here")
    args = parser.parse_args()
    try:
        size = (args.slices, ROWS, COLUMNS)
        device = usable_device(args.device)
        figures = measure(args.preset, device, args.dtype, size, args.repeats)
    except BadInput as error:
        sys.exit(f"gpu_search: {error}")
    for step, seconds in figures["median_seconds"].items():
        print(f"{step:<40} {seconds:8.3f} s  (first {figures['first_seconds'][step]:.3f} s)")
    if args.out:
        with atomic_write(args.out) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
