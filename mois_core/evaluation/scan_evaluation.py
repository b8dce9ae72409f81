"""Evaluate one scan with every segmenter that is still to be run on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mois_core.errors import Cancelled
from mois_core.evaluation.cohort import LoadedCase, load_case, without_file_names
from mois_core.evaluation.metrics import MetricSettings, measure
from mois_core.evaluation.plan import EvaluationTask
from mois_core.evaluation.protocols import ProtocolStep, run_protocol
from mois_core.evaluation.results_folder import KeptScan, ResultsFolder, key_columns
from mois_core.evaluation.segmenter_specs import make_segmenter
from mois_core.geometry import SliceStack
from mois_core.session.intensity import normalise


def evaluate_scan(
    tasks: Sequence[EvaluationTask], measuring: MetricSettings, folder: Path, keep_masks: bool
) -> list[tuple[str, str]]:
    """Run the tasks of one scan; return the name and the error, if there was one, of each.

    Nothing that one scan or segmenter does ends the run, apart from the user's own wish.
    """
    results = ResultsFolder(folder)
    loaded: LoadedCase | None = None
    outcomes = []
    for task in tasks:
        name = f"{task.case.name}, {task.segmenter.name}"
        try:
            if loaded is None:
                loaded = load_case(task.case)
                if keep_masks:
                    results.keep_scan(_kept(loaded), task.case.name)
            rows = _run_task(task, loaded, measuring, results, keep_masks)
            results.finish(task, rows)
            outcomes.append((name, ""))
        except Cancelled:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            results.fail(task, without_file_names(reason, task.case))
            outcomes.append((name, reason))
    return outcomes


def _run_task(
    task: EvaluationTask,
    loaded: LoadedCase,
    measuring: MetricSettings,
    results: ResultsFolder,
    keep_masks: bool,
) -> list[dict[str, object]]:
    """Return a row for each step of the protocol; keep the last result where masks are kept."""
    stack = SliceStack(loaded.volume)
    spacing = (stack.slice_spacing, *stack.pixel_spacing)
    truth = stack.from_volume(loaded.labels) > 0
    segmenter = make_segmenter(task.segmenter, task.case.name, results.files_of(task))
    protocol = task.experiment.protocol
    steps = run_protocol(protocol, segmenter, loaded.volume, loaded.labels, task.case.name)
    rows = []
    for step in steps:
        rows.append({**key_columns(task), **_row(step, truth, spacing, measuring)})
        if keep_masks and step.is_last:
            results.keep_mask(task, step.result > 0)
    return rows


def _row(
    step: ProtocolStep, truth: np.ndarray, spacing: tuple[float, ...], measuring: MetricSettings
) -> dict[str, object]:
    metrics = measure(step.result, truth, spacing, measuring, surfaces=step.is_last)
    prompted = float(np.mean(step.prompted_dice)) if step.prompted_dice else float("nan")
    return {
        "step": step.number,
        "clicks": step.clicks,
        "interactions": step.interactions,
        "prompted": step.prompted,
        "is_last": step.is_last,
        **vars(metrics),
        "prompted_dsc": prompted,
        "volume_error_cm3": metrics.volume_error_cm3,
        "seconds": round(step.seconds, 3),
        "memory_mib": round(step.memory_mib, 1),
        "gpu_memory_mib": round(step.gpu_memory_mib, 1),
    }


def _kept(loaded: LoadedCase) -> KeptScan:
    stack = SliceStack(loaded.volume)
    projection = stack.from_volume(normalise(loaded.volume.array)).max(axis=0)
    return KeptScan(
        projection.astype(np.uint8),
        (stack.slice_spacing, *stack.pixel_spacing),
        stack.from_volume(loaded.labels) > 0,
        {name: stack.from_volume(mask) > 0 for name, mask in loaded.readers.items()},
    )
