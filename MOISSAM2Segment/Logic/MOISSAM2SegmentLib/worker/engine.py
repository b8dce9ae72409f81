"""The network and the thread that it runs on: one of each, however many scans are worked on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from mois_core.errors import BadInput
from MOISSAM2SegmentLib.messages import tr as _
from MOISSAM2SegmentLib.signal import Signal
from MOISSAM2SegmentLib.worker import devices
from MOISSAM2SegmentLib.worker.jobs import Job, Worker
from MOISSAM2SegmentLib.worker.torch_libraries import load_libraries

if TYPE_CHECKING:
    from mois_core.geometry import Volume
    from mois_core.network.model_info import ModelInfo
    from mois_core.session import Session
    from mois_core.session.state import Settings

NO_MODEL = _("No model is loaded yet; download one or choose a file first.")
LOADING = _("loading the model")

PLACE = "ijk_to_ras"
"""The note in a session's file on where its scan lay, by which one that was moved is recognised."""
SAME_SLICES = 1e-6
"""In voxels: steps along slices, rows and columns are whole ones."""


class Engine:
    """Loads a network and opens sessions with it. Everything that takes time runs on `worker`."""

    def __init__(self, worker: Worker | None = None, save_worker: Worker | None = None) -> None:
        self.worker = worker or Worker("MOISSAM2 engine")
        self.save_worker = save_worker or Worker("MOISSAM2 saving")
        """Worker that packs sessions for the scene. States are immutable, so it can read them while
        the engine works on, and no click has to wait for it."""
        self.changed = Signal()
        """Called when a model was loaded or unloaded."""
        self.device = "cpu"
        self.model: Any = None
        self.info: ModelInfo | None = None
        self._sessions: WeakSet[Session] = WeakSet()
        self._is_resting = False

    # ---- main thread -----------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether sessions can be opened."""
        return self.model is not None

    @property
    def is_busy(self) -> bool:
        """Whether `pump` has to be called."""
        return self.worker.is_busy or self.save_worker.is_busy

    def pump(self) -> None:
        """Deliver finished jobs, and let the threads run for a moment: once, not once for each."""
        self.save_worker.pump(give_way=0)
        if self.worker.is_busy:
            self.worker.pump()
        elif self.save_worker.is_busy:
            self.save_worker.pump()

    def use(self, model: Any, info: ModelInfo, device: str = "cpu") -> None:
        """Use a network that is loaded already."""
        self.model, self.info, self.device = model, info, device
        self._is_resting = False
        self.changed()

    def load(
        self,
        preset: str | None,
        checkpoint: str | None = None,
        device: str | None = None,
        done: Callable[[], None] = lambda: None,
        failed: Callable[[str], None] = lambda text: None,
        precision: str | None = None,
    ) -> Job:
        """Load a network in the background.

        Without a checkpoint its weights are those of the preset, and without a preset the
        checkpoint's weights show which one it is. The precision is ``float32`` or ``bfloat16``; by
        default the one that suits the device.
        """

        def work(progress: Any, cancel: Any) -> tuple:
            progress(0, 1, LOADING)
            load_libraries()
            from mois_core.weights import open_checkpoint

            chosen = devices.choose_device(device).name
            opened = open_checkpoint(checkpoint or preset, preset, chosen, precision)
            cancel.check()
            return opened.network, opened.info, chosen

        def take(result: tuple) -> None:
            self.use(*result)
            done()

        return self.worker.submit(Job("Load the model", work, take, failed, owner=self))

    def rest(self) -> None:
        """Free graphics memory until the next operation; nothing that was computed is lost."""
        if self.model is not None and not self._is_resting:
            self.worker.submit(Job("Free memory", lambda *how: self._rest(), owner=self))

    def tidy(self) -> None:
        """Free memory that a session which has ended does not need any more."""
        if not self.worker.is_closed:
            job = Job("Free memory", self._give_back, owner=self)
            self.worker.submit(job)

    def unload(self) -> None:
        """Unload the network. Sessions that were opened with it keep it until they are dropped."""
        self.worker.abandon(self)
        self.model = self.info = None
        self.tidy()
        self.changed()

    def close(self) -> None:
        """End both threads."""
        self.worker.close()
        self.save_worker.close()
        self.model = self.info = None
        self.changed.clear()

    # ---- worker thread ---------------------------------------------------------------------

    def wake(self) -> None:
        """Move the network to its device again after a `rest`. Called before every operation."""
        if self._is_resting and self.model is not None:
            devices.move_to_device(self.model, self._sessions, self.device)
            self._is_resting = False

    def open(self, volume: Volume, settings: Settings | None = None) -> Session:
        """Return a new session without lesions."""
        from mois_core.session import Session

        session = Session(self._model(), volume, settings, model_info=self.info)
        self._sessions.add(session)
        return session

    def resume(self, content: bytes, volume: Volume) -> tuple[Session, np.ndarray | None]:
        """Return the session that the content of a session file holds.

        If the scan was moved since, as by hardening a transform, the session goes on at its new
        place; then the voxel-to-RAS matrix that it had before is returned too.
        """
        from mois_core.session.session_file import restore

        before = _place_before(content, volume)
        session = restore(content, self._model(), before or volume, self.info)
        if before is not None:
            session = _moved(session, volume)
        self._sessions.add(session)
        return session, None if before is None else before.ijk_to_ras

    def _model(self) -> Any:
        if self.model is None:
            raise BadInput(NO_MODEL)
        self.wake()
        return self.model

    def _give_back(self, *_how: Any) -> None:
        from mois_core.session import machine_memory

        machine_memory.give_back()

    def _rest(self) -> None:
        devices.move_to_host(self.model, self._sessions)
        self._is_resting = True


def _place_before(content: bytes, volume: Volume) -> Volume | None:
    """Return a scan where it lay when a session on it was stored; None if it was not moved.

    None as well if its slices run through the voxels in another way since.
    """
    from mois_core.geometry import SliceStack, Volume
    from mois_core.session.session_file import describe

    saved = describe(content)
    if PLACE not in saved.notes or saved.is_on(volume):
        return None
    before = Volume(volume.array, np.array(saved.notes[PLACE]))
    if not saved.is_on(before):
        return None
    now, then = (
        one.ras_to_ijk @ SliceStack(one, saved.settings.axis).to_ras for one in (volume, before)
    )
    return before if np.allclose(now, then, atol=SAME_SLICES) else None


def _moved(session: Session, volume: Volume) -> Session:
    """Return a session with the same lesions on the same voxels at another place."""
    from mois_core.session import Session

    how = (session.settings, session.reference, session.model_info)
    moved = Session(session.model, volume, *how)
    moved.history.present = session.state
    return moved
