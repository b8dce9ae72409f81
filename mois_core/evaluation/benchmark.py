"""The benchmark on phantoms: one command for the paper's Table 3 and Figures 3 to 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mois_core.evaluation.analysis import BENCHMARK, EFFICIENCY, READERS
from mois_core.evaluation.metrics import MetricSettings
from mois_core.evaluation.phantom_sets import phantom_cases
from mois_core.evaluation.plan import EvaluationPlan, Experiment
from mois_core.evaluation.protocols import Protocol
from mois_core.evaluation.segmenter_specs import SegmenterSpec
from mois_core.evaluation.simulated_annotators import ANNOTATORS

Length = Literal["short", "long", "readers"]


@dataclass(frozen=True)
class BenchmarkSize:
    """How much the benchmark runs.

    All follow the paper's protocols; the short one takes minutes on two processor cores.
    """

    scans_per_set: int
    lesions: int
    """Prompted for the table, and with one click each for the agreement with readers."""
    clicks: int
    curve_lesions: int
    """Prompted for the curves; with 0 there is nothing but the agreement with readers."""


SIZES: dict[Length, BenchmarkSize] = {
    "short": BenchmarkSize(scans_per_set=4, lesions=5, clicks=3, curve_lesions=5),
    "long": BenchmarkSize(scans_per_set=12, lesions=20, clicks=3, curve_lesions=10),
    "readers": BenchmarkSize(scans_per_set=1, lesions=20, clicks=1, curve_lesions=0),
}
"""With twelve scans of a set the smallest p that a signed-rank test can have, 2 / 2^12, is below
0.01 after correction for up to twenty comparisons; with ten it is for five. The paper compares
readers on four patients."""


def benchmark_plan(
    length: Length,
    segmenters: tuple[SegmenterSpec, ...],
    scans_per_set: int | None = None,
    size: tuple[int, int] | None = None,
) -> EvaluationPlan:
    """Return the plan for Table 3, and with one click a lesion for Figures 5 and 6.

    The clicks of Figure 6 are a person's, which miss now and then. ``size`` is the phantoms' rows
    and columns.
    """
    amount = SIZES[length]
    table = Protocol(lesions=amount.lesions, clicks=amount.clicks)
    curve = Protocol(lesions=max(amount.curve_lesions, 1), clicks=1, measured="lesion")
    readers = Experiment(READERS, Protocol(kind="reader", lesions=amount.lesions, clicks=1))
    measured = (Experiment(BENCHMARK, table), Experiment(EFFICIENCY, curve))
    count = amount.scans_per_set if scans_per_set is None else scans_per_set
    return EvaluationPlan(
        cases=tuple(phantom_cases(count, size, tuple(ANNOTATORS))),
        segmenters=segmenters,
        experiments=(*measured, readers) if amount.curve_lesions else (readers,),
        measuring=MetricSettings(),
    )
