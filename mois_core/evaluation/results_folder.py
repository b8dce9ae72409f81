"""The results folder, in which finished tasks stay finished whatever happens to the run.

Each task leaves a file of its own, written at once or not at all. The tables are put together from
these, in the order of the plan, so an interrupted run ends with the same table as one that was
not. Times and memory are a table of their own: they alone differ from run to run.

  plan.json        what was run
  results.csv      one row for each experiment, scan, segmenter, fold and step
  seconds.csv      the same rows with the time and memory that the segmenter took
  failures.csv     scans that could not be evaluated, and why
  parts, masks     the tasks' own files
  files            what segmenters left, in a folder for each segmenter and scan
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
from mois_core.evaluation.plan import (
    EvaluationTask,
    check_compatible,
    file_name_of,
    merge_plans,
    task_key,
)
from mois_core.io.atomic import atomic_write, make_folder

KEYS = ("experiment", "set", "scan", "patient", "segmenter", "fold", "step")
COUNTS = ("clicks", "interactions", "prompted", "is_last")
METRICS = (
    "dsc", "precision", "recall", "f1", "detected", "missed", "false", "lesion_dsc",
    "one_to_one_precision", "one_to_one_recall", "one_to_one_f1", "one_to_one_lesion_dsc",
    "prompted_dsc", "assd_mm", "nsd", "truth_cm3", "result_cm3", "volume_error_cm3",
)  # fmt: skip
COLUMNS = (*KEYS, *COUNTS, *METRICS)
COSTS = ("seconds", "memory_mib", "gpu_memory_mib")
SECONDS = (*KEYS, *COSTS)
FAILURES = ("experiment", "set", "scan", "segmenter", "fold", "error")

_TEXT = {"experiment", "set", "scan", "patient", "segmenter", "fold", "error"}
_DIGITS = 10

ResultRow = Mapping[str, object]
"""A row of one of the tables, by column."""


@dataclass(frozen=True)
class ResultsFolder:
    """Folder that receives the results of a plan, task by task."""

    folder: Path

    # ---- a run -----------------------------------------------------------------------------

    def begin(self, plan: dict[str, object]) -> dict[str, object]:
        """Make the folder, or take up an earlier run in it; return the plan of all its results."""
        path = self.folder / "plan.json"
        for part in ("parts", "failures", "masks", "scans"):
            make_folder(self.folder / part)
        if path.is_file():
            before = self.plan()
            measured = {rows[0]["scan"] for rows in self._parts("parts") if rows}
            check_compatible(before, plan, measured)
            plan = merge_plans(before, plan)
        _write_json(path, plan)
        return plan

    def plan(self) -> dict[str, object]:
        """Return the described plan of all results."""
        path = self.folder / "plan.json"
        if not path.is_file():
            raise BadInput(f"{self.folder} holds no results of 'mois evaluate'")
        return json.loads(path.read_text(encoding="utf-8"))

    def is_done(self, task: EvaluationTask) -> bool:
        """Return whether a task is finished; one that failed is tried again in the next run."""
        return (self.folder / "parts" / f"{task.key}.json").is_file()

    def files_of(self, task: EvaluationTask) -> Path:
        """Return where the segmenter may keep files of the scan, in every experiment the same."""
        spec = task.segmenter
        return self.folder / "files" / task_key("", task.case.name, spec.name, spec.fold)

    def finish(self, task: EvaluationTask, rows: Sequence[ResultRow]) -> None:
        """Keep what a task measured."""
        _write_json(self.folder / "parts" / f"{task.key}.json", [_plain(row) for row in rows])
        (self.folder / "failures" / f"{task.key}.json").unlink(missing_ok=True)

    def fail(self, task: EvaluationTask, reason: str) -> None:
        """Keep why a task could not be done."""
        row = {**key_columns(task), "error": " ".join(reason.split())}
        _write_json(self.folder / "failures" / f"{task.key}.json", row)

    def gather(self, plan: Mapping[str, object]) -> None:
        """Write the tables from what the tasks have left so far."""
        rows = self._sorted(self._parts("parts"), plan)
        _write_table(self.folder / "results.csv", COLUMNS, rows)
        _write_table(self.folder / "seconds.csv", SECONDS, rows)
        failed = [[row] for row in (self._read(path) for path in self._files("failures"))]
        _write_table(self.folder / "failures.csv", FAILURES, self._sorted(failed, plan))

    def _parts(self, name: str) -> list[list[ResultRow]]:
        return [self._read(path) for path in self._files(name)]

    def _files(self, name: str) -> list[Path]:
        return sorted(path for path in (self.folder / name).glob("*.json") if path.name[0] != ".")

    def _read(self, path: Path) -> object:
        return json.loads(path.read_text(encoding="utf-8"))

    def _sorted(
        self, parts: Iterable[Sequence[ResultRow]], plan: Mapping[str, object]
    ) -> list[ResultRow]:
        """Return the rows of all parts in the order of the plan."""
        experiments = list(plan["experiments"])
        scans = [case["name"] for case in plan["cases"]]
        segmenters = list(plan["segmenters"])

        def position(part: Sequence[ResultRow]) -> tuple[int, int, int]:
            row = part[0]
            name = f"{row['segmenter']}@{row['fold']}" if row["fold"] else row["segmenter"]
            return (
                experiments.index(row["experiment"]),
                scans.index(row["scan"]),
                segmenters.index(name),
            )

        return [row for part in sorted(filter(None, parts), key=position) for row in part]

    # ---- masks -------------------------------------------------------------------------------

    def keep_mask(self, task: EvaluationTask, mask: np.ndarray) -> None:
        """Keep the result of a task, [slices, rows, columns]."""
        _write_arrays(self.folder / "masks" / f"{task.key}.npz", mask=_packed(mask))

    def mask(self, key: str, scan: str) -> np.ndarray | None:
        """Return the result of a task by its key, or None if masks were not kept."""
        path = self.folder / "masks" / f"{key}.npz"
        background = self.scan(scan)
        if background is None or not path.is_file():
            return None
        with np.load(path) as arrays:
            return _unpacked(arrays["mask"], background.truth.shape)

    def keep_scan(self, scan: KeptScan, name: str) -> None:
        """Keep what pictures need of a scan: a projection, and what the readers drew."""
        readers = {f"reader {reader}": _packed(mask) for reader, mask in scan.readers.items()}
        _write_arrays(
            self._scan_path(name),
            projection=scan.projection,
            spacing=np.asarray(scan.spacing),
            shape=np.asarray(scan.truth.shape),
            truth=_packed(scan.truth),
            **readers,
        )

    def scan(self, name: str) -> KeptScan | None:
        """Return what was kept of a scan, or None if nothing was."""
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
        return self.folder / "scans" / f"{file_name_of(name)}.npz"


@dataclass(frozen=True, eq=False)
class KeptScan:
    """Projection, truth and readers' masks of a scan, as pictures need them."""

    projection: np.ndarray
    """Brightest voxel across the slices [rows, columns], 0 to 255."""
    spacing: tuple[float, ...]
    """Millimetres from slice to slice, row to row, column to column."""
    truth: np.ndarray
    readers: Mapping[str, np.ndarray]


def key_columns(task: EvaluationTask) -> dict[str, object]:
    """Return the columns that say which task a row is from."""
    return {
        "experiment": task.experiment.name,
        "set": task.case.test_set,
        "scan": task.case.name,
        "patient": task.case.patient,
        "segmenter": task.segmenter.name,
        "fold": task.segmenter.fold,
    }


def read_rows(folder: Path, table: str = "results.csv") -> list[dict[str, object]]:
    """Return a table of the folder, numbers as numbers and empty cells as NaN."""
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


def _plain(row: ResultRow) -> dict[str, object]:
    """Return a row as JSON takes it: NaN is no JSON, and neither are numpy's own numbers."""
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


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[ResultRow]) -> None:
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
