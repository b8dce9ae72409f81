"""Protocols by which a simulated reader works through a scan: the papers', and a more human one.

A protocol gives one `ProtocolStep` whenever there is something to measure. It sees the scan as a
stack of slices, and clicks in patient coordinates like everyone else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.peak_memory import PeakMemory
from mois_core.evaluation.segmenters import Segmenter
from mois_core.evaluation.simulated_reader import (
    RULES,
    Mistakes,
    Reader,
    Rule,
    VoxelClick,
    next_clicks,
)
from mois_core.evaluation.truth import (
    PUBLISHED_LESIONS,
    LesionSource,
    Order,
    TrueLesion,
    label_lesions,
    lesions_to_click,
    true_lesions,
)
from mois_core.geometry import SliceStack, Volume
from mois_core.results.scores import dice

MOSTLY_LESION = 0.5
"""A finding of which less than this is lesion is taken away with one click, not corrected."""

ProtocolKind = Literal["lesion-wise", "scan-wise", "reader"]
PROTOCOL_KINDS: tuple[ProtocolKind, ...] = ("lesion-wise", "scan-wise", "reader")
Measured = Literal["end", "lesion", "click"]
Objects = Literal["lesions", "one"]


@dataclass(frozen=True)
class Protocol:
    """Rules of the reader's work. The defaults are the paper's; each departure has a name."""

    kind: ProtocolKind = "lesion-wise"
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
    """Mistakes of the kind ``reader``; the other protocols make none."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in PROTOCOL_KINDS:
            known = ", ".join(PROTOCOL_KINDS)
            raise BadInput(f"there is no protocol '{self.kind}'; choose from {known}")
        if self.rule not in RULES:
            raise BadInput(f"there is no rule '{self.rule}'; choose from {', '.join(RULES)}")
        if self.lesions < 1 or self.clicks < 1:
            raise BadInput("at least one lesion and one click are needed")
        if not 0 < self.stop_at <= 1:
            raise BadInput(f"the DSC to stop at must lie above 0 and up to 1, not {self.stop_at:g}")


SCAN_WISE_CLICKS, SCAN_WISE_STOP = 8, 0.8
"""The published scan-wise runs end after so many interactions, or at this Dice."""


@dataclass(frozen=True, eq=False)
class ProtocolStep:
    """Result after some clicks, with the clicks and the time until then."""

    number: int
    """1 for the first step."""
    clicks: int
    interactions: int
    """One interaction can be two clicks under the published rule."""
    prompted: int
    """Lesions that were clicked on so far."""
    seconds: float
    """Time of the segmenter alone, opening the scan included."""
    memory_mib: float
    """The most that the process held while the segmenter worked; NaN if nothing tells it."""
    gpu_memory_mib: float
    """The same of the GPU; NaN if there was none."""
    result: np.ndarray
    """Lesions as label values, [slices, rows, columns]."""
    prompted_dice: tuple[float, ...]
    """Dice of each lesion clicked on with the true lesion that was meant."""
    is_last: bool


class _ProtocolRun:
    """One segmenter on one scan: passes clicks on, takes the time, counts."""

    def __init__(self, segmenter: Segmenter, volume: Volume, protocol: Protocol, scan: str) -> None:
        self.segmenter = segmenter
        self.protocol = protocol
        self.stack = SliceStack(volume)
        self.spacing = (self.stack.slice_spacing, *self.stack.pixel_spacing)
        self.seconds = 0.0
        self.memory = PeakMemory()
        self.clicks = self.interactions = self.steps = 0
        is_reader = protocol.kind == "reader"
        self.reader = Reader(protocol.mistakes, protocol.seed, scan) if is_reader else None
        self.timed(lambda: segmenter.open(volume))

    def timed(self, call: Callable[[], object]) -> object:
        """Return what a call of the segmenter gives, and count its time and memory."""
        started = time.perf_counter()
        answer = self.memory.watch(call)
        self.seconds += time.perf_counter() - started
        return answer

    def click(self, click: VoxelClick, lesion_id: int | None) -> int:
        """Click as a reader whose hand may shake; return the lesion's id."""
        if self.reader is not None:
            click = self.reader.perform(click, self.stack.array.shape, self.spacing)
        self.clicks += 1
        ras = self.ras(click)
        return int(self.timed(lambda: self.segmenter.click(ras, click.positive, lesion_id)))

    def ras(self, click: VoxelClick) -> tuple[float, float, float]:
        """Return where a click lies, in patient coordinates."""
        slice_index, row, column = (np.asarray(index) for index in click.voxel)
        r, a, s = self.stack.point_to_ras(slice_index, column, row).tolist()
        return r, a, s

    def lesion(self, lesion_id: int) -> np.ndarray:
        """Return a lesion's mask [slices, rows, columns]."""
        mask = self.timed(lambda: self.segmenter.lesion(lesion_id))
        return self.stack.from_volume(np.asarray(mask))

    def result(self) -> np.ndarray:
        """Return all lesions as label values [slices, rows, columns]."""
        return self.stack.from_volume(np.asarray(self.timed(self.segmenter.result)))

    def step(
        self, prompted_dice: Sequence[float], is_last: bool, search: bool = True
    ) -> ProtocolStep:
        """Return the result so far, after a search if there has not been one since the click."""
        if search:
            self.timed(self.segmenter.search)
        self.steps += 1
        result = self.result()
        is_elsewhere = self.segmenter.works_elsewhere
        return ProtocolStep(
            number=self.steps,
            clicks=self.clicks,
            interactions=self.interactions,
            prompted=len(prompted_dice),
            seconds=self.seconds,
            memory_mib=math.nan if is_elsewhere else self.memory.process_mib,
            gpu_memory_mib=math.nan if is_elsewhere else self.memory.gpu_mib,
            result=result,
            prompted_dice=tuple(prompted_dice),
            is_last=is_last,
        )


def run_protocol(
    protocol: Protocol, segmenter: Segmenter, volume: Volume, labels: np.ndarray, scan: str
) -> Iterator[ProtocolStep]:
    """Work through a scan. ``labels`` is the truth in the volume's own order.

    The name of the scan seeds the reader's mistakes, so that they are the same in every run and
    for every segmenter, and others on the next scan.
    """
    run = _ProtocolRun(segmenter, volume, protocol, scan)
    if not segmenter.takes_clicks:
        yield run.step([], is_last=True)
        return
    truth = label_lesions(run.stack.from_volume(labels), protocol.source)
    if protocol.kind == "scan-wise":
        yield from _scan_wise(run, truth)
    else:
        yield from _lesion_wise(run, truth)


# ---- one lesion after the other --------------------------------------------------------------


def _lesion_wise(run: _ProtocolRun, truth: np.ndarray) -> Iterator[ProtocolStep]:
    """Click on one lesion after the other."""
    protocol = run.protocol
    chosen = lesions_to_click(true_lesions(truth), protocol.lesions, truth.shape, protocol.order)
    scores: list[float] = []
    for position, lesion in enumerate(chosen, start=1):
        is_last_lesion = position == len(chosen)
        scores.append(0.0)
        for score, is_last_click in _refine(run, position, lesion, truth):
            scores[-1] = score
            if protocol.measured == "click" and not (is_last_lesion and is_last_click):
                yield run.step(scores, is_last=False)
        if protocol.measured == "lesion" and not is_last_lesion:
            yield run.step(scores, is_last=False)
    yield run.step(scores, is_last=True)


def _refine(
    run: _ProtocolRun, position: int, lesion: TrueLesion, truth: np.ndarray
) -> Iterator[tuple[float, bool]]:
    """Click on a lesion until it is good enough; ``position`` counts the lesions of the scan.

    Gives its Dice after each interaction, and whether that was the last one.
    """
    protocol = run.protocol
    whole = lesion.paint(truth.shape)
    # A negative click on another lesion would hide that from who marks all lesions at once.
    is_its_affair = whole | (truth == 0) if run.segmenter.marks_all_at_once else True
    lesion_id: int | None = None
    mask = seen = np.zeros(truth.shape, dtype=bool)
    for count in range(1, protocol.clicks + 1):
        if run.reader is not None:
            run.reader.begin(position, count)
        # A late reader still answers what was on the screen before the last result came.
        answered = seen if run.reader is not None and run.reader.is_late() else mask
        clicks = next_clicks(answered, whole, run.spacing, protocol.rule)
        run.interactions += 1
        for click in clicks:
            lesion_id = run.click(click, lesion_id)
        seen = mask
        mask = mask if lesion_id is None else run.lesion(lesion_id) & is_its_affair
        score = dice(mask, whole)
        is_done = score >= protocol.stop_at or count == protocol.clicks
        yield score, is_done
        if is_done:
            return


# ---- the whole scan at once --------------------------------------------------------------------


def _scan_wise(run: _ProtocolRun, truth: np.ndarray) -> Iterator[ProtocolStep]:
    """Click on the largest error of the scan, search the scan, and so on."""
    protocol = run.protocol
    whole = truth > 0
    owners: dict[int, int] = {}
    result = np.zeros(truth.shape, dtype=np.uint16)
    for count in range(1, protocol.clicks + 1):
        run.interactions += 1
        for click in next_clicks(result > 0, whole, run.spacing, protocol.rule):
            if protocol.objects == "one":
                owners[0] = run.click(click, owners.get(0))
            else:
                _click_on_own_lesion(run, click, truth, result, owners)
        run.timed(run.segmenter.search)
        result = run.result()
        is_last = count == protocol.clicks or bool(dice(result > 0, whole) >= protocol.stop_at)
        if is_last or protocol.measured != "end":
            yield run.step([], is_last, search=False)
        if is_last:
            return


def _click_on_own_lesion(
    run: _ProtocolRun,
    click: VoxelClick,
    truth: np.ndarray,
    result: np.ndarray,
    owners: dict[int, int],
) -> None:
    """Pass a click on to the lesion it is about; ``owners`` has the segmenter's id of true lesions.

    A positive click belongs to the true lesion it lies in. A negative one belongs to the lesion
    of the result that it lies in; a finding that is mostly no lesion goes as a whole.
    """
    if click.positive:
        meant = int(truth[click.voxel])
        owners[meant] = run.click(click, owners.get(meant))
        return
    lesion_id = int(result[click.voxel])
    found = result == lesion_id
    if lesion_id not in owners.values() and (truth[found] > 0).mean() < MOSTLY_LESION:
        run.clicks += 1
        run.timed(lambda: run.segmenter.reject(lesion_id, run.ras(click)))
    else:
        run.click(click, lesion_id)
