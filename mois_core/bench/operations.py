"""Whole operations as the user feels them, against the published app's schedule.

Both run our network with the same synthetic weights, threads and attention kernel. The schedule
is what differs: the published app encodes a slice whenever it needs one (slice 0 at every request
as well), computes in float32, and projects the exemplars anew for every slice; a session encodes
ahead, keeps what it can, and may compute in bfloat16.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.embeddings import Embeddings
from mois_core.geometry import Volume
from mois_core.lesion import Click, Lesion, Status
from mois_core.masks import Mask
from mois_core.memories import around_first_prompt
from mois_core.network.config import preset
from mois_core.network.exemplar import ExemplarView, MoisSam2
from mois_core.network.loading import build
from mois_core.preprocess import published_input
from mois_core.session import NewClick, Session
from mois_core.state import Settings
from mois_core.tracker import Tracker

PRESENT_BIAS = 10.0
"""Makes the synthetic network see an object everywhere, so that no work is left out."""

ROWS, COLUMNS = 1024, 320
EXEMPLARS = 10
WINDOW = 3


@dataclass(frozen=True)
class OperationTime:
    """One operation, timed both ways."""

    name: str
    published_s: float
    ours_s: float

    @property
    def ratio(self) -> float:
        """How many times the published schedule takes as long."""
        return self.published_s / self.ours_s


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
        trace, _ = tracker.prompt([(lesion, number)])[0]
        return Lesion(1, Status.PROMPTED, lesion.mask, clicks=(click,), prompted={number: trace})

    @torch.no_grad()
    def lesion(self, number: int) -> Lesion:
        """A click, and the lesion carried to its neighbours."""
        _, tracker = self._fresh()
        lesion = self._prompted(tracker, number)
        # The mask is remembered once for the exemplar and once more for the tracking.
        features, trace = tracker.embeddings.features(number), lesion.prompted[number]
        self.model.remember(features, trace.logits[None], trace.score[None], from_clicks=True)
        rounds = around_first_prompt(lesion.prompted, lesion.prompted, WINDOW, self.slices)
        return tracker.carry([lesion], [rounds])[0]

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


def time_operations(
    preset_name: str, dtype: torch.dtype, device: torch.device, search_slices: int, repeats: int
) -> Iterator[OperationTime]:
    """Time a click, a new lesion and a search, alternating between the two schedules."""
    published_model = fill_synthetic(build(preset(preset_name)), score_bias=PRESENT_BIAS)
    published_model = published_model.requires_grad_(False).eval().to(device)
    own_model = copy.deepcopy(published_model).set_precision(dtype)
    slices = max(search_slices, 4 * WINDOW)
    volume = _some_volume(slices)
    session = Session(own_model, volume, Settings(window=WINDOW, gate=False))
    size = own_model.config.image_size
    published = PublishedSchedule(
        published_model, lambda n: published_input(session.stack.image(n), size), slices
    )
    middle = slices // 2
    session.embeddings.prepare(numbers=range(slices))
    point = session.stack.point_to_ras(middle, COLUMNS / 2, ROWS / 2)

    def timed(operation: Callable[[], object]) -> float:
        _wait_for(device)
        start = time.perf_counter()
        operation()
        _wait_for(device)
        return time.perf_counter() - start

    def alternating(name: str, theirs: Callable, ours: Callable, times: int) -> OperationTime:
        pairs = [(timed(theirs), timed(ours)) for _ in range(times)]
        return OperationTime(name, *(min(own) for own in zip(*pairs, strict=True)))

    yield alternating(
        "click on an embedded slice",
        lambda: published.click(middle),
        lambda: session.click(point, carry=False),
        repeats,
    )
    yield alternating(
        f"new lesion, {WINDOW} slices each way",
        lambda: published.lesion(middle),
        lambda: session.click(point),
        repeats,
    )
    places = np.linspace(0.2, 0.8, EXEMPLARS)
    row = session.stack.point_to_ras(middle, COLUMNS * places, ROWS * places)
    session.clicks([NewClick(ras) for ras in row], carry=False)
    exemplars = [exemplar.view for exemplar in session.exemplars_for(middle)]
    yield alternating(
        f"search of {search_slices} slices, {len(exemplars)} exemplars",
        lambda: published.search(exemplars, range(search_slices)),
        lambda: session.find_similar(inside=_first_slices(session, search_slices)),
        1,
    )


def _some_volume(slices: int) -> Volume:
    """A scan of the usual size; what is in it does not matter for the time."""
    pixels = np.random.default_rng(0).integers(1, 1000, (slices, ROWS, COLUMNS), dtype=np.int16)
    coronal = np.array([[-0.62, 0, 0, 0], [0, 0, 7.8, 0], [0, -0.62, 0, 0], [0, 0, 0, 1.0]])
    return Volume(pixels, coronal)


def _first_slices(session: Session, count: int) -> np.ndarray:
    inside = np.zeros(session.stack.array.shape, dtype=bool)
    inside[:count] = True
    return session.stack.to_volume(inside)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
