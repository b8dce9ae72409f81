"""A training run from its config to its last checkpoint.

All that a step draws is seeded by the run's seed, the step's index and the scan's place in the
step. A run that was killed therefore goes on as if nothing had happened, and several processes
compute what one would.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from mois_core.errors import BadInput
from mois_core.io.atomic import make_folder
from mois_core.network.model import Sam2
from mois_core.training import distributed
from mois_core.training.checkpoints import BEST, NEWEST, RunProgress, resume, save
from mois_core.training.config import TrainConfig
from mois_core.training.device import use_fast_products
from mois_core.training.initial_network import (
    check_crops,
    network_config,
    new_model,
    new_places_head,
)
from mois_core.training.kept_features import as_kept, check_kept, with_features
from mois_core.training.losses import LOSSES, LossAccumulator
from mois_core.training.optimizer import add_group, make_optimizer, set_rates
from mois_core.training.resized_case import ResizedCase
from mois_core.training.run_logger import RunLogger
from mois_core.training.scans import in_checkpoint, load_scans
from mois_core.training.step import run_step
from mois_core.training.step_draws import DrawsAhead, StepDraws, draw_step

_STEPS_AHEAD = 2
"""How many steps' crops are drawn while a GPU computes; on a processor there is no time to gain."""

Measure = Callable[[Sam2], dict[str, float]]
"""Validation: names and values, of which "score" decides what the best checkpoint is."""


class Trainer:
    """One run: the network, its optimizer, and how far they are."""

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        scans: list[ResizedCase] | None = None,
        measure: Measure | None = None,
    ) -> None:
        """Begin a run, or take up the one whose checkpoint is in the folder ``out``.

        Without ``scans`` they are those that the config names.
        """
        if config.threads:
            torch.set_num_threads(config.threads)
        distributed.join()
        self.rank, self.processes = distributed.rank(), distributed.processes()
        if config.sampling.scans < self.processes:
            raise BadInput(
                f"{config.sampling.scans} scans per step are too few for "
                f"{self.processes} processes; raise sampling.scans"
            )
        check_crops(config)
        check_kept(config, has_start=config.start is not None)
        self.config = config = as_kept(config)
        self.told = in_checkpoint(config)
        self.out = out
        self.scans = scans or load_scans(config.data, network_config(config).image_size)
        self.model = new_model(config)
        if config.kept_features:
            self.scans = with_features(self.scans, self.model, Path(config.kept_features))
        self.measure = measure
        device = self.model.device
        use_fast_products(device)
        self.draws = DrawsAhead(self._draw, 0 if device.type == "cpu" else _STEPS_AHEAD, device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.model, config.optimizer)
        self.places_head = new_places_head(config, self.model)
        if self.places_head:
            own = list(self.places_head.parameters())
            self.parameters += own
            add_group(self.optimizer, own, config.optimizer)
        self.progress = RunProgress()
        make_folder(out)
        if (out / NEWEST).is_file():
            self.progress = resume(
                out / NEWEST, self.model, self.optimizer, self.told, self.places_head
            )
        self.logger = RunLogger(out, config.steps) if self.rank == 0 else None

    def run(self, until: int | None = None, deadline: float = math.inf) -> None:
        """Go on to the last step or to one before it, or until `time.monotonic` is past it."""
        config = self.config
        last = min(until or config.steps, config.steps)
        while self.progress.step < last:
            if self._is_over(deadline):
                self._save(NEWEST)
                return
            started = time.monotonic()
            losses = self.step(self.progress.step)
            step, took = self.progress.step + 1, time.monotonic() - started
            seconds = self.progress.seconds + took
            self.progress = dataclasses.replace(self.progress, step=step, seconds=seconds)
            if self.logger:
                self.logger.add(losses, took)
                if step % config.log_every == 0 or step == last:
                    self.logger.log(step)
            if self.measure and config.validation.every and step % config.validation.every == 0:
                self._validate()
            if step % config.checkpoint_every == 0 or step == last:
                self._save(NEWEST)

    def _is_over(self, deadline: float) -> bool:
        """Return whether the time is over; all processes must stop after the same step."""
        return distributed.any_of(time.monotonic() >= deadline) if deadline < math.inf else False

    def step(self, step_index: int) -> dict[str, float]:
        """Do one step; return the loss, its parts and the norm of the gradients."""
        config = self.config
        set_rates(self.optimizer, config.optimizer, step_index, config.steps)
        losses = self._losses(step_index)
        loss, parts = losses.total(LOSSES)
        self.optimizer.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()
        distributed.average_gradients(self.parameters)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, config.optimizer.clip))
        total = sum(losses.factors.get(name, 0.0) * value for name, value in parts.items())
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise BadInput(
                f"the loss of step {step_index} is not a finite number; the last good state is in "
                f"{self.out / NEWEST}. A lower rate or a smaller clip may help"
            )
        self.optimizer.step()
        return {"loss": total, **parts, "norm": norm}

    def _losses(self, step_index: int) -> LossAccumulator:
        """Let the network answer this process's part of a step."""
        config = self.config
        # A processor gains from half precision in the encoder alone: a step took 1.9 s with it
        # everywhere, 1.8 s without any and 1.5 s like this.
        everywhere = config.autocast and self.model.device.type != "cpu"
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=everywhere):
            return run_step(self.model, config, self.draws(step_index), self.places_head)

    def _draw(self, step_index: int) -> StepDraws:
        how = self.config.sampling
        mine = distributed.share_of(how.scans, self.rank, self.processes)
        compares = self.places_head is not None
        return draw_step(self.config.seed, step_index, mine, self.scans, how, compares)

    def _validate(self) -> None:
        if self.rank == 0:
            self.model.eval()
            values = self.measure(self.model)
            self.model.train()
            self.logger.log_validation(self.progress.step, values)
            if values["score"] > self.progress.best:
                self.progress = dataclasses.replace(self.progress, best=values["score"])
                self._save(BEST)

    def _save(self, name: str) -> None:
        if self.rank == 0:
            state = self.model, self.optimizer, self.progress
            save(self.out / name, *state, self.told, self.places_head, self._given())

    def _given(self) -> dict[str, object]:
        """Return what stands beside the weights in tables; a start had its own before."""
        config, device = self.config, self.model.device.type
        started = {"start": Path(config.start).name} if config.start else {}
        return {
            "minutes": round(self.progress.seconds / 60, 1),
            "device": device,
            "cores": self.processes * torch.get_num_threads(),
            "steps": self.progress.step,
            "scans": len(self.scans),
            "seed": config.seed,
        } | started
