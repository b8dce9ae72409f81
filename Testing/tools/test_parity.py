"""The parity check passes on the published figures, fails on wrong ones, and is tied to neither."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT
from small_networks import GOLDEN, lively

from mois_core.network.config import preset
from mois_core.session.preprocess import published_input
from tools import parity
from tools.golden_bounds import compare
from tools.golden_sets import GoldenSet, Results
from tools.published_flow import ObjectState, PublishedPredictor, Stored

SHARED = ROOT.parent / "shared" / "golden" / "public"
SMALL_SETS = ("slm_tiny", "tiny", "tiny_fill", "tiny_fp32mem")
NOT_COMPUTED = {"in.blobs"}
LONGEST_RUN = 1500


def run_parity(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "Testing" / "parity.py"), str(folder), *options]
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=LONGEST_RUN, check=False
    )


HEADING = re.compile(r"(\S+) \((?:mois|slm)-\w+\): \d+ of \d+ rows")
FIGURE = r"([\d.e+-]+|nan)"
ROW = re.compile(rf"(\S.*?) +{FIGURE} +{FIGURE}  .{{34,}}? (\S.*)")


def rows_of(report: str) -> dict[str, dict[str, str]]:
    """The verdict on each array of each set, as printed."""
    sets: dict[str, dict[str, str]] = {}
    for line in report.splitlines():
        if heading := HEADING.fullmatch(line):
            rows = sets.setdefault(heading[1], {})
        elif row := ROW.fullmatch(line):
            rows[row[1]] = row[4]
    return sets


# ---- the published figures ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def report():
    return run_parity(GOLDEN)


def test_the_published_figures_pass(report):
    assert report.returncode == 0, report.stdout + report.stderr
    assert report.stdout.endswith(" passed, 0 failed\n")


@pytest.mark.parametrize("name", SMALL_SETS)
def test_every_array_of_a_set_gets_a_row(report, name):
    rows = rows_of(report.stdout)[name]

    assert set(np.load(GOLDEN / f"{name}.npz").files) - NOT_COMPUTED <= rows.keys()
    assert set(rows.values()) <= {"ok", "exempt"}


def test_facts_and_components_get_rows_too(report):
    rows = rows_of(report.stdout)["tiny"]

    for name in ("exemplar_keys_after_3_objects", "obj1.bwd.frames", "twocond.cond_frames"):
        assert rows[name] == "ok"
    assert sum(name.endswith("(components)") for name in rows) > 10


@pytest.mark.full
@pytest.mark.skipif(not (SHARED / "full.npz").exists(), reason="the full-size set is not here")
def test_the_published_figures_at_full_size_pass():
    report = run_parity(SHARED)

    assert report.returncode == 0, report.stdout + report.stderr
    assert {*SMALL_SETS, "full"} <= rows_of(report.stdout).keys()


# ---- wrong figures -----------------------------------------------------------------------------


@pytest.fixture
def a_short_set(tmp_path):
    """SLM-SAM 2's figures for its short memory of one slice, which take a second."""
    with np.load(GOLDEN / "slm_tiny.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files if not name.startswith("n7.")}
    facts = json.loads((GOLDEN / "slm_tiny.json").read_text(encoding="utf-8"))
    del facts["n7.order"]
    np.savez(tmp_path / "short.npz", **kept)
    (tmp_path / "short.json").write_text(json.dumps(facts), encoding="utf-8")
    return tmp_path


def change_array(folder: Path, name: str, change) -> None:
    with np.load(folder / "short.npz") as file:
        arrays = dict(file)
    arrays[name] = change(arrays[name])
    np.savez(folder / "short.npz", **arrays)


def shifted(values):
    changed = values.copy()
    changed.flat[values.size // 2] += 0.01 * np.abs(values).max()
    return changed


def verdicts(capsys) -> dict[str, str]:
    (rows,) = rows_of(capsys.readouterr().out).values()
    return rows


def failing(rows: dict[str, str]) -> set[str]:
    return {name for name, verdict in rows.items() if verdict not in ("ok", "exempt")}


def test_one_tampered_array_fails_and_is_named(a_short_set):
    change_array(a_short_set, "n1.prompt.mem_fp32", shifted)

    report = run_parity(a_short_set)

    assert report.returncode == 1
    assert failing(rows_of(report.stdout)["short"]) == {"n1.prompt.mem_fp32"}
    assert report.stdout.endswith(" passed, 1 failed\n")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("n1.fwd.f5.obj_ptr", lambda values: 1.01 * values),
        ("n1.bwd.f1.score", lambda values: values + 0.01),
        ("n1.fwd.f4.fused", lambda values: values[:, ::-1]),
        ("in.resized_u8", lambda values: values ^ np.uint8(1)),
        ("enc.s3.fpn2", lambda values: values[:, :-1]),
    ],
)
def test_wrong_figures_of_every_kind_are_named(a_short_set, capsys, name, change):
    change_array(a_short_set, name, change)

    assert parity.main([str(a_short_set)]) == 1
    assert failing(verdicts(capsys)) == {name}


def test_an_array_that_nothing_computes_fails(a_short_set, capsys):
    with np.load(a_short_set / "short.npz") as file:
        arrays = dict(file)
    arrays["n1.fwd.f99.obj_ptr"] = arrays["n1.fwd.f5.obj_ptr"]
    np.savez(a_short_set / "short.npz", **arrays)

    assert parity.main([str(a_short_set)]) == 1
    assert verdicts(capsys)["n1.fwd.f99.obj_ptr"] == "missing"


def test_a_wrong_order_of_slices_fails(a_short_set, capsys):
    path = a_short_set / "short.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["n1.order"].reverse()
    path.write_text(json.dumps(facts), encoding="utf-8")

    assert parity.main([str(a_short_set), "--failures"]) == 1
    assert verdicts(capsys) == {"n1.order": "FAIL"}


def test_a_folder_without_sets_is_no_pass(tmp_path, capsys):
    assert parity.main([str(tmp_path)]) == 2
    assert "no golden sets" in capsys.readouterr().err


# ---- what hangs on rounding --------------------------------------------------------------------


def verdict_of_memory(alternatives: list[float]) -> str:
    """Ours is off by 0.1, and by ``alternatives`` where the signs of pixels fall otherwise."""
    name, memory = "corr.iter.mem_fp32", torch.linspace(-1, 1, 64).reshape(4, 4, 4)
    golden = GoldenSet("made", {name: memory.numpy()}, {"kind": "mois-tiny"}, {}, {}, {})
    ours = Results({name: memory + 0.1}, {}, {name: lambda: (memory + a for a in alternatives)})
    (row,) = compare(golden, ours)
    return row.verdict


def test_a_memory_that_pixels_without_a_sign_explain_is_exempt():
    assert verdict_of_memory([0.1, 0.0]) == "exempt"


def test_a_memory_that_they_do_not_explain_fails():
    assert verdict_of_memory([0.1, 0.05]) == "FAIL"
    assert verdict_of_memory([]) == "FAIL"


@torch.no_grad()
def test_only_pixels_without_a_sign_fall_otherwise():
    figures = Figures({"salt": "", "obj_score_bias": 0.5}, another_volume(1, 40, 40))
    flow = figures.flow("mois-tiny")
    low = flow.model.config.low_res_size
    logits = torch.full((1, 1, *low), 5.0)
    features, pointer = flow.features(0), torch.zeros(1, 64)

    def memories() -> list[torch.Tensor]:
        stored = Stored(logits, pointer, torch.ones(1, 1))
        return list(flow.memories_for_each_sign(features, stored))

    usual = flow.model.remember(features, logits, torch.ones(1, 1), from_clicks=True)[0]
    assert len(memories()) == 1
    assert torch.equal(memories()[0], usual)
    logits[0, 0, 0, 0] = 1e-5
    corner = memories()
    assert len(corner) == 16, "a corner of the low-resolution mask is four pixels of the large one"
    assert sum(torch.equal(memory, usual) for memory in corner) == 1
    logits[0, 0, 8:12, 8:12] = -1e-5
    assert memories() == []


# ---- other seeds, sizes, slices and clicks -----------------------------------------------------


@dataclass
class Figures:
    """A set in the making: our own network's figures, by a way of its own."""

    facts: dict
    volume: np.ndarray
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def record(self, name: str, value: torch.Tensor) -> None:
        self.arrays[name] = value.detach().float().numpy().copy()

    def flow(self, name: str, score_bias: float | None = None) -> PublishedPredictor:
        bias = self.facts["obj_score_bias"] if score_bias is None else score_bias
        config = preset(name)
        images = torch.stack([published_input(s, config.image_size) for s in self.volume])
        return PublishedPredictor(
            lively(config, self.facts["salt"], bias),
            images,
            self.volume.shape[1:],
            self.record,
            {},
        )

    def save(self, folder: Path, **changes) -> Path:
        """Write the set; ``changes`` are facts that then no longer fit its figures."""
        path = folder / "elsewhere.npz"
        np.savez(path, **{"in.volume_u8": self.volume}, **self.arrays)
        path.with_suffix(".json").write_text(json.dumps(self.facts | changes), encoding="utf-8")
        return folder


def another_volume(slices: int, rows: int, columns: int) -> np.ndarray:
    z, y, x = np.indices((slices, rows, columns))
    waves = np.sin(0.3 * z + 0.11 * y) + np.cos(0.17 * x - 0.4 * z) + np.sin(0.05 * x * y / rows)
    return (127 + 40 * waves).astype(np.uint8)


FIRST, MIDDLE, LAST = 0, 2, 4


@pytest.fixture(scope="module")
@torch.no_grad()
def another_set():
    """Five slices of 90 x 140 with clicks on the first, the last and one between."""
    clicks = [
        {"object": 1, "slice": FIRST, "positive_xy": [31.0, 12.0]},
        {"object": 2, "slice": LAST, "positive_xy": [120.0, 77.0]},
        {"object": 3, "slice": MIDDLE, "positive_xy": [70.5, 45.0]},
    ]
    for click in clicks:
        click["second_negative_xy"] = [9.0, 80.0]
    facts = {"kind": "mois-tiny", "salt": "elsewhere", "obj_score_bias": 0.8, "clicks": clicks}
    figures = Figures(facts, another_volume(LAST + 1, 90, 140))
    flow = figures.flow("mois-tiny")
    for click in clicks:
        name, state = f"obj{click['object']}", ObjectState()
        where = [click["positive_xy"]]
        flow.click(state, click["slice"], where, [1], f"{name}.click1", object_id=click["object"])
        for way, reverse in (("fwd", False), ("bwd", True)):
            masks = flow.propagate(state, 2, reverse, f"{name}.{way}", object_id=click["object"])
            facts[f"{name}.{way}.frames"] = list(masks)
    facts["exemplar_keys_after_3_objects"] = list(flow.bank)
    for name, most, only_prompted in (("few", 2, True), ("many", 7, False)):
        offered = flow.offered(flow.bank, most, only_prompted)
        for slice_index in (FIRST, LAST):
            flow.search(slice_index, offered, f"sem.{name}.s{slice_index}")
        facts[f"sem.{name}"] = {
            "exemplars": list(flow.bank),
            "num_max_exemplars": most,
            "only_prompted": only_prompted,
            "slices": [FIRST, LAST],
        }
    add_scenarios(figures)
    return figures


def add_scenarios(figures: Figures) -> None:
    """A correction on the last slice, propagated back, and one with another gate."""
    right, wrong = [100.0, 30.0], [20.0, 60.0]
    flow, state = figures.flow("mois-tiny"), ObjectState()
    flow.click(state, LAST, [right], [1])
    flow.propagate(state, 3, True)
    flow.click(state, MIDDLE, [wrong], [0], "corr.tracked")
    figures.facts["corr.tracked.exemplar_keys"] = list(flow.bank)
    masks = flow.propagate(state, 3, True, "corr.tracked.bwd")
    figures.facts["corr.tracked.bwd.frames"] = list(masks)

    flow, state = figures.flow("mois-tiny", -0.4), ObjectState()
    flow.click(state, FIRST, [wrong], [1])
    flow.propagate(state, 1, False, "gated.fwd")
    flow.search(3, flow.offered(flow.bank, 4, True), "gated.sem.s3")
    figures.facts |= {"gated.obj_score_bias": -0.4, "gated.exemplar_keys": list(flow.bank)}
    figures.facts["scenarios"] = {
        "corr.tracked": [
            {"slice": LAST, "points_xy": [right], "labels": [1]},
            {"track": "backward 3"},
            {"slice": MIDDLE, "points_xy": [wrong], "labels": [0], "arrays": "corr.tracked.*"},
            {"track": "backward 3", "arrays": "corr.tracked.bwd.*"},
        ],
        "gated": [
            {"set": "object-score bias = gated.obj_score_bias"},
            {"slice": FIRST, "points_xy": [wrong], "labels": [1]},
            {"track": "forward 1", "arrays": "gated.fwd.*"},
            {"search": "slice 3; bank, prompted only, at most 4", "arrays": "gated.sem.s3.*"},
        ],
    }


def test_a_set_of_another_seed_size_and_clicks_passes(another_set, tmp_path, capsys):
    assert parity.main([str(another_set.save(tmp_path))]) == 0

    rows = verdicts(capsys)
    assert another_set.facts["obj1.bwd.frames"] == []
    assert another_set.facts["obj2.fwd.frames"] == [LAST]
    assert another_set.arrays.keys() <= rows.keys()
    for name in (
        "obj1.fwd.f2.best",
        "obj2.bwd.f2.best",
        "obj2.fwd.frames",
        "sem.many.s4.best",
        "corr.tracked.bwd.f1.best",
        "gated.sem.s3.best",
    ):
        assert rows[name] == "ok"


@pytest.mark.parametrize(
    ("changes", "suspects"),
    [
        ({"salt": "somewhere"}, {"obj1.click1.best", "sem.few.s0.pix_ex"}),
        ({"obj_score_bias": 0.5}, {"obj1.click1.score"}),
        ({"gated.obj_score_bias": -0.3}, {"gated.fwd.f1.score"}),
    ],
)
def test_salt_and_bias_come_from_the_files(another_set, tmp_path, capsys, changes, suspects):
    assert parity.main([str(another_set.save(tmp_path, **changes))]) == 1
    assert suspects <= failing(verdicts(capsys))


def test_clicks_come_from_the_files(another_set, tmp_path, capsys):
    clicks = json.loads(json.dumps(another_set.facts["clicks"]))
    clicks[1]["positive_xy"] = [14.0, 10.0]

    assert parity.main([str(another_set.save(tmp_path, clicks=clicks))]) == 1

    failed = failing(verdicts(capsys))
    assert "obj2.click1.best" in failed
    assert not any(name.startswith("obj1.") for name in failed)


@torch.no_grad()
def test_a_short_memory_of_any_length_and_place_passes(tmp_path, capsys):
    facts = {"kind": "slm-tiny", "salt": "short", "obj_score_bias": 0.7, "prompt_slice": LAST}
    figures = Figures(facts, another_volume(LAST + 1, 61, 48))
    mask = np.zeros((61, 48), dtype=np.uint8)
    mask[20:41, 11:30] = 1
    flow, state = figures.flow("slm-tiny"), ObjectState()
    flow.short_reach = 3
    flow.mask(state, LAST, torch.from_numpy(mask), "n3.prompt")
    forward = flow.propagate(state, 0, False, "n3.fwd")
    backward = flow.propagate(state, LAST, True, "n3.bwd")
    facts["n3.order"] = [f"n3.fwd.f{n}" for n in forward] + [f"n3.bwd.f{n}" for n in backward]
    figures.arrays["in.mask_prompt"] = mask

    assert parity.main([str(figures.save(tmp_path))]) == 0
    assert verdicts(capsys)["n3.bwd.f0.best"] == "ok"
