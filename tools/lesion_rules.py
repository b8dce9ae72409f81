"""Measures what each rule for whole lesions is worth, on phantoms of the training range.

    python -m tools.lesion_rules [--seeds N] [--slice-mm 7.8 2] [--processes N]

Five target lesions are clicked once each, then the scan is searched. The rules are added one after
the other to the flow without them: a distance instead of three slices, what is connected to the
click, what the search marks in contact with a clicked lesion. Printed are means over phantoms and,
against the row before, the mean difference with its 95 % interval. Findings in contact with a
clicked lesion are counted too: mostly they are pieces of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from scipy import ndimage

from mois_core import models, weights
from mois_core.cli.model_choice import add_precision
from mois_core.evaluation.metrics import measure
from mois_core.evaluation.statistics import bootstrap
from mois_core.geometry import Volume
from mois_core.network.model import Sam2, SliceFeatures
from mois_core.phantom import Phantom, PhantomSettings
from mois_core.phantom.generate import draw_plan, render
from mois_core.results.scores import dice
from mois_core.session import NewClick, Session
from mois_core.session.components import TOUCHING
from mois_core.session.lesion import Status
from mois_core.session.state import Settings
from mois_core.training.parallel import cores, in_processes

FIRST_SEED = 90_020
CLICKED = 5
HALF_SIZE = (512, 160)
"""Rows and columns of thin scans: as fine as the network's input is, and made in less time."""

RULES = {
    "three slices each way": {"propagation_slices": 3, "connected": False, "absorb": False},
    "24 mm each way": {"connected": False, "absorb": False},
    "and only what is connected": {"absorb": False},
    "and what the search marks in contact": {},
}


def phantom_of(seed: int, slice_mm: float) -> Phantom:
    """Make a phantom with slices of a thickness."""
    settings = PhantomSettings()
    if slice_mm < settings.scanner.slice_mm:
        settings = PhantomSettings(size=HALF_SIZE)
    return render(draw_plan(seed, settings), slice_mm=slice_mm)


@contextmanager
def encoding_once(model: Sam2) -> Iterator[None]:
    """Encode no image twice: sessions on the same scan differ in what follows."""
    encode, known = model.encode, {}

    def encode_once(images: torch.Tensor, *origin: tuple[int, int]) -> SliceFeatures:
        key = images.numpy().tobytes(), origin
        if key not in known:
            known[key] = encode(images, *origin)
        return known[key]

    model.encode = encode_once
    try:
        yield
    finally:
        model.encode = encode


def beside_clicked(session: Session) -> int:
    """Return how many findings are in contact with a clicked lesion."""
    labels = session.labels()
    found = [lesion.id for lesion in session.lesions if lesion.status is Status.FOUND]
    is_clicked = (labels > 0) & ~np.isin(labels, found)
    around = np.unique(labels[ndimage.binary_dilation(is_clicked, structure=TOUCHING)])
    return int(np.isin(around, found).sum())


def measure_rules(model: Sam2, phantom: Phantom) -> Iterator[tuple[float, ...]]:
    """Yield for each row of `RULES`: DSC of clicked lesions before and after the search, DSC and F1
    of the scan, and findings beside clicked lesions."""
    targets = [lesion for lesion in phantom.lesions if lesion.target]
    order = np.random.default_rng(phantom.seed).permutation(len(targets))[:CLICKED]
    clicked = [targets[int(n)] for n in order]
    for rules in RULES.values():
        session = Session(model, Volume(phantom.scan, phantom.ijk_to_ras), Settings(**rules))
        ids = session.clicks([NewClick(lesion.centroid_ras) for lesion in clicked])

        def of_clicked(session: Session = session, ids: list[int] = ids) -> float:
            pairs = zip(ids, clicked, strict=True)
            return float(
                np.mean([dice(session.mask(n), phantom.instances == le.id) for n, le in pairs])
            )

        before = of_clicked()
        session.find_similar()
        spacing = phantom.spacing[::-1]
        scan = measure(session.labels(), phantom.semantic, spacing, surfaces=False)
        yield before, of_clicked(), scan.dsc, scan.one_to_one_f1, beside_clicked(session)


def measured(seed: int, slice_mm: float, dtype: str) -> list[tuple[float, ...]]:
    """Measure a phantom, as a process of its own can do it."""
    model = weights.open_checkpoint(models.SHIPPED, device="cpu", dtype=dtype).network
    with encoding_once(model):
        return [*measure_rules(model, phantom_of(seed, slice_mm))]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=12, help="number of phantoms (12)")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"seed ({FIRST_SEED})")
    parser.add_argument(
        "--processes", type=int, default=cores(), help="that share the phantoms (cores)"
    )
    add_precision(parser)
    parser.add_argument("--slice-mm", type=float, nargs="*", default=[7.8, 2.0])
    args = parser.parse_args()
    columns = ("clicked", "clicked, after the search", "scan DSC", "scan F1", "findings beside")
    for slice_mm in args.slice_mm:
        seeds = range(args.first, args.first + args.seeds)
        work = partial(measured, slice_mm=slice_mm, dtype=args.dtype)
        values = np.array(list(in_processes(work, seeds, args.processes)))
        print(
            f"\nslices of {slice_mm:g} mm, {args.seeds} phantoms: {', '.join(columns)}", flush=True
        )
        for n, rule in enumerate(RULES):
            means = " ".join(f"{mean:.3f}" for mean in values[:, n].mean(axis=0))
            gains = []
            for column in range(len(columns)) if n else ():
                gain = values[:, n, column] - values[:, n - 1, column]
                interval = bootstrap(gain)
                gains.append(f"{gain.mean():+.3f} ({interval.low:+.3f} to {interval.high:+.3f})")
            print(f"{rule}: {means}", "; ".join(gains), flush=True)


if __name__ == "__main__":
    main()
