"""Train a baseline on the scans that MOIS-SAM2 is trained on, for a budget of time.

All that a step draws is seeded by the run's seed and the step's index. With a budget of steps the
same command ends with the same weights whether or not it was stopped in between; with one of
minutes it goes on with what is left of them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.patch_network import (
    Given,
    NetworkSize,
    PatchRecipe,
    Voxel,
    save_weights,
)
from mois_core.evaluation.baselines.patches import PatchScan, draw_patch
from mois_core.io.atomic import make_folder
from mois_core.network.attention import has_matrix_tiles
from mois_core.network.loading import usable_device
from mois_core.training.checkpoints import NEWEST, RunProgress, resume, save
from mois_core.training.config import DataConfig
from mois_core.training.device import on_device, use_fast_products
from mois_core.training.parallel import cores
from mois_core.training.scans import in_plain_values, scan_fields, training_cases

WEIGHTS = "weights.safetensors"
LOG = "log.jsonl"
_WARMUP = 0.03
"""Part of the budget in which the rate rises."""
_LAST_RATE = 0.01
"""Part of the highest rate that the budget ends with."""
_CLIP = 5.0
"""Largest norm of all gradients together."""
_SAVED_EVERY = 60.0
"""Seconds between two checkpoints."""
_LINE_EVERY = 20
_AHEAD = 2
"""How many steps' patches each thread has drawn before a GPU asks for them."""


@dataclass(frozen=True)
class BaselineRun:
    """What a baseline is trained with. Two runs with the same content are the same run."""

    size: str = "small"
    seed: int = 123
    patches: int = 2
    """Of one step, each of a scan of its own."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    changed_size: NetworkSize | None = None
    """A size of one's own in place of a named one."""


@dataclass(frozen=True)
class Budget:
    """When a run is over: after minutes of training, or after steps."""

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise BadInput("give either minutes or steps")
        if not 0 < (self.minutes or self.steps or 0) < math.inf:
            raise BadInput("a run needs more than 0 minutes or steps")

    def spent(self, seconds: float, steps: int) -> float:
        """Return the part of the budget that is spent, from 1 on when it is over."""
        return steps / self.steps if self.steps else seconds / (60 * (self.minutes or 1))


class BaselineTrainer:
    """A run: the network, its optimizer, and how far they are."""

    def __init__(
        self, recipe: PatchRecipe, run: BaselineRun, out: Path, device: str,
        scans: Sequence[PatchScan] | None = None,
    ) -> None:  # fmt: skip
        """Begin a run, or take up the one whose checkpoint is in ``out``."""
        if run.changed_size is None and run.size not in recipe.sizes:
            raise BadInput(f"'{recipe.kind}' has no size '{run.size}': {', '.join(recipe.sizes)}")
        self.recipe = recipe
        self.run_settings = run
        size = run.changed_size or recipe.sizes[run.size]
        self.size = dataclasses.replace(size, **scan_fields(run.data))
        self.out = out
        self.device = usable_device(device)
        use_fast_products(self.device)
        # A processor has no time to gain by it, and what follows from the network's own mask has to
        # wait for that.
        threads = 0 if self.device.type == "cpu" or recipe.corrects_itself else cores()
        self.batches = BatchesAhead(self.batch, threads)
        self.scans = scans if scans is not None else load_patch_scans(run.data, self.size.shrink)
        torch.manual_seed(run.seed)
        self.network = recipe.network(self.size).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), recipe.rate, recipe.betas, weight_decay=recipe.weight_decay
        )
        pays = self.device.type != "cpu" or has_matrix_tiles()
        self.autocast = lambda: torch.autocast(self.device.type, torch.bfloat16, enabled=pays)
        self.progress = RunProgress()
        self.told = {"kind": recipe.kind, **json.loads(json.dumps(dataclasses.asdict(run)))}
        self.told["data"] = in_plain_values(run.data)
        make_folder(out)
        if (out / NEWEST).is_file():
            self.progress = resume(out / NEWEST, self.network, self.optimizer, self.told)

    def run(self, budget: Budget, say: Callable[[str], None] = print) -> Path:
        """Train until the budget is spent; return the file of weights."""
        with closing(self.batches):
            return self._run(budget, say)

    def _run(self, budget: Budget, say: Callable[[str], None]) -> Path:
        last_saved = time.monotonic()
        losses: list[float] = []
        while (spent := budget.spent(self.progress.seconds, self.progress.step)) < 1:
            started = time.monotonic()
            losses.append(self.step(spent))
            now = time.monotonic()
            self.progress = dataclasses.replace(
                self.progress,
                step=self.progress.step + 1,
                seconds=self.progress.seconds + now - started,
            )
            if self.progress.step % _LINE_EVERY == 0:
                self._log(losses, spent, say)
                losses = []
            if now - last_saved > _SAVED_EVERY:
                self.save()
                last_saved = now
        return self.save()

    def step(self, spent: float) -> float:
        """Learn from a few patches; return the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate * rate_at(spent)
        drawn = self.batches(self.progress.step)
        inputs, targets = (on_device(tensor, self.device) for tensor in drawn)
        self.network.train()
        with self.autocast():
            logits = self.network(inputs)
        loss = self.recipe.loss(logits.float(), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP))
        if not math.isfinite(norm):
            raise BadInput(
                f"the loss of step {self.progress.step} is not a finite number; the last good "
                f"state is in {self.out / NEWEST}"
            )
        self.optimizer.step()
        return float(loss.detach())

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of a step, with clicks where the network takes any."""
        inputs, targets = [], []
        for place in range(self.run_settings.patches):
            rng = np.random.default_rng([self.run_settings.seed, step, place])
            scan = self.scans[int(rng.integers(len(self.scans)))]
            patch = draw_patch(rng, scan, self.size, self.recipe.takes_clicks)

            def guess(positive: Sequence[Voxel], negative: Sequence[Voxel], of=patch) -> Tensor:
                seen = self.recipe.inputs(of.image, positive, negative)
                self.network.eval()
                with torch.no_grad(), self.autocast():
                    logits = self.network(seen[None].to(self.device))[0]
                return logits[1] > logits[0]

            clicks = self.recipe.draw_clicks(rng, patch.target, guess)
            inputs.append(self.recipe.inputs(patch.image, *clicks))
            targets.append(torch.from_numpy(patch.target).float())
        return torch.stack(inputs), torch.stack(targets)

    def save(self) -> Path:
        """Write the state to go on from, and the weights as they are now."""
        save(self.out / NEWEST, self.network, self.optimizer, self.progress, self.told)
        given = Given(
            parameters=sum(p.numel() for p in self.network.parameters()),
            minutes=round(self.progress.seconds / 60, 2),
            device=self.device.type,
            cores=cores(),
            steps=self.progress.step,
            patches=self.run_settings.patches,
            scans=len(self.scans),
            seed=self.run_settings.seed,
        )
        path = self.out / WEIGHTS
        save_weights(path, self.network, self.recipe, self.size, given)
        return path

    def _log(self, losses: Sequence[float], spent: float, say: Callable[[str], None]) -> None:
        mean = float(np.mean(losses))
        step, seconds = self.progress.step, self.progress.seconds
        say(f"step {step}  {seconds / 60:.1f} min  {spent:.0%}  loss {mean:.3f}")
        line = {"step": step, "seconds": round(seconds, 1), "loss": mean}
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


Batch = tuple[Tensor, Tensor]


class BatchesAhead:
    """Batches of one step after the other, those of the next ones drawn in threads meanwhile."""

    def __init__(self, draw: Callable[[int], Batch], threads: int) -> None:
        """``draw`` makes a step's batch by its index; without ``threads``, when it is asked for."""
        self._draw = draw
        self._steps_ahead = _AHEAD * threads
        self._coming: dict[int, Future[Batch]] = {}
        self._threads = ThreadPoolExecutor(threads) if threads else None

    def __call__(self, step: int) -> Batch:
        if self._threads is None:
            return self._draw(step)
        for index in range(step, step + 1 + self._steps_ahead):
            if index not in self._coming:
                self._coming[index] = self._threads.submit(self._draw, index)
        return self._coming.pop(step).result()

    def close(self) -> None:
        """Give up what was drawn for steps that do not come."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)


def rate_at(spent: float) -> float:
    """Return the part of the highest rate after a part of the budget: up, then down a cosine."""
    if spent < _WARMUP:
        return max(spent / _WARMUP, _LAST_RATE)
    down = 0.5 * (1 + math.cos(math.pi * (spent - _WARMUP) / (1 - _WARMUP)))
    return _LAST_RATE + (1 - _LAST_RATE) * down


def load_patch_scans(data: DataConfig, shrink: float) -> list[PatchScan]:
    """Return all scans to learn from on a network's grid."""
    scans = [PatchScan.of(case, shrink) for case in training_cases(data)]
    if not any(scan.lesions for scan in scans):
        raise BadInput("there is nothing to learn from: no scan with a lesion")
    return scans
