"""A run of several stages, each of which begins with the weights of the one before."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

from mois_core.errors import BadInput
from mois_core.io.atomic import make_folder
from mois_core.network.checkpoint import SCAN_FIELDS
from mois_core.network.config import preset
from mois_core.network.model import Sam2
from mois_core.training import distributed
from mois_core.training.checkpoints import NEWEST
from mois_core.training.config import DataConfig, TrainConfig
from mois_core.training.initial_network import check_crops, network_config
from mois_core.training.kept_features import check_kept
from mois_core.training.resized_case import ResizedCase
from mois_core.training.scans import held_back, load_scans, with_scan_fields
from mois_core.training.trainer import Measure, Trainer
from mois_core.training.validation import measure, measure_cases, validation_phantoms


def run_stages(stages: Mapping[str, TrainConfig], out: Path, deadline: float = math.inf) -> bool:
    """Run stages by name, each in a folder of that name in ``out``; finished ones are passed over.

    Scans are kept from one stage to the next if both learn from the same. Returns whether all
    stages came to their end before `time.monotonic` reached the ``deadline``.
    """
    distributed.join()
    loaded: tuple[DataConfig, list[ResizedCase]] | None = None
    start: str | None = None
    stages = {name: with_scan_fields(config) for name, config in stages.items()}
    for index, config in enumerate(stages.values()):
        # Before minutes go into making phantoms.
        check_crops(config)
        check_kept(config, has_start=index > 0 or config.start is not None)
        _check_validation(config)
    make_folder(out)
    for name, config in stages.items():
        if start is not None:
            config = dataclasses.replace(config, start=start)
        folder = out / name
        if loaded is None or loaded[0] != config.data:
            loaded = config.data, load_scans(config.data, network_config(config).image_size)
        trainer = Trainer(config, folder, loaded[1], _measure_of(config, folder))
        trainer.run(deadline=deadline)
        # One of the processes writes the checkpoint that all of them begin the next stage with.
        distributed.wait_for_all()
        if trainer.progress.step < config.steps:
            return False
        start = str(folder / NEWEST)
    return True


def _check_validation(config: TrainConfig) -> None:
    """Refuse to measure on phantoms what learns from scans that look otherwise."""
    network, usual = network_config(config), preset(config.model)
    is_usual = all(getattr(network, name) == getattr(usual, name) for name in SCAN_FIELDS)
    if config.validation.every and config.data.fold is None and not is_usual:
        raise BadInput(
            "phantoms say nothing of scans that were prepared with another axis or window; leave "
            "a fold out to measure on, with data.fold, or set validation.every to 0"
        )


def _measure_of(config: TrainConfig, out: Path) -> Measure | None:
    """Return how a stage is validated, or None if its config does not ask for it."""
    how = config.validation
    if not how.every:
        return None
    cases = held_back(config.data)
    phantoms = [] if cases else validation_phantoms(how)

    def measured(model: Sam2) -> dict[str, float]:
        if cases:
            return measure_cases(model, cases, how.exemplars)
        return measure(model, phantoms, how.exemplars, out)

    return measured
