"""Exemplars of accepted findings: what the user agreed with is searched for like what was clicked.

They are not kept in the state: a finding has only a mask, and what the network remembers of it
follows from mask and scan. So undo and a saved session need to know nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from mois_core.network.exemplar import ExemplarView
from mois_core.session.exemplars import Exemplar, exemplar_view
from mois_core.session.lesion import Lesion, Status
from mois_core.session.masks import Mask
from mois_core.session.slice_decoder import SliceDecoder


class AcceptedExemplars:
    """Makes one exemplar of each accepted finding, once for each mask."""

    def __init__(self, decoder: SliceDecoder) -> None:
        self.decoder = decoder
        self._views: WeakKeyDictionary[Mask, ExemplarView | None] = WeakKeyDictionary()

    def of(self, lesions: Iterable[Lesion]) -> list[Exemplar]:
        """Return the exemplars of accepted findings that the user did not prompt as well."""
        accepted = [le for le in lesions if le.status is Status.ACCEPTED and not le.prompted]
        new = [le.mask for le in accepted if le.mask and le.mask not in self._views]
        if new:
            with self.decoder.embeddings.visiting({mask.largest_slice for mask in new}):
                for mask in new:
                    self._view(mask)
        views = [(lesion, self._view(lesion.mask)) for lesion in accepted if lesion.mask]
        return [Exemplar(lesion.id, view, lesion.changed) for lesion, view in views if view]

    def _view(self, mask: Mask) -> ExemplarView | None:
        if mask not in self._views:
            slice_index = mask.largest_slice
            memory = self.decoder.remember_mask(slice_index, mask.image(slice_index))
            self._views[mask] = exemplar_view(slice_index, memory, is_prompted=True)
        return self._views[mask]
