"""Figures of one run of the bench: steps, whole operations, and the machine they were taken on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from mois_core import __version__
from mois_core.bench.machine import Machine
from mois_core.bench.steps import TITLES
from mois_core.network.config import Size

FORMAT = 2
"""Version of the file, raised when a field changes its meaning."""


@dataclass(frozen=True)
class StepTime:
    """One step of one network in one precision."""

    network: str
    image_size: Size
    step: str
    precision: str
    seconds: float
    operations: int
    """Operations as the published implementation computes the step."""
    computed_operations: int
    """Operations that are left, since some can be saved without changing the result."""
    peak_memory_bytes: int | None
    sam2_seconds: float | None

    @property
    def rate(self) -> float:
        """Published operations per second."""
        return self.operations / self.seconds

    @property
    def sam2_ratio(self) -> float | None:
        """How many times as long the ``sam2`` package takes, or None without a counterpart."""
        return self.sam2_seconds / self.seconds if self.sam2_seconds else None


@dataclass(frozen=True)
class OperationTime:
    """One whole operation, timed in our order of work and in that of the published app."""

    network: str
    precision: str
    operation: str
    published_seconds: float
    seconds: float

    @property
    def ratio(self) -> float:
        """How many times as long the published schedule takes."""
        return self.published_seconds / self.seconds


@dataclass
class BenchReport:
    """All figures of one run."""

    machine: Machine
    matrix_rates: dict[str, float] = field(default_factory=dict)
    """Operations per second of plain matrix products, per precision: the ceiling."""
    steps: list[StepTime] = field(default_factory=list)
    operations: list[OperationTime] = field(default_factory=list)
    """Whole operations against the published app's order of work."""

    def fraction(self, step: StepTime) -> float:
        """Return the part of the ceiling that a step reaches."""
        return step.rate / self.matrix_rates[step.precision]

    def as_json(self) -> dict[str, Any]:
        """Return all figures as plain values, each with its unit in its name."""
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
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": asdict(self.machine),
            "matrix_gflop_per_s": {name: r / 1e9 for name, r in self.matrix_rates.items()},
            "steps": steps,
            "operations": [asdict(time) | {"ratio": time.ratio} for time in self.operations],
        }
