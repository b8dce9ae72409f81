"""One patient's build: outline, bones and nerves as solids, drawn from the seed.

Lengths in the tables are fractions: x, y and widths of the patient's height H; z and the depths
of the trunk of its half depth D. The numbers are rough anatomy, read off figure drawing tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mois_core.phantom.shapes import Column, Coordinates, Ellipsoid, nearest_surface

# y, z, half width, half depth (the last in D)
_TRUNK = (
    (0.462, 0.05, 0.020, 0.20),
    (0.485, 0.05, 0.085, 0.80),
    (0.510, 0.05, 0.100, 0.95),
    (0.550, 0.05, 0.098, 0.95),
    (0.600, 0.00, 0.088, 0.88),
    (0.635, 0.00, 0.082, 0.86),
    (0.680, 0.00, 0.087, 0.95),
    (0.730, 0.00, 0.093, 1.00),
    (0.775, 0.05, 0.098, 0.95),
    (0.800, 0.10, 0.104, 0.80),
    (0.818, 0.12, 0.096, 0.66),
    (0.832, 0.12, 0.064, 0.58),
    (0.845, 0.12, 0.042, 0.54),
    (0.862, 0.10, 0.036, 0.52),
    (0.885, 0.00, 0.037, 0.66),
    (0.905, 0.00, 0.042, 0.78),
    (0.940, 0.02, 0.046, 0.86),
    (0.970, 0.04, 0.041, 0.78),
    (0.990, 0.04, 0.025, 0.50),
    (1.000, 0.04, 0.004, 0.08),
)
_WAIST_TO_SHOULDER = (0.47, 0.84)
"""Where the trunk's width follows the patient's girth; head and neck do not."""

# y, x, z, half width, half depth (all but z in H)
_LEG = (
    (0.000, 0.045, -0.30, 0.012, 0.030),
    (0.015, 0.045, -0.35, 0.024, 0.060),
    (0.035, 0.044, -0.10, 0.020, 0.040),
    (0.060, 0.044, 0.20, 0.019, 0.022),
    (0.100, 0.045, 0.25, 0.022, 0.025),
    (0.200, 0.048, 0.30, 0.035, 0.037),
    (0.260, 0.049, 0.25, 0.033, 0.034),
    (0.285, 0.049, 0.20, 0.034, 0.034),
    (0.330, 0.050, 0.15, 0.037, 0.038),
    (0.420, 0.053, 0.10, 0.050, 0.052),
    (0.470, 0.055, 0.10, 0.054, 0.058),
    (0.520, 0.056, 0.10, 0.042, 0.050),
    (0.560, 0.056, 0.10, 0.010, 0.020),
)
_ARM = (
    (0.378, 0.132, -0.05, 0.004, 0.006),
    (0.395, 0.133, -0.05, 0.014, 0.011),
    (0.430, 0.133, 0.00, 0.021, 0.015),
    (0.460, 0.132, 0.05, 0.017, 0.014),
    (0.480, 0.131, 0.10, 0.015, 0.015),
    (0.560, 0.127, 0.15, 0.022, 0.022),
    (0.620, 0.121, 0.20, 0.024, 0.025),
    (0.700, 0.113, 0.20, 0.027, 0.031),
    (0.760, 0.107, 0.15, 0.031, 0.036),
    (0.800, 0.100, 0.12, 0.029, 0.036),
    (0.822, 0.092, 0.12, 0.018, 0.024),
    (0.834, 0.086, 0.12, 0.003, 0.006),
)
_SPINE = (
    (0.500, 0.62),
    (0.540, 0.52),
    (0.580, 0.32),
    (0.630, 0.22),
    (0.680, 0.34),
    (0.740, 0.48),
    (0.800, 0.44),
    (0.840, 0.26),
    (0.886, 0.14),
)
_LONG_BONES = {
    "femur": (
        (0.275, 0.049, 0.15, 0.024, 0.022),
        (0.295, 0.049, 0.12, 0.019, 0.018),
        (0.340, 0.051, 0.08, 0.0095, 0.0095),
        (0.470, 0.064, 0.08, 0.0100, 0.0100),
        (0.500, 0.066, 0.10, 0.0160, 0.0150),
        (0.517, 0.056, 0.10, 0.0150, 0.0150),
        (0.530, 0.054, 0.10, 0.0060, 0.0060),
    ),
    "tibia": (
        (0.040, 0.044, 0.15, 0.0110, 0.0120),
        (0.080, 0.043, 0.15, 0.0070, 0.0080),
        (0.220, 0.044, 0.15, 0.0085, 0.0090),
        (0.262, 0.048, 0.15, 0.0210, 0.0180),
        (0.271, 0.049, 0.15, 0.0200, 0.0170),
    ),
    "humerus": (
        (0.620, 0.121, 0.15, 0.0140, 0.0090),
        (0.650, 0.119, 0.15, 0.0070, 0.0070),
        (0.770, 0.106, 0.12, 0.0085, 0.0085),
        (0.800, 0.099, 0.12, 0.0150, 0.0150),
        (0.816, 0.096, 0.12, 0.0060, 0.0060),
    ),
    "radius": (
        (0.482, 0.126, 0.10, 0.0070, 0.0060),
        (0.600, 0.117, 0.18, 0.0050, 0.0050),
    ),
    "ulna": (
        (0.482, 0.136, 0.10, 0.0050, 0.0050),
        (0.615, 0.126, 0.22, 0.0065, 0.0065),
    ),
}

# Polylines of y, x, z: where neurofibromas grow
_NERVES = {
    "paraspinal": ((0.55, 0.030, 0.45), (0.65, 0.030, 0.50), (0.80, 0.030, 0.70)),
    "cervical": ((0.800, 0.030, 0.30), (0.850, 0.024, 0.15), (0.880, 0.026, 0.10)),
    "brachial plexus": ((0.825, 0.035, 0.20), (0.800, 0.075, 0.15), (0.770, 0.098, 0.15)),
    "arm": ((0.770, 0.100, 0.15), (0.640, 0.114, 0.10), (0.490, 0.128, 0.05)),
    "intercostal": ((0.720, 0.040, 0.85), (0.705, 0.087, 0.30), (0.690, 0.087, -0.30)),
    "lumbosacral plexus": ((0.580, 0.030, 0.45), (0.540, 0.055, 0.55), (0.500, 0.060, 0.45)),
    "sciatic": ((0.510, 0.058, 0.40), (0.400, 0.052, 0.30), (0.300, 0.048, 0.30)),
    "femoral": ((0.520, 0.060, -0.35), (0.420, 0.045, -0.20), (0.320, 0.040, 0.10)),
    "calf": ((0.290, 0.050, 0.35), (0.200, 0.055, 0.42), (0.090, 0.048, 0.40)),
}


@dataclass(frozen=True)
class Patient:
    """A body in mm: its outline, where its nerves run, and what no lesion may grow into."""

    height: float
    half_depth: float
    fat: float
    """Thickness of the subcutaneous fat as a fraction of a part's half width."""
    outline: tuple[Column, ...]
    nerves: tuple[np.ndarray, ...]
    off_limits: tuple[Ellipsoid, ...]

    def depth(self, at: Coordinates) -> np.ndarray:
        """Return how far below the skin points lie, in mm."""
        return nearest_surface(self.outline, at)

    def ellipsoid(
        self, centre: tuple[float, float, float], radii: tuple[float, float, float], tilt: float = 0
    ) -> Ellipsoid:
        """Make an ellipsoid from fractions: centre (y, x, z) and radii (up, across, through)."""
        return _ellipsoid(self.height, self.half_depth, centre, radii, tilt)

    def spine(
        self,
        half_width: float,
        half_depth: float,
        behind: float,
        low: float = 0.5,
        high: float = 0.886,
    ) -> Column:
        """Make a column that follows the spine's curve, from fractions of the height."""
        rows = [(y, z) for y, z in _SPINE if low <= y <= high]
        h, d = self.height, self.half_depth
        return Column(
            tuple((y * h, 0.0, z * d + behind * h, half_width * h, half_depth * h) for y, z in rows)
        )

    def long_bones(self) -> list[Column]:
        """Return every long bone, on both sides."""
        return [
            _column(table, self.height, self.half_depth, side)
            for table in _LONG_BONES.values()
            for side in (-1, 1)
        ]


def draw_patient(rng: np.random.Generator, height_mm: float, coverage_mm: float) -> Patient:
    """Draw a patient of a height, about as thick as the slices cover."""
    d = float(np.clip(0.46 * coverage_mm, 0.060 * height_mm, 0.078 * height_mm))
    girth = rng.uniform(0.92, 1.06)
    jitter = rng.uniform(0.97, 1.03, size=len(_TRUNK))
    trunk = []
    for (y, z, width, depth), own in zip(_TRUNK, jitter, strict=True):
        inside = _WAIST_TO_SHOULDER[0] < y < _WAIST_TO_SHOULDER[1]
        factor = girth * own if inside else 1.0
        trunk.append((y * height_mm, 0.0, z * d, width * factor * height_mm, depth * d))
    limbs = [
        _column(table, height_mm, d, side, girth) for table in (_LEG, _ARM) for side in (-1, 1)
    ]
    nerves = [
        np.array([(z * d, y * height_mm, side * x * height_mm) for y, x, z in line])
        for line in _NERVES.values()
        for side in (-1, 1)
    ]
    return Patient(
        height=height_mm,
        half_depth=d,
        fat=rng.uniform(0.10, 0.20),
        outline=(Column(tuple(trunk)), *limbs),
        nerves=tuple(nerves),
        off_limits=tuple(
            _ellipsoid(height_mm, d, centre, radii, 0) for centre, radii in _OFF_LIMITS
        ),
    )


_OFF_LIMITS = (
    ((0.938, 0.000, 0.02), (0.052, 0.040, 0.76)),  # brain
    ((0.738, 0.000, 0.00), (0.096, 0.080, 0.79)),  # lungs and heart
    ((0.693, -0.036, -0.05), (0.032, 0.046, 0.62)),  # liver
    ((0.648, -0.042, 0.36), (0.033, 0.019, 0.26)),  # kidneys
    ((0.648, 0.042, 0.36), (0.033, 0.019, 0.26)),
    ((0.512, 0.000, -0.25), (0.026, 0.034, 0.42)),  # bladder
    ((0.600, 0.000, -0.34), (0.060, 0.066, 0.46)),  # bowel
    ((0.615, -0.062, -0.15), (0.054, 0.018, 0.32)),
    ((0.622, 0.064, -0.10), (0.062, 0.017, 0.32)),
    ((0.690, 0.030, -0.35), (0.034, 0.040, 0.34)),  # stomach
    ((0.700, 0.066, 0.35), (0.032, 0.018, 0.36)),  # spleen
)


def _column(table, height: float, half_depth: float, side: int, girth: float = 1.0) -> Column:
    return Column(
        tuple(
            (y * height, side * x * height, z * half_depth, w * girth * height, b * girth * height)
            for y, x, z, w, b in table
        )
    )


def _ellipsoid(height: float, half_depth: float, centre, radii, tilt: float) -> Ellipsoid:
    (y, x, z), (up, across, through) = centre, radii
    return Ellipsoid(
        centre=(z * half_depth, y * height, x * height),
        radii=(through * half_depth, up * height, across * height),
        tilt=tilt,
    )
