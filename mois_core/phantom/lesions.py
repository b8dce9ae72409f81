"""Planned lesions painted into the body, and the labels that say where they are.

The outline of a lesion is where its own depth is zero; how it looks across and around that
outline (level, texture, edge, rim) is its appearance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.geometry import Box
from mois_core.phantom.appearance import Appearance
from mois_core.phantom.body import MUSCLE
from mois_core.phantom.grid import Bounds, Grid, smooth_noise
from mois_core.phantom.plan import MAX_SLICES, LesionPlan
from mois_core.phantom.shapes import blend

_LEVELS = {"dark": 0.03, "faint": 0.46, "medium": 0.68, "bright": 0.9}
_MARGIN_MM = 9.0
"""How far a soft edge or a capsule shows outside the outline."""
_EDGE_MM = 2.5
_STRIPE_MM = 10.0
_CAPSULE_MM = 3.5


def paint_lesions(
    grid: Grid,
    canvas: np.ndarray,
    inside: np.ndarray,
    plans: Sequence[LesionPlan],
    appearances: Sequence[Appearance],
) -> np.ndarray:
    """Paint all lesions; return their instance labels. Where two meet, the smaller one stays."""
    instances = np.zeros(grid.shape, dtype=np.uint16)
    for plan in sorted(plans, key=lambda plan: (plan.volume_cm3, plan.id)):
        _paint(grid, canvas, inside, instances, plan, appearances[plan.appearance])
    return instances


def _paint(grid, canvas, inside, instances, plan: LesionPlan, appearance: Appearance) -> None:
    """Paint one lesion where the body is still free of others, and its label."""
    rng = np.random.Generator(np.random.PCG64(plan.seed))
    reach = np.array(plan.skeleton.reach) + _MARGIN_MM
    reach[0] = max(reach[0], grid.slice_mm)
    bounds = tuple((c - r, c + r) for c, r in zip(plan.centre, reach, strict=True))
    box = grid.box(bounds)
    if box is None:
        raise BadInput("the scan is too small for its lesions; choose a larger size")
    free = inside[box] & (instances[box] == 0)
    depth = _depth(rng, grid, box, bounds, plan, appearance)
    _within_slices(grid, box, plan, depth)
    mask = _largest_component((depth > 0) & free)
    if not mask.any():
        if not free.any():
            raise BadInput(f"no room for {plan.id} lesions or more; choose a larger size")
        mask.ravel()[np.argmax(np.where(free, depth, -np.inf))] = True
    instances[box][mask] = plan.id
    thickness = max(float(depth[mask].max()), 1.0)
    value = _value(rng, grid, box, bounds, plan, appearance, depth, thickness)
    edge = min(max(1.3 * thickness, 6.0), 18.0) if appearance.edge == "soft" else _EDGE_MM
    if appearance.rim == "capsule":
        depth = depth + np.float32(_CAPSULE_MM / 2)
    blend(canvas[box], value, depth, edge, opacity=(free | mask).astype(np.float32))


def _depth(rng, grid: Grid, box: Box, bounds: Bounds, plan: LesionPlan, appearance: Appearance):
    """Return the depth below the outline in mm: the skeleton's, made uneven."""
    axes = grid.axes(box)
    local = (a - np.float32(c) for a, c in zip(axes, plan.centre, strict=True))
    depth = plan.skeleton.depth(*local)
    radius = float(plan.skeleton.balls[:, 3].max())
    size = min(max(0.7 * radius, 5.0), 25.0)
    depth += np.float32(0.13 * radius) * smooth_noise(rng, bounds, axes, (size, size, size))
    if appearance.edge == "ragged":
        depth += np.float32(min(0.4 * radius, 4.5)) * smooth_noise(rng, bounds, axes, (9, 6, 6))
    return depth


def _within_slices(grid: Grid, box: Box, plan: LesionPlan, depth: np.ndarray) -> None:
    """Keep an uneven surface from reaching into more slices than a lesion may have."""
    z, _, _ = grid.axes(box)
    too_far = np.abs(z - np.float32(plan.centre[0])) >= MAX_SLICES / 2 * grid.slice_mm
    np.minimum(depth, np.where(too_far, np.float32(-_MARGIN_MM), np.inf), out=depth)


def _largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected component: an instance is one, joined at corners or not."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count < 2:
        return mask
    return labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1


def _value(
    rng,
    grid: Grid,
    box: Box,
    bounds: Bounds,
    plan: LesionPlan,
    appearance: Appearance,
    depth: np.ndarray,
    thickness: float,
) -> np.ndarray:
    """Return the brightness of the lesion's tissue.

    Patterns are a share of the step from the muscle around it (0) to the lesion's level (1), so
    that they show in a dark lesion as they do in a bright one.
    """
    axes = grid.axes(box)
    level = _LEVELS[appearance.contrast]
    centrality = np.clip(depth / np.float32(thickness), 0, 1)
    share = np.ones_like(depth)
    grain = smooth_noise(rng, bounds, axes, (11, 8, 8))
    if appearance.texture == "speckled":
        share += np.float32(0.28) * np.clip(grain, -1.6, 1.6)
    elif appearance.texture == "striped":
        share *= np.float32(0.6) + np.float32(0.55) * _stripes(rng, axes, grain)
    else:
        share += np.float32(0.06) * grain
    if appearance.rim == "target":
        share *= 1 - np.float32(0.5) * np.clip((centrality - np.float32(0.4)) * 5, 0, 1)
    elif appearance.rim == "core":
        share *= 1 - np.float32(0.5) * np.clip((np.float32(0.6) - centrality) * 5, 0, 1)
    value = np.float32(MUSCLE) + share * np.float32((level - MUSCLE) * plan.brightness)
    if appearance.texture == "cystic":
        cyst = np.float32(1.0 if level < 0.7 else 0.3)
        value += np.clip((grain - np.float32(0.7)) * 4, 0, 1) * (cyst - value)
    if appearance.rim == "capsule":
        shell = np.float32(0.55 if appearance.contrast == "dark" else 0.03)
        at_rim = np.clip(1.5 - np.abs(depth) * np.float32(2 / _CAPSULE_MM), 0, 1)
        value += at_rim * (shell - value)
    return value


def _stripes(rng, axes, grain: np.ndarray) -> np.ndarray:
    """Return the bands of fascicles, between 0 and 1, slightly slanted and wavy."""
    _, y, x = axes
    slant = np.float32(rng.uniform(-0.3, 0.3))
    turn = (x + slant * y) / np.float32(_STRIPE_MM) + np.float32(0.10) * grain
    wave = np.abs(turn - np.floor(turn) - np.float32(0.5)) * 2
    return np.clip((wave - np.float32(0.5)) * 3 + np.float32(0.5), 0, 1)
