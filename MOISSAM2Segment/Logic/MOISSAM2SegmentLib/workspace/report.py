"""The report of a workspace: a table node in the scene, a file, and the totals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.scene.report_table import CLASS, fill_table
from MOISSAM2SegmentLib.scene.stored_session import TABLE
from MOISSAM2SegmentLib.worker.jobs import Job

if TYPE_CHECKING:
    from mois_core.results.lesion_report import Provenance, Row, Totals
    from mois_core.session import Session

    ToRows = Callable[[Any, list[Row], Totals], None]

_TOLD = ("axis", "propagation_slices", "exemplars", "smallest_cm3", "min_confidence", "findings")
"""The settings that a reader needs to repeat a measurement."""


class Reporting:
    """Measuring lesions takes a while when there are hundreds, so it is a job too."""

    scene: Any
    engine: Any
    session: Any
    volume_node: Any
    said: Any
    _saver: Any

    def report(self, then: Callable[[Any, Totals], None] = lambda node, totals: None) -> Job:
        """Measure all lesions into a table node; ``then`` is given the node and the totals."""

        def take(result: tuple) -> None:
            rows, totals, provenance = result
            node = self._table()
            fill_table(node, rows, provenance)
            then(node, totals)

        return self._measured("Report", lambda *result: result, take)

    def write_report(self, path: str, then: Callable[[str], None] = lambda path: None) -> Job:
        """Write the report as .csv or .json; ``then`` is given the path."""

        def write(rows: list[Row], totals: Totals, provenance: Provenance) -> str:
            from mois_core.results.lesion_report import write_report

            write_report(path, rows, provenance)
            return path

        return self._measured("Write the report", write, then)

    def _measured(self, name: str, use: Callable[..., Any], then: Callable[[Any], None]) -> Job:
        session = self.session
        if session is None:
            raise BadInput("Open a scan first.")

        def work(progress: Any, cancel: Any) -> Any:
            from mois_core.results.lesion_report import rows, totals

            progress(0, 1, "measuring lesions")
            table = rows(session.stack, session.lesions)
            return use(table, totals(table), _provenance(session))

        return self.engine.worker.submit(Job(name, work, then, self.message, owner=self))

    def _table(self) -> Any:
        stored = self._saver.stored
        node = stored.referenced(TABLE) if stored is not None else None
        if node is None:
            name = f"{self.volume_node.GetName()} lesion report"
            node = self.scene.AddNewNodeByClass(CLASS, name)
            self._saver.refer(TABLE, node)
        return node


def _provenance(session: Session) -> Provenance:
    from mois_core.results.lesion_report import Provenance

    settings = asdict(session.settings)
    return Provenance(session.model_info, {key: settings[key] for key in _TOLD})
