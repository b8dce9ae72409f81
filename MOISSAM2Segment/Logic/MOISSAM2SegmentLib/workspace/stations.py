"""Volumes that are stations of one whole-body scan become that scan, without blocking anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.scene import station_nodes
from MOISSAM2SegmentLib.worker.jobs import Job

if TYPE_CHECKING:
    from mois_core.progress import CancelToken, Progress
    from MOISSAM2SegmentLib.signal import Signal
    from MOISSAM2SegmentLib.worker.engine import Engine

TOO_FEW = _("Choose at least two volumes to join.")


class Stations:
    """Joins volumes of the scene. What it makes is a volume more; removing it undoes that."""

    def __init__(self, scene: Any, engine: Engine, message: Signal) -> None:
        self._scene = scene
        self._engine = engine
        self._message = message

    def volumes(self) -> list[Any]:
        """Return the volumes of the scene that can be scans."""
        return station_nodes.scalar_volumes(self._scene)

    def candidates(self) -> list[tuple[Any, bool]]:
        """Return the volumes to choose from, and whether they certainly belong together."""
        certain = station_nodes.certain_stations(self._scene)
        return [(node, node in certain) for node in self.volumes()]

    def join(self, nodes: Sequence[Any], then: Callable[[Any], None] = lambda node: None) -> Job:
        """Compose volumes on one grid; ``then`` is given the node of the scan that they make.

        The node's description says what was done; the volumes stay as they are. Raises `BadInput`
        if they do not follow one another.
        """
        from mois_core.io.compose_stations import compose_stations, plan_stations

        nodes = list(dict.fromkeys(nodes))
        if len(nodes) < 2:
            raise BadInput(TOO_FEW)
        volumes = station_nodes.station_volumes(nodes)
        plan = plan_stations(volumes, [node.GetName() for node in nodes])
        # The user may edit or remove a volume while another thread reads it.
        copies = [Volume(volume.array.copy(), volume.ijk_to_ras) for volume in volumes]

        def work(progress: Progress, cancel: CancelToken) -> Any:
            return compose_stations(copies, plan, progress, cancel)

        def take(composed: Any) -> None:
            sources = [nodes[n] for n in plan.order if nodes[n].GetScene() is self._scene]
            # With the last of them the user closed the scene, or thought better of it.
            if sources:
                then(station_nodes.add_composed(self._scene, sources, composed))

        job = Job("Join stations", work, take, self._message, owner=self)
        return self._engine.worker.submit(job)

    def close(self) -> None:
        """Make no scan any more of what is still being joined."""
        self._engine.worker.abandon(self)
