"""``mois segment --earlier``: what an earlier scan of the patient tells about this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mois_core.cli.compare import read_time_point, split_pair
from mois_core.cli.progress_bar import ProgressBar

if TYPE_CHECKING:
    from mois_core.followup.registration import Registration
    from mois_core.followup.time_point import TimePoint
    from mois_core.geometry import Volume
    from mois_core.session import Session


@dataclass(frozen=True, eq=False)
class EarlierScan:
    """An earlier scan with its lesions, registered onto the scan that is worked on."""

    point: TimePoint
    registration: Registration

    def give_exemplars(self, session: Session) -> None:
        """Let the search look for what is like the earlier lesions."""
        session.add_exemplars(self.point.labels, self.point.scan)

    def propose(self, session: Session, bar: ProgressBar) -> None:
        """Add the lesions that the session does not have yet as findings."""
        from mois_core.followup.propose import propose

        proposals = propose(session, self.point, self.registration, bar)
        there = len(self.point.lesions)
        bar.say(f"Of the earlier scan's {there} lesions {len(proposals)} are proposed as findings.")


def read_earlier(
    text: str, volume: Volume, bar: ProgressBar, series: Sequence[str] = (), compose: bool = False
) -> EarlierScan:
    """Read SCAN:LESIONS and register it; a scan that cannot be of the same patient is refused."""
    from mois_core.errors import BadInput
    from mois_core.followup.registration import check, register

    point = read_time_point(*split_pair(text), None, bar, series, compose)
    if not point.lesions:
        raise BadInput(f"--earlier {text}: there is no outlined lesion to propose")
    registration = register(point.scan, volume, bar)
    check(
        registration,
        "see how far they are off with 'mois compare --unchecked --registration', and go on "
        "without --earlier",
    )
    return EarlierScan(point, registration)
