"""Whole operations as the user feels them, against the published app's schedule.

Both run our network with the same synthetic weights, threads and attention kernel. The schedule
is what differs: the published app encodes a slice whenever it needs one (slice 0 at every request
as well), computes in float32, and projects the exemplars anew for every slice; a session encodes
ahead, keeps what it can, and may compute in bfloat16.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from mois_core.bench.machine import PRECISIONS, seconds_of
from mois_core.bench.measure import Plan
from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.network.config import NetworkConfig
from mois_core.network.exemplar import ExemplarView, MoisSam2
from mois_core.network.loading import build
from mois_core.progress import Progress, silent
from mois_core.session import NewClick, Session
from mois_core.session.embeddings import Embeddings
from mois_core.session.lesion import Click, Lesion, Status
from mois_core.session.masks import Mask
from mois_core.session.memory_bank import around_first_prompt
from mois_core.session.preprocess import published_input
from mois_core.session.propagation import Tracker
from mois_core.session.state import Settings

PRESENT_BIAS = 10.0
"""Makes the synthetic network see an object everywhere, so that no work is left out."""

SLICES, ROWS, COLUMNS = 32, 1024, 320
EXEMPLARS = 10
WINDOW = 3

CLICK = "click on an embedded slice"
LESION = f"new lesion, {WINDOW} slices each way"
SEARCH = f"search of {SLICES} slices, {EXEMPLARS} exemplars"
OPERATIONS = (CLICK, LESION, SEARCH)


@dataclass(frozen=True)
class OperationTime:
    """One operation, timed both ways."""

    network: str
    precision: str
    operation: str
    published_seconds: float
    seconds: float

    @property
    def ratio(self) -> float:
        """How many times as long the published schedule takes."""
        return self.published_seconds / self.seconds


class PublishedSchedule:
    """The published app's order of work on our network: nothing survives a request."""

    def __init__(self, model: MoisSam2, images: Callable[[int], torch.Tensor], slices: int) -> None:
        self.model = model
        self.images = images
        self.slices = slices

    def _fresh(self) -> tuple[Embeddings, Tracker]:
        """A request starts by encoding slice 0, and its cache holds a single slice."""
        embeddings = Embeddings(self.model, self.images, self.slices, 0, 0)
        embeddings.features(0)
        return embeddings, Tracker(embeddings, (ROWS, COLUMNS), fill_holes=False, reference=True)

    def click(self, number: int) -> Lesion:
        """A click on one slice."""
        return self._prompted(self._fresh()[1], number)

    def _prompted(self, tracker: Tracker, number: int) -> Lesion:
        click = Click(1, number, COLUMNS / 2, ROWS / 2, positive=True)
        lesion = Lesion(1, Status.PROMPTED, Mask((ROWS, COLUMNS)), clicks=(click,))
        slice_memory, _ = tracker.prompt([(lesion, number)])[0]
        return Lesion(
            1, Status.PROMPTED, lesion.mask, clicks=(click,), prompted={number: slice_memory}
        )

    @torch.no_grad()
    def lesion(self, number: int) -> Lesion:
        """A click, and the lesion propagated to its neighbours."""
        _, tracker = self._fresh()
        lesion = self._prompted(tracker, number)
        # The mask is remembered once for the exemplar and once more for the tracking.
        features, slice_memory = tracker.embeddings.features(number), lesion.prompted[number]
        self.model.remember(
            features, slice_memory.logits[None], slice_memory.score[None], from_clicks=True
        )
        rounds = around_first_prompt(lesion.prompted, lesion.prompted, WINDOW, self.slices)
        return tracker.propagate([lesion], [rounds])[0]

    @torch.no_grad()
    def search(self, exemplars: list[ExemplarView], numbers: range) -> None:
        """Every slice encoded, and searched with the exemplars projected for it alone."""
        embeddings, tracker = self._fresh()
        for number in numbers:
            features = embeddings.features(number)
            keys = self.model.exemplar_keys(exemplars)
            query = self.model.exemplar_query(features)
            coarse = self.model.attend_to_exemplars(query, keys, [number])
            tracker.to_images(self.model.decode_search(features, coarse).logits)


class _Race:
    """Both schedules on one scan, ready to start."""

    def __init__(self, config: NetworkConfig, dtype: torch.dtype, device: torch.device) -> None:
        published = fill_synthetic(build(config), score_bias=PRESENT_BIAS)
        published = published.requires_grad_(False).eval().to(device)
        model = copy.deepcopy(published).set_precision(dtype)
        self.device = device
        self.session = Session(
            model, _some_volume(), Settings(propagation_slices=WINDOW, gate=False)
        )
        self.session.prepare()
        stack = self.session.stack
        self.published = PublishedSchedule(
            published, lambda n: published_input(stack.image(n), config.image_size), stack.count
        )
        self.middle = stack.count // 2
        self.point = stack.point_to_ras(self.middle, COLUMNS / 2, ROWS / 2)

    def run(self, operation: str) -> tuple[float, float]:
        """Seconds of the published schedule, and of ours."""
        session, published, middle = self.session, self.published, self.middle
        if operation == CLICK:
            return (
                seconds_of(lambda: published.click(middle), self.device),
                seconds_of(lambda: session.click(self.point, propagate=False), self.device),
            )
        if operation == LESION:
            return (
                seconds_of(lambda: published.lesion(middle), self.device),
                seconds_of(lambda: session.click(self.point), self.device),
            )
        places = np.linspace(0.2, 0.8, EXEMPLARS)
        row = session.stack.point_to_ras(middle, COLUMNS * places, ROWS * places)
        session.clicks([NewClick(ras) for ras in row], propagate=False)
        exemplars = [exemplar.view for exemplar in session.exemplars_for(middle)]
        return (
            seconds_of(lambda: published.search(exemplars, range(SLICES)), self.device),
            seconds_of(session.find_similar, self.device),
        )


def time_operations(plan: Plan, progress: Progress = silent) -> list[OperationTime]:
    """Time a click, a new lesion and a search in turns between the two schedules.

    The search is long enough to be timed once.
    """
    networks = {name: config for name, config in plan.networks.items() if config.exemplars}
    if not networks:
        raise BadInput("the published app runs models with exemplars; choose mois-sam2-b+")
    works = [(name, p, o) for name in networks for p in plan.precisions for o in OPERATIONS]
    times, race = [], None
    for done, (name, precision, operation) in enumerate(works):
        progress(done, len(works), f"{name} in {precision}: {operation}")
        if operation == OPERATIONS[0]:
            race = _Race(networks[name], PRECISIONS[precision], plan.device)
            race.run(operation)
        repeats = 1 if operation == SEARCH else plan.repeats
        best = np.min([race.run(operation) for _ in range(repeats)], axis=0)
        times.append(OperationTime(name, precision, operation, *map(float, best)))
    return times


def _some_volume() -> Volume:
    """A scan of the usual size; what is in it does not matter for the time."""
    pixels = np.random.default_rng(0).integers(1, 1000, (SLICES, ROWS, COLUMNS), dtype=np.int16)
    coronal = np.array([[-0.62, 0, 0, 0], [0, 0, 7.8, 0], [0, -0.62, 0, 0], [0, 0, 0, 1.0]])
    return Volume(pixels, coronal)
