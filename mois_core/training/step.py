"""One step: a few scans through clicks, propagation and search, and the losses of it all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from mois_core.network.attention import has_matrix_tiles
from mois_core.network.config import STRIDE, Size
from mois_core.network.exemplar import MoisSam2
from mois_core.network.model import Sam2, SliceFeatures
from mois_core.training.config import InteractionConfig, TrainConfig
from mois_core.training.device import on_device
from mois_core.training.losses import LossAccumulator, add_spread
from mois_core.training.places_loss import PlacesHead, add_places
from mois_core.training.prompted_lesions import choose_lesions
from mois_core.training.prompting import click, remember_clicks, remember_masks
from mois_core.training.propagation import PropagatedLesions, propagate
from mois_core.training.sampling import ScanSample
from mois_core.training.search import search
from mois_core.training.step_context import StepContext
from mois_core.training.step_draws import StepDraws

_SMALLEST_IN_TILES = 64
"""Side of the smallest crop that a processor encodes in half precision."""


def run_step(
    model: Sam2,
    config: TrainConfig,
    draws: StepDraws,
    places_head: PlacesHead | None = None,
) -> LossAccumulator:
    """Return the losses of a step; which process a scan is in changes nothing."""
    samples, shared_rng = draws.samples, draws.shared_rng
    losses = LossAccumulator(config.losses)
    prompted_crop = int(shared_rng.integers(config.sampling.consecutive))
    corrections = _number_of_corrections(shared_rng, config.interaction)
    origin = _origin(shared_rng, model.config.image_size, samples[0].images.shape[-2:])
    features = _features(model, samples, origin, config.autocast)
    if config.losses.spread:
        add_spread(losses, features.coarse)
    if places_head is not None:
        decoder = model.sam_mask_decoder
        add_places(losses, places_head, decoder, features, samples, draws.compared)
    if config.interaction.prompts != "none":
        context = StepContext(
            model,
            config,
            samples,
            draws.rngs,
            features,
            prompted_crop,
            losses,
            _corrected_crop(shared_rng, prompted_crop, config),
        )
        _interact(context, corrections)
    return losses


def _features(
    model: Sam2, samples: Sequence[ScanSample], origin: Size, autocast: bool
) -> SliceFeatures:
    """Return the features of all crops: those that are kept, or else what the encoder makes."""
    if samples[0].features:
        kept = [one.features.mapped(partial(on_device, device=model.device)) for one in samples]
        return SliceFeatures.joined(kept, origin).to(torch.float32)
    images = torch.cat([on_device(sample.images, model.device) for sample in samples])
    # Processors that do not multiply bfloat16 in tiles compute it more slowly than float32. With
    # tiles, oneDNN reads past maps that are two places wide when it halves them.
    is_safe = min(images.shape[-2:]) >= _SMALLEST_IN_TILES
    pays = model.device.type != "cpu" or (has_matrix_tiles() and is_safe)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=autocast and pays):
        return model.encode(images, origin)


def _interact(context: StepContext, corrections: int) -> None:
    """Prompt lesions, propagate them and search with them, as far as the config asks for it."""
    interaction = context.config.interaction
    lesions = choose_lesions(context.samples, context.rngs, context.prompted_crop, context.config)
    if not lesions:
        return
    batch = context.batch(lesions)
    if interaction.prompts == "masks":
        memories = remember_masks(context, batch)
    else:
        decoded = click(context, batch, corrections)
        if not (interaction.propagate or interaction.search):
            return
        memories = remember_clicks(context, batch, decoded)
    propagated = PropagatedLesions()
    if interaction.propagate:
        propagated = propagate(context, lesions, memories)
    if interaction.search and isinstance(context.model, MoisSam2):
        search(context, lesions, memories, propagated)


def _origin(rng: np.random.Generator, whole: Size, size: Size) -> Size:
    """Draw the row and column of the slice that all crops of the step are said to begin at."""
    places = [(one - part) // STRIDE + 1 for one, part in zip(whole, size, strict=True)]
    row, column = rng.integers(places)
    return int(row) * STRIDE, int(column) * STRIDE


def _corrected_crop(
    rng: np.random.Generator, prompted_crop: int, config: TrainConfig
) -> int | None:
    others = [crop for crop in range(config.sampling.consecutive) if crop != prompted_crop]
    if not others or rng.random() >= config.interaction.propagated_again:
        return None
    return int(rng.choice(others))


def _number_of_corrections(rng: np.random.Generator, interaction: InteractionConfig) -> int:
    if interaction.mean_corrections is None:
        return interaction.most_corrections
    drawn = int(rng.geometric(1 / (1 + interaction.mean_corrections))) - 1
    return min(drawn, interaction.most_corrections)
