"""Measure how often findings of a confidence are right, on phantoms of the training range.

Run as ``python -m tools.confidence``; ``--help`` lists the options. With ``--again`` it prints what
to write into the config of a network (`ExemplarConfig.calibration`): the curve from the height of a
finding's logits to the share of findings that are right. It ends with what each lowest confidence
would come to.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.optimize import isotonic_regression

from mois_core import models, weights
from mois_core.geometry import Volume
from mois_core.network.model import Sam2
from mois_core.phantom import Phantom, PhantomSettings, is_held_out, make_phantom
from mois_core.session import NewClick, Session
from mois_core.session.state import Settings
from mois_core.training.parallel import cores, in_processes

EXEMPLARS = (1, 3, 5)
RIGHT_IOU = 0.1
"""A finding is right if it shares this much with one lesion of the sought appearance."""
BINS = np.linspace(0, 1, 11)
KNOTS = 8
THRESHOLDS = np.arange(0, 0.91, 0.05)


@dataclass(frozen=True)
class Finding:
    """One finding, and how much of it is right."""

    confidence: float
    voxels: int
    shared: int
    """Voxels that belong to the sought lesions."""
    is_right: bool


@dataclass(frozen=True)
class SearchedScan:
    """What a search found beside the clicked lesions, which are taken to be perfect."""

    findings: Sequence[Finding]
    clicked: int
    """Voxels of the clicked lesions."""
    wanted: int
    """Voxels of all sought lesions, and below how many lesions were not clicked."""
    others: int

    def dsc(self, threshold: float) -> float:
        """Return the scan-wise DSC if findings below a confidence are left out."""
        kept = [one for one in self.findings if one.confidence >= threshold]
        shared = self.clicked + sum(one.shared for one in kept)
        marked = self.clicked + sum(one.voxels for one in kept)
        return 2 * shared / (marked + self.wanted)

    def f1(self, threshold: float) -> float:
        """Return the F1 score of the findings from a confidence on."""
        kept = [one.is_right for one in self.findings if one.confidence >= threshold]
        return 2 * sum(kept) / max(len(kept) + self.others, 1)


def searched(model: Sam2, phantom: Phantom, exemplars: int) -> SearchedScan:
    """Click some target lesions of a phantom, search, and compare all findings with the truth."""
    rng = np.random.default_rng([phantom.seed, exemplars])
    targets = [lesion for lesion in phantom.lesions if lesion.target]
    targets = [targets[int(n)] for n in rng.permutation(len(targets))]
    session = Session(model, Volume(phantom.scan, phantom.ijk_to_ras), Settings(min_confidence=0.0))
    clicked = targets[:exemplars]
    lesion_ids = session.clicks([NewClick(lesion.centroid_ras) for lesion in clicked])
    sizes = {lesion.id: lesion.voxels for lesion in targets}
    prompted = {lesion.id for lesion in clicked}
    findings = []
    if session.exemplars_for(0):
        for found in session.find_similar():
            if found in lesion_ids:
                continue
            mask = session.mask(found)
            ids, counts = np.unique(phantom.instances[mask], return_counts=True)
            ids_and_counts = zip(ids.tolist(), counts.tolist(), strict=True)
            shares = {n: count for n, count in ids_and_counts if n in sizes}
            voxels = int(mask.sum())
            ious = [n / (voxels + sizes[lesion] - n) for lesion, n in shares.items()]
            is_right = max(ious, default=0.0) >= RIGHT_IOU
            confidence = session.lesion(found).confidence
            findings.append(Finding(confidence, voxels, sum(shares.values()), is_right))
    return SearchedScan(
        findings,
        sum(sizes[n] for n in prompted),
        sum(sizes.values()),
        len(targets) - len(clicked),
    )


def searched_with_each(seed: int, checkpoint: str | None, again: bool) -> list[SearchedScan]:
    """Search a phantom with each number of exemplars, as a process of its own can do it.

    With ``again`` confidences are what they were before they were calibrated.
    """
    model = weights.open_checkpoint(checkpoint or models.SHIPPED, device="cpu").network
    if again:
        exemplars = replace(model.config.exemplars, calibration=())
        model.config = replace(model.config, exemplars=exemplars)
    phantom = make_phantom(seed, PhantomSettings())
    return [searched(model, phantom, count) for count in EXEMPLARS]


def curve(findings: Sequence[Finding]) -> list[tuple[float, float]]:
    """Return knots from the confidence to the share of findings that are right."""
    ordered = sorted(findings, key=lambda one: one.confidence)
    right = np.array([one.is_right for one in ordered], dtype=float)
    fitted = isotonic_regression(right).x
    confidence = np.array([one.confidence for one in ordered])
    places = np.quantile(confidence, np.linspace(0, 1, KNOTS))
    shares = [fitted[np.abs(confidence - place).argsort()[:25]].mean() for place in places]
    return [
        (round(float(place), 3), round(float(share), 3))
        for place, share in zip(places, np.maximum.accumulate(shares), strict=True)
    ]


def main() -> None:
    """Search phantoms and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="weights to measure in place of the shipped ones")
    parser.add_argument("--first", type=int, default=90020, help="first seed")
    parser.add_argument("--count", type=int, default=12, help="phantoms")
    parser.add_argument(
        "--again", action="store_true", help="calibrate anew, instead of measuring the calibration"
    )
    parser.add_argument(
        "--processes", type=int, default=cores(), help="that share the phantoms (cores)"
    )
    args = parser.parse_args()
    if is_held_out(args.first + args.count - 1):
        parser.error("held-out phantoms are for measuring only, not for choosing")
    work = partial(searched_with_each, checkpoint=args.checkpoint, again=args.again)
    seeds = range(args.first, args.first + args.count)
    scans: list[SearchedScan] = []
    for seed, own in zip(seeds, in_processes(work, seeds, args.processes), strict=True):
        scans += own
        print(seed, [len(scan.findings) for scan in own], flush=True)
    findings = [one for scan in scans for one in scan.findings]
    print("confidence  findings  right")
    for low, high in zip(BINS[:-1], BINS[1:], strict=True):
        own = [f.is_right for f in findings if low <= f.confidence < high + (high == 1)]
        if own:
            print(f"{low:.1f} to {high:.1f}  {len(own):8d}  {np.mean(own):.2f}")
    print("curve", curve(findings))
    print("lowest confidence  DSC  F1")
    for threshold in THRESHOLDS:
        dsc, f1 = (
            np.mean([score(threshold) for score in scores])
            for scores in ([scan.dsc for scan in scans], [scan.f1 for scan in scans])
        )
        print(f"{threshold:.2f}  {dsc:.3f}  {f1:.3f}")


if __name__ == "__main__":
    main()
