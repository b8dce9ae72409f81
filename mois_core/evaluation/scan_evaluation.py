"""One scan through every segmenter that is still to be run on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mois_core.errors import Cancelled
from mois_core.evaluation.cohort import LoadedCase, load_case
from mois_core.evaluation.metrics import Measuring, measure
from mois_core.evaluation.plan import Job
from mois_core.evaluation.protocols import Step, run_protocol
from mois_core.evaluation.segmenter_specs import make_segmenter
from mois_core.evaluation.store import KeptScan, Store, key_of
from mois_core.geometry import SliceStack
from mois_core.session.intensity import normalise


def evaluate_scan(
    jobs: Sequence[Job], measuring: Measuring, folder: Path, keep_masks: bool
) -> list[tuple[str, str]]:
    """Run the jobs of one scan; gives what to say of each: the scan and segmenter, and an error.

    Nothing that one scan or segmenter does ends the run, apart from the user's own wish.
    """
    store = Store(folder)
    loaded: LoadedCase | None = None
    said = []
    for job in jobs:
        name = f"{job.case.name}, {job.segmenter.name}"
        try:
            if loaded is None:
                loaded = load_case(job.case)
                if keep_masks:
                    store.keep_scan(_kept(loaded), job.case.name)
            store.finish(job, _measured(job, loaded, measuring, store if keep_masks else None))
            said.append((name, ""))
        except Cancelled:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            store.fail(job, reason)
            said.append((name, reason))
    return said


def _measured(
    job: Job, loaded: LoadedCase, measuring: Measuring, store: Store | None
) -> list[dict[str, object]]:
    stack = SliceStack(loaded.volume)
    spacing = (stack.slice_spacing, *stack.pixel_spacing)
    truth = stack.from_volume(loaded.labels) > 0
    segmenter = make_segmenter(job.segmenter)
    protocol = job.experiment.protocol
    steps = run_protocol(protocol, segmenter, loaded.volume, loaded.labels, job.case.name)
    rows = []
    for step in steps:
        rows.append({**key_of(job), **_row(step, truth, spacing, measuring)})
        if store is not None and step.is_last:
            store.keep_mask(job, step.result > 0)
    return rows


def _row(
    step: Step, truth: np.ndarray, spacing: tuple[float, ...], measuring: Measuring
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
