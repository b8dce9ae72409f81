"""All that the user can undo, as one immutable value; and the choices a session is run with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from mois_core.errors import BadInput
from mois_core.session.exemplars import Exemplar
from mois_core.session.lesion import Click, Lesion

GIB = 2**30
LARGEST_LABEL = 65535
"""Label values are 16 bits wide in the files we write."""


@dataclass(frozen=True)
class Settings:
    """How a session works. The defaults are meant for the clinician."""

    axis: str = "coronal"
    window: int = 3
    """Slices that a lesion is carried each way."""
    exemplars: int = 10
    """The most exemplars that a slice is searched with."""
    smallest_cm3: float = 0.1
    """Findings below this are left out."""
    fill_holes: bool = True
    findings: Literal["components", "reprompted"] = "components"
    """A finding is a connected piece of what the search marks, or what the network outlines
    when it is asked again at that piece's deepest point."""
    certainty: float | None = None
    """A finding counts if the search is somewhere in it at least this part as sure, in logits, as
    at the surest hundredth of what it marks. 0 keeps all, as published; None is what suits the
    network."""
    gate: bool = True
    """Leave a slice without findings where the network says that nothing is there."""
    device_budget: int = 4 * GIB
    host_budget: int = 8 * GIB

    def __post_init__(self) -> None:
        if self.window < 0:
            raise BadInput(f"the window is a number of slices, not {self.window}")
        if self.exemplars < 1:
            raise BadInput(f"at least one exemplar is needed to search with, not {self.exemplars}")
        if self.certainty is not None and not 0 <= self.certainty <= 1:
            raise BadInput(f"the certainty of findings is a part from 0 to 1, not {self.certainty}")
        if self.smallest_cm3 < 0:
            raise BadInput(f"the smallest volume cannot be negative: {self.smallest_cm3}")


@dataclass(frozen=True)
class ModelInfo:
    """Which network made a result, for reports and for saved sessions."""

    preset: str = "unknown"
    checkpoint: str = ""
    sha256: str = ""


def _no_lesions() -> Mapping[int, Lesion]:
    return MappingProxyType({})


@dataclass(frozen=True, eq=False)
class State:
    """Lesions, brought-in exemplars and the counters that name new things."""

    lesions: Mapping[int, Lesion] = field(default_factory=_no_lesions)
    seeds: tuple[Exemplar, ...] = ()
    last_id: int = 0
    next_click: int = 1
    clock: int = 0

    @property
    def next_id(self) -> int:
        """The number that a new lesion gets; that of a deleted one is not given again."""
        number = self.last_id + 1
        if number > LARGEST_LABEL:
            raise BadInput(f"a scan can have at most {LARGEST_LABEL} lesions")
        return number

    def lesion(self, number: int) -> Lesion:
        """One lesion; an error says which there are."""
        try:
            return self.lesions[number]
        except KeyError:
            known = ", ".join(str(n) for n in self.lesions) or "none"
            raise BadInput(f"there is no lesion {number}; there are: {known}") from None

    def owner_of(self, click: int) -> tuple[Lesion, Click]:
        """The lesion that a click belongs to, and the click."""
        for lesion in self.lesions.values():
            for own in lesion.clicks:
                if own.id == click:
                    return lesion, own
        raise BadInput(f"there is no click {click}")

    def with_lesions(self, *changed: Lesion) -> State:
        """The state with lesions added or replaced."""
        merged = {**self.lesions, **{lesion.id: lesion for lesion in changed}}
        last = max((self.last_id, *merged))
        if last > LARGEST_LABEL or min(merged, default=1) < 1:
            raise BadInput(f"a lesion's number must be from 1 to {LARGEST_LABEL}")
        return replace(self, lesions=MappingProxyType(dict(sorted(merged.items()))), last_id=last)

    def without_lesions(self, *numbers: int) -> State:
        """The state without some lesions."""
        kept = {n: lesion for n, lesion in self.lesions.items() if n not in numbers}
        return replace(self, lesions=MappingProxyType(kept))

    def ticked(self) -> State:
        """The state one operation later."""
        return replace(self, clock=self.clock + 1)
