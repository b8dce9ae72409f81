"""Measure where a model's search falls short on held-out phantoms, and what its grid allows.

Run as ``python -m tools.shortfall``; ``--help`` lists the options.

The search is asked without exemplars, so that what it misses is not seen, rather than taken for
another kind. Everything is counted in voxels of slices; lesions are cut up by slice.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from mois_core import models, weights
from mois_core.geometry import Volume
from mois_core.network.config import Size
from mois_core.phantom import HELD_OUT_FROM, Phantom, PhantomSettings, make_phantom
from mois_core.session import Session

SIZES = [(f"{a:g} to {b:g}", a, b) for a, b in pairwise((0.0, 1.0, 3.0, 10.0, 30.0, np.inf))]
"""Names and limits of the groups of areas, in cm2."""
_NEAR = 2.0
"""Distance from a lesion, in mask pixels, up to which a mark counts as an attempt at it."""
_SEEN = 0.1
"""Share of a lesion that has to be marked on a slice; below, all of it counts as not seen."""

Sums = np.ndarray
"""Counts of voxels: of lesions, marked, both; the latter two also for the best mask on the grid."""


class Shortfall:
    """Sums of errors over phantoms, by kind of error and by group of lesions."""

    def __init__(self, mask_size: Size) -> None:
        """``mask_size`` is rows and columns of the network's masks."""
        self.mask_size = mask_size
        self.groups: dict[tuple[str, str], Sums] = defaultdict(lambda: np.zeros(5))
        self.errors: dict[str, int] = defaultdict(int)

    def add(self, phantom: Phantom, found: np.ndarray) -> None:
        """Count one phantom; ``found`` is indexed like its scan."""
        for marked, lesions in zip(found, phantom.instances, strict=True):
            if lesions.any():
                self._add_slice(phantom, marked, lesions)
            else:
                self.errors["far from lesions"] += np.count_nonzero(marked)

    def _add_slice(self, phantom: Phantom, marked: np.ndarray, lesions: np.ndarray) -> None:
        truth = lesions > 0
        best = best_on_grid(truth, self.mask_size)
        pitch = [ours / own for ours, own in zip(self.mask_size, truth.shape, strict=True)]
        outside = ndimage.distance_transform_edt(~truth, sampling=pitch)
        inside = ndimage.distance_transform_edt(truth, sampling=pitch)
        unseen = np.zeros_like(truth)
        for lesion_id in np.unique(lesions[truth]):
            lesion = lesions == lesion_id
            share = np.count_nonzero(marked & lesion) / np.count_nonzero(lesion)
            if share < _SEEN:
                unseen |= lesion
            near = lesion | (~truth & self._near(lesion, pitch))
            sums = np.array(
                [
                    np.count_nonzero(part)
                    for part in (lesion, marked & near, marked & lesion, best & near, best & lesion)
                ]
            )
            for group in self._groups_of(phantom, int(lesion_id), lesion):
                self.groups[group] += sums
        missing, extra = truth & ~marked, marked & ~truth
        for name, wrong in (
            ("lesions not seen", missing & unseen),
            ("missing at the border", missing & ~unseen & (inside <= 1)),
            ("missing further in", missing & ~unseen & (inside > 1)),
            ("too much at the border", extra & (outside <= 1)),
            ("too much further out", extra & (outside > 1) & (outside <= 4)),
            ("far from lesions", extra & (outside > 4)),
        ):
            self.errors[name] += np.count_nonzero(wrong)

    @staticmethod
    def _near(lesion: np.ndarray, pitch: list[float]) -> np.ndarray:
        reach = [int(np.ceil(_NEAR / p)) for p in pitch]
        (box,) = ndimage.find_objects(lesion.astype(np.uint8))
        box = tuple(
            slice(max(cut.start - r, 0), cut.stop + r) for cut, r in zip(box, reach, strict=True)
        )
        near = np.zeros_like(lesion)
        near[box] = ndimage.distance_transform_edt(~lesion[box], sampling=pitch) <= _NEAR
        return near

    @staticmethod
    def _groups_of(
        phantom: Phantom, lesion_id: int, lesion: np.ndarray
    ) -> Iterator[tuple[str, str]]:
        yield "all", "lesions"
        columns, rows, _ = phantom.spacing
        area = np.count_nonzero(lesion) * columns * rows / 100
        yield "area on the slice, cm2", next(n for n, low, high in SIZES if low <= area < high)
        look = phantom.appearances[phantom.lesions[lesion_id - 1].appearance]
        yield from asdict(look).items()

    def report(self) -> str:
        """Return two Markdown tables: Dice by group, and kinds of error as parts of all lesions."""
        whole = self.groups["all", "lesions"][0]
        lines = [
            "| | | share of all | Dice | best on the grid |",
            "| --- | --- | --- | --- | --- |",
        ]
        order = list(dict.fromkeys(name for name, _ in self.groups))
        sizes = [name for name, _, _ in SIZES]

        def place(group: tuple[str, str]) -> tuple[int, int, str]:
            name, value = group
            return order.index(name), sizes.index(value) if value in sizes else 0, value

        for name, value in sorted(self.groups, key=place):
            sums = self.groups[name, value]
            lesion, marked, both, best, best_both = sums
            lines.append(
                f"| {name} | {value} | {lesion / whole:.2f} | {2 * both / (lesion + marked):.2f} "
                f"| {2 * best_both / (lesion + best):.2f} |"
            )
        lines += ["", "| error | share of the lesions' voxels |", "| --- | --- |"]
        lines += [f"| {name} | {count / whole:.2f} |" for name, count in self.errors.items()]
        return "\n".join(lines)


def best_on_grid(truth: np.ndarray, size: Size) -> np.ndarray:
    """Return the truth of a slice as a perfect mask of that size would render it."""
    exact = torch.from_numpy(truth)[None, None].float()
    shares = F.adaptive_avg_pool2d(exact, size)
    back = F.interpolate(shares, truth.shape, mode="bilinear", align_corners=False)
    return (back[0, 0] > 0.5).numpy()


def main() -> None:
    """Measure phantoms and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="weights to measure in place of the shipped ones")
    parser.add_argument("--first", type=int, default=HELD_OUT_FROM, help="first seed")
    parser.add_argument("--count", type=int, default=20, help="phantoms")
    parser.add_argument("--threads", type=int, default=0, help="processor threads")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    model = weights.open_checkpoint(args.checkpoint or models.SHIPPED, device="cpu").network
    shortfall = Shortfall(model.config.low_res_size)
    for seed in range(args.first, args.first + args.count):
        phantom = make_phantom(seed, PhantomSettings())
        session = Session(model, Volume(phantom.scan, phantom.ijk_to_ras))
        session.find_similar(use_exemplars=False)
        shortfall.add(phantom, session.stack.to_volume(session.semantic))
        print(f"phantom {seed}", flush=True)
    print(shortfall.report())


if __name__ == "__main__":
    main()
