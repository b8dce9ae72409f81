"""Numbers and folders that make no sense: refused in one line before any work, by every command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from engine_fixtures import FIRST, SCENE, painted, scan_of, volume_of
from paths import ROOT

from mois_core.cli import EXIT_BAD_INPUT, main
from mois_core.geometry import Volume
from mois_core.io.images import write_image

CONFIG = ROOT / "mois_core" / "training" / "configs" / "phantom.json"
PHANTOM = ("phantom", "--seed", "1", "--size", "64x32")
EVALUATE = ("evaluate", "--phantoms", "1", "--segmenter", "region-growing")


@pytest.fixture
def refused(tmp_path, capsys):
    """Return what a command says that is refused with ``--out`` and writes nothing."""

    def refuse(*words: object) -> str:
        before = sorted(tmp_path.iterdir())
        try:
            code = main([*map(str, words)])
        except SystemExit as end:  # by argparse
            code = end.code
        assert code == EXIT_BAD_INPUT
        assert sorted(tmp_path.iterdir()) == before
        return capsys.readouterr().err

    return refuse


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("train-baseline", "unet", "--minutes", "nan"), "give a number"),
        (("train-baseline", "unet", "--seed", "-1"), "whole number from 0 on"),
        (("train", "--config", CONFIG, "--minutes", "nan"), "give a number"),
        (("prepare", "scans.csv", "--seed", "-1"), "whole number from 0 on"),
        ((*EVALUATE, "--seed", "-1"), "whole number from 0 on"),
        ((*EVALUATE, "--protocol", "reader", "--late", "5"), "between 0 and 1"),
        ((*EVALUATE, "--protocol", "reader", "--wrong", "-1"), "between 0 and 1"),
        ((*EVALUATE, "--protocol", "reader", "--jitter-mm", "-1"), "0 mm or more"),
        ((*EVALUATE, "--late", "nan"), "give a number"),
        ((*EVALUATE, "--smallest-cm3", "nan"), "give a number"),
        ((*EVALUATE, "--tolerance-mm", "-1"), "numbers from 0 on"),
        (
            ("phantom", "--seed", "1", "--follow-up", "1", "--posture", "99"),
            "--posture takes at most",
        ),
        (("bench", "--threads", "99999999"), "--threads 99999999"),
    ],
)
def test_a_number_that_makes_no_sense(refused, tmp_path, words, why):
    said = refused(*words, "--out", tmp_path / "out")

    assert why in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--config", CONFIG),
        ("train-baseline", "unet", "--phantoms", "1", "--steps", "1"),
        EVALUATE,
        PHANTOM,
    ],
)
def test_a_file_where_a_folder_is_to_be(refused, tmp_path, words):
    (tmp_path / "file").touch()

    assert "is a file" in refused(*words, "--out", tmp_path / "file")


def test_a_bench_does_not_begin_if_its_figures_have_no_place(refused, tmp_path):
    assert "is a folder" in refused("bench", "--out", tmp_path)


@pytest.fixture
def cases(tmp_path, capsys):
    """Two scans of two patients, prepared in two folds."""
    volume = volume_of(scan_of(*SCENE))
    for name in ("a", "b"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        write_image(folder / "scan.nii.gz", volume)
        labels = painted(FIRST).astype(np.uint8)
        stored = Volume(np.ascontiguousarray(labels), volume.ijk_to_ras)
        write_image(folder / "labels.nii.gz", stored)
    words = ("prepare", tmp_path / "data", "--folds", "2", "--out", tmp_path / "cases")
    assert main([*map(str, words)]) == 0
    capsys.readouterr()
    return tmp_path / "cases"


def test_a_fold_that_there_is_not(refused, cases, tmp_path):
    words = ("train-baseline", "unet", "--prepared", cases, "--steps", "1")

    assert "has no fold 9 to leave out, but these: 0, 1" in refused(
        *words, "--fold", "9", "--out", tmp_path
    )


@pytest.mark.parametrize("content", [{}, [], {"cases": []}, {"folds": 2}])
def test_an_index_of_cases_that_is_none(refused, cases, tmp_path, content):
    (cases / "cases.json").write_text(json.dumps(content), "utf-8")
    words = ("train-baseline", "unet", "--prepared", cases, "--steps", "1")

    assert "prepare it again" in refused(*words, "--out", tmp_path)
