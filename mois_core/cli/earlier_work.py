"""What ``mois segment`` begins with: a session that was saved, or lesions that are outlined."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from mois_core.cli.working_scan import read_labels_on
from mois_core.errors import BadInput
from mois_core.followup.stored_uids import read_uids
from mois_core.geometry import Volume
from mois_core.io import RasClick
from mois_core.io.click_labels import read_click_label
from mois_core.io.slicer_segments import read_segment_names
from mois_core.results.colours import Colour
from mois_core.session import Session
from mois_core.session.session import ADJUSTABLE
from mois_core.session.session_file import SavedSession, describe, restore
from mois_core.weights import OpenedModel

_SAME_PLACE = 1e-3
"""Pixels: point lists are written with a few digits."""

_THICKEN, _COLOURS = "thicken", "colours"
"""What a saved session keeps for the command line."""


def notes(thicken: bool, colours: Mapping[int, Colour]) -> dict[str, object]:
    """Return what has to be saved with a session to go on with it from the command line."""
    return {_THICKEN: thicken, _COLOURS: {str(n): list(rgb) for n, rgb in colours.items()}}


@dataclass(frozen=True)
class SavedWork:
    """A session file that is gone on with."""

    content: bytes
    told: SavedSession
    changes: Mapping[str, object]
    """Settings that are given anew."""

    @property
    def thicken(self) -> bool:
        """Whether the session was made on averaged slices."""
        return bool(self.told.notes.get(_THICKEN))

    @property
    def colours(self) -> dict[int, Colour]:
        """Colours of lesions that came with colours of their own."""
        return {int(n): tuple(rgb) for n, rgb in self.told.notes.get(_COLOURS, {}).items()}

    def open(self, model: OpenedModel, volume: Volume) -> Session:
        """Return the session as it was left, with the settings that are given anew."""
        session = restore(self.content, model.network, volume, model.info)
        session.adjust(**self.changes)
        return session


def read_saved_work(args: argparse.Namespace, given: Mapping[str, object]) -> SavedWork:
    """Read the file of ``--session``; refuse options that the session was begun without.

    ``given`` are the settings that the command line names.
    """
    try:
        content = args.session.read_bytes()
    except OSError as error:
        raise BadInput(f"--session {args.session} cannot be read: {error.strerror}") from error
    told = describe(content)
    work = SavedWork(content, told, {n: v for n, v in given.items() if n in ADJUSTABLE})
    for name, value in given.items():
        begun = getattr(told.settings, name)
        if name not in ADJUSTABLE and value != begun:
            option = "--window" if name == "grey_window" else f"--{name.replace('_', '-')}"
            raise BadInput(
                f"the session was begun with {option} {begun}; leave out {option}, or begin a new "
                "session"
            )
    for name, was_given in (("reference", told.reference), (_THICKEN, work.thicken)):
        if getattr(args, name) and not was_given:
            raise BadInput(
                f"the session was begun without --{name}; leave it out, or begin a new session"
            )
    # Refuses what makes no sense, before a network is loaded.
    replace(told.settings, **work.changes)
    return work


@dataclass(frozen=True, eq=False)
class Outlines:
    """Lesions that are outlined in a file, on the voxels of the scan."""

    labels: np.ndarray
    """Label values in the scan's own order [k, j, i]."""
    names: Mapping[int, str]
    colours: Mapping[int, Colour]
    uids: Mapping[int, str]
    """What lesions were known by before."""

    @property
    def lesion_ids(self) -> tuple[int, ...]:
        """The numbers of the lesions."""
        return tuple(np.unique(self.labels[self.labels > 0]).tolist())


def read_outlines(path: Path, volume: Volume) -> Outlines:
    """Read the file of ``--lesions``."""
    labels = read_labels_on(volume, path, "the scan")
    if not labels.any():
        raise BadInput(f"{path} holds no outlined lesion")
    called = read_segment_names(path)
    return Outlines(
        labels,
        names={value: name for value, (name, _) in called.items()},
        colours={value: colour for value, (_, colour) in called.items() if colour is not None},
        uids=read_uids(path),
    )


def new_clicks(
    clicks: Sequence[RasClick], session: Session, outlines: Outlines | None
) -> list[RasClick]:
    """Return clicks that the session does not have yet; new lesions take free numbers.

    A list in which new points were placed beside those of an earlier run can be used as it is.
    ``outlines`` are lesions that come into the session before the clicks.
    """
    fresh = [click for click in clicks if not _is_known(click, session)]
    taken = {click.lesion_id for click in fresh if read_click_label(click.label)}
    highest = max((session.state.last_id, *(outlines.lesion_ids if outlines else ())))
    free = (lesion_id for lesion_id in count(highest + 1) if lesion_id not in taken)
    return [
        click if read_click_label(click.label) else replace(click, lesion_id=next(free))
        for click in fresh
    ]


def _is_known(click: RasClick, session: Session) -> bool:
    """Return whether a session has a click; one without a number may be in any of its lesions."""
    place = np.array(session.stack.point_from_ras(click.ras))
    place[0] = np.floor(place[0] + 0.5)
    has_number = read_click_label(click.label) is not None
    return any(
        known.positive == click.positive
        and np.abs(place - (known.slice, known.x, known.y)).max() < _SAME_PLACE
        for lesion in session.lesions
        if lesion.id == click.lesion_id or not has_number
        for known in lesion.clicks
    )
