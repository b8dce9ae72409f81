"""One run of the bench: the machine, its ceiling, and every step of every network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import torch

from mois_core import __version__
from mois_core.bench.machine import (
    PRECISIONS,
    Machine,
    describe,
    fastest,
    matrix_rate,
    peak_memory,
)
from mois_core.bench.sam2_baseline import Sam2Baseline, counterpart
from mois_core.bench.steps import TITLES, Steps, operations_of, published_operations
from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.network.config import NetworkConfig
from mois_core.network.loading import build
from mois_core.progress import Progress, silent

if TYPE_CHECKING:
    from mois_core.bench.operations import OperationTime

FORMAT = 1
"""Raised when a field of the file changes its meaning."""

QUICK_SECONDS = 0.5
"""What takes milliseconds is repeated for this long: a single disturbance is as long as that."""


@dataclass(frozen=True)
class StepTime:
    """One step of one network in one precision."""

    network: str
    image_size: int
    step: str
    precision: str
    seconds: float
    operations: int
    """As the published implementation computes it."""
    computed_operations: int
    """What is left of them, since some can be saved without changing the result."""
    peak_memory_bytes: int | None
    sam2_seconds: float | None

    @property
    def rate(self) -> float:
        """Published operations per second."""
        return self.operations / self.seconds

    @property
    def sam2_ratio(self) -> float | None:
        """How many times as long the ``sam2`` package takes."""
        return self.sam2_seconds / self.seconds if self.sam2_seconds else None


@dataclass
class Report:
    """Everything that one run found out."""

    machine: Machine
    matrix_rates: dict[str, float] = field(default_factory=dict)
    """Operations per second of plain matrix products, per precision: the ceiling."""
    steps: list[StepTime] = field(default_factory=list)
    operations: list[OperationTime] = field(default_factory=list)
    """Whole operations against the published app's order of work."""

    def fraction(self, step: StepTime) -> float:
        """The part of the ceiling that a step reaches."""
        return step.rate / self.matrix_rates[step.precision]

    def as_json(self) -> dict[str, Any]:
        """For a file: plain values, each with its unit in its name."""
        steps = [
            asdict(step)
            | {
                "title": TITLES[step.step],
                "gflop_per_s": step.rate / 1e9,
                "fraction_of_ceiling": self.fraction(step),
                "sam2_ratio": step.sam2_ratio,
            }
            for step in self.steps
        ]
        return {
            "format": FORMAT,
            "mois_version": __version__,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": asdict(self.machine),
            "matrix_gflop_per_s": {name: r / 1e9 for name, r in self.matrix_rates.items()},
            "steps": steps,
            "operations": [asdict(time) | {"ratio": time.ratio} for time in self.operations],
        }


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    networks: dict[str, NetworkConfig]
    precisions: Sequence[str]
    device: torch.device
    repeats: int
    against_sam2: bool = False


def measure_machine(plan: Plan) -> Report:
    """The machine and its ceilings in both precisions, without any network."""
    report = Report(describe(plan.device))
    for name, dtype in PRECISIONS.items():
        report.matrix_rates[name] = matrix_rate(dtype, plan.device, plan.repeats)
    return report


@torch.no_grad()
def measure(plan: Plan, progress: Progress = silent) -> Report:
    """Measure everything that a plan names."""
    report = Report(describe(plan.device))
    works = [(name, precision) for name in plan.networks for precision in plan.precisions]
    for done, (name, precision) in enumerate(works):
        progress(done, len(works), f"{name} in {precision}")
        before = matrix_rate(PRECISIONS[precision], plan.device, plan.repeats)
        report.steps += _time_steps(plan, name, precision)
        after = matrix_rate(PRECISIONS[precision], plan.device, plan.repeats)
        # The best of the whole run: what disturbs it must not lower the ceiling.
        best = max(before, after, report.matrix_rates.get(precision, 0.0))
        report.matrix_rates[precision] = best
    return report


def _time_steps(plan: Plan, name: str, precision: str) -> list[StepTime]:
    config, device, dtype = plan.networks[name], plan.device, PRECISIONS[precision]
    model = fill_synthetic(build(config)).requires_grad_(False).eval().to(device)
    size = counterpart(config) if plan.against_sam2 else None
    baseline = Sam2Baseline(size, model, dtype) if size else None
    steps = Steps(model.set_precision(dtype))
    theirs = baseline.all(steps) if baseline else {}
    published = published_operations(config)
    times = []
    for step_name, step in steps.all().items():
        computed = operations_of(step.run)
        memory = peak_memory(step.run, device)
        works = {"ours": step.run}
        if step_name in theirs:
            theirs[step_name]()
            works["sam2"] = theirs[step_name]
        best = fastest(works, device, plan.repeats, QUICK_SECONDS)
        times.append(
            StepTime(
                network=name,
                image_size=config.image_size,
                step=step_name,
                precision=precision,
                seconds=best["ours"],
                operations=published[step_name],
                computed_operations=computed,
                peak_memory_bytes=memory,
                sam2_seconds=best.get("sam2"),
            )
        )
    return times
