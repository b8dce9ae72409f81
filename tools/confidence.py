"""Measure how often findings of a confidence are right, on phantoms of the training range.

Run as ``python -m tools.confidence``; ``--help`` lists the options. With ``--again`` it first fits
what to write into the config of a network (`ExemplarConfig.judgement`). It ends with what each
lowest confidence would come to.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import minimize

from mois_core import models, weights
from mois_core.cli.model_choice import add_precision
from mois_core.geometry import Volume
from mois_core.network.config import EVIDENCE
from mois_core.network.model import Sam2
from mois_core.phantom import Phantom, PhantomSettings, is_held_out, make_phantom
from mois_core.progress import silent
from mois_core.session import NewClick, Session
from mois_core.session.findings import FindingRules, known_before_search
from mois_core.session.judging import Candidate, Judgement, candidates, confidence, needed
from mois_core.session.rejections import wanted_masks
from mois_core.training.parallel import cores, in_processes

EXEMPLARS = (1, 2, 3, 5, 7, 10, 20)
"""Lesions that are clicked before a search; all, if there are fewer."""
RIGHT_IOU = 0.1
"""A finding shows a lesion if it shares this much with it."""
BINS = np.linspace(0, 1, 11)
THRESHOLDS = np.arange(0, 0.91, 0.05)
PULL = 0.02
"""On the squares of the judgement's factors: a few phantoms may part right from wrong exactly."""


@dataclass(frozen=True)
class Finding:
    """One finding beside the clicked lesions, and how much of it is right."""

    evidence: tuple[float, float, float, float, float]
    voxels: int
    shared: int
    """Voxels that belong to the sought lesions."""
    is_right: bool
    """Whether it shows a lesion that was not clicked."""


@dataclass(frozen=True)
class SearchedScan:
    """What a search found that is not in contact with the clicked lesions."""

    findings: Sequence[Finding]
    clicked: int
    """Voxels of these outlines, and below those of them that are right."""
    shared: int
    wanted: int
    """Voxels of all sought lesions, and below how many lesions were not clicked."""
    others: int

    def dsc(self, confidences: np.ndarray, least: float) -> float:
        """Return the scan-wise DSC with this `Settings.min_confidence`."""
        kept = self._kept(confidences, least)
        shared = self.shared + sum(one.shared for one in kept)
        marked = self.clicked + sum(one.voxels for one in kept)
        return 2 * shared / (marked + self.wanted)

    def f1(self, confidences: np.ndarray, least: float) -> float:
        """Return the F1 score of the findings with this `Settings.min_confidence`."""
        kept = self._kept(confidences, least)
        return 2 * sum(one.is_right for one in kept) / max(len(kept) + self.others, 1)

    def _kept(self, confidences: np.ndarray, least: float) -> list[Finding]:
        each = list(zip(self.findings, confidences, strict=True))
        least = needed(least, self.clicked, sum(own * one.voxels for one, own in each))
        return [one for one, own in each if own >= least]


def searched(model: Sam2, phantom: Phantom) -> list[SearchedScan]:
    """Click target lesions of a phantom, search at each number of `EXEMPLARS`, and compare all
    findings with the truth."""
    rng = np.random.default_rng(phantom.seed)
    targets = [lesion for lesion in phantom.lesions if lesion.target]
    targets = [targets[int(n)] for n in rng.permutation(len(targets))]
    session = Session(model, Volume(phantom.scan, phantom.ijk_to_ras))
    instances = session.stack.from_volume(phantom.instances)
    sizes = {lesion.id: lesion.voxels for lesion in targets}
    scans, done = [], 0
    for count in sorted({min(count, len(targets)) for count in EXEMPLARS}):
        session.clicks([NewClick(lesion.centroid_ras) for lesion in targets[done:count]])
        done = count
        known = known_before_search(session.state.lesions.values(), instances.shape)
        others = {lesion.id for lesion in targets[count:]}
        found = _candidates(session, known) if session.exemplars_for(0) else []
        scans.append(
            SearchedScan(
                [_compared(one, instances, sizes, others) for one in found if not one.touches],
                int(known.sum()),
                int(np.isin(instances[known], list(sizes)).sum()),
                sum(sizes.values()),
                len(others),
            )
        )
    return scans


def _candidates(session: Session, known: np.ndarray) -> list[Candidate]:
    """Search for what was clicked and return everything that could be a finding."""
    marked = session.search.run(range(session.stack.count), session.exemplars_for, silent, None)
    rules = FindingRules.of(session.settings, session.stack, None, True, session.reference)
    wanted = wanted_masks(session.state.lesions.values())
    how = rules.smallest, rules.voxel_cm3
    return candidates(marked, known, wanted, session.embeddings, *how)


def _compared(
    candidate: Candidate, instances: np.ndarray, sizes: dict[int, int], others: set[int]
) -> Finding:
    """Compare a candidate with the lesions [slices, rows, columns] of the sought appearance."""
    ids, counts = np.unique(candidate.mask.read(instances), return_counts=True)
    each = zip(ids.tolist(), counts.tolist(), strict=True)
    shares = {n: count for n, count in each if n in sizes}
    voxels = candidate.mask.voxels
    ious = [n / (voxels + sizes[one] - n) for one, n in shares.items() if one in others]
    is_right = max(ious, default=0.0) >= RIGHT_IOU
    return Finding(candidate.evidence, voxels, sum(shares.values()), is_right)


def searched_with_each(seed: int, checkpoint: str | None, dtype: str) -> list[SearchedScan]:
    """Search a phantom with each number of exemplars, as a process of its own can do it."""
    opened = weights.open_checkpoint(checkpoint or models.SHIPPED, device="cpu", dtype=dtype)
    return searched(opened.network, make_phantom(seed, PhantomSettings()))


def confidences(findings: Sequence[Finding], judgement: Judgement) -> np.ndarray:
    """Return the confidence in each finding."""
    return confidence(_evidence(findings), judgement)


def _evidence(findings: Sequence[Finding]) -> np.ndarray:
    return np.array([one.evidence for one in findings]).reshape(-1, EVIDENCE)


def fitted(findings: Sequence[Finding]) -> Judgement:
    """Return the judgement under which it is likeliest that just the right findings are right."""
    evidence = _evidence(findings)
    signs = np.array([1 if one.is_right else -1 for one in findings])

    def unlikeliness(factors: np.ndarray) -> float:
        doubt = np.logaddexp(0, -signs * (evidence @ factors)).sum()
        return doubt + PULL * np.square(factors[:-1]).sum()

    return tuple(minimize(unlikeliness, np.zeros(EVIDENCE)).x.round(2).tolist())


def main() -> None:
    """Search phantoms and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="weights to measure in place of the shipped ones")
    parser.add_argument("--first", type=int, default=90020, help="first seed")
    parser.add_argument("--count", type=int, default=12, help="phantoms")
    add_precision(parser)
    parser.add_argument("--again", action="store_true", help="fit the judgement first")
    parser.add_argument(
        "--processes", type=int, default=cores(), help="that share the phantoms (cores)"
    )
    args = parser.parse_args()
    if is_held_out(args.first + args.count - 1):
        parser.error("held-out phantoms are for measuring only, not for choosing")
    opened = weights.open_checkpoint(args.checkpoint or models.SHIPPED, device="cpu")
    config = opened.network.config
    if config.exemplars is None or not config.marks_unprompted:
        parser.error("this network does not mark lesions without a prompt, so it judges none")
    judgement = config.exemplars.judgement
    if judgement is None and not args.again:
        parser.error("this network has no judgement yet; --again fits one")
    work = partial(searched_with_each, checkpoint=args.checkpoint, dtype=args.dtype)
    seeds = range(args.first, args.first + args.count)
    scans: list[SearchedScan] = []
    for seed, own in zip(seeds, in_processes(work, seeds, args.processes), strict=True):
        scans += own
        print(seed, [len(scan.findings) for scan in own], flush=True)
    findings = [one for scan in scans for one in scan.findings]
    if args.again:
        judgement = fitted(findings)
    print("judgement", judgement)
    every = confidences(findings, judgement)
    right = np.array([one.is_right for one in findings])
    print("confidence  findings  right")
    for low, high in zip(BINS[:-1], BINS[1:], strict=True):
        own = right[(every >= low) & (every < high + (high == 1))]
        if len(own):
            print(f"{low:.1f} to {high:.1f}  {len(own):8d}  {own.mean():.2f}")
    print("lowest confidence  DSC  F1")
    of_scan = [confidences(scan.findings, judgement) for scan in scans]
    for least in THRESHOLDS:
        each = list(zip(scans, of_scan, strict=True))
        dsc = np.mean([scan.dsc(own, least) for scan, own in each])
        f1 = np.mean([scan.f1(own, least) for scan, own in each])
        print(f"{least:.2f}  {dsc:.3f}  {f1:.3f}")


if __name__ == "__main__":
    main()
