"""Measuring the machine, its ceiling, and every step of every network."""

from __future__ import annotations

import torch

from mois_core.bench.machine import PRECISIONS, describe, fastest, matrix_rate, peak_memory
from mois_core.bench.report import BenchReport, StepTime
from mois_core.bench.sam2_baseline import Sam2Baseline, counterpart
from mois_core.bench.settings import BenchSettings
from mois_core.bench.steps import BenchSteps, operations_of, published_operations
from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.network.loading import build
from mois_core.progress import Progress, silent

QUICK_SECONDS = 0.5
"""What takes milliseconds is repeated for this long: a single disturbance is as long as that."""


def measure_machine(settings: BenchSettings) -> BenchReport:
    """Measure the machine and its ceilings in both precisions, without any network."""
    report = BenchReport(describe(settings.device))
    for name, dtype in PRECISIONS.items():
        report.matrix_rates[name] = matrix_rate(dtype, settings.device, settings.repeats)
    return report


@torch.no_grad()
def measure_steps(settings: BenchSettings, progress: Progress = silent) -> BenchReport:
    """Measure the machine and every step of every network in every precision."""
    report = BenchReport(describe(settings.device))
    works = [(name, precision) for name in settings.networks for precision in settings.precisions]
    for done, (name, precision) in enumerate(works):
        progress(done, len(works), f"{name} in {precision}")
        before = matrix_rate(PRECISIONS[precision], settings.device, settings.repeats)
        report.steps += _time_steps(settings, name, precision)
        after = matrix_rate(PRECISIONS[precision], settings.device, settings.repeats)
        # The best of the whole run: what disturbs it must not lower the ceiling.
        best = max(before, after, report.matrix_rates.get(precision, 0.0))
        report.matrix_rates[precision] = best
    return report


def _time_steps(settings: BenchSettings, name: str, precision: str) -> list[StepTime]:
    config, device, dtype = settings.networks[name], settings.device, PRECISIONS[precision]
    model = fill_synthetic(build(config)).requires_grad_(False).eval().to(device)
    size = counterpart(config) if settings.against_sam2 else None
    baseline = Sam2Baseline(size, model, dtype) if size else None
    steps = BenchSteps(model.set_precision(dtype))
    theirs = baseline.all(steps) if baseline else {}
    published = published_operations(config)
    times = []
    for step_name, step in steps.all().items():
        computed = operations_of(step.run)
        memory = peak_memory(step.run, device)
        works = {"ours": step.run}
        if step_name in theirs:
            theirs[step_name]()
            works["sam2"] = theirs[step_name]
        best = fastest(works, device, settings.repeats, QUICK_SECONDS)
        times.append(
            StepTime(
                network=name,
                image_size=config.image_size,
                step=step_name,
                precision=precision,
                seconds=best["ours"],
                operations=published[step_name],
                computed_operations=computed,
                peak_memory_bytes=memory,
                sam2_seconds=best.get("sam2"),
            )
        )
    return times
