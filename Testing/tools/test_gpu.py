"""The chain that `make gpu` runs: every piece, what is kept of it, and the report."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_files import write_stages

from mois_core.errors import BadInput
from mois_core.network.config import PRESETS
from tools import gpu, gpu_machine, gpu_pieces, gpu_report
from tools.gpu_machine import check_same, describe, why_no_gpu
from tools.gpu_pieces import CONFIG, GOLDEN, MINUTES_PER_PIECE, Plan, measurements
from tools.gpu_runs import FAILED, MOST_SECONDS, PASSED, Piece, Result

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a GPU is measured on Linux")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def plan_for_a_gpu(minutes: float = 0.0) -> Plan:
    return gpu_pieces.on_a_gpu(GOLDEN, CONFIG, minutes)


def names(pieces) -> list[str]:
    return [piece.name for piece in pieces]


# ---- what is measured ----------------------------------------------------------------------


def test_every_network_is_timed_in_both_precisions(tmp_path):
    commands = [" ".join(piece.arguments) for piece in measurements(plan_for_a_gpu(), tmp_path)]
    for network in PRESETS:
        for precision in ("float32", "bfloat16"):
            how = f"bench --preset {network} --dtype {precision} --device cuda --against sam2"
            assert any(how in command for command in commands), how
    assert any("--preset mois-sam2-b+ --dtype bfloat16" in c and "published" in c for c in commands)
    assert any("tools.gpu_search --preset mois-sam2-b+" in command for command in commands)


def test_every_test_that_needs_a_gpu_is_run_and_all_of_the_networks(tmp_path):
    files = {path.name for path in gpu_pieces.gpu_tests()}
    assert {"test_network_precision.py", "test_holes.py", "test_training_on_gpu.py"} <= files
    assert {path.name for path in (gpu_pieces.TESTING / "network").glob("test_*.py")} <= files
    assert "test_training_draws.py" not in files


def test_every_golden_set_is_compared_on_the_gpu(tmp_path):
    pieces = list(measurements(plan_for_a_gpu(), tmp_path))
    compared = [piece for piece in pieces if piece.name.startswith("parity-")]
    assert {p.name for p in compared} == {f"parity-{p.stem}" for p in GOLDEN.glob("*.npz")}
    assert all("--device" in piece.arguments and "cuda" in piece.arguments for piece in compared)


def test_a_piece_has_a_name_of_its_own_and_takes_less_than_ten_minutes(tmp_path):
    pieces = [*measurements(plan_for_a_gpu(), tmp_path)]
    pieces += gpu_pieces.training(plan_for_a_gpu(100), tmp_path)
    assert len(set(names(pieces))) == len(pieces)
    assert all(piece.seconds <= MOST_SECONDS < 600 for piece in pieces)
    assert MINUTES_PER_PIECE * 60 < MOST_SECONDS


def test_the_minutes_of_training_are_shared_out(tmp_path):
    pieces = list(gpu_pieces.training(plan_for_a_gpu(20), tmp_path))
    assert [piece.arguments[-1] for piece in pieces] == ["8", "8", "4"]
    assert not list(gpu_pieces.training(plan_for_a_gpu(0), tmp_path))


# ---- without a GPU -------------------------------------------------------------------------


def test_without_a_gpu_it_ends_with_a_word(tmp_path, monkeypatch, no_gpu):
    monkeypatch.setattr("sys.argv", ["gpu", "--out", str(tmp_path / "runs")])
    with pytest.raises(SystemExit) as end:
        gpu.main()
    assert str(end.value).startswith("gpu: ")
    assert not (tmp_path / "runs").exists()


def test_what_keeps_torch_from_a_gpu_is_told_apart(monkeypatch, no_gpu):
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "build without CUDA" in why_no_gpu()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(gpu_machine.shutil, "which", lambda _: None)
    assert "no NVIDIA driver" in why_no_gpu()
    monkeypatch.setattr(gpu_machine.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    assert "driver may be too old for CUDA 13.0" in why_no_gpu()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert why_no_gpu() is None


def test_figures_of_two_machines_do_not_mix(tmp_path):
    here = describe("cpu")
    check_same(here, tmp_path)
    check_same(here, tmp_path)
    with pytest.raises(BadInput, match="has figures with gpu none, here it is Another"):
        check_same(here | {"gpu": "Another"}, tmp_path)


def test_the_facts_of_a_gpu_come_from_its_driver(monkeypatch):
    class Said:
        stdout = "NVIDIA Some GPU, 580.65.06, 81559 MiB\n"

    monkeypatch.setattr(gpu_machine.subprocess, "run", lambda *_, **__: Said)
    facts = describe("cuda")
    assert facts["gpu"] == "NVIDIA Some GPU" and facts["driver"] == "580.65.06"
    assert facts["gpu_memory"] == "81559 MiB" and not facts["rehearsal"]


# ---- going on ------------------------------------------------------------------------------


def fake_run(monkeypatch, failing: str = "") -> list[str]:
    """Have pieces do nothing; the names of those that were run are returned."""
    made = []

    def run(piece: Piece, folder: Path) -> Result:
        made.append(piece.name)
        status = FAILED if piece.name == failing else PASSED
        lines = ["CUDA out of memory"] if status == FAILED else ["3 passed in 2 s"]
        result = Result(piece.name, piece.title, "python -m x", status, "2026-01-01", 1.0, lines)
        (folder / piece.name).mkdir(parents=True)
        text = json.dumps(result.__dict__)
        (folder / piece.name / "result.json").write_text(text, "utf-8")
        return result

    monkeypatch.setattr(gpu, "run", run)
    return made


def test_a_piece_that_fails_stops_no_other_and_is_not_repeated_unasked(tmp_path, monkeypatch):
    plan = gpu_pieces.rehearsal(GOLDEN, CONFIG, 0)
    every = names(measurements(plan, tmp_path))
    made = fake_run(monkeypatch, failing=every[0])
    results = gpu.go_through(plan, tmp_path, [])
    assert made == every and [one.status for one in results[:2]] == [FAILED, PASSED]
    report = (tmp_path / "report.md").read_text("utf-8")
    assert "### Not passed" in report and "CUDA out of memory" in report
    assert "3 passed in 2 s" in report
    assert gpu.go_through(plan, tmp_path, []) == results and made == every


def test_what_was_stopped_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    plan = gpu_pieces.rehearsal(GOLDEN, CONFIG, 0)
    every = names(measurements(plan, tmp_path))
    made = fake_run(monkeypatch)
    gpu.go_through(plan, tmp_path, [])
    (tmp_path / every[1] / "result.json").unlink()
    made.clear()
    for kept in tmp_path.iterdir():
        if kept.name == every[1]:
            kept.rmdir()
    gpu.go_through(plan, tmp_path, [])
    assert made == [every[1]]


# ---- the report ----------------------------------------------------------------------------


def test_the_report_leaves_out_what_was_not_measured():
    report = {"date": "2026-01-02T00:00:00", "machine": describe("cpu"), "pieces": []}
    text = gpu_report.as_markdown(report | {"training": []})
    assert text.startswith("## Rehearsal on a processor\n")
    assert "say nothing of a GPU" in text and "###" not in text


def test_operations_in_the_published_order_are_a_table_with_their_command():
    time = {"network": "mois-sam2-b+", "precision": "bfloat16", "operation": "a click"}
    time |= {"published_seconds": 3.0, "seconds": 0.5, "ratio": 6.0}
    piece = {"name": "bench-a", "status": PASSED, "command": "python -m mois_core bench a"}
    piece |= {"last_lines": [], "figures": {"operations": [time]}}
    other = piece | {"name": "bench-b", "command": "python -m mois_core bench b", "figures": {}}
    report = {"date": "2026-01-02T00:00:00", "machine": describe("cpu"), "training": []}
    text = gpu_report.as_markdown(report | {"pieces": [piece, other]})
    assert "| mois-sam2-b+ | bfloat16 | a click | 3 | 0.5 | 6.0 |" in text
    assert "    python -m mois_core bench a\n" in text and "bench b" not in text


@pytest.mark.full
def test_the_whole_chain_runs_goes_on_and_ends_in_weights_and_a_report(tmp_path, monkeypatch):
    config = write_stages(tmp_path, first={"steps": 2}, second={"steps": 10_000})
    out = tmp_path / "runs"
    options = ["--device", "cpu", "--minutes", "0.4", "--config", str(config), "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["gpu", *options])

    class Killed(BaseException):
        pass

    done = []

    def killed_after_the_first(piece: Piece, folder: Path) -> Result:
        if done:
            raise Killed
        done.append(gpu_runs_run(piece, folder))
        return done[0]

    gpu_runs_run = gpu.run
    monkeypatch.setattr(gpu, "run", killed_after_the_first)
    with pytest.raises(Killed):
        gpu.main()
    assert len(json.loads((out / "report.json").read_text("utf-8"))["pieces"]) == 1
    monkeypatch.setattr(gpu, "run", gpu_runs_run)
    gpu.main()

    report = json.loads((out / "report.json").read_text("utf-8"))
    pieces = {piece["name"]: piece for piece in report["pieces"]}
    assert pieces[done[0].name]["started"] == done[0].started
    assert {piece["status"] for piece in pieces.values()} == {PASSED}
    assert pieces["bench-mois-tiny-float32-sam2"]["figures"]["steps"]
    assert pieces["search-mois-tiny-float32"]["figures"]["median_seconds"]["search all slices"] > 0
    first, second = report["training"]
    assert (first["steps"], second["of"]) == (2, 10_000)
    assert all(value.isfinite().all() for value in load_file(out / "small.safetensors").values())
    text = (out / "report.md").read_text("utf-8")
    for part in ("A scan, searched", "Steps", "Checks", "Training"):
        assert f"### {part}" in text, part
    assert "tools.parity" in text and "0 failed" in text
    assert "Not passed" not in text
    assert replace(done[0], last_lines=list(done[0].last_lines)) == Result.kept(out, done[0].name)
