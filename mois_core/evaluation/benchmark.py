"""The benchmark on phantoms: one command for the paper's Table 3 and Figures 3 to 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mois_core.evaluation.analysis import BENCHMARK, EFFICIENCY
from mois_core.evaluation.metrics import MetricSettings
from mois_core.evaluation.phantom_sets import phantom_cases
from mois_core.evaluation.plan import EvaluationPlan, Experiment
from mois_core.evaluation.protocols import Protocol
from mois_core.evaluation.segmenter_specs import SegmenterSpec

Length = Literal["short", "long"]


@dataclass(frozen=True)
class BenchmarkSize:
    """How much the benchmark runs.

    Both lengths follow the paper's protocols; the short one takes minutes on two processor cores.
    """

    scans_per_set: int
    lesions: int
    clicks: int
    curve_lesions: int


SIZES: dict[Length, BenchmarkSize] = {
    "short": BenchmarkSize(scans_per_set=4, lesions=5, clicks=3, curve_lesions=5),
    "long": BenchmarkSize(scans_per_set=10, lesions=20, clicks=3, curve_lesions=10),
}


def benchmark_plan(
    length: Length,
    segmenters: tuple[SegmenterSpec, ...],
    scans_per_set: int | None = None,
    size: tuple[int, int] | None = None,
) -> EvaluationPlan:
    """Return the plan for Table 3 (several clicks a lesion) and Fig. 5 (one click a lesion).

    ``size`` is the phantoms' rows and columns.
    """
    amount = SIZES[length]
    table = Protocol(lesions=amount.lesions, clicks=amount.clicks)
    curve = Protocol(lesions=amount.curve_lesions, clicks=1, measured="lesion")
    count = amount.scans_per_set if scans_per_set is None else scans_per_set
    return EvaluationPlan(
        cases=tuple(phantom_cases(count, size)),
        segmenters=segmenters,
        experiments=(Experiment(BENCHMARK, table), Experiment(EFFICIENCY, curve)),
        measuring=MetricSettings(),
    )
