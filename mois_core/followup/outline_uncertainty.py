"""How sure a change of volume is, given how much outlines of one lesion differ.

The model: an outline lies off the lesion's border by a distance that varies along it, as a Gaussian
field of mean 0. Such distances agree nearby and not further away: their correlation falls to
exp(-1/2) at `CORRELATION_MM`. The lesion is taken for a ball of its volume, and how wide the field
is follows from the Dice that two independent outlines of it reach. To first order,

    sd of ln(volume) = (1 - Dice) * sqrt(pi) / sqrt(parts)
    1 / parts = (1 - exp(-2 a)) / (2 a),   a = (radius / CORRELATION_MM) ** 2

and a change between two scans, each outlined anew, has the sds of both volumes. A lesion smaller
than `CORRELATION_MM` is outlined too large or too small as a whole; of a large one most errors
cancel. What both outlines do alike, since one reader or one program drew them, is not in the model:
it cancels, and with the Dice of that reader's own repetitions the interval is narrower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mois_core.errors import BadInput

READERS_DICE = 0.63
"""The middle of what expert readers reached with each other, 0.57 to 0.69, in the paper of
MOIS-SAM2."""
CORRELATION_MM = 10.0
"""An assumption: a little more than from one slice to the next; each is outlined by itself."""
_Z95 = 1.959964
_SURE, _LIKELY = 0.95, 0.8


def check_dice(dice: float) -> float:
    """Refuse an agreement of outlines that is no Dice between 0 and 1."""
    if not 0 < dice <= 1:
        raise BadInput(f"the agreement of outlines is a Dice above 0 and up to 1, not {dice:g}")
    return dice


def sd_of_log_volume(volume_cm3: float, dice: float = READERS_DICE) -> float:
    """Return the standard deviation of the logarithm of a volume that was outlined once."""
    radius = (3 * volume_cm3 * 1000 / (4 * math.pi)) ** (1 / 3)
    a = (radius / CORRELATION_MM) ** 2
    parts = 2 * a / -math.expm1(-2 * a) if a else 1.0
    return (1 - dice) * math.sqrt(math.pi / parts)


@dataclass(frozen=True)
class ChangeInterval:
    """A relative change of volume, now over then, and how sure it is."""

    ratio: float
    sd: float
    """Of the ratio's logarithm."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The ratio's 95% interval."""
        spread = math.exp(_Z95 * self.sd)
        return self.ratio / spread, self.ratio * spread

    def chance(self, low: float, high: float) -> float:
        """Return the probability that the true ratio lies between two ratios."""
        return self._below(high) - self._below(low)

    def _below(self, ratio: float) -> float:
        if ratio <= 0 or math.isinf(ratio):
            return 0.0 if ratio <= 0 else 1.0
        away = math.log(ratio / self.ratio)
        if not self.sd:
            return float(away >= 0)
        return 0.5 * (1 + math.erf(away / self.sd / math.sqrt(2)))


def change_interval(then_cm3: float, now_cm3: float, dice: float = READERS_DICE) -> ChangeInterval:
    """Return the interval of a change between two volumes above 0."""
    sds = (sd_of_log_volume(volume, dice) for volume in (then_cm3, now_cm3))
    return ChangeInterval(now_cm3 / then_cm3, math.hypot(*sds))


def in_words(chance: float) -> str:
    """Return a probability in one word."""
    return "sure" if chance >= _SURE else "likely" if chance >= _LIKELY else "uncertain"
