"""The network that ships with the program: which preset it is of, and where its weights lie.

`README.md` beside this says how it was trained and measured. Nothing is imported that takes time.
"""

from __future__ import annotations

from pathlib import Path

SHIPPED = "phantom"
"""The preset whose weights are part of the program."""

GIVEN = {
    "minutes": 442,
    "steps": 27_107,
    "device": "cpu, for 8 of the minutes cuda",
    "cores": 2,
    "scans": 240,
}
"""What its runs were given in all, to stand beside what other networks were given. `README.md` has
each of them."""


def shipped_weights(preset: str = SHIPPED) -> Path | None:
    """Return the file of weights that ships for a preset, or None if there is none."""
    path = Path(__file__).parent / f"{SHIPPED}.safetensors"
    return path if preset == SHIPPED and path.is_file() else None
