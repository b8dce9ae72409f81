"""Named kinds of patients and scanners: the training set and the four test sets of the paper.

They mirror the shifts of the paper's Table 1 (field strength; low burden; vendor and site) and
its slice counts. Lesion counts are lower than there, where a scan has 244 tumours in the middle:
squeezed into the small network input of the `phantom` model, so many would be a pixel each.
"""

from __future__ import annotations

from dataclasses import dataclass

from mois_core.errors import BadInput
from mois_core.phantom.generate import PhantomSettings, random_stream


@dataclass(frozen=True)
class Cohort:
    """Scanner of a cohort, and the ranges from which its patients are drawn."""

    vendor: str
    field_tesla: float
    slices: tuple[int, int]
    lesions: tuple[int, int]
    burden_cm3: tuple[float, float]


COHORTS = {
    "training": Cohort("siemens", 3.0, (28, 34), (20, 60), (400, 1600)),
    "in-domain": Cohort("siemens", 3.0, (27, 32), (20, 60), (400, 1600)),
    "field-strength": Cohort("siemens", 1.5, (20, 31), (20, 60), (400, 1600)),
    "low-burden": Cohort("siemens", 3.0, (22, 33), (4, 9), (30, 90)),
    "vendor": Cohort("philips", 3.0, (42, 51), (20, 60), (400, 1600)),
}


def cohort_settings(name: str, seed: int, **changes: object) -> PhantomSettings:
    """Return the settings with which a seed belongs to a cohort.

    `changes` override single fields.
    """
    if name not in COHORTS:
        raise BadInput(f"no cohort {name!r}; choose from {', '.join(COHORTS)}")
    if seed < 0:
        raise BadInput(f"the seed must not be negative, but is {seed}")
    cohort = COHORTS[name]
    rng = random_stream(seed, "cohort")
    drawn = {
        "vendor": cohort.vendor,
        "field_tesla": cohort.field_tesla,
        "slices": int(rng.integers(cohort.slices[0], cohort.slices[1] + 1)),
        "lesions": int(rng.integers(cohort.lesions[0], cohort.lesions[1] + 1)),
        "burden_cm3": round(float(rng.uniform(*cohort.burden_cm3)), 1),
    }
    return PhantomSettings(**{**drawn, **changes})
