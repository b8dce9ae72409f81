"""Segmenters: anything that takes a scan and clicks and says where the lesions are.

A further model is one file with a class that derives from `Segmenter`; nothing here changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from mois_core.evaluation.region_growing import GrownRegions
from mois_core.geometry import Volume
from mois_core.network.model import Sam2
from mois_core.session import Point, Session
from mois_core.session.state import Settings


class Segmenter(ABC):
    """A way to segment. A new one is made for every scan.

    Arrays go in and come out in the scan's own order [k, j, i]; points are RAS millimetres.
    """

    @abstractmethod
    def open(self, volume: Volume) -> None:
        """Take up a scan."""

    @abstractmethod
    def click(self, ras: Point, positive: bool = True, lesion_id: int | None = None) -> int:
        """Take a click on a lesion, a new one if none is named; return the lesion's id."""

    @abstractmethod
    def result(self) -> np.ndarray:
        """Return all lesions, clicked or found, as label values; 0 elsewhere."""

    def search(self) -> None:
        """Look for more lesions, if this segmenter can."""
        return None

    def lesion(self, lesion_id: int) -> np.ndarray:
        """Return one lesion's mask. Override this where lesions can overlap."""
        return self.result() == lesion_id

    def reject(self, lesion_id: int, ras: Point) -> None:
        """Take away a lesion that nobody clicked on and that is none; ``ras`` is a point in it."""
        self.click(ras, False, lesion_id)


class SessionSegmenter(Segmenter):
    """The engine as the user of the module gets it, with any network it can run."""

    def __init__(
        self, model: Sam2, settings: Settings, searches: bool, reference: bool = False
    ) -> None:
        self.model = model
        self.settings = settings
        self.searches = searches
        self.reference = reference

    def open(self, volume: Volume) -> None:
        self.session = Session(self.model, volume, self.settings, self.reference)

    def click(self, ras: Point, positive: bool = True, lesion_id: int | None = None) -> int:
        return self.session.click(ras, positive, lesion_id)

    def search(self) -> None:
        session = self.session
        slices = range(session.stack.count)
        if self.searches and any(session.exemplars_for(slice_index) for slice_index in slices):
            session.find_similar()

    def result(self) -> np.ndarray:
        return self.session.labels()

    def lesion(self, lesion_id: int) -> np.ndarray:
        return self.session.mask(lesion_id)

    def reject(self, lesion_id: int, ras: Point) -> None:
        self.session.reject(lesion_id)


class RegionGrowing(Segmenter):
    """Threshold and region growing, as clinics measure lesions today.

    The fraction did best of 0.6 to 0.9 on four phantoms of the training range, with one click on
    each of the eight largest lesions.
    """

    def __init__(self, fraction: float = 0.8, reach_mm: float = 60.0) -> None:
        self.fraction = fraction
        self.reach_mm = reach_mm

    def open(self, volume: Volume) -> None:
        self.regions = GrownRegions(volume, self.fraction, self.reach_mm)

    def click(self, ras: Point, positive: bool = True, lesion_id: int | None = None) -> int:
        return self.regions.click(ras, positive, lesion_id)

    def result(self) -> np.ndarray:
        return self.regions.labels()

    def lesion(self, lesion_id: int) -> np.ndarray:
        return self.regions.mask(lesion_id)
