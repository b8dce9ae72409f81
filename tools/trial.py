"""Measure a model on held-out phantoms, used as a user would.

Run as ``python -m tools.trial``; ``--help`` lists the options.

Everything goes through `Session`. The clicks are simulated: the first at a lesion's centre, the
next ones at the deepest point of the largest error on the slice where most is wrong.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mois_core import models, weights
from mois_core.cli.model_choice import add_precision
from mois_core.evaluation.metrics import Metrics, measure
from mois_core.geometry import Volume
from mois_core.io.atomic import atomic_write
from mois_core.network.model import Sam2
from mois_core.phantom import (
    HELD_OUT_FROM,
    Phantom,
    PhantomLesion,
    PhantomSettings,
    make_phantom,
)
from mois_core.results.scores import dice
from mois_core.session import NewClick, Session
from mois_core.session.state import Settings
from mois_core.training.parallel import cores, in_processes
from mois_core.training.simulated_clicks import correction

EXEMPLARS = 5
CLICKS = 3
COUNTS = (1, 2, 3, 5, 7, 10)
SMALLEST_CM3 = 1.0


class Correction(NamedTuple):
    """A click on an error, and whether the mask then is at that voxel what the click says."""

    positive: bool
    is_heeded: bool


def measure_one(
    model: Sam2, phantom: Phantom, settings: Settings, with_counts: bool
) -> dict[str, float]:
    """Return all numbers of one phantom."""
    rng = np.random.default_rng(phantom.seed)
    lesions = [lesion for lesion in phantom.lesions if lesion.target]
    targets = [lesions[int(n)] for n in rng.permutation(len(lesions))]
    session = Session(model, Volume(phantom.scan, phantom.ijk_to_ras), settings)
    started = time.monotonic()
    lesion_ids = _click(session, targets[:EXEMPLARS])
    row = _lesion_dice(session, phantom, lesion_ids, targets, 1)
    row |= _searched(session, phantom, "right")
    row["seconds"] = time.monotonic() - started
    session.undo()
    heeded: dict[bool, list[bool]] = {True: [], False: []}
    for count in range(2, CLICKS + 1):
        for lesion_id, lesion in zip(lesion_ids, targets, strict=False):
            corrected = _correct(session, phantom, lesion_id, lesion, rng)
            if corrected is not None:
                heeded[corrected.positive].append(corrected.is_heeded)
        row |= _lesion_dice(session, phantom, lesion_ids, targets, count)
    for positive, name in ((True, "positive"), (False, "negative")):
        if heeded[positive]:
            row[f"heeded {name}"] = float(np.mean(heeded[positive]))
    _back_to_start(session)
    session.find_similar(use_exemplars=False)
    alone = session.stack.to_volume(session.semantic)
    row["none scan dice"] = _scan(alone, phantom).dsc
    row["none all lesions dice"] = dice(alone, phantom.instances > 0)
    _back_to_start(session)
    wrong = _wrong(phantom, rng)
    _click(session, wrong)
    row["wrong scan dice"] = _search_dice(session, phantom)
    _back_to_start(session)
    if with_counts:
        row |= _by_count(session, phantom, targets)
    return row


def measured(
    index: int,
    first: int,
    checkpoint: str | None,
    dtype: str,
    drawn: PhantomSettings,
    settings: Settings,
    counts: int,
) -> dict[str, float]:
    """Return all numbers of one of the phantoms, as a process of its own can measure it."""
    opened = weights.open_checkpoint(checkpoint or models.SHIPPED, device="cpu", dtype=dtype)
    phantom = make_phantom(first + index, drawn)
    row = measure_one(opened.network, phantom, settings, index < counts)
    return {name: float(value) for name, value in row.items()}


def _back_to_start(session: Session) -> None:
    while session.undo():
        pass


def _click(session: Session, lesions: Sequence[PhantomLesion]) -> list[int]:
    return session.clicks([NewClick(lesion.centroid_ras) for lesion in lesions])


def _wrong(phantom: Phantom, rng: np.random.Generator) -> list[PhantomLesion]:
    """Return lesions of the commonest appearance that is not the target."""
    looks = [lesion.appearance for lesion in phantom.lesions if not lesion.target]
    look = max(set(looks), key=lambda one: (looks.count(one), -one))
    lesions = [lesion for lesion in phantom.lesions if lesion.appearance == look]
    return [lesions[int(n)] for n in rng.permutation(len(lesions))[:EXEMPLARS]]


def _lesion_dice(
    session: Session,
    phantom: Phantom,
    lesion_ids: Sequence[int],
    lesions: Sequence[PhantomLesion],
    clicks: int,
) -> dict[str, float]:
    """Return the mean Dice of the clicked lesions, and of those that the metrics count."""
    values = {
        lesion: dice(session.mask(lesion_id), phantom.instances == lesion.id)
        for lesion_id, lesion in zip(lesion_ids, lesions, strict=False)
    }
    counted = [value for lesion, value in values.items() if lesion.volume_cm3 >= SMALLEST_CM3]
    row = {f"lesion dice {clicks}": float(np.mean(list(values.values())))}
    return row | ({f"lesion dice {clicks}, from 1 cm3": float(np.mean(counted))} if counted else {})


def _scan(result: np.ndarray, phantom: Phantom) -> Metrics:
    """Return the paper's metrics of a whole scan, with connected components from 1 cm3 on."""
    return measure(result, phantom.semantic, phantom.spacing[::-1], surfaces=False)


def _search_dice(session: Session, phantom: Phantom) -> float:
    """Return the DSC of what the search itself marks, without the clicked lesions."""
    if not session.exemplars_for(0):
        return 0.0
    session.find_similar()
    return _scan(session.stack.to_volume(session.semantic), phantom).dsc


def _searched(session: Session, phantom: Phantom, name: str) -> dict[str, float]:
    """Return the metrics of the scan after clicks and search, and of the search by itself."""
    search = _search_dice(session, phantom)
    scan = _scan(session.labels(), phantom)
    return {
        f"{name} scan dice": scan.dsc,
        f"{name} f1": scan.one_to_one_f1,
        f"{name} precision": scan.one_to_one_precision,
        f"{name} recall": scan.one_to_one_recall,
        f"{name} search dice": search,
    }


def _by_count(
    session: Session, phantom: Phantom, targets: Sequence[PhantomLesion]
) -> dict[str, float]:
    """Return the DSC of the scan with some lesions clicked, before and after a search."""
    row: dict[str, float] = {}
    done = 0
    for count in (*(count for count in COUNTS if count < len(targets)), len(targets)):
        _click(session, targets[done:count])
        done = count
        name = "all" if count == len(targets) else str(count)
        row[f"scan dice with {name}, no search"] = _scan(session.labels(), phantom).dsc
        row[f"scan dice with {name}"] = _searched(session, phantom, "n")["n scan dice"]
        session.undo()
    return row


def _correct(
    session: Session,
    phantom: Phantom,
    lesion_id: int,
    lesion: PhantomLesion,
    rng: np.random.Generator,
) -> Correction | None:
    """Click where most of a lesion is wrong; None if nothing is."""
    mask = session.stack.from_volume(session.mask(lesion_id))
    truth = session.stack.from_volume(phantom.instances == lesion.id)
    wrong = (mask != truth).sum(axis=(1, 2))
    if not wrong.any():
        return None
    slice_index = int(wrong.argmax())
    x, y, positive = correction(rng, mask[slice_index], truth[slice_index], from_truth=0.0)
    ras = session.stack.point_to_ras(np.array(slice_index), np.array(x), np.array(y))
    session.click(ras, positive=bool(positive), lesion=lesion_id)
    answer = session.stack.from_volume(session.mask(lesion_id))[slice_index, int(y), int(x)]
    return Correction(bool(positive), bool(answer) == bool(positive))


def summary(rows: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Return mean and standard deviation of every number over the phantoms that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = {}
    for name in names:
        values = [row[name] for row in rows if name in row]
        table[name] = [round(float(np.mean(values)), 4), round(float(np.std(values)), 4)]
    return table


def main() -> None:
    """Measure phantoms, print a table and write all numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="weights to measure in place of the shipped ones")
    add_precision(parser)
    parser.add_argument("--first", type=int, default=HELD_OUT_FROM, help="first seed")
    parser.add_argument("--count", type=int, default=20, help="phantoms")
    parser.add_argument("--attributes", help="what tells appearances apart, like contrast,rim")
    parser.add_argument(
        "--min-confidence", type=float, help="of findings, in place of the model's own"
    )
    parser.add_argument(
        "--heed-clicks",
        action=argparse.BooleanOptionalAction,
        default=Settings().heed_clicks,
        help="make corrected places what the clicks say, as by default",
    )
    parser.add_argument("--counts", type=int, default=0, help="phantoms for the exemplar curve")
    parser.add_argument(
        "--processes", type=int, default=cores(), help="that share the phantoms (cores)"
    )
    parser.add_argument("--out", type=Path, help="JSON file for all numbers")
    args = parser.parse_args()
    drawn = PhantomSettings()
    if args.attributes:
        drawn = PhantomSettings(attributes=tuple(args.attributes.split(",")))
    settings = Settings(min_confidence=args.min_confidence, heed_clicks=args.heed_clicks)
    work = partial(
        measured,
        first=args.first,
        checkpoint=args.checkpoint,
        dtype=args.dtype,
        drawn=drawn,
        settings=settings,
        counts=args.counts,
    )
    rows: list[dict[str, float]] = []
    for row in in_processes(work, range(args.count), args.processes):
        rows.append(row)
        print(
            args.first + len(rows) - 1,
            {name: round(value, 3) for name, value in row.items()},
            flush=True,
        )
        if args.out:
            content = {"first": args.first, "summary": summary(rows), "rows": rows}
            with atomic_write(args.out) as temporary:
                temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for name, (mean, deviation) in summary(rows).items():
        print(f"{name:28s} {mean:.3f} +- {deviation:.3f}")


if __name__ == "__main__":
    main()
