"""Measures what a scribble through a lesion is best turned into, on phantoms of the training range.

    python -m tools.scribbles [--seeds N] [--lesions N]

A line is drawn by a simulated hand through each lesion, along it, on its largest slice. The network
is given 1, 3 or 5 clicks along the line, or the mask that a pen would paint; a box around the
lesion is there for comparison. The lesion is then propagated as usual. Printed are means over
lesions of the DSC on that slice and of the whole lesion, and the difference to one click with its
95 % interval, which takes whole phantoms.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage

from mois_core.evaluation.statistics import bootstrap
from mois_core.geometry import Volume
from mois_core.network.loading import load_model
from mois_core.network.model import Sam2
from mois_core.phantom import Phantom, PhantomSettings
from mois_core.phantom.generate import draw_plan, render
from mois_core.results.scores import dice
from mois_core.session import NewClick, Session
from mois_core.session.scribble import places_along

FIRST_SEED = 90_020
LESIONS = 6
PARTS = 12
"""Places that the hand goes through."""
SHAKE = 0.3
"""How far off the middle the hand is, as a part of the lesion's half width there."""
PEN_PIXELS = 3


def line_through(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return (row, column) of places [n, 2] along a mask from end to end, drawn by hand."""
    pixels = np.argwhere(image).astype(float)
    depth = ndimage.distance_transform_edt(np.pad(image, 1))[1:-1, 1:-1][image]
    centred = pixels - pixels.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    along = centred @ axes[:, -1]
    edges = np.linspace(along.min(), along.max(), PARTS + 1)
    parts = [(along >= low) & (along <= high) for low, high in zip(edges, edges[1:], strict=False)]
    deepest = [int(np.flatnonzero(part)[depth[part].argmax()]) for part in parts if part.any()]
    off = random.uniform(-SHAKE, SHAKE, len(deepest)) * depth[deepest]
    return pixels[deepest] + off[:, None] * axes[:, 0]


def painted(shape: tuple[int, ...], slice_index: int, line: np.ndarray) -> np.ndarray:
    """Return the mask [slices, rows, columns] that a pen leaves along a line."""
    stack = np.zeros(shape, dtype=bool)
    for start, end in zip(line, line[1:], strict=False):
        for part in np.linspace(0, 1, 2 * int(np.abs(end - start).max()) + 2):
            row, column = np.rint(start + part * (end - start)).astype(int)
            stack[slice_index, row, column] = True
    pen = np.ones((PEN_PIXELS, PEN_PIXELS), dtype=bool)
    stack[slice_index] = ndimage.binary_dilation(stack[slice_index], pen)
    return stack


def measure_scan(model: Sam2, phantom: Phantom, lesions: int) -> dict[str, np.ndarray]:
    """Return for each way the DSC on the slice and of the whole lesion, [lesions, 2]."""
    session = Session(model, Volume(phantom.scan, phantom.ijk_to_ras))
    stack = session.stack
    targets = [lesion for lesion in phantom.lesions if lesion.target]
    random = np.random.default_rng(phantom.seed)
    chosen = [targets[int(n)] for n in random.permutation(len(targets))[:lesions]]
    scores: dict[str, list[tuple[float, float]]] = {}
    for lesion in chosen:
        truth = stack.from_volume(phantom.instances == lesion.id)
        n = int(truth.sum(axis=(1, 2)).argmax())
        line = line_through(truth[n], random)
        places = np.array([stack.point_to_ras(n, column, row) for row, column in line])

        def clicked(count: int, places: np.ndarray = places) -> int:
            clicks = [NewClick(place) for place in places_along(places, count)]
            if len(clicks) > 1:
                lesion_id = session.state.next_id
                clicks = [click._replace(lesion=lesion_id) for click in clicks]
            return session.clicks(clicks)[0]

        def drawn(n: int = n, line: np.ndarray = line) -> int:
            stroke = painted(stack.array.shape, n, line)
            lesion_id = session.set_mask(None, stack.to_volume(stroke))
            session.propagate([lesion_id])
            return lesion_id

        def boxed(n: int = n, image: np.ndarray = truth[n]) -> int:
            rows, columns = np.nonzero(image)
            first = stack.point_to_ras(n, columns.min(), rows.min())
            return session.box(first, stack.point_to_ras(n, columns.max(), rows.max()))

        ways: dict[str, Callable[[], int]] = {
            "1 click": lambda: clicked(1),
            "3 clicks": lambda: clicked(3),
            "5 clicks": lambda: clicked(5),
            "painted mask": drawn,
            "box": boxed,
        }
        for way, prompt in ways.items():
            mask = stack.from_volume(session.mask(prompt()))
            scores.setdefault(way, []).append((dice(mask[n], truth[n]), dice(mask, truth)))
            session.undo()
    return {way: np.array(values) for way, values in scores.items()}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=12, help="number of phantoms (12)")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"seed ({FIRST_SEED})")
    parser.add_argument("--lesions", type=int, default=LESIONS, help=f"of each ({LESIONS})")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("phantom")
    seeds = range(args.first, args.first + args.seeds)
    scans = []
    for seed in seeds:
        phantom = render(draw_plan(seed, PhantomSettings()))
        scans.append(measure_scan(model, phantom, args.lesions))
    count = sum(len(scan["1 click"]) for scan in scans)
    print(f"{count} lesions of {len(scans)} phantoms: DSC on the slice, of the whole lesion")
    for way in scans[0]:
        means = np.concatenate([scan[way] for scan in scans]).mean(axis=0)
        gains = np.array([(scan[way] - scan["1 click"]).mean(axis=0) for scan in scans])
        intervals = [bootstrap(gains[:, column]) for column in (0, 1)]
        texts = [
            f"{mean:.3f} ({gain:+.3f}, {interval.low:+.3f} to {interval.high:+.3f})"
            for mean, gain, interval in zip(means, gains.mean(axis=0), intervals, strict=True)
        ]
        print(f"{way}: {'; '.join(texts)}", flush=True)


if __name__ == "__main__":
    main()
