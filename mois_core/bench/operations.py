"""Whole operations as the user feels them, against the published app's schedule.

Both run our network with the same synthetic weights, threads and attention kernel; they differ in
their schedule: the published app encodes a slice whenever it needs one (slice 0 at every request
as well), computes in float32, and projects the exemplars anew for every slice; a session encodes
ahead, keeps what it can, and may compute in bfloat16.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from mois_core.bench.machine import PRECISIONS, seconds_of
from mois_core.bench.report import OperationTime
from mois_core.bench.settings import BenchSettings
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
from mois_core.session.preprocess import published_input
from mois_core.session.prompting import Prompter
from mois_core.session.propagation import Propagator
from mois_core.session.slice_decoder import SliceDecoder
from mois_core.session.state import Settings

PRESENT_BIAS = 10.0
"""Makes the synthetic network see an object everywhere, so that no work is left out."""

SLICES, ROWS, COLUMNS = 32, 1024, 320
EXEMPLARS = 10
PROPAGATION_SLICES = 3

CLICK = "click on an embedded slice"
LESION = f"new lesion, {PROPAGATION_SLICES} slices each way"
SEARCH = f"search of {SLICES} slices, {EXEMPLARS} exemplars"
OPERATIONS = (CLICK, LESION, SEARCH)


class PublishedSchedule:
    """The published app's order of work on our network; nothing is kept between requests."""

    def __init__(self, model: MoisSam2, images: Callable[[int], torch.Tensor], slices: int) -> None:
        self.model = model
        self.images = images
        self.slices = slices

    def _fresh(self) -> SliceDecoder:
        """Start a request: slice 0 is encoded, and the cache holds a single slice."""
        embeddings = Embeddings(self.model, self.images, self.slices, 0, 0)
        embeddings.features(0)
        return SliceDecoder(embeddings, (ROWS, COLUMNS), fill_holes=False)

    def click(self, slice_index: int) -> Lesion:
        """Click on one slice."""
        return self._prompted(self._fresh(), slice_index)

    def _prompted(self, decoder: SliceDecoder, slice_index: int) -> Lesion:
        click = Click(1, slice_index, COLUMNS / 2, ROWS / 2, positive=True)
        lesion = Lesion(1, Status.PROMPTED, Mask((ROWS, COLUMNS)), clicks=(click,))
        prompter = Prompter(decoder, heed=False, reference=True)
        memory, _ = prompter.decode([(lesion, slice_index)])[0]
        return replace(lesion, prompted={slice_index: memory})

    @torch.no_grad()
    def lesion(self, slice_index: int) -> Lesion:
        """Click on one slice and propagate the lesion to its neighbours."""
        decoder = self._fresh()
        lesion = self._prompted(decoder, slice_index)
        # The mask is remembered once for the exemplar and once more for the propagation.
        features, memory = decoder.embeddings.features(slice_index), lesion.prompted[slice_index]
        self.model.remember(features, memory.logits[None], memory.score[None], from_clicks=True)
        propagator = Propagator(decoder, reference=True)
        rounds = propagator.rounds_of(lesion, PROPAGATION_SLICES)
        return propagator.propagate([lesion], [rounds])[0]

    @torch.no_grad()
    def search(self, exemplars: list[ExemplarView], slice_indices: range) -> None:
        """Search slices: each is encoded, and the exemplars are projected for it alone."""
        decoder = self._fresh()
        for slice_index in slice_indices:
            features = decoder.embeddings.features(slice_index)
            keys = self.model.exemplar_keys(exemplars)
            query = self.model.exemplar_query(features)
            conditioned = self.model.attend_to_exemplars(query, keys, [slice_index])
            decoder.to_images(self.model.decode_search(features, conditioned).logits)


class _Schedules:
    """Our order of work and the published one on the same scan, ready to be timed."""

    def __init__(self, config: NetworkConfig, dtype: torch.dtype, device: torch.device) -> None:
        published = fill_synthetic(build(config), score_bias=PRESENT_BIAS)
        published = published.requires_grad_(False).eval().to(device)
        model = copy.deepcopy(published).set_precision(dtype)
        self.device = device
        self.session = Session(
            model, noise(), Settings(propagation_slices=PROPAGATION_SLICES, gate=False)
        )
        self.session.prepare()
        stack = self.session.stack
        self.published = PublishedSchedule(
            published, lambda n: published_input(stack.image(n), config.image_size), stack.count
        )
        self.middle = stack.count // 2
        self.point = stack.point_to_ras(self.middle, COLUMNS / 2, ROWS / 2)

    def run(self, operation: str) -> tuple[float, float]:
        """Return the seconds of the published schedule, and of ours."""
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


def time_operations(settings: BenchSettings, progress: Progress = silent) -> list[OperationTime]:
    """Time a click, a new lesion and a search in turns between the two schedules.

    The search is long enough to be timed once.
    """
    networks = {name: config for name, config in settings.networks.items() if config.exemplars}
    if not networks:
        raise BadInput("the published app runs models with exemplars; choose mois-sam2-b+")
    works = [(name, p, o) for name in networks for p in settings.precisions for o in OPERATIONS]
    times, schedules = [], None
    for done, (name, precision, operation) in enumerate(works):
        progress(done, len(works), f"{name} in {precision}: {operation}")
        if operation == OPERATIONS[0]:
            schedules = _Schedules(networks[name], PRECISIONS[precision], settings.device)
            schedules.run(operation)
        repeats = 1 if operation == SEARCH else settings.repeats
        best = np.min([schedules.run(operation) for _ in range(repeats)], axis=0)
        times.append(OperationTime(name, precision, operation, *map(float, best)))
    return times


def noise(slices: int = SLICES, rows: int = ROWS, columns: int = COLUMNS) -> Volume:
    """Return a scan in the usual pixels and slices; its content does not matter for the time."""
    pixels = np.random.default_rng(0).integers(1, 1000, (slices, rows, columns), dtype=np.int16)
    coronal = np.array([[-0.62, 0, 0, 0], [0, 0, 7.8, 0], [0, -0.62, 0, 0], [0, 0, 0, 1.0]])
    return Volume(pixels, coronal)
