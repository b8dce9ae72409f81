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
    """One lesion on one slice, as something to search for."""

    lesion: int
    """The lesion's id; zero or less for a lesion that was imported."""
    view: ExemplarView
    changed: int
    """When the lesion was last prompted."""

    @property
    def key(self) -> tuple[int, int, bool]:
        """Lesion, slice and kind, which together tell exemplars apart."""
        return self.lesion, self.view.slice, self.view.is_prompted


def exemplar_view(slice_index: int, memory: SliceMemory, is_prompted: bool) -> ExemplarView | None:
    """Return the exemplar that a slice of a lesion gives; None for an empty mask."""
    if memory.memory is None or not memory.found:
        return None
    return ExemplarView(slice_index, is_prompted, memory.memory, memory.pointer)


def exemplars_of(lesion: Lesion) -> list[Exemplar]:
    """Return a lesion's exemplars: prompted slices first, each in the order they came about."""
    if not lesion.status.counts or lesion.status is Status.FOUND:
        return []
    views = [exemplar_view(n, memory, True) for n, memory in lesion.prompted.items()]
    views += [exemplar_view(n, memory, False) for n, memory in lesion.propagated.items()]
    return [Exemplar(lesion.id, view, lesion.changed) for view in views if view is not None]


def candidates(lesions: Iterable[Lesion], imported: Sequence[Exemplar]) -> list[Exemplar]:
    """Return everything that could serve as an exemplar, imported ones first."""
    return [*imported, *(exemplar for lesion in lesions for exemplar in exemplars_of(lesion))]


def choose(candidates: Sequence[Exemplar], searched: int, most: int) -> list[Exemplar]:
    """Choose the exemplars for a slice by the paper's rule.

    Prompted ones go before propagated ones, newer before older, nearer before farther. The chosen
    ones keep the order they came in: to the network it makes no difference, and slices with the
    same exemplars can share what is computed from them.
    """

    def rank(index: int) -> tuple[bool, int, int]:
        exemplar = candidates[index]
        distance = abs(exemplar.view.slice - searched)
        return not exemplar.view.is_prompted, -exemplar.changed, distance

    chosen = sorted(range(len(candidates)), key=rank)[:most]
    return [candidates[index] for index in sorted(chosen)]


def choose_as_published(candidates: Sequence[Exemplar], searched: int, most: int) -> list[Exemplar]:
    """Choose exemplars as the published app does: prompted ones only, the oldest first."""
    return [e for e in candidates if e.view.is_prompted][:most]
