"""nnInteractive: clicks on any lesion, by its own package and weights, as a process of its own.

F. Isensee et al., arXiv:2503.08373. What its package needs must not stand among our dependencies,
so it runs in an environment of its own; questions and answers go through pipes of this computer.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.environments import environment_without_ours
from mois_core.evaluation.segmenters import LesionByLesionSegmenter, Missing, PlacedClick

GET_IT = (
    "make an environment for it with 'python -m venv nninteractive' and that one's 'pip install "
    "nninteractive', and name its Python, like python=nninteractive/bin/python"
)
GET_WEIGHTS = (
    "get a model's folder, like nnInteractive_v1.0 of MIC-DKFZ/nnInteractive on Hugging Face, and "
    "give it like nninteractive=nnInteractive_v1.0"
)

_WORKER = Path(__file__).parent / "nninteractive_worker"
_IS_THERE = "from importlib.metadata import version; version('nnInteractive')"
_MODEL_FILES = ("dataset.json", "plans.json")
_ABOUT_CLICKS = ("inference_info.json", "inference_session_class.json")
"""One of them has to be there: how its clicks are drawn, in newer and in older models."""


class NnInteractive(LesionByLesionSegmenter):
    """Each lesion is an object of its own: its clicks, and a prediction after each of them."""

    works_elsewhere = True

    def __init__(self, model: str = "", python: str = "", threads: float = 0) -> None:
        self.model = Path(model).expanduser() if model else None
        self.python = Path(python).expanduser() if python else None
        self.threads = int(threads)

    def require(self) -> None:
        if self.python is None:
            raise Missing(f"nnInteractive runs in an environment of its own; {GET_IT}")
        if not self.python.is_file():
            raise Missing(f"there is no Python at the place that was named; {GET_IT}")
        asked = subprocess.run(
            [str(self.python.absolute()), "-c", _IS_THERE],
            env=environment_without_ours(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if asked.returncode:
            raise Missing(f"nnInteractive is not installed for the Python that was named; {GET_IT}")
        if self.model is None or not self.model.is_dir():
            where = f" in a folder {self.model.name}" if self.model else ""
            raise Missing(f"there is no model{where}; {GET_WEIGHTS}")
        _check_model(self.model)

    def take_up(self) -> None:
        self.require()
        assert self.model is not None and self.python is not None
        self.process = running_process(
            str(self.python.absolute()),
            str(self.model.absolute()),
            self.surroundings.device,
            self.threads,
        )

    def segment(self, clicks: Sequence[PlacedClick]) -> np.ndarray:
        if not any(click.positive for click in clicks):
            return np.zeros(self.stack.array.shape, dtype=bool)
        self.process.show(self.stack.array)
        return self.process.mask([(click.voxel, click.positive) for click in clicks])


class NnInteractiveProcess:
    """A process of nnInteractive with a model. It is asked about one scan at a time."""

    def __init__(self, python: str, model: str, device: str, threads: int) -> None:
        self.printed = tempfile.TemporaryFile()  # noqa: SIM115  # open while the process is
        self.process = subprocess.Popen(
            [python, str(_WORKER)],
            # What it needs is here already: it is not to look for anything elsewhere.
            env=environment_without_ours() | {"HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.printed,
        )
        self.shown: np.ndarray | None = None
        atexit.register(self.end)
        try:
            self._ask({"do": "load", "model": model, "device": device, "threads": threads})
        except BadInput:
            self.end()
            raise

    def show(self, scan: np.ndarray) -> None:
        """Let it take up a scan, unless it is the one that it has."""
        if self.shown is scan:
            return
        voxels = np.ascontiguousarray(scan, dtype="<f4")
        question = {"do": "image", "shape": voxels.shape, "bytes": voxels.nbytes}
        self._ask(question, voxels.tobytes())
        self.shown = scan

    def mask(self, clicks: Sequence[tuple[tuple[int, int, int], bool]]) -> np.ndarray:
        """Return the mask of an object on the scan that was shown last."""
        assert self.shown is not None
        _, packed = self._ask({"do": "clicks", "clicks": clicks})
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=self.shown.size)
        return bits.reshape(self.shown.shape).astype(bool)

    def end(self) -> None:
        """End the process; its scan goes with it."""
        atexit.unregister(self.end)
        for key in [key for key, process in _running.items() if process is self]:
            del _running[key]
        self.shown = None
        self.process.kill()
        self.process.communicate()
        self.printed.close()

    def _last_printed(self) -> str:
        self.process.wait()
        self.printed.seek(0)
        lines = self.printed.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")

    def _ask(self, question: Mapping[str, object], content: bytes = b"") -> tuple[dict, bytes]:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n" + content)
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = b""
        if not line:
            said = self._last_printed()
            self.end()
            raise BadInput(
                f"nnInteractive's process ended while it was to '{question['do']}'; the last that "
                f"it printed: {said}"
            )
        answer = json.loads(line)
        if "error" in answer:
            raise BadInput(f"nnInteractive could not '{question['do']}': {answer['error']}")
        return answer, self.process.stdout.read(answer.get("bytes", 0))


_running: dict[tuple[str, str, str, int], NnInteractiveProcess] = {}
"""The process that this one has, if any: it serves all scans, since a model takes long to read."""


def running_process(python: str, model: str, device: str, threads: int) -> NnInteractiveProcess:
    """Return the process that works with a model; one with another model is ended."""
    key = (python, model, device, threads)
    if key not in _running:
        for other in list(_running.values()):
            other.end()
        _running[key] = NnInteractiveProcess(*key)
    return _running[key]


def _check_model(model: Path) -> None:
    missing = [name for name in _MODEL_FILES if not (model / name).is_file()]
    if not any((model / name).is_file() for name in _ABOUT_CLICKS):
        missing.append(_ABOUT_CLICKS[0])
    if len(list(model.glob("fold_*/checkpoint_final.pth"))) != 1:
        missing.append("one fold_*/checkpoint_final.pth")
    if missing:
        raise BadInput(f"{model} is no model of nnInteractive: {', '.join(missing)} is missing")
