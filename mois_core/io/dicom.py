"""Read one scan out of DICOM files: a series, a part of one, or stations that belong together.

Nothing that names the patient is read or shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.io.compose_stations import StationPlan, compose_stations, plan_stations
from mois_core.io.dicom_frames import CONTRAST, UNITS, Trait, frames_of
from mois_core.io.dicom_series import (
    PART_SIGN,
    Series,
    find_series,
    readable,
    series_of_file,
    series_of_files,
)
from mois_core.io.frame_stacks import FrameStack, SeriesPart, parts_of
from mois_core.io.images import grey_values, quiet, volume_from_image

_STATION_NUMBER = re.compile(r"(st|sta|stat|station|stack|step|pos|position|bed|level|part)?\d+")
_MOST_LISTED = 12
_SAME_TRAIT = 0.01


@dataclass(frozen=True, eq=False)
class Station:
    """A stack of slices that may be one of several stations, and what messages call it."""

    series: Series
    stack: FrameStack
    name: str
    what: str
    """The series or file that it lies in, for messages about that."""

    @property
    def traits(self) -> dict[str, Trait]:
        """What its first slice says of its contrast."""
        own = self.stack.frames[0].traits
        return {name: own[name] for name in CONTRAST if name in own}


def read_dicom(path: Path, wanted: Sequence[str] = (), compose: bool = False) -> Volume:
    """Read a DICOM file, or from a DICOM folder the series that was asked for, or the only one.

    `wanted` are UIDs, with ``#2`` at the end for the second scan of a series. With `compose` all of
    them, or all of the folder, become one scan. Without it only stations that certainly belong
    together do: those of one study and description, with equally many slices on one grid, one
    below the other.
    """
    stations, plan = find_stations(path, wanted, compose)
    volumes = [_read_stack(station) for station in stations]
    return volumes[0] if plan is None else compose_stations(volumes, plan)


def find_stations(
    path: Path, wanted: Sequence[str], compose: bool
) -> tuple[list[Station], StationPlan | None]:
    """Return the stations that make the scan, and how they are composed; None if there is one.

    The arguments are those of `read_dicom`; no pixels are read.
    """
    found = find_series(path) if path.is_dir() else [series_of_file(path)]
    chosen = _choose(found, wanted, path)
    if len(chosen) == 1 or compose:
        stations = [s for series, part in chosen for s in _stations_in(path, series, part)]
    elif wanted:
        raise BadInput("several series make one scan only with --compose; add it, or choose one")
    else:
        stations = _certain_stations(found, path)
        if not stations:
            raise BadInput(
                f"{path} holds {len(found)} series; choose one with --series UID, or join the "
                f"stations of one scan with --compose: {_listed(found)}."
            )
    if len(stations) == 1:
        return stations, None
    return stations, _plan(stations, path, is_certain=not compose, are_named=bool(wanted))


def stations_of_files(files: Sequence[Path], what: str) -> tuple[list[Station], StationPlan | None]:
    """Return the stations that files make, for somebody who knows that these are one scan.

    ``what`` is what messages call them: nothing of their paths is shown.
    """
    stations = []
    for series in series_of_files(files, what):
        stations += _stations_of(series, None, what, f"series {series.uid}")
    return stations, _plan(stations, what, False, True) if len(stations) > 1 else None


def _choose(
    found: Sequence[Series], wanted: Sequence[str], path: Path
) -> list[tuple[Series, int | None]]:
    """Return the wanted series, each with the number of a part if one is asked for."""
    if not wanted:
        return [(series, None) for series in found]
    chosen = []
    for text in wanted:
        uid, _, part = text.partition(PART_SIGN)
        match = next((series for series in found if series.uid == uid), None)
        if match is None:
            raise BadInput(f"{path} holds no series {uid}; it holds: {_listed(found)}.")
        if part and not part.isdecimal():
            raise BadInput(f"--series {text}: give the number of a scan after {PART_SIGN}")
        chosen.append((match, int(part) if part else None))
    return chosen


def _listed(things: Sequence[object]) -> str:
    listed = "; ".join(str(thing) for thing in things[:_MOST_LISTED])
    more = len(things) - _MOST_LISTED
    return listed + (f"; and {more} more" if more > 0 else "")


def _stations_in(path: Path, series: Series, number: int | None) -> list[Station]:
    """Return the stacks of slices that make one scan of a series of a folder, or of a file."""
    if path.is_dir():
        return _stations_of(series, number, f"Series {series} in {path}", f"series {series.uid}")
    return _stations_of(series, number, str(path), "the file")


def _stations_of(series: Series, number: int | None, what: str, name: str) -> list[Station]:
    """Return the stacks of slices that make one scan of a series.

    Messages call the series ``what``, and it as one of several ``name``.
    """
    with quiet(), readable(what):
        is_alone = len(series.files) == 1
        frames = [frame for file in series.files for frame in frames_of(file, what, is_alone)]
    part = _part_of(parts_of(frames, what), number, series.uid, what)
    if len(part.stations) == 1:
        return [Station(series, part.stations[0], name, what)]
    return [
        Station(series, stack, f"station {n} of {name}", what)
        for n, stack in enumerate(part.stations, start=1)
    ]


def _part_of(parts: list[SeriesPart], number: int | None, uid: str, what: str) -> SeriesPart:
    if number is None and len(parts) == 1:
        return parts[0]
    if number is None:
        listed = [
            f"{uid}{PART_SIGN}{n} ({_in_words(part.traits)}, {part.images} images)"
            for n, part in enumerate(parts, start=1)
        ]
        raise BadInput(
            f"{what} holds {len(parts)} scans that differ in {' and '.join(parts[0].traits)}; "
            f"choose one with --series: {_listed(listed)}."
        )
    if not 1 <= number <= len(parts):
        holds = "1 scan" if len(parts) == 1 else f"{len(parts)} scans"
        raise BadInput(f"{what} holds {holds}; there is no {PART_SIGN}{number}.")
    return parts[number - 1]


def _in_words(traits: dict[str, Trait]) -> str:
    return ", ".join(
        f"{name} {value:g}{UNITS.get(name, '')}"
        if isinstance(value, float)
        else f"{name} {value or 'not given'}"
        for name, value in traits.items()
    )


def _certain_stations(found: Sequence[Series], path: Path) -> list[Station]:
    """Return the stations that the series of a folder certainly are, or none."""
    # What the first header of each says settles most folders, without a look at every file.
    if len({(series.study, series.description, len(series.files)) for series in found}) > 1:
        return []
    try:
        stations = [station for series in found for station in _stations_in(path, series, None)]
        _plan(stations, path, is_certain=True, are_named=False)
    except BadInput:
        return []
    return stations


def _plan(
    stations: Sequence[Station], where: Path | str, is_certain: bool, are_named: bool
) -> StationPlan:
    """Place stations on one grid; refuse what does not belong together.

    If the user did not ask for it (`is_certain`), everything has to agree. If the user named the
    series, their descriptions need not: some hospitals write the part of the body there.
    """
    first = stations[0]
    for other in stations[1:]:
        reason = _why_not(first, other, is_certain, are_named)
        if reason:
            raise BadInput(f"{where}: {first.name} and {other.name} {reason}")
    try:
        return plan_stations([s.stack.grid for s in stations], [s.name for s in stations])
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from error


def _why_not(first: Station, other: Station, is_certain: bool, are_named: bool) -> str:
    """Return why two stations are not composed, as the end of a sentence, or an empty text."""
    own, its = first.series, other.series
    if own.study != its.study:
        return "belong to different studies and cannot be composed."
    same_description = (
        own.description == its.description
        if is_certain
        else _without_stations(own.description) == _without_stations(its.description)
    )
    if not (same_description or are_named):
        return (
            f"are described differently ({own.description or 'not at all'}; "
            f"{its.description or 'not at all'}); if they are stations of one scan, name each with "
            "--series."
        )
    for name in CONTRAST:
        if not _agree(first.traits.get(name), other.traits.get(name)):
            values = [_in_words({name: s.traits.get(name, "")}) for s in (first, other)]
            return f"are of different contrast ({values[0]}; {values[1]}) and cannot be composed."
    if is_certain and own.frame_of_reference != its.frame_of_reference:
        return "may have been positioned anew in between; join them with --compose if not."
    sizes = len(first.stack.frames), len(other.stack.frames)
    if is_certain and sizes[0] != sizes[1]:
        return (
            f"have {sizes[0]} and {sizes[1]} slices; if they are stations of one scan, join them "
            "with --compose."
        )
    return ""


def _without_stations(description: str) -> list[str]:
    """Return the words of a description without numbers of stations; T1 is no such number."""
    words = re.split(r"[\W_]+", description.casefold())
    return [word for word in words if word and not _STATION_NUMBER.fullmatch(word)]


def _agree(one: Trait | None, other: Trait | None) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=_SAME_TRAIT))
    return one == other


def _read_stack(station: Station) -> Volume:
    frames = station.stack.frames
    files = [frame.file for frame in frames]
    with quiet(), readable(station.what):
        if all(frame.is_classic for frame in frames):
            # All get the type of the first, which suits the others if they are scaled alike.
            is_alike = len({frame.scale for frame in frames}) == 1
            kind = SimpleITK.sitkUnknown if is_alike else SimpleITK.sitkFloat32
            image = SimpleITK.ReadImage(files if len(files) > 1 else files[0], kind)
            return volume_from_image(image, station.what)
        arrays = {
            file: grey_values(SimpleITK.ReadImage(file), station.what)
            for file in dict.fromkeys(files)
        }
    slices = [_rescaled(arrays[frame.file][frame.index], frame.rescaling) for frame in frames]
    return Volume(np.stack(slices), station.stack.ijk_to_ras)


def _rescaled(values: np.ndarray, rescaling: tuple[float, float]) -> np.ndarray:
    slope, intercept = rescaling
    if (slope, intercept) == (1.0, 0.0):
        return values
    return (values * slope + intercept).astype(np.float32)
