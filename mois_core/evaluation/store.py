"""The results folder: what is finished stays finished, whatever happens to the run.

Each job leaves a file of its own, written at once or not at all. The tables are put together from
these, in the order of the plan, so an interrupted run ends with the same table as one that was
not. Times are a table of their own: they alone differ from run to run.

  plan.json        what was run
  results.csv      one row for each experiment, scan, segmenter, fold and step
  seconds.csv      the same rows with the time the segmenter took
  failures.csv     scans that could not be evaluated, and why
  parts, masks     the jobs' own files
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.plan import Job, check_same, merged
from mois_core.io.atomic import atomic_write

KEYS = ("experiment", "set", "scan", "patient", "segmenter", "fold", "step")
COUNTS = ("clicks", "interactions", "prompted", "is_last")
METRICS = (
    "dsc", "precision", "recall", "f1", "detected", "missed", "false", "lesion_dsc",
    "prompted_dsc", "assd_mm", "nsd", "truth_cm3", "result_cm3", "volume_error_cm3",
)  # fmt: skip
COLUMNS = (*KEYS, *COUNTS, *METRICS)
SECONDS = (*KEYS, "seconds")
FAILURES = ("experiment", "set", "scan", "segmenter", "fold", "error")

_TEXT = {"experiment", "set", "scan", "patient", "segmenter", "fold", "error"}
_DIGITS = 10

Row = Mapping[str, object]


@dataclass(frozen=True)
class Store:
    """A results folder."""

    folder: Path

    # ---- a run -----------------------------------------------------------------------------

    def begin(self, plan: dict[str, object]) -> dict[str, object]:
        """Make the folder, or take up an earlier run in it; gives the plan of all its results."""
        path = self.folder / "plan.json"
        for part in ("parts", "failures", "masks", "scans"):
            try:
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(f"{self.folder} cannot be written to: {error.strerror}") from error
        if path.is_file():
            before = self.plan()
            check_same(before, plan)
            plan = merged(before, plan)
        _write_json(path, plan)
        return plan

    def plan(self) -> dict[str, object]:
        """What was run."""
        path = self.folder / "plan.json"
        if not path.is_file():
            raise BadInput(f"{self.folder} holds no results of 'mois evaluate'")
        return json.loads(path.read_text(encoding="utf-8"))

    def is_done(self, job: Job) -> bool:
        """Whether a job needs no more work; one that failed is tried again in the next run."""
        return (self.folder / "parts" / f"{job.key}.json").is_file()

    def finish(self, job: Job, rows: Sequence[Row]) -> None:
        """Keep what a job measured."""
        _write_json(self.folder / "parts" / f"{job.key}.json", [_plain(row) for row in rows])
        (self.folder / "failures" / f"{job.key}.json").unlink(missing_ok=True)

    def fail(self, job: Job, reason: str) -> None:
        """Keep why a job could not be done."""
        row = {**key_of(job), "error": " ".join(reason.split())}
        _write_json(self.folder / "failures" / f"{job.key}.json", row)

    def gather(self, plan: Mapping[str, object]) -> None:
        """Put the tables together from what is there."""
        rows = self._sorted(self._parts("parts"), plan)
        _write_table(self.folder / "results.csv", COLUMNS, rows)
        _write_table(self.folder / "seconds.csv", SECONDS, rows)
        failed = [[row] for row in (self._read(path) for path in self._files("failures"))]
        _write_table(self.folder / "failures.csv", FAILURES, self._sorted(failed, plan))

    def _parts(self, name: str) -> list[list[Row]]:
        return [self._read(path) for path in self._files(name)]

    def _files(self, name: str) -> list[Path]:
        return sorted(path for path in (self.folder / name).glob("*.json") if path.name[0] != ".")

    def _read(self, path: Path) -> object:
        return json.loads(path.read_text(encoding="utf-8"))

    def _sorted(self, parts: Iterable[Sequence[Row]], plan: Mapping[str, object]) -> list[Row]:
        experiments = list(plan["experiments"])
        scans = [case["name"] for case in plan["cases"]]
        segmenters = list(plan["segmenters"])

        def place(part: Sequence[Row]) -> tuple[int, int, int]:
            row = part[0]
            name = f"{row['segmenter']}@{row['fold']}" if row["fold"] else row["segmenter"]
            return (
                experiments.index(row["experiment"]),
                scans.index(row["scan"]),
                segmenters.index(name),
            )

        return [row for part in sorted(filter(None, parts), key=place) for row in part]

    # ---- masks -------------------------------------------------------------------------------

    def keep_mask(self, job: Job, mask: np.ndarray) -> None:
        """Keep a result [slices, rows, columns]."""
        _write_arrays(self.folder / "masks" / f"{job.key}.npz", mask=_packed(mask))

    def mask(self, key: str, scan: str) -> np.ndarray | None:
        """The result of a job by its key, or None if masks were not kept."""
        path = self.folder / "masks" / f"{key}.npz"
        background = self.scan(scan)
        if background is None or not path.is_file():
            return None
        with np.load(path) as arrays:
            return _unpacked(arrays["mask"], background.truth.shape)

    def keep_scan(self, scan: KeptScan, name: str) -> None:
        """Keep what pictures need of a scan: a projection, and what the readers drew."""
        readers = {f"reader {who}": _packed(mask) for who, mask in scan.readers.items()}
        _write_arrays(
            self._scan_path(name),
            projection=scan.projection,
            spacing=np.asarray(scan.spacing),
            shape=np.asarray(scan.truth.shape),
            truth=_packed(scan.truth),
            **readers,
        )

    def scan(self, name: str) -> KeptScan | None:
        """What was kept of a scan."""
        path = self._scan_path(name)
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            shape = tuple(arrays["shape"].tolist())
            readers = {
                key.removeprefix("reader "): _unpacked(arrays[key], shape)
                for key in arrays.files
                if key.startswith("reader ")
            }
            return KeptScan(
                arrays["projection"],
                tuple(arrays["spacing"].tolist()),
                _unpacked(arrays["truth"], shape),
                readers,
            )

    def _scan_path(self, name: str) -> Path:
        return self.folder / "scans" / f"{name.replace('/', '-')}.npz"


@dataclass(frozen=True, eq=False)
class KeptScan:
    """A scan as pictures show it."""

    projection: np.ndarray
    """Brightest voxel across the slices [rows, columns], 0 to 255."""
    spacing: tuple[float, ...]
    """Millimetres from slice to slice, row to row, column to column."""
    truth: np.ndarray
    readers: Mapping[str, np.ndarray]


def key_of(job: Job) -> dict[str, object]:
    """The columns that say which job a row is from."""
    return {
        "experiment": job.experiment.name,
        "set": job.case.test_set,
        "scan": job.case.name,
        "patient": job.case.patient,
        "segmenter": job.segmenter.name,
        "fold": job.segmenter.fold,
    }


def read_rows(folder: Path, table: str = "results.csv") -> list[dict[str, object]]:
    """A table of the folder; numbers as numbers, and what is empty as NaN."""
    path = folder / table
    if not path.is_file():
        raise BadInput(f"{path} does not exist; has the evaluation been run?")
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: text if name in _TEXT else _number(text) for name, text in row.items()}
            for row in csv.DictReader(file)
        ]


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _plain(row: Row) -> dict[str, object]:
    """A row as JSON takes it: NaN is no JSON, and neither are numpy's own numbers."""
    values = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in row.items()
    }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _text(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else value


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_text(row.get(column)) for column in columns])
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _write_json(path: Path, content: object) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_arrays(path: Path, **arrays: np.ndarray) -> None:
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def _packed(mask: np.ndarray) -> np.ndarray:
    return np.packbits(np.ascontiguousarray(mask, dtype=bool).ravel())


def _unpacked(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)
