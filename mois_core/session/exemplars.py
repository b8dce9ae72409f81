"""Which lesions a slice is searched with: the exemplar bank.

The bank is not kept beside the lesions, it is read off them: every prompted slice of a lesion is
an exemplar, and so is every slice it was propagated to. A lesion that is deleted, rejected, refined
or undone is thereby out of the bank, or in it with its newest shape, without any bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mois_core.network.exemplar import ExemplarView
from mois_core.session.lesion import Lesion, SliceMemory, Status


@dataclass(frozen=True, eq=False)
class Exemplar:
    """One lesion on one slice, ready to be looked for."""

    lesion: int
    """Number of the lesion; zero or less for a lesion that was brought in from elsewhere."""
    view: ExemplarView
    changed: int
    """When the lesion was last prompted."""

    @property
    def key(self) -> tuple[int, int, bool]:
        """What tells exemplars apart."""
        return self.lesion, self.view.slice, self.view.is_prompted


def exemplar_view(number: int, slice_memory: SliceMemory, is_prompted: bool) -> ExemplarView | None:
    """The exemplar that a slice of a lesion gives; an empty mask gives none."""
    if slice_memory.memory is None or not slice_memory.found:
        return None
    return ExemplarView(number, is_prompted, slice_memory.memory, slice_memory.pointer)


def exemplars_of(lesion: Lesion) -> list[Exemplar]:
    """Prompted slices first, then propagated ones, each in the order they came about."""
    if not lesion.status.counts or lesion.status is Status.FOUND:
        return []
    slice_memories = [(n, t, True) for n, t in lesion.prompted.items()]
    slice_memories += [(n, t, False) for n, t in lesion.propagated.items()]
    views = [exemplar_view(*slice_memory) for slice_memory in slice_memories]
    return [Exemplar(lesion.id, view, lesion.changed) for view in views if view is not None]


def choose(candidates: Sequence[Exemplar], searched: int, most: int) -> list[Exemplar]:
    """The paper's rule: prompted over inferred, newer over older, nearer over farther.

    The chosen ones keep the order they came in: to the network it makes no difference, and slices
    with the same exemplars can share what is computed from them.
    """

    def rank(index: int) -> tuple[bool, int, int]:
        exemplar = candidates[index]
        distance = abs(exemplar.view.slice - searched)
        return not exemplar.view.is_prompted, -exemplar.changed, distance

    chosen = sorted(range(len(candidates)), key=rank)[:most]
    return [candidates[index] for index in sorted(chosen)]


def choose_as_published(candidates: Sequence[Exemplar], searched: int, most: int) -> list[Exemplar]:
    """The published app's choice: prompted ones only, the oldest first."""
    return [e for e in candidates if e.view.is_prompted][:most]


def candidates(lesions: Iterable[Lesion], imported: Sequence[Exemplar]) -> list[Exemplar]:
    """Everything that could serve as an exemplar, brought-in lesions included."""
    return [*imported, *(exemplar for lesion in lesions for exemplar in exemplars_of(lesion))]
