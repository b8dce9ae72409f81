"""The lesion report of the scan that is open: a table node in the scene, a file, and totals.

Measuring hundreds of lesions takes a while, so it is a job on the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene.report_table import CLASS, fill_table
from MOISSAM2SegmentLib.scene.stored_session import TABLE
from MOISSAM2SegmentLib.worker.jobs import Job
from MOISSAM2SegmentLib.workspace.scan_work import ScanWork

if TYPE_CHECKING:
    from mois_core.results.lesion_report import LesionRow, Provenance, Totals
    from mois_core.session import Session
    from MOISSAM2SegmentLib.worker.engine import Engine

MEASURING = _("measuring lesions")

_REPORTED_SETTINGS = (
    "axis",
    "grey_window",
    "propagation_mm",
    "propagation_slices",
    "exemplars",
    "smallest_cm3",
    "min_confidence",
    "findings",
    "heed_clicks",
    "absorb",
    "connected",
    "learn_from_rejections",
    "accepted_as_exemplars",
)
"""The settings that a reader needs to repeat a measurement."""


class Reports:
    """Maker of reports on the lesions as they are now."""

    def __init__(
        self, open_work: Callable[[], ScanWork], engine: Engine, message: Callable[[str], None]
    ) -> None:
        """``message`` is called with a sentence for the user if a report fails."""
        self._open_work = open_work
        self._engine = engine
        self._message = message

    def table(self, then: Callable[[Any, Totals], None] = lambda node, totals: None) -> Job:
        """Measure all lesions into a table node; ``then`` is given the node and the totals."""
        work = self._open_work()

        def take(result: tuple) -> None:
            rows, totals, provenance = result
            node = _table_node(work)
            fill_table(node, rows, provenance)
            then(node, totals)

        return self._measured("Report", lambda *result: result, take)

    def write(self, path: str, then: Callable[[str], None] = lambda path: None) -> Job:
        """Write the report to a .csv or .json file; ``then`` is given its path."""

        def write(rows: list[LesionRow], totals: Totals, provenance: Provenance) -> str:
            from mois_core.results.lesion_report import write_report

            write_report(path, rows, provenance)
            return path

        return self._measured("Write the report", write, then)

    def _measured(self, name: str, use: Callable[..., Any], then: Callable[[Any], None]) -> Job:
        open_work = self._open_work()
        session = open_work.session

        def measure(progress: Any, cancel: Any) -> Any:
            from mois_core.results.lesion_report import measure_lesions, totals

            progress(0, 1, MEASURING)
            table = measure_lesions(session.stack, session.lesions)
            return use(table, totals(table), _provenance(session))

        job = Job(name, measure, then, self._message, owner=open_work)
        return self._engine.worker.submit(job)


def _table_node(work: ScanWork) -> Any:
    node = work.saver.referenced(TABLE)
    if node is None:
        name = f"{work.volume_node.GetName()} lesion report"
        node = work.scene.AddNewNodeByClass(CLASS, name)
        work.saver.refer(TABLE, node)
    return node


def _provenance(session: Session) -> Provenance:
    from mois_core.results.lesion_report import Provenance

    settings = asdict(session.settings)
    return Provenance(session.model_info, {key: settings[key] for key in _REPORTED_SETTINGS})
