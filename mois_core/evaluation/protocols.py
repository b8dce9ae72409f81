"""How a simulated reader works through a scan: the papers' protocols, and a more human one.

A protocol gives one `Step` whenever there is something to measure. It sees the scan as a stack
of slices, and clicks in patient coordinates like everyone else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.segmenters import Segmenter
from mois_core.evaluation.simulated_reader import RULES, Mistakes, Place, Reader, Rule, next_clicks
from mois_core.evaluation.truth import (
    PUBLISHED_LESIONS,
    LesionSource,
    Order,
    TrueLesion,
    numbered,
    targets,
    true_lesions,
)
from mois_core.geometry import SliceStack, Volume
from mois_core.results.scores import dice

MOSTLY = 0.5
"""A finding of which less than this is lesion is taken away with one click, not corrected."""

Kind = Literal["lesion-wise", "scan-wise", "reader"]
KINDS: tuple[Kind, ...] = ("lesion-wise", "scan-wise", "reader")
Measured = Literal["end", "lesion", "click"]
Objects = Literal["lesions", "one"]


@dataclass(frozen=True)
class Protocol:
    """What the reader does. The defaults are the paper's; what departs from it has a name."""

    kind: Kind = "lesion-wise"
    lesions: int = PUBLISHED_LESIONS
    """Lesion-wise: how many are clicked on."""
    clicks: int = 3
    """Lesion-wise: interactions for each lesion at most. Scan-wise: for the scan."""
    stop_at: float = 1.0
    """Dice of a lesion, or of the scan, at which no more is clicked."""
    rule: Rule = "centre"
    order: Order = "largest"
    source: LesionSource = "components"
    measured: Measured = "end"
    """When results are written down; before each time the segmenter may search."""
    objects: Objects = "lesions"
    """Scan-wise: every lesion an object of its own, or as in the published code all together."""
    mistakes: Mistakes = field(default_factory=Mistakes)
    """Of the reader; the other protocols make none."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadInput(f"there is no protocol '{self.kind}'; choose from {', '.join(KINDS)}")
        if self.rule not in RULES:
            raise BadInput(f"there is no rule '{self.rule}'; choose from {', '.join(RULES)}")
        if self.lesions < 1 or self.clicks < 1:
            raise BadInput("at least one lesion and one click are needed")
        if not 0 < self.stop_at <= 1:
            raise BadInput(f"the DSC to stop at must lie above 0 and up to 1, not {self.stop_at:g}")


SCAN_WISE_CLICKS, SCAN_WISE_STOP = 8, 0.8
"""The published scan-wise runs end after so many interactions, or at this Dice."""


@dataclass(frozen=True, eq=False)
class Step:
    """What there is after some clicks."""

    number: int
    clicks: int
    interactions: int
    """One interaction can be two clicks under the published rule."""
    prompted: int
    """Lesions that were clicked on so far."""
    seconds: float
    """Of the segmenter alone, opening the scan included."""
    result: np.ndarray
    """Numbers of lesions [slices, rows, columns]."""
    prompted_dice: tuple[float, ...]
    """Of each lesion clicked on, with the lesion meant."""
    is_last: bool


class _Work:
    """One segmenter on one scan: passes clicks on, takes the time, counts."""

    def __init__(self, segmenter: Segmenter, volume: Volume, protocol: Protocol, scan: str) -> None:
        self.segmenter = segmenter
        self.protocol = protocol
        self.stack = SliceStack(volume)
        self.spacing = (self.stack.slice_spacing, *self.stack.pixel_spacing)
        self.seconds = 0.0
        self.clicks = self.interactions = self.steps = 0
        is_reader = protocol.kind == "reader"
        self.reader = Reader(protocol.mistakes, protocol.seed, scan) if is_reader else None
        self.timed(lambda: segmenter.open(volume))

    def timed(self, call: Callable[[], object]) -> object:
        started = time.perf_counter()
        answer = call()
        self.seconds += time.perf_counter() - started
        return answer

    def click(self, place: Place, lesion: int | None) -> int:
        """One click of a reader whose hand may shake; gives the number of the lesion."""
        if self.reader is not None:
            shape = self.stack.array.shape
            place = self.reader.clicked(place, shape, self.spacing)
        self.clicks += 1
        ras = self.ras(place)
        return int(self.timed(lambda: self.segmenter.click(ras, place.positive, lesion)))

    def ras(self, place: Place) -> tuple[float, float, float]:
        number, row, column = (np.asarray(v) for v in place.voxel)
        r, a, s = self.stack.point_to_ras(number, column, row).tolist()
        return r, a, s

    def lesion(self, number: int) -> np.ndarray:
        return self.stack.from_volume(np.asarray(self.timed(lambda: self.segmenter.lesion(number))))

    def result(self) -> np.ndarray:
        return self.stack.from_volume(np.asarray(self.timed(self.segmenter.result)))

    def step(self, prompted_dice: Sequence[float], is_last: bool, search: bool = True) -> Step:
        if search:
            self.timed(self.segmenter.search)
        self.steps += 1
        result = self.result()
        return Step(
            number=self.steps,
            clicks=self.clicks,
            interactions=self.interactions,
            prompted=len(prompted_dice),
            seconds=self.seconds,
            result=result,
            prompted_dice=tuple(prompted_dice),
            is_last=is_last,
        )


def run_protocol(
    protocol: Protocol, segmenter: Segmenter, volume: Volume, labels: np.ndarray, scan: str
) -> Iterator[Step]:
    """Work through a scan. ``labels`` is the truth in the volume's own order.

    The name of the scan seeds the reader's mistakes, so that they are the same in every run and
    for every segmenter, and others on the next scan.
    """
    work = _Work(segmenter, volume, protocol, scan)
    truth = numbered(work.stack.from_volume(labels), protocol.source)
    if protocol.kind == "scan-wise":
        yield from _scan_wise(work, truth)
    else:
        yield from _lesion_wise(work, truth)


# ---- one lesion after the other --------------------------------------------------------------


def _lesion_wise(work: _Work, truth: np.ndarray) -> Iterator[Step]:
    protocol = work.protocol
    chosen = targets(true_lesions(truth), protocol.lesions, truth.shape, protocol.order)
    scores: list[float] = []
    for place, lesion in enumerate(chosen, start=1):
        is_last_lesion = place == len(chosen)
        scores.append(0.0)
        for score, is_last_click in _refined(work, lesion, truth.shape):
            scores[-1] = score
            if protocol.measured == "click" and not (is_last_lesion and is_last_click):
                yield work.step(scores, is_last=False)
        if protocol.measured == "lesion" and not is_last_lesion:
            yield work.step(scores, is_last=False)
    yield work.step(scores, is_last=True)


def _refined(
    work: _Work, lesion: TrueLesion, shape: tuple[int, ...]
) -> Iterator[tuple[float, bool]]:
    """Click on a lesion until it is good enough; after each interaction its Dice, and whether
    it was the last."""
    protocol = work.protocol
    whole = lesion.paint(shape)
    number: int | None = None
    mask = seen = np.zeros(shape, dtype=bool)
    for count in range(1, protocol.clicks + 1):
        # A late reader still answers what was on the screen before the last result came.
        answered = seen if work.reader is not None and work.reader.is_late() else mask
        places = next_clicks(answered, whole, work.spacing, protocol.rule)
        work.interactions += 1
        for place in places:
            number = work.click(place, number)
        seen = mask
        mask = mask if number is None else work.lesion(number)
        score = dice(mask, whole)
        is_done = score >= protocol.stop_at or count == protocol.clicks
        yield score, is_done
        if is_done:
            return


# ---- the whole scan at once --------------------------------------------------------------------


def _scan_wise(work: _Work, truth: np.ndarray) -> Iterator[Step]:
    """Each click goes to the largest error of the scan, and after each the scan is searched."""
    protocol = work.protocol
    whole = truth > 0
    owners: dict[int, int] = {}
    result = np.zeros(truth.shape, dtype=np.uint16)
    for count in range(1, protocol.clicks + 1):
        work.interactions += 1
        for place in next_clicks(result > 0, whole, work.spacing, protocol.rule):
            if protocol.objects == "one":
                owners[0] = work.click(place, owners.get(0))
            else:
                _click_on_own_lesion(work, place, truth, result, owners)
        work.timed(work.segmenter.search)
        result = work.result()
        is_last = count == protocol.clicks or bool(dice(result > 0, whole) >= protocol.stop_at)
        if is_last or protocol.measured != "end":
            yield work.step([], is_last, search=False)
        if is_last:
            return


def _click_on_own_lesion(
    work: _Work, place: Place, truth: np.ndarray, result: np.ndarray, owners: dict[int, int]
) -> None:
    """Pass a click on to the lesion it is about.

    A positive click belongs to the true lesion it lies in. A negative one belongs to the lesion
    of the result that it lies in; a finding that is mostly no lesion goes as a whole.
    """
    if place.positive:
        meant = int(truth[place.voxel])
        owners[meant] = work.click(place, owners.get(meant))
        return
    number = int(result[place.voxel])
    found = result == number
    if number not in owners.values() and (truth[found] > 0).mean() < MOSTLY:
        work.clicks += 1
        work.timed(lambda: work.segmenter.reject(number, work.ras(place)))
    else:
        work.click(place, number)
