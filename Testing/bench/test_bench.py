"""``mois bench`` measures what it says, and counts operations as they were published."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from paths import GOLDEN
from small_networks import SLM, assert_same, lively, noise

from mois_core import cli
from mois_core.bench import machine, sam2_baseline
from mois_core.bench.sam2_baseline import Sam2Baseline, counterpart
from mois_core.bench.steps import (
    CLICK,
    ENCODE,
    PROPAGATE,
    SEARCH,
    BenchSteps,
    operations_of,
    published_operations,
)
from mois_core.network.attention import attend
from mois_core.network.config import PRESETS

PUBLISHED = json.loads((GOLDEN / "FLOPS.json").read_text(encoding="utf-8"))
CPU = torch.device("cpu")
WITHOUT_CLICK = PUBLISHED["sam heads: no click (tracking / exemplars)"]


@pytest.fixture(scope="module")
def a_report(tmp_path_factory):
    """One small network, against the package, as the command writes it."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    arguments = ["--preset", "sam2.1-t", "--preset", "mois-tiny", "--image-size", "128"]
    arguments += ["--repeats", "1", "--threads", "1", "--against", "sam2", "--out", str(path)]
    threads = torch.get_num_threads()

    assert cli.main(["bench", *arguments]) == cli.EXIT_DONE

    assert torch.get_num_threads() == threads
    return json.loads(path.read_text(encoding="utf-8"))


def test_operations_of_the_full_network_are_those_published():
    counted = published_operations(PRESETS["mois-sam2-b+"])

    assert counted == {
        ENCODE: PUBLISHED["image_encode (backbone+FPN+conv_s0/s1), 1 slice"],
        CLICK: PUBLISHED["sam heads: 1 click, multimask"],
        PROPAGATE: PUBLISHED["memory attention: 3 memory frames + 3 pointers"]
        + PUBLISHED["memory encoder, 1 mask"]
        + WITHOUT_CLICK,
        SEARCH: PUBLISHED["exemplar attention: 10 exemplars"] + WITHOUT_CLICK,
    }


def test_saved_operations_are_those_of_the_projections():
    config = PRESETS["mois-tiny"]
    published = published_operations(config)

    with torch.no_grad():
        steps = BenchSteps(lively(config)).all()
        computed = {name: operations_of(step.run) for name, step in steps.items()}

    assert computed[ENCODE] == published[ENCODE]
    assert computed[CLICK] == published[CLICK]
    assert computed[PROPAGATE] < published[PROPAGATE]
    assert 0.5 * published[SEARCH] < computed[SEARCH] < 0.8 * published[SEARCH]


def test_operations_of_pytorchs_attention_are_counted():
    q, k, v = noise(2, 3, 5, 8), noise(2, 3, 7, 8), noise(2, 3, 7, 8)

    counted = operations_of(lambda: F.scaled_dot_product_attention(q, k, v))

    assert counted == 2 * (2 * 3 * 5 * 7 * 8) * 2


def test_slm_propagates_with_both_memories():
    propagated = published_operations(SLM)[PROPAGATE]

    assert propagated > 1.3 * published_operations(replace(SLM, short_memory=None))[PROPAGATE]


def test_report_has_every_step(a_report):
    steps = {(s["network"], s["precision"], s["step"]) for s in a_report["steps"]}

    assert steps == {
        (network, precision, step)
        for network in ("sam2.1-t", "mois-tiny")
        for precision in ("float32", "bfloat16")
        for step in (ENCODE, CLICK, PROPAGATE, SEARCH)
        if (network, step) != ("sam2.1-t", SEARCH)
    }


def test_report_has_figures_that_fit_together(a_report):
    assert a_report["machine"]["threads"] == 1
    assert a_report["machine"]["processor"]
    for step in a_report["steps"]:
        rate = a_report["matrix_gflop_per_s"][step["precision"]]
        assert step["image_size"] == [128, 128]
        assert step["operations"] / step["seconds"] / 1e9 == pytest.approx(step["gflop_per_s"])
        assert step["gflop_per_s"] / rate == pytest.approx(step["fraction_of_ceiling"])
        assert 0 < step["computed_operations"] <= step["operations"]


def test_report_compares_the_steps_that_both_have(a_report):
    for step in a_report["steps"]:
        if step["network"] == "sam2.1-t":
            ratio = step["sam2_seconds"] / step["seconds"]
            assert step["sam2_ratio"] == pytest.approx(ratio)
        else:
            assert step["sam2_seconds"] is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_baseline_computes_the_same(dtype):
    config = replace(PRESETS["sam2.1-t"], image_size=(128, 128))
    ours = lively(config, score_bias=10.0)
    steps = BenchSteps(ours)
    theirs = Sam2Baseline("t", ours, dtype).all(steps)
    tolerance = 1e-4 if dtype == torch.float32 else 0.1

    encoded = theirs[ENCODE]()["backbone_fpn"]
    masks = theirs[CLICK]()[0]
    propagated = theirs[PROPAGATE]()["maskmem_features"]

    with torch.no_grad():
        runs = {name: step.run() for name, step in steps.all().items()}
    assert_same(encoded[2].float(), runs[ENCODE].coarse, tolerance)
    assert_same(encoded[0].float(), runs[ENCODE].fine, tolerance)
    assert_same(masks.float(), runs[CLICK].candidates, 2 * tolerance)
    assert_same(propagated.float(), runs[PROPAGATE], 2 * tolerance)


def test_the_baseline_attends_with_our_kernel_only_while_it_runs(monkeypatch):
    hieradet = importlib.import_module("sam2.modeling.backbones.hieradet")
    calls = []
    monkeypatch.setattr(
        sam2_baseline, "attend", lambda q, k, v: (calls.append(1), attend(q, k, v))[1]
    )
    ours = lively(replace(PRESETS["sam2.1-t"], image_size=(128, 128)))

    Sam2Baseline("t", ours, torch.float32).all(BenchSteps(ours))[ENCODE]()

    assert calls
    assert hieradet.F is F


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mois-sam2-b+", "b+"),
        ("sam2.1-l", "l"),
        ("slm-sam2-t", "t"),
        ("mois-tiny", None),
        ("phantom", None),
    ],
)
def test_counterpart_is_the_network_within(name, size):
    assert counterpart(PRESETS[name]) == size


def test_an_input_that_is_no_square_has_no_counterpart():
    assert counterpart(replace(PRESETS["sam2.1-t"], image_size=(256, 128))) is None


def test_works_take_turns_and_the_fastest_time_counts(monkeypatch):
    order = []
    times = iter([3.0, 1.0, 2.0, 5.0])
    monkeypatch.setattr(machine, "seconds_of", lambda work, device: (work(), next(times))[1])
    works = {name: lambda name=name: order.append(name) for name in ("a", "b")}

    best = machine.fastest(works, CPU, repeats=2)

    assert order == ["a", "b", "a", "b"]
    assert best == {"a": 2.0, "b": 1.0}


def test_peak_memory_is_what_is_needed_for_a_moment():
    needed = machine.peak_memory(lambda: torch.ones(50_000_000), CPU)

    # Only Linux tells the peak of a part of a process's life.
    assert needed is None or 180e6 < needed < 260e6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "sam3"], "no model called 'sam3'"),
        (["--image-size", "100"], "multiples of 32"),
        (["--image-size", "128x100"], "100 columns are not"),
        (["--device", "abacus"], "no device"),
        (["--repeats", "0"], "at least 1"),
        (["--threads", "0"], "at least 1"),
        (["--out", "no/such/folder/bench.json"], "folder does not exist"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_measured(capsys, arguments, words):
    assert cli.main(["bench", *arguments]) == cli.EXIT_BAD_INPUT

    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_table_is_printed(capsys):
    arguments = ["--preset", "mois-tiny", "--image-size", "128", "--dtype", "float32"]

    assert cli.main(["bench", *arguments, "--repeats", "1"]) == cli.EXIT_DONE

    printed = capsys.readouterr().out
    assert "ceiling  GFLOP/s of matrix products" in printed
    assert "mois-tiny, 128 x 128 pixels" in printed
    assert "search one slice, 10 exemplars" in printed
    assert "bfloat16" not in printed


def test_a_network_with_an_input_that_is_no_square_is_measured(tmp_path):
    out = tmp_path / "bench.json"
    arguments = ["--preset", "phantom", "--image-size", "128x64", "--dtype", "float32"]

    assert cli.main(["bench", *arguments, "--repeats", "1", "--out", str(out)]) == cli.EXIT_DONE

    steps = json.loads(out.read_text(encoding="utf-8"))["steps"]
    assert {step["step"] for step in steps} == {ENCODE, CLICK, PROPAGATE, SEARCH}
    assert all(step["image_size"] == [128, 64] and step["seconds"] > 0 for step in steps)
