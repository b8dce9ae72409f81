"""Sort the frames of a DICOM series into even stacks of slices.

A series can hold one scan, several of the same place (echoes, time points, b-values), or several
stations of a table that moved. ITK stacks whatever it is given and takes the mean distance for
all: with a slice missing, every position and every volume in cm3 would be wrong without a word.
So what makes no even stack is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.io.compose_stations import plan_stations
from mois_core.io.dicom_frames import ACQUISITION, STACK, Frame, Trait
from mois_core.io.images import LPS_TO_RAS

# A slice may lie this part of a slice distance off its place; scanners round positions.
_OFF_PLACE = 0.1
_SAME_POSITION_MM = 0.01
_SAME_ORIENTATION = 1e-3
_SAME_SPACING = 1e-3
# Stations are tens of centimetres apart; slices of a tilted stack creep by a few millimetres.
_STATION_STEP_MM = 10.0
_TRAITS_AT_ONCE = 3
_OF_STATIONS = frozenset((STACK, ACQUISITION))


@dataclass(frozen=True, eq=False)
class FrameStack:
    """Frames of one volume in the order in which they are stacked."""

    frames: tuple[Frame, ...]

    @cached_property
    def ijk_to_ras(self) -> np.ndarray:
        """4 x 4 matrix from column, row and slice to RAS millimetres."""
        first, last = self.frames[0], self.frames[-1]
        along_columns, along_rows = first.orientation
        lps = np.eye(4)
        lps[:3, 0] = along_columns * first.spacing[0]
        lps[:3, 1] = along_rows * first.spacing[1]
        normal = np.cross(along_columns, along_rows)
        distance = first.slice_spacing
        if len(self.frames) > 1:
            distance = (last.position - first.position) @ normal / (len(self.frames) - 1)
        lps[:3, 2] = normal * distance
        lps[:3, 3] = first.position
        return LPS_TO_RAS @ lps

    @property
    def grid(self) -> Volume:
        """The volume that the frames make, without their pixels."""
        columns, rows = self.frames[0].size
        nothing = np.broadcast_to(np.int8(0), (len(self.frames), rows, columns))
        return Volume(nothing, self.ijk_to_ras)


@dataclass(frozen=True, eq=False)
class SeriesPart:
    """One scan of a series that may hold several: a stack, or one for each station."""

    stations: tuple[FrameStack, ...]
    traits: Mapping[str, Trait]
    """What tells it from the other scans of the series; empty if it is the only one."""

    @property
    def images(self) -> int:
        """Number of frames."""
        return sum(len(station.frames) for station in self.stations)


def parts_of(frames: Sequence[Frame], what: str) -> list[SeriesPart]:
    """Return the scans that the frames of a series make; refuse frames that make none.

    `what` names the series in messages.
    """
    _check_alike(frames, what)
    places = _places(frames)
    is_one = len(set(places)) == len(places)
    if is_one:
        stacks = _stacks(frames, places)
        faults = [fault for stack in stacks if (fault := _fault(stack))]
        if not faults:
            return [SeriesPart(tuple(stacks), {})]
    parts = _told_apart(frames, places, not is_one)
    if parts:
        return parts
    if not is_one:
        raise BadInput(
            f"{what} has several images at one position (echoes, time points or contrasts); "
            "export one of them as its own series."
        )
    raise BadInput(f"{what} {faults[0]}")


def _check_alike(frames: Sequence[Frame], what: str) -> None:
    if len({frame.size for frame in frames}) > 1:
        raise BadInput(f"{what} mixes images of different sizes; choose or export another series.")
    orientations = np.array([frame.orientation for frame in frames])
    if np.abs(orientations - orientations[0]).max() > _SAME_ORIENTATION:
        raise BadInput(
            f"{what} mixes images of different directions, as localizers do; choose another series."
        )
    spacings = np.array([frame.spacing for frame in frames])
    if np.abs(spacings / spacings[0] - 1).max() > _SAME_SPACING:
        raise BadInput(
            f"{what} mixes images of different pixel sizes; choose or export another series."
        )


Place = tuple[int, int, int]
"""Station along columns and rows, and height; equal for frames that lie at one place."""


def _places(frames: Sequence[Frame]) -> list[Place]:
    positions = np.array([frame.position for frame in frames])
    along_columns, along_rows = frames[0].orientation
    normal = np.cross(along_columns, along_rows)
    heights = _levels(positions @ normal, _SAME_POSITION_MM)
    columns = _levels(positions @ along_columns, _STATION_STEP_MM)
    rows = _levels(positions @ along_rows, _STATION_STEP_MM)
    stations = set(zip(columns, rows, strict=True))
    if len(stations) == len(frames) == len(set(heights)):  # a stack that is tilted very much
        return [(0, 0, height) for height in heights]
    return list(zip(columns, rows, heights, strict=True))


def _levels(values: np.ndarray, step: float) -> list[int]:
    """Number values from the lowest; a new level begins where the next is more than a step off."""
    order = np.argsort(values, kind="stable")
    levels = np.empty(len(values), dtype=int)
    levels[order] = np.concatenate([[0], np.cumsum(np.diff(values[order]) > step)])
    return levels.tolist()


def _stacks(frames: Sequence[Frame], places: Sequence[Place]) -> list[FrameStack]:
    """Return one stack for each station, each in the order of its heights."""
    stations: dict[tuple[int, int], list[Frame]] = defaultdict(list)
    for frame, (column, row, _) in zip(frames, places, strict=True):
        stations[column, row].append(frame)
    return [_in_order(stations[station]) for station in sorted(stations)]


def _in_order(frames: Sequence[Frame]) -> FrameStack:
    normal = np.cross(*frames[0].orientation)
    return FrameStack(tuple(sorted(frames, key=lambda frame: float(frame.position @ normal))))


def _fault(stack: FrameStack) -> str | None:
    """Return why a stack makes no even volume, as the end of a sentence about it, or None."""
    positions = np.array([frame.position for frame in stack.frames])
    if len(positions) == 1:
        return None
    normal = np.cross(*stack.frames[0].orientation)
    heights = positions @ normal
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    even = np.linspace(heights[0], heights[-1], len(heights))
    if np.abs(heights - even).max() > _OFF_PLACE * usual:
        return (
            f"has slices missing or unevenly spaced: usually {usual:.2f} mm apart, once "
            f"{gaps[np.abs(gaps - usual).argmax()]:.2f} mm; export it completely."
        )
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    if np.linalg.norm(sideways, axis=1).max() > _OFF_PLACE * usual:
        return (
            "was acquired with tilted slices that are not stacked straight; resample it to "
            "a regular grid first."
        )
    return None


def _told_apart(
    frames: Sequence[Frame], places: Sequence[Place], is_repeated: bool
) -> list[SeriesPart]:
    """Return the scans that some traits tell apart, by as few traits as will do, or none.

    With frames at one place, each scan has to cover all places, as echoes and time points do.
    Otherwise, and failing that, traits that number stations may tell stations apart that overlap
    across their slices.
    """
    if is_repeated:
        every_place = len(set(places))
        for names in _varying_traits(frames):
            groups = _grouped(frames, places, names)
            if all(len(set(own)) == len(own) == every_place for _, own in groups.values()):
                parts = [
                    SeriesPart(tuple(_stacks(*group)), dict(zip(names, values, strict=True)))
                    for values, group in groups.items()
                ]
                if not any(_fault(stack) for part in parts for stack in part.stations):
                    return parts
    for names in _varying_traits(frames):
        if _OF_STATIONS.issuperset(names):
            groups = _grouped(frames, places, names).values()
            stacks = [_in_order(own) for own, _ in groups]
            if all(len(set(own)) == len(own) > 1 for _, own in groups) and _are_stations(stacks):
                return [SeriesPart(tuple(stacks), {})]
    return []


def _are_stations(stacks: Sequence[FrameStack]) -> bool:
    """Return whether stacks follow one another; odd and even slices, for one, do not."""
    if any(_fault(stack) for stack in stacks):
        return False
    try:
        plan_stations([stack.grid for stack in stacks], [""] * len(stacks))
    except BadInput:
        return False
    return True


def _varying_traits(frames: Sequence[Frame]) -> Iterator[tuple[str, ...]]:
    """Yield the names of traits that differ between frames: one alone, then several together."""
    names = list(dict.fromkeys(name for frame in frames for name in frame.traits))
    varying = [name for name in names if len({frame.traits.get(name) for frame in frames}) > 1]
    for count in range(1, _TRAITS_AT_ONCE + 1):
        yield from combinations(varying, count)


def _grouped(
    frames: Sequence[Frame], places: Sequence[Place], names: Sequence[str]
) -> dict[tuple[Trait, ...], tuple[list[Frame], list[Place]]]:
    groups: dict[tuple[Trait, ...], tuple[list[Frame], list[Place]]] = {}
    for frame, place in zip(frames, places, strict=True):
        values = tuple(frame.traits.get(name, "") for name in names)
        own_frames, own_places = groups.setdefault(values, ([], []))
        own_frames.append(frame)
        own_places.append(place)
    numbered = all(isinstance(value, float) for values in groups for value in values)
    return dict(sorted(groups.items())) if numbered else groups
