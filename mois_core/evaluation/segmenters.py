"""Segmenters: anything that takes a scan and clicks and says where the lesions are.

A further model is one file with a class that derives from `Segmenter`, or from one of the kinds
that most models of others are: those that take no clicks, those that take all clicks at once, and
those that take the clicks of one lesion at a time. Nothing here changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume
from mois_core.network.model import Sam2
from mois_core.session import Point, Session
from mois_core.session.components import TOUCHING
from mois_core.session.state import Settings


class Missing(BadInput):
    """A package or a file that a segmenter needs is not on this computer.

    The message says what to get and where. The segmenter is left out; the others are measured.
    """


@dataclass(frozen=True)
class Surroundings:
    """What a segmenter is told about its work besides the scan's voxels."""

    scan: str = ""
    """The scan's name in the results."""
    device: str = "cpu"
    dtype: str = "float32"
    files: Path | None = None
    """Where the folder of its own is, or will be once it is asked for."""

    def folder(self) -> Path:
        """Return a folder for files, which no other segmenter or scan has, and which stays."""
        if self.files is None:
            raise BadInput("this segmenter keeps files, and was given no folder for them")
        self.files.mkdir(parents=True, exist_ok=True)
        return self.files


class Segmenter(ABC):
    """A way to segment. A new one is made for every scan.

    Arrays go in and come out in the scan's own order [k, j, i]; points are RAS millimetres.
    """

    takes_clicks = True
    """Whether clicks change anything. One that takes none is given none."""

    works_elsewhere = False
    """Whether a process of its own does the work, whose memory cannot be told from here."""

    marks_all_at_once = False
    """Whether there is one mask of all lesions, so that what a click on one adds to another is no
    error that a reader would correct."""

    surroundings = Surroundings()
    """Name of the scan, device and a folder for files; set before `open`."""

    def require(self) -> None:
        """Raise `Missing` if a package or file that this needs is not here, before any work."""
        return None

    def given(self) -> Mapping[str, object]:
        """Return what its weights were given: parameters, minutes, steps, as tables tell it."""
        return {}

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


class AutomaticSegmenter(Segmenter):
    """One without clicks: its result is what it finds by itself."""

    takes_clicks = False

    @abstractmethod
    def segment(self, volume: Volume) -> np.ndarray:
        """Return a mask, or lesions as label values, in the scan's own order."""

    def open(self, volume: Volume) -> None:
        self.found = self.segment(volume)

    def click(self, ras: Point, positive: bool = True, lesion_id: int | None = None) -> int:
        raise BadInput(f"{type(self).__name__} takes no clicks")

    def result(self) -> np.ndarray:
        return self.found


@dataclass(frozen=True)
class PlacedClick:
    """A click on the scan's stack of slices."""

    voxel: tuple[int, int, int]
    """Slice, row and column."""
    positive: bool
    lesion_id: int


def clicked_voxel(stack: SliceStack, ras: Point) -> tuple[int, int, int]:
    """Return slice, row and column of a click; refuse one that is not on the scan."""
    if not stack.contains(np.asarray(ras)):
        raise BadInput("the point lies outside the scan")
    slice_index, x, y = stack.point_from_ras(np.asarray(ras))
    z, y, x = (int(np.floor(v + 0.5)) for v in (slice_index, y, x))
    return z, y, x


class AllClicksSegmenter(Segmenter):
    """One that marks all lesions of a scan in one mask, out of all clicks of the scan at once.

    A lesion is what of the mask is joined to a positive click on it.
    """

    marks_all_at_once = True
    axis = "coronal"
    """Which slices ``self.stack`` has."""

    @abstractmethod
    def take_up(self) -> None:
        """Prepare for the scan in ``self.stack``."""

    @abstractmethod
    def segment(self, clicks: Sequence[PlacedClick]) -> np.ndarray:
        """Return the mask of all lesions [slices, rows, columns]."""

    def open(self, volume: Volume) -> None:
        self.stack = SliceStack(volume, self.axis)
        self.clicks: list[PlacedClick] = []
        self._components: np.ndarray | None = None
        self.take_up()

    def click(self, ras: Point, positive: bool = True, lesion_id: int | None = None) -> int:
        voxel = clicked_voxel(self.stack, ras)
        known = max((click.lesion_id for click in self.clicks), default=0)
        owner = known + 1 if lesion_id is None else lesion_id
        self.clicks.append(PlacedClick(voxel, positive, owner))
        self._components = None
        return owner

    def lesion(self, lesion_id: int) -> np.ndarray:
        components = self._current_components()
        values = {
            int(components[click.voxel])
            for click in self.clicks
            if click.positive and click.lesion_id == lesion_id
        }
        return self.stack.to_volume(np.isin(components, sorted(values - {0})))

    def result(self) -> np.ndarray:
        """Return the lesions that were clicked on under their own numbers, then the others."""
        components = self._current_components()
        owners: dict[int, int] = {}
        for click in self.clicks:
            if click.positive:
                owners.setdefault(int(components[click.voxel]), click.lesion_id)
        free = max((click.lesion_id for click in self.clicks), default=0)
        label_values = np.zeros(int(components.max()) + 1, dtype=np.int32)
        for component in range(1, len(label_values)):
            if component not in owners:
                free += 1
            label_values[component] = owners.get(component, free)
        return self.stack.to_volume(label_values[components])

    def _current_components(self) -> np.ndarray:
        if self._components is None:
            mask = self.segment(tuple(self.clicks))
            self._components = ndimage.label(mask, structure=TOUCHING)[0]
        return self._components


class LesionByLesionSegmenter(Segmenter):
    """One that marks a single lesion out of the clicks on it, and knows of no other lesion."""

    @abstractmethod
    def take_up(self) -> None:
        """Prepare for the scan in ``self.stack``."""

    @abstractmethod
    def segment(self, clicks: Sequence[PlacedClick]) -> np.ndarray:
        """Return the mask [slices, rows, columns] of the lesion that all of these clicks are on."""

    def open(self, volume: Volume) -> None:
        self.stack = SliceStack(volume)
        self.clicks: dict[int, list[PlacedClick]] = {}
        self._masks: dict[int, np.ndarray] = {}
        self.take_up()

    def click(self, ras: Point, positive: bool = True, lesion_id: int | None = None) -> int:
        voxel = clicked_voxel(self.stack, ras)
        owner = max(self.clicks, default=0) + 1 if lesion_id is None else lesion_id
        self.clicks.setdefault(owner, []).append(PlacedClick(voxel, positive, owner))
        self._masks.pop(owner, None)
        return owner

    def lesion(self, lesion_id: int) -> np.ndarray:
        return self.stack.to_volume(self._mask(lesion_id))

    def result(self) -> np.ndarray:
        """Return all lesions; where two overlap, the later one has the voxel."""
        labels = np.zeros(self.stack.array.shape, dtype=np.uint16)
        for lesion_id in self.clicks:
            labels[self._mask(lesion_id)] = lesion_id
        return self.stack.to_volume(labels)

    def _mask(self, lesion_id: int) -> np.ndarray:
        if lesion_id not in self._masks:
            self._masks[lesion_id] = self.segment(tuple(self.clicks[lesion_id]))
        return self._masks[lesion_id]
