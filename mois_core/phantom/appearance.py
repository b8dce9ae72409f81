"""Appearances of lesions, one of which is to be found.

A scan holds several appearances; one of them is the target. Both are drawn per seed, so what is
the target in one scan is a distractor in another, and only exemplars can tell which is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mois_core.errors import BadInput

OPTIONS: dict[str, tuple[str, ...]] = {
    "contrast": ("dark", "faint", "medium", "bright"),
    "texture": ("smooth", "speckled", "striped", "cystic"),
    "edge": ("sharp", "soft", "ragged"),
    "rim": ("none", "target", "core", "capsule"),
    "shape": ("nodule", "spindle", "lobulated", "plexiform"),
}
ATTRIBUTES = tuple(OPTIONS)

_NEUTRAL = {"contrast": "medium", "texture": "smooth", "edge": "sharp", "rim": "none"}
"""Values of the attributes that do not tell appearances apart."""

VARIED = "varied"
"""The shape of appearances that shape does not tell apart: every lesion draws its own."""


@dataclass(frozen=True)
class Appearance:
    """How a lesion looks. Each field holds one of its `OPTIONS`; shape may also be `VARIED`."""

    contrast: str
    texture: str
    edge: str
    rim: str
    shape: str

    @property
    def name(self) -> str:
        """The values of all fields, joined by hyphens."""
        return "-".join(asdict(self).values())


def check_attributes(attributes: Sequence[str]) -> tuple[str, ...]:
    """Return the attributes in their fixed order, so that how they were listed changes nothing."""
    unknown = sorted(set(attributes) - set(ATTRIBUTES))
    if unknown or not attributes:
        what = f"unknown attribute {unknown[0]!r}" if unknown else "no attribute given"
        raise BadInput(f"{what}; choose from {', '.join(ATTRIBUTES)}")
    return tuple(name for name in ATTRIBUTES if name in attributes)


def draw_appearances(
    rng: np.random.Generator, attributes: Sequence[str], count: int
) -> list[Appearance]:
    """Draw up to `count` appearances, fewer if the first attribute has fewer options.

    No two are alike in the first attribute (contrast, unless that is left out), and with several
    attributes every pair differs in at least one more.
    """
    attributes = check_attributes(attributes)
    first, others = attributes[0], attributes[1:]
    count = min(count, len(OPTIONS[first]))
    leading = rng.permutation(OPTIONS[first])[:count]
    while True:
        looks = [
            {first: str(value), **{name: str(rng.choice(OPTIONS[name])) for name in others}}
            for value in leading
        ]
        if not others or _all_differ(looks, others):
            return [Appearance(**{**_NEUTRAL, "shape": VARIED, **look}) for look in looks]


def _all_differ(looks: list[dict[str, str]], names: Sequence[str]) -> bool:
    return len({tuple(look[name] for name in names) for look in looks}) == len(looks)
