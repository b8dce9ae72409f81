"""The benchmark on phantoms: one command for the paper's Table 3 and Figures 3 to 6."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mois_core.evaluation.analysis import BENCHMARK, EFFICIENCY
from mois_core.evaluation.metrics import Measuring
from mois_core.evaluation.plan import Experiment, Plan
from mois_core.evaluation.protocols import Protocol
from mois_core.evaluation.segmenter_specs import SegmenterSpec
from mois_core.evaluation.test_sets import phantom_cases

Length = Literal["short", "long"]


@dataclass(frozen=True)
class Extent:
    """How much is run. Both lengths follow the paper's protocols; the short one takes minutes on
    two processor cores."""

    scans_per_set: int
    lesions: int
    clicks: int
    curve_lesions: int


EXTENTS: dict[Length, Extent] = {
    "short": Extent(scans_per_set=4, lesions=5, clicks=3, curve_lesions=5),
    "long": Extent(scans_per_set=10, lesions=20, clicks=3, curve_lesions=10),
}


def benchmark_plan(
    length: Length,
    segmenters: tuple[SegmenterSpec, ...],
    scans_per_set: int | None = None,
    size: tuple[int, int] | None = None,
) -> Plan:
    """Table 3 with some prompted lesions and clicks each; Fig. 5 with one click per lesion."""
    extent = EXTENTS[length]
    table = Protocol(lesions=extent.lesions, clicks=extent.clicks)
    curve = Protocol(lesions=extent.curve_lesions, clicks=1, measured="lesion")
    count = extent.scans_per_set if scans_per_set is None else scans_per_set
    return Plan(
        cases=tuple(phantom_cases(count, size)),
        segmenters=segmenters,
        experiments=(Experiment(BENCHMARK, table), Experiment(EFFICIENCY, curve)),
        measuring=Measuring(),
    )
