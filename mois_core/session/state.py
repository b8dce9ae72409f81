"""The state of a session as one immutable value, and the settings that it is run with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from mois_core.errors import BadInput
from mois_core.network.config import NetworkConfig, check_grey_window
from mois_core.session.exemplars import Exemplar
from mois_core.session.lesion import Click, Lesion

SAME_MM = 1e-6
"""Thicknesses come with rounding errors from files."""

LARGEST_LABEL = 65535
"""Label values are 16 bits wide in the files we write."""


PUBLISHED_REACH = 3
"""Slices that the published app propagates a lesion each way, whatever their thickness."""

MACHINE_SETTINGS = ("device_budget", "host_budget", "undo_budget")
"""The settings that are about the computer; a session that is opened elsewhere leaves them."""


@dataclass(frozen=True)
class Settings:
    """How a session works. The defaults are meant for the clinician."""

    axis: str | None = None
    """Along which slices are taken; None takes those that the network was trained on."""
    grey_window: tuple[float, float] | None = None
    """Values of the scan that are black and white to the network; None takes the ones that it was
    trained with, which for most are percentiles of each scan."""
    propagation_mm: float = 24.0
    """How far a lesion is propagated each way at most; it ends earlier where it is lost. Three
    slices of 7.8 mm, as published; on thin slices it reaches as far, over more of them."""
    propagation_slices: int | None = None
    """The same as a number of slices, whatever their thickness; None leaves it to the distance."""
    exemplars: int = 10
    """The most exemplars that a slice is searched with."""
    smallest_cm3: float = 0.1
    """Findings below this are left out."""
    fill_holes: bool = True
    """Fill holes of what the network outlines; those of findings always are."""
    findings: Literal["components", "reprompted"] = "components"
    """A finding is a connected component of what the search marks, or what the network outlines
    when it is asked again at that component's deepest point."""
    min_confidence: float | None = None
    """A finding is kept if its confidence is at least this: what a judging network tells, of which
    more is needed the more is known (`judging.py`); for others the highest logit as a part of the
    99th percentile of all that a search marks. 0 keeps all, as published; None takes what suits
    the network."""
    absorb: bool = True
    """What a search marks in contact with a clicked lesion becomes part of it, except on slices
    that were painted or have a negative click, if it is at most a third as large as what is marked
    of the lesion where that was looked for. Without, such a piece is left out. A larger one is a
    finding."""
    heed_clicks: bool = True
    """Make the place of a correction what the click says, even where the network does not, and let
    no correction do the opposite of what it says elsewhere on the slice."""
    connected: bool = True
    """Leave out what is not connected to what the user prompted, and do not follow a lesion into a
    much larger one."""
    learn_from_rejections: bool = True
    """Leave out findings that look more like a rejected one than like any lesion that the user
    prompted or accepted."""
    accepted_as_exemplars: bool = False
    """Search for what looks like accepted findings, too, each on its largest slice."""
    gate: bool = True
    """Leave a slice without findings where the network says that nothing is there."""
    device_budget: int | None = None
    """Bytes that encoded slices may take on the network's device; None asks this machine."""
    host_budget: int | None = None
    """Bytes that encoded slices may take in the computer's own memory; None asks this machine."""
    undo_budget: int | None = None
    """Bytes that steps to be undone may take beyond what is shown; None is an eighth of the host's
    budget, and 512 MiB at least."""

    def __post_init__(self) -> None:
        if self.grey_window is not None:
            # A tuple again, where it comes from a session's file.
            object.__setattr__(self, "grey_window", tuple(self.grey_window))
            check_grey_window(self.grey_window)
        if not 0 <= self.propagation_mm < float("inf"):
            raise BadInput(
                f"a lesion is propagated a distance of 0 mm or more, not {self.propagation_mm}"
            )
        if self.propagation_slices is not None and self.propagation_slices < 0:
            raise BadInput(
                "the slices that a lesion is propagated each way are a number from 0 on, "
                f"not {self.propagation_slices}"
            )
        if self.exemplars < 1:
            raise BadInput(f"at least one exemplar is needed to search with, not {self.exemplars}")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise BadInput(
                f"the lowest confidence of findings is from 0 to 1, not {self.min_confidence}"
            )
        if not 0 <= self.smallest_cm3 < float("inf"):
            raise BadInput(
                f"the smallest volume cannot be negative or endless: {self.smallest_cm3}"
            )
        for name in MACHINE_SETTINGS:
            budget = getattr(self, name)
            if budget is not None and not 0 <= budget < float("inf"):
                raise BadInput(f"a memory budget is a number of bytes from 0 on, not {budget}")

    def for_network(self, trained: NetworkConfig, reference: bool) -> Settings:
        """Return the settings with what they leave to the network.

        The published app, which is the ``reference``, keeps all findings, and counts slices.
        """
        known = replace(
            self,
            axis=self.axis or trained.axis,
            grey_window=self.grey_window or trained.grey_window,
        )
        if reference:
            slices = self.propagation_slices
            reach = PUBLISHED_REACH if slices is None else slices
            return replace(known, min_confidence=0.0, propagation_slices=reach)
        if self.min_confidence is not None:
            return known
        exemplars = trained.exemplars
        return replace(known, min_confidence=exemplars.min_confidence if exemplars else 0.0)

    def reach(self, slice_mm: float) -> int:
        """Return how many slices of a thickness a lesion is propagated each way at most."""
        if self.propagation_slices is not None:
            return self.propagation_slices
        return int(self.propagation_mm / slice_mm * (1 + SAME_MM))


def _no_lesions() -> Mapping[int, Lesion]:
    return MappingProxyType({})


@dataclass(frozen=True, eq=False)
class State:
    """All that the user can undo: lesions, imported exemplars, and counters for new ids.

    A value that is never changed: every operation makes another.
    """

    lesions: Mapping[int, Lesion] = field(default_factory=_no_lesions)
    imported: tuple[Exemplar, ...] = ()
    last_id: int = 0
    next_click: int = 1
    clock: int = 0

    @property
    def next_id(self) -> int:
        """The id that a new lesion gets; that of a deleted one is not given again."""
        lesion_id = self.last_id + 1
        if lesion_id > LARGEST_LABEL:
            raise BadInput(f"a scan can have at most {LARGEST_LABEL} lesions")
        return lesion_id

    def lesion(self, lesion_id: int) -> Lesion:
        """Return one lesion; an error says which there are."""
        try:
            return self.lesions[lesion_id]
        except KeyError:
            known = ", ".join(str(n) for n in self.lesions) or "none"
            raise BadInput(f"there is no lesion {lesion_id}; there are: {known}") from None

    def find_click(self, click_id: int) -> tuple[Lesion, Click]:
        """Return the lesion that a click belongs to, and the click."""
        for lesion in self.lesions.values():
            for click in lesion.clicks:
                if click.id == click_id:
                    return lesion, click
        raise BadInput(f"there is no click {click_id}")

    def with_lesions(self, *changed: Lesion) -> State:
        """Return the state with lesions added or replaced."""
        merged = {**self.lesions, **{lesion.id: lesion for lesion in changed}}
        last = max((self.last_id, *merged))
        if last > LARGEST_LABEL or min(merged, default=1) < 1:
            raise BadInput(f"a lesion's number must be from 1 to {LARGEST_LABEL}")
        return replace(self, lesions=MappingProxyType(dict(sorted(merged.items()))), last_id=last)

    def without_lesions(self, *lesion_ids: int) -> State:
        """Return the state without some lesions."""
        kept = {n: lesion for n, lesion in self.lesions.items() if n not in lesion_ids}
        return replace(self, lesions=MappingProxyType(kept))

    def next_prompt(self) -> tuple[State, int]:
        """Return the state with a prompt more, and the number that tells it from others."""
        return replace(self, next_click=self.next_click + 1), self.next_click

    def ticked(self) -> State:
        """Return the state with its clock one operation later."""
        return replace(self, clock=self.clock + 1)
