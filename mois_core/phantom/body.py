"""The healthy body as a T2-weighted, fat-suppressed scan shows it.

Brightness is relative: 1 is fluid, about 0.28 muscle, 0.1 suppressed fat, 0 air. Much of what is
painted here is as bright as a lesion on purpose: bladder, kidneys, cerebrospinal fluid, bowel,
lymph nodes, fat that failed to be suppressed.
"""

from __future__ import annotations

import numpy as np

from mois_core.phantom.grid import Grid, smooth_noise
from mois_core.phantom.patient import Patient
from mois_core.phantom.shapes import Column, Ellipsoid, SolidPainter, blend

MUSCLE = 0.28
_FAT, _SKIN, _CORTEX, _MARROW, _FLUID = 0.10, 0.34, 0.05, 0.27, 1.0


def paint_body(
    rng: np.random.Generator,
    today: np.random.Generator,
    grid: Grid,
    patient: Patient,
    fat_failure: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint everything but the lesions; return the body and a mask of its inside.

    What differs between two visits (how full bladder and bowel are) is drawn from `today`;
    `fat_failure` says how patchy the fat suppression is.
    """
    canvas, inside = _soft_tissue(rng, grid, patient, fat_failure)
    wobble = smooth_noise(rng, grid.bounds, grid.axes(), (25, 22, 22))
    painter = SolidPainter(grid, canvas, wobble)
    _bones(rng, painter, patient)
    _thorax(rng, painter, patient)
    _abdomen(rng, painter, patient)
    _bowel(today, painter, patient)
    _pelvis(today, painter, patient)
    _spine(rng, painter, patient)
    _head(rng, painter, patient)
    _vessels_and_nodes(rng, painter, patient)
    canvas *= inside
    return canvas, inside


def body_depth(grid: Grid, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Return every voxel's relative depth below the skin (1 on an axis), and its depth in mm."""
    relative = np.full(grid.shape, -1, dtype=np.float32)
    depth = np.full(grid.shape, -1e3, dtype=np.float32)
    for part in patient.outline:
        box = grid.box(part.bounds)
        if box is None:
            continue
        own, scale = part.relative_depth(grid.axes(box))
        np.maximum(relative[box], own, out=relative[box])
        np.maximum(depth[box], own * scale, out=depth[box])
    return relative, depth


def _soft_tissue(rng, grid: Grid, patient: Patient, fat_failure: float):
    axes, bounds = grid.axes(), grid.bounds
    relative, depth = body_depth(grid, patient)
    unevenness = smooth_noise(rng, bounds, axes, (60, 70, 50))
    failed = np.clip(unevenness * np.float32(fat_failure) - 1, 0, 1)
    canvas = np.clip(depth / 3 + np.float32(0.5), 0, 1)
    canvas *= np.float32(_FAT) + failed * np.float32(0.55)

    fascicles = smooth_noise(rng, bounds, axes, (14, 55, 6))
    septa = np.abs(smooth_noise(rng, bounds, axes, (40, 120, 22)))
    muscle = np.float32(MUSCLE) * (1 + np.float32(0.16) * fascicles)
    muscle *= np.clip(septa * 6 + np.float32(0.35), 0, 1)
    fat = np.float32(patient.fat) * (1 + np.float32(0.3) * unevenness)
    blend(canvas, muscle, (relative - fat) * 60, edge=4)
    skin = np.clip(1 - np.abs(depth - 1.5) / 2, 0, 1) * (depth > 0)
    canvas += skin * np.float32(_SKIN) * (1 - canvas)
    return canvas, relative > 0


def _bones(rng, painter: SolidPainter, patient: Patient) -> None:
    marrow = _MARROW * rng.uniform(0.85, 1.35)
    for bone in patient.long_bones():
        painter.paint(bone, lambda box, depth: np.where(depth < 4, _CORTEX, marrow))
    for side in (-1, 1):
        wing = patient.ellipsoid((0.560, side * 0.060, 0.28), (0.040, 0.013, 0.46), side * 30)
        painter.paint(wing, lambda box, depth: np.where(depth < 3, _CORTEX, marrow), wobble=2)
        for centre, width, tilt in (
            ((0.273, side * 0.049, 0.12), 0.016, 0),
            ((0.524, side * 0.051, 0.10), 0.010, side * 35),
        ):
            joint = patient.ellipsoid(centre, (0.0024, width, 0.20), tilt)
            painter.paint(joint, _FLUID * rng.uniform(0.6, 0.95), wobble=2)


def _thorax(rng, painter: SolidPainter, patient: Patient) -> None:
    period = 0.0175 * patient.height

    def ribs(box, depth):
        _, y, x = painter.grid.axes(box)
        slanted = (y + np.abs(x) * np.float32(0.35)) / np.float32(period)
        wave = np.abs(slanted - np.floor(slanted) - np.float32(0.5)) * 2
        return np.where(wave > np.float32(0.55), np.float32(0.13), np.float32(0.30))

    wall = patient.ellipsoid((0.738, 0, 0), (0.105, 0.090, 0.93))
    painter.paint(wall, ribs, edge=5)
    cavity = patient.ellipsoid((0.738, 0, 0), (0.097, 0.081, 0.80))
    painter.paint(cavity, 0.13, edge=5)
    vessels = smooth_noise(rng, painter.grid.bounds, painter.grid.axes(), (18, 10, 10))
    for side in (-1, 1):
        lung = patient.ellipsoid((0.755, side * 0.044, 0.02), (0.066, 0.035, 0.76), -side * 6)
        painter.paint(
            lung, lambda box, depth: 0.03 + 0.10 * np.clip(vessels[box] - 1, 0, 1), wobble=2
        )
    heart = patient.ellipsoid((0.732, 0.018, -0.28), (0.034, 0.030, 0.42), -35)
    painter.paint(
        heart, lambda box, depth: np.where(depth < 12, 0.34, 0.16 + 0.08 * vessels[box]), wobble=2
    )
    thyroid = patient.ellipsoid((0.838, 0, -0.12), (0.010, 0.016, 0.12))
    painter.paint(thyroid, 0.5 * rng.uniform(0.8, 1.2), wobble=2)


def _abdomen(rng, painter: SolidPainter, patient: Patient) -> None:
    def organ(centre, radii, value, tilt=0.0, wobble=4.0, spread=0.15):
        solid = patient.ellipsoid(centre, radii, tilt)
        painter.paint(solid, value * rng.uniform(1 - spread, 1 + spread), wobble=wobble)

    grain = smooth_noise(rng, painter.grid.bounds, painter.grid.axes(), (20, 12, 12))
    cavity = patient.ellipsoid((0.615, 0, -0.22), (0.095, 0.070, 0.62))
    painter.paint(cavity, 0.14, edge=6, wobble=3)
    organ((0.690, 0.030, -0.35), (0.026, 0.034, 0.30), rng.choice([0.25, 0.6, 0.95]), 40)
    liver = patient.ellipsoid((0.692, -0.034, -0.05), (0.036, 0.050, 0.72), 24)
    shade = 0.30 * rng.uniform(0.85, 1.2)
    painter.paint(liver, lambda box, depth: shade * (1 + 0.10 * grain[box]), wobble=4)
    organ((0.700, 0.066, 0.35), (0.030, 0.015, 0.34), 0.58, -12)
    organ((0.668, -0.030, -0.42), (0.014, 0.008, 0.16), _FLUID, 15, 2)
    organ((0.668, 0.012, 0.00), (0.006, 0.040, 0.10), 0.42, 15, 3)
    for side in (-1, 1):
        kidney = patient.ellipsoid((0.648, side * 0.042, 0.36), (0.034, 0.0175, 0.27), -side * 12)
        shade = 0.86 * rng.uniform(0.9, 1.15)
        painter.paint(
            kidney, lambda box, depth, shade=shade: shade * (1 + 0.12 * grain[box]), wobble=2
        )
        organ((0.647, side * 0.034, 0.34), (0.013, 0.007, 0.12), 0.95, wobble=2)


def _bowel(rng, painter: SolidPainter, patient: Patient) -> None:
    """Paint the bowel.

    Its loops are the level lines of a noise: walls where it crosses zero, content in between.
    """
    bounds, axes = painter.grid.bounds, painter.grid.axes()
    loops = smooth_noise(rng, bounds, axes, (24, 17, 20))
    content = smooth_noise(rng, bounds, axes, (35, 40, 40))
    fullness = rng.uniform(-0.9, -0.1)

    def value(box, depth):
        within = np.clip(np.abs(loops[box]) * 3, 0, 1)
        fluid = np.clip((content[box] + np.float32(fullness)) * 2, 0, 1)
        return 0.42 + within * (np.float32(-0.20) + np.float32(0.72) * fluid)

    for centre, radii in (
        ((0.598, 0.000, -0.34), (0.052, 0.062, 0.44)),
        ((0.610, -0.062, -0.15), (0.050, 0.015, 0.30)),
        ((0.618, 0.064, -0.10), (0.058, 0.014, 0.30)),
    ):
        painter.paint(patient.ellipsoid(centre, radii), value, wobble=4)


def _pelvis(rng, painter: SolidPainter, patient: Patient) -> None:
    fill = rng.uniform(0.8, 1.2)
    bladder = patient.ellipsoid(
        (0.512 + 0.008 * (fill - 1), 0.0, -0.25), (0.020 * fill, 0.028 * fill, 0.36)
    )
    painter.paint(bladder, _FLUID * rng.uniform(0.95, 1.08), wobble=2)
    womb_or_prostate = patient.ellipsoid((0.496, 0.0, 0.05), (0.014, 0.020, 0.22))
    painter.paint(womb_or_prostate, rng.uniform(0.4, 0.7), wobble=3)
    rectum = patient.ellipsoid((0.520, 0.006, 0.38), (0.030, 0.013, 0.16))
    painter.paint(rectum, rng.uniform(0.2, 0.5), wobble=3)


def _spine(rng, painter: SolidPainter, patient: Patient) -> None:
    period = 0.0190 * patient.height
    marrow, disc = 0.30 * rng.uniform(0.8, 1.25), 0.62 * rng.uniform(0.7, 1.2)

    def vertebrae(box, depth):
        _, y, _ = painter.grid.axes(box)
        turn = y / np.float32(period)
        wave = np.abs(turn - np.floor(turn) - np.float32(0.5)) * 2
        inside = np.where(wave > np.float32(0.72), np.float32(disc), np.float32(marrow))
        return np.where(np.abs(wave - np.float32(0.68)) < np.float32(0.06), _CORTEX, inside)

    arches = patient.spine(0.019, 0.011, 0.024, high=0.87)
    painter.paint(arches, 0.16, wobble=4)
    painter.paint(patient.spine(0.0125, 0.0125, 0.0), vertebrae, wobble=1)
    painter.paint(patient.spine(0.0068, 0.0068, 0.021), 0.96)
    painter.paint(patient.spine(0.0036, 0.0036, 0.021, low=0.62), 0.45)


def _head(rng, painter: SolidPainter, patient: Patient) -> None:
    bounds, axes = painter.grid.bounds, painter.grid.axes()
    folds = np.abs(smooth_noise(rng, bounds, axes, (16, 9, 9)))
    grey, white = 0.62 * rng.uniform(0.9, 1.1), 0.44 * rng.uniform(0.9, 1.1)

    def ellipsoid(y, x, z, up, across, through, tilt=0.0) -> Ellipsoid:
        return patient.ellipsoid((y, x, z), (up, across, through), tilt)

    def cortex(box, depth):
        ribbon = np.clip(2 - depth / 9, 0, 1)
        sulci = np.clip(1 - folds[box] * 4, 0, 1) * np.clip(depth / 4, 0, 1)
        tissue = white + (grey - white) * ribbon
        return tissue + sulci * ribbon * (np.float32(0.95) - tissue)

    painter.paint(ellipsoid(0.940, 0, 0.04, 0.056, 0.043, 0.80), _CORTEX, edge=4)
    painter.paint(ellipsoid(0.940, 0, 0.04, 0.051, 0.039, 0.74), 0.95)
    painter.paint(ellipsoid(0.941, 0, 0.04, 0.048, 0.037, 0.71), cortex)
    painter.paint(ellipsoid(0.945, 0, 0.04, 0.046, 0.0012, 0.70), 0.85)
    for side in (-1, 1):
        painter.paint(ellipsoid(0.945, side * 0.008, 0.10, 0.016, 0.0042, 0.34, side * 18), 0.98)
        painter.paint(ellipsoid(0.916, side * 0.019, -0.62, 0.0072, 0.0072, 0.11), 1.0)
        painter.paint(ellipsoid(0.893, side * 0.032, 0.05, 0.015, 0.0065, 0.22), 0.48, wobble=2)
    painter.paint(ellipsoid(0.905, 0, 0.34, 0.015, 0.028, 0.26), 0.50, wobble=2)
    painter.paint(ellipsoid(0.900, 0, -0.40, 0.013, 0.014, 0.28), 0.04, wobble=3)
    painter.paint(ellipsoid(0.899, 0, -0.42, 0.012, 0.0035, 0.24), 0.75, wobble=2)
    painter.paint(ellipsoid(0.878, 0, -0.38, 0.008, 0.018, 0.26), 0.30, wobble=2)
    painter.paint(ellipsoid(0.856, 0, -0.20, 0.022, 0.0065, 0.07), 0.03)


def _vessels_and_nodes(rng, painter: SolidPainter, patient: Patient) -> None:
    h, d = patient.height, patient.half_depth

    def vessel(points, radius, value):
        rows = tuple((y * h, x * h, z * d, radius * h, radius * h) for y, x, z in points)
        painter.paint(Column(rows), value)

    vessel(((0.575, 0.006, 0.10), (0.70, 0.010, 0.18), (0.79, 0.012, 0.20)), 0.0058, 0.06)
    vessel(((0.575, -0.010, 0.10), (0.718, -0.012, 0.08)), 0.0062, 0.42)
    for side in (-1, 1):
        flow = rng.uniform(0.45, 0.95)
        leg = ((0.30, 0.046, 0.30), (0.40, 0.044, 0.0), (0.51, 0.044, -0.30), (0.575, 0.012, 0.05))
        vessel([(y, side * x, z) for y, x, z in leg], 0.0030, flow)
        vessel([(y, side * (x + 0.006), z) for y, x, z in leg], 0.0028, 0.07)
        vessel([(0.05, side * 0.036, 0.1), (0.28, side * 0.037, 0.35)], 0.0018, flow)
        vessel([(0.80, side * 0.020, 0.05), (0.885, side * 0.026, 0.02)], 0.0036, flow)
        vessel([(0.50, side * 0.121, 0.0), (0.76, side * 0.098, 0.05)], 0.0018, flow)
    for y, x, z, spread in (
        (0.500, 0.050, -0.50, 0.014),
        (0.775, 0.090, 0.05, 0.016),
        (0.862, 0.029, 0.0, 0.014),
        (0.835, 0.040, 0.1, 0.010),
    ):
        for side in (-1, 1):
            for _ in range(rng.integers(2, 6)):
                off = rng.uniform(-spread, spread, size=3)
                radius = rng.uniform(0.0022, 0.0050)
                node = patient.ellipsoid(
                    (y + off[0], side * x + 0.6 * off[1], z + 8 * off[2]),
                    (1.5 * radius, radius, radius * h / d),
                    rng.uniform(-40, 40),
                )
                painter.paint(node, rng.uniform(0.6, 0.95), edge=2)
