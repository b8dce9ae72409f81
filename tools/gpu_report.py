"""The report on a GPU: all figures as JSON, and as Markdown that docs/benchmarks.md takes in."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mois_core.io.atomic import atomic_write
from mois_core.training.config_file import read_stages
from mois_core.training.run_logger import LOG
from tools.gpu_pieces import TRAINING, Plan
from tools.gpu_runs import PASSED, Result, figures_of

Row = Sequence[str]


def write_report(
    plan: Plan, machine: dict[str, Any], results: Sequence[Result], folder: Path
) -> None:
    """Write ``report.json`` and ``report.md`` of all that has been measured so far."""
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "pieces": [asdict(one) | {"figures": figures_of(folder, one.name)} for one in results],
        "training": trained_stages(plan, folder),
    }
    for name, text in (
        ("report.json", json.dumps(report, indent=1) + "\n"),
        ("report.md", as_markdown(report)),
    ):
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def trained_stages(plan: Plan, folder: Path) -> list[dict[str, Any]]:
    """Return how far each stage of the training is, and its pace and losses."""
    stages = []
    for name, config in read_stages(plan.config).items():
        path = folder / TRAINING / name / LOG
        if not path.is_file():
            continue
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if "loss" in line]
        if lines:
            stages.append(
                {
                    "stage": name,
                    "steps": lines[-1]["step"],
                    "of": config.steps,
                    "seconds_per_step": statistics.median(line["seconds"] for line in lines),
                    "first_loss": lines[0]["loss"],
                    "last_loss": lines[-1]["loss"],
                }
            )
    return stages


# ---- Markdown ------------------------------------------------------------------------------


def as_markdown(report: dict[str, Any]) -> str:
    """Return the report as a section of a page, without what was not measured."""
    machine, pieces = report["machine"], report["pieces"]
    sections = [_head(report)]
    for title, beginning, table in (
        ("A scan, searched", "search-", _search_rows),
        ("Steps", "bench-", _step_rows),
        ("Whole operations against the published app's order of work", "bench-", _operation_rows),
    ):
        own = [one for one in pieces if one["name"].startswith(beginning)]
        rows = table(own)
        if rows:
            used = [one for one in own if one["figures"] and table([one])]
            sections.append(_section(title, _commands(used), rows))
    checks = [one for one in pieces if one["name"].startswith(("tests-", "parity-"))]
    if checks:
        sections.append(_section("Checks", [], _check_rows(checks)))
    training = [one for one in pieces if one["name"].startswith(("train-", "weights-"))]
    if training:
        sections.append(_section("Training", _commands(training), _training_rows(report)))
    bad = [one for one in pieces if one["status"] != PASSED]
    if bad:
        sections.append(_failures(bad))
    title = f"## {'Rehearsal on a processor' if machine['rehearsal'] else machine['gpu']}"
    return "\n\n".join([title, *sections]) + "\n"


def _head(report: dict[str, Any]) -> str:
    machine = report["machine"]
    facts = (
        f"{report['date'][:10]}, {machine['gpu']} ({machine['gpu_memory']}), driver "
        f"{machine['driver']}, torch {machine['torch']} with CUDA {machine['cuda']}; "
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, Python "
        f"{machine['python']}; commit {machine['commit']}. `make gpu` repeats all of it, a command "
        "below one part."
    )
    if machine["rehearsal"]:
        facts += "\n\n**A rehearsal with small networks: these figures say nothing of a GPU.**"
    return facts


def _section(title: str, commands: Iterable[str], rows: Sequence[Row]) -> str:
    shown = "\n".join(f"    {command}" for command in commands)
    return "\n\n".join(part for part in (f"### {title}", shown, _table(rows)) if part)


def _commands(pieces: Iterable[dict[str, Any]]) -> list[str]:
    # A training is gone on with by the same command.
    return list(dict.fromkeys(one["command"] for one in pieces))


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _search_rows(pieces: Sequence[dict[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    for figures in (one["figures"] for one in pieces):
        for step, median in figures.get("median_seconds", {}).items():
            fastest, first = figures["fastest_seconds"][step], figures["first_seconds"][step]
            seconds = [f"{value:.3g}" for value in (median, fastest, first)]
            what = f"{figures['network']}, {figures['precision']}, {figures['slices']} slices"
            rows.append([what, step, *seconds, _memory(figures["peak_memory_bytes"])])
    head = ["", "what a user does", "seconds, median", "fastest", "first", "peak memory"]
    return [head, *rows] if rows else []


def _step_rows(pieces: Sequence[dict[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    for step in (step for one in pieces for step in one["figures"].get("steps", ())):
        ratio = step["sam2_ratio"]
        row = [step["network"], step["precision"], step["title"], f"{1000 * step['seconds']:.3g}"]
        row += [f"{step['fraction_of_ceiling']:.0%}", _memory(step["peak_memory_bytes"])]
        rows.append([*row, f"{ratio:.2f}" if ratio else "-"])
    head = ["network", "precision", "step", "ms", "of the ceiling", "peak memory", "sam2 takes"]
    return [head, *rows] if rows else []


def _operation_rows(pieces: Sequence[dict[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    for one in (one for piece in pieces for one in piece["figures"].get("operations", ())):
        seconds = [f"{one[which]:.3g}" for which in ("published_seconds", "seconds")]
        names = [one["network"], one["precision"], one["operation"]]
        rows.append([*names, *seconds, f"{one['ratio']:.1f}"])
    head = ["network", "precision", "operation", "published order, s", "ours, s", "ratio"]
    return [head, *rows] if rows else []


def _check_rows(pieces: Sequence[dict[str, Any]]) -> list[Row]:
    said = [(one, one["last_lines"][-1].strip("= ") if one["last_lines"] else "") for one in pieces]
    rows = [[f"`{one['command']}`", one["status"], last] for one, last in said]
    return [["command", "", "its last line"], *rows]


def _training_rows(report: dict[str, Any]) -> list[Row]:
    rows = [
        [
            one["stage"],
            f"{one['steps']} of {one['of']}",
            f"{one['seconds_per_step']:.3g}",
            f"{one['first_loss']:.3f}",
            f"{one['last_loss']:.3f}",
        ]
        for one in report["training"]
    ]
    head = ["stage", "steps", "seconds per step", "loss at first", "loss at last"]
    return [head, *rows] if rows else []


def _failures(pieces: Sequence[dict[str, Any]]) -> str:
    parts = ["### Not passed"]
    for one in pieces:
        lines = "\n".join(f"    {line}" for line in one["last_lines"])
        seconds = f"{one['seconds']:.0f} s"
        parts.append(f"`{one['command']}`: {one['status']} after {seconds}\n\n{lines}")
    return "\n\n".join(parts)


def _memory(count: int | None) -> str:
    return "-" if count is None else f"{count / 2**20:,.0f} MiB"
