"""A scribble: a line drawn by hand through a lesion, or through what does not belong to it.

To the network it is a few clicks along the line; `python -m tools.scribbles` measures how many.
"""

from __future__ import annotations

import numpy as np

CLICKS = 3
"""Clicks that a scribble becomes."""

SHORTEST_MM = 3.0
"""A shorter line is one click: several would lie on neighbouring pixels."""


def places_along(line: np.ndarray, count: int = CLICKS) -> np.ndarray:
    """Return places [n, 3] at equal distances along a line through points [m, 3] in millimetres.

    The middle comes first and the ends last, as a reader would click.
    """
    points = np.asarray(line, dtype=np.float64).reshape(-1, 3)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    if along[-1] < SHORTEST_MM:
        count = 1
    parts = (np.arange(count) + 0.5) / count
    parts = parts[np.argsort(np.abs(parts - 0.5), kind="stable")]
    wanted = parts * along[-1]
    return np.stack([np.interp(wanted, along, column) for column in points.T], axis=1)
