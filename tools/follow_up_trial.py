"""Measures on phantoms how well lesions are followed from scan to scan.

    python -m tools.follow_up_trial [--pairs N] [--first SEED] [--size ROWSxCOLUMNS] [--posture F]
        [--joined N] [--engine]

In each pair lesions grow, shrink, vanish and appear, one pair of lesions merges and one lesion
falls in two (or ``--joined`` of each, as far as there are that many), and the patient lies
differently. Printed are, for each pair, the registration's
figures and processor time, and right and wrong links between lesions; then over all pairs the F1 of
the links, the share of lesions from 1 cm3 on whose change is told right, and for how many of them
the change of volume, with that of all parts, is within 2% of the truth. Of mergers and splits, also
how many lesions are told to have done so, and for how many the volumes of the right lesions count
together, whichever of them is called the part. With ``--strangers`` each
scan is also registered onto another patient's. The masks are the true ones; with ``--engine`` they
are what the network that ships makes of one click at each lesion's centre, on both scans.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from contextlib import suppress

import numpy as np
import torch

from mois_core.cli.arguments import matrix_size
from mois_core.errors import BadInput
from mois_core.followup.change import classify, lesion_changes
from mois_core.followup.course import FollowUp, courses, match_time_points
from mois_core.followup.registration import register
from mois_core.followup.time_point import TimePoint
from mois_core.geometry import Volume
from mois_core.models import SHIPPED
from mois_core.network.model import Sam2
from mois_core.phantom import LesionChange, Phantom, PhantomSettings, make_follow_up, make_phantom
from mois_core.session import NewClick, Session
from mois_core.weights import open_checkpoint

FIRST_SEED = 210_000
_LEAST_CM3 = 1.0
_CLOSE_PERCENT = 2.0


def time_point(phantom: Phantom, network: Sam2 | None) -> TimePoint:
    """Return a phantom as one scan of a course, with the masks of a network or the true ones."""
    scan = Volume(phantom.scan, phantom.ijk_to_ras)
    return TimePoint(scan, outlines(phantom, scan, network) if network else phantom.instances)


def outlines(phantom: Phantom, scan: Volume, network: Sam2) -> np.ndarray:
    """Outline all lesions, each from a click at its centre; their numbers are those of truth."""
    session = Session(network, scan)
    clicked = session.clicks([NewClick(lesion.centroid_ras) for lesion in phantom.lesions])
    numbers = np.zeros(max(clicked) + 1, phantom.instances.dtype)
    numbers[clicked] = [lesion.id for lesion in phantom.lesions]
    return numbers[session.labels()]


def true_changes(changes: tuple[LesionChange, ...]) -> dict[int, tuple[str, float, float]]:
    """Return the true class of each lesion, and its volumes with those of its parts."""
    before = {change.id: change.before_cm3 or 0.0 for change in changes}
    after = {change.id: change.after_cm3 or 0.0 for change in changes}
    for change in changes:
        if change.other is not None:
            before[change.other] += change.before_cm3 or 0.0
            after[change.other] += change.after_cm3 or 0.0
    truth = {}
    for change in changes:
        kind, then, now = change.change, before[change.id], after[change.id]
        if kind in ("stable", "grown", "shrunk"):
            kind = classify(then, now, min(then, now))
        truth[change.id] = (kind, then, now)
    return truth


def visit(
    baseline: Phantom, posture: float, joined: int
) -> tuple[Phantom, tuple[LesionChange, ...]]:
    """Make the later scan, with as many mergers and splits as this patient's lesions allow."""
    for count in range(joined, -1, -1):
        for split_off in range(joined, 0, -1):
            with suppress(BadInput):
                return make_follow_up(baseline, 1, posture, merge=count, split_off=split_off)
    return make_follow_up(baseline, 1, posture)


def measure(
    seed: int, settings: PhantomSettings, posture: float, joined: int, network: Sam2 | None
) -> dict[str, object]:
    """Follow one phantom's lesions, and count what was right."""
    baseline = make_phantom(seed, settings)
    later, changes = visit(baseline, posture, joined)
    points = (time_point(baseline, network), time_point(later, network))
    started = time.process_time()
    registration = register(points[0].scan, points[1].scan)
    seconds = time.process_time() - started
    matching = match_time_points(*points, registration)
    follow_up = FollowUp(points, (registration,), tuple(courses(points, [matching])))

    true_links = {(c.id, c.id) for c in changes if c.before_cm3 and c.after_cm3}
    true_links |= {(c.id, c.other) for c in changes if c.change == "merged"}
    true_links |= {(c.other, c.id) for c in changes if c.change == "split"}
    links = set(matching.pairs.items()) | set(matching.merged.items())
    links |= {(one, other) for other, one in matching.split.items()}

    together = Counter()
    for c in changes:
        if c.other is not None:
            link = (c.id, c.other) if c.change == "merged" else (c.other, c.id)
            together[c.change] += {link, (c.other, c.other)} <= links

    truth, told = true_changes(changes), Counter()
    off = []
    of_course = {c.number: c for c in follow_up.courses}
    for row in lesion_changes(follow_up):
        course = of_course[row.lesion]
        lesion_id = course.labels.get(0, course.labels.get(1))
        kind, then, now = truth[lesion_id]
        if max(then, now) < _LEAST_CM3:
            continue
        told[kind, row.change] += 1
        if row.percent is not None and then and now:
            off.append(abs(row.percent - 100 * (now / then - 1)))
    return {
        "links": (len(links & true_links), len(links - true_links), len(true_links - links)),
        "told": told,
        "together": together,
        "joined": Counter(c.change for c in changes if c.other is not None),
        "off": off,
        "quality": registration.quality,
        "seconds": seconds,
        "scan": points[1].scan,
    }


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help=f"seed ({FIRST_SEED})")
    parser.add_argument("--size", type=matrix_size, default=(512, 160))
    parser.add_argument("--posture", type=float, default=1.0)
    parser.add_argument("--joined", type=int, default=1, help="mergers and splits in each pair")
    parser.add_argument("--strangers", action="store_true")
    parser.add_argument("--engine", action="store_true", help="masks of the network that ships")
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = PhantomSettings(size=args.size)
    network = open_checkpoint(SHIPPED, device="cpu").network if args.engine else None
    rows = []
    print("seed: right, wrong, missed links; correlation before, after; overlap; Jacobian; seconds")
    for seed in range(args.first, args.first + args.pairs):
        row = measure(seed, settings, args.posture, args.joined, network)
        rows.append(row)
        q = row["quality"]
        print(
            f"{seed}:", *row["links"],
            f"; {q.correlation_before:.2f} {q.correlation:.2f}; {q.body_overlap:.3f}; "
            f"{q.smallest_jacobian:.2f} to {q.largest_jacobian:.2f}; {row['seconds']:.1f}"
            f" {q.why_not}", flush=True,
        )  # fmt: skip
        if args.strangers and len(rows) > 1:
            other = register(rows[-2]["scan"], row["scan"]).quality
            print(
                f"  another patient's: {other.correlation:.2f}; {other.body_overlap:.3f}; "
                f"{'refused' if other.why_not else 'NOT refused'}", flush=True,
            )  # fmt: skip
    right, wrong, missed = np.sum([row["links"] for row in rows], axis=0)
    print(f"links: F1 {2 * right / (2 * right + wrong + missed):.3f}")
    told = sum((row["told"] for row in rows), Counter())
    for kind in ("grown", "shrunk", "stable", "gone", "new", "merged", "split"):
        count = sum(n for (true, _), n in told.items() if true == kind)
        good = told[kind, kind]
        line = f"{kind}: {good} of {count} told right ({good / max(count, 1):.0%})"
        if kind in ("merged", "split"):
            said = sum(n for (_, one), n in told.items() if one == kind)
            together, joined = (
                sum(row[key][kind] for row in rows) for key in ("together", "joined")
            )
            line += f", {said} told so; of all sizes {together} of {joined} counted together"
        print(line)
    off = np.concatenate([row["off"] for row in rows])
    print(f"change of volume: {np.mean(off <= _CLOSE_PERCENT):.0%} of {len(off)} within 2%", end="")
    print(f", off by {np.median(off):.1f} points in the middle")
    print(f"registration: {np.median([row['seconds'] for row in rows]):.1f} s of processor time")


if __name__ == "__main__":
    main()
