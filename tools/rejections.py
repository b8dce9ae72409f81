"""Measure what a second search gains from what the reader rejected or accepted after the first.

Run as ``python -m tools.rejections``; ``--help`` lists the options.

Five lesions of each phantom get a click, and the scan is searched. A simulated reader then decides
on the 1, 3 or 5 largest findings and searches again: rejected are findings that are mostly no
lesion of the kind that is sought, accepted are others. Each second search is done with and without
the setting that learns from the decision. The decisions themselves are the same in both, and what
was rejected counts in neither.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mois_core import models, weights
from mois_core.evaluation.metrics import measure
from mois_core.evaluation.statistics import bootstrap
from mois_core.geometry import Volume
from mois_core.network.model import Sam2
from mois_core.phantom import Phantom, make_phantom
from mois_core.session import NewClick, Session
from mois_core.session.state import Settings

FIRST, PHANTOMS = 90020, 12
"""Phantoms of the training range that nothing was trained on."""

EXEMPLARS = 5
DECISIONS = (1, 3, 5)
MOSTLY = 0.5
LEARNING = {"reject": "learn_from_rejections", "accept": "accepted_as_exemplars"}

Scores = tuple[float, float]
"""F1 and DSC of a scan."""

Pair = tuple[Scores, Scores]
"""Scores without and with learning."""


def measure_one(
    model: Sam2, phantom: Phantom, decisions: Sequence[str]
) -> dict[tuple[str, int], Pair]:
    """Return the scores of second searches by decision and number of findings decided on."""
    volume = Volume(phantom.scan, phantom.ijk_to_ras)
    session = Session(model, volume, Settings(learn_from_rejections=False))
    rng = np.random.default_rng(phantom.seed)
    lesions = [lesion for lesion in phantom.lesions if lesion.target]
    targets = [lesions[int(n)] for n in rng.permutation(len(lesions))[:EXEMPLARS]]
    session.clicks([NewClick(lesion.centroid_ras) for lesion in targets])
    findings = [session.lesion(n) for n in session.find_similar()]
    findings.sort(key=lambda lesion: -lesion.mask.voxels)
    truth = session.stack.from_volume(phantom.semantic)
    is_right = {le.id: le.mask.read(truth).mean() >= MOSTLY for le in findings}
    chosen: dict[tuple[str, tuple[int, ...]], Pair] = {}
    measured = {}
    for decision in decisions:
        lesion_ids = tuple(n for n, right in is_right.items() if right == (decision == "accept"))
        for count in DECISIONS:
            key = decision, lesion_ids[:count]
            if key not in chosen:
                chosen[key] = _second_searches(session, phantom, *key)
            measured[decision, count] = chosen[key]
    return measured


def _second_searches(
    session: Session, phantom: Phantom, decision: str, lesion_ids: Sequence[int]
) -> Pair:
    """Return the scores of a second search without and with learning from a decision."""
    if not lesion_ids:
        scores = _scores(session, phantom)
        return scores, scores
    getattr(session, decision)(*lesion_ids)
    plain = session.settings
    pair = []
    for learns in (False, True):
        session.settings = replace(plain, **{LEARNING[decision]: learns})
        session.find_similar()
        pair.append(_scores(session, phantom))
        session.undo()
    session.settings = plain
    session.undo()
    return pair[0], pair[1]


def _scores(session: Session, phantom: Phantom) -> Scores:
    found = measure(session.labels(), phantom.semantic, phantom.spacing[::-1], surfaces=False)
    return found.one_to_one_f1, found.dsc


def table(rows: Sequence[dict[tuple[str, int], Pair]]) -> list[str]:
    """Return lines of mean scores without learning, and of what learning changes (95 %)."""
    lines = [f"{'':9s} findings  {'F1':30s} DSC"]
    for key in rows[0]:
        decision, count = key
        values = np.array([row[key] for row in rows])  # (phantoms, 2, scores)
        cells = []
        for index in range(2):
            without, learned = values[:, 0, index], values[:, 1, index]
            gain = bootstrap(learned - without)
            interval = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
            cells.append(f"{without.mean():.3f} {interval}")
        lines.append(f"{decision:9s} {count:8d}  {'   '.join(cells)}")
    return lines


def main() -> None:
    """Measure phantoms and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="weights to measure in place of the shipped ones")
    parser.add_argument("--first", type=int, default=FIRST, help="first seed")
    parser.add_argument("--count", type=int, default=PHANTOMS, help="phantoms")
    parser.add_argument(
        "--decision", choices=sorted(LEARNING), help="measure one kind of decision only"
    )
    parser.add_argument("--threads", type=int, default=0, help="processor threads")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    decisions = [args.decision] if args.decision else ["reject", "accept"]
    model = weights.open_checkpoint(args.checkpoint or models.SHIPPED, device="cpu").network
    rows = []
    for seed in range(args.first, args.first + args.count):
        rows.append(measure_one(model, make_phantom(seed), decisions))
        shown = {f"{how} {n}": np.round(pair, 3).tolist() for (how, n), pair in rows[-1].items()}
        print(seed, shown, flush=True)
    print(*table(rows), sep="\n")


if __name__ == "__main__":
    main()
