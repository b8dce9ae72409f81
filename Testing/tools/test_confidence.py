"""Tests of the tool that tells how often findings of a confidence are right."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mois_core.network.config import ExemplarConfig, preset
from mois_core.session import judging
from tools import confidence
from tools.confidence import Finding, SearchedScan

FINDINGS = (
    Finding((0.9, 0.5, 0.0, 0.0, 1.0), voxels=100, shared=100, is_right=True),
    Finding((0.1, 0.5, 0.0, 0.0, 1.0), voxels=50, shared=0, is_right=False),
)
SCAN = SearchedScan(FINDINGS, clicked=100, shared=100, wanted=250, others=1)
SURE = np.array([0.9, 0.5])


def test_scores_follow_from_what_is_kept():
    assert SCAN.f1(SURE, 0.0) == pytest.approx(2 / 3)
    assert SCAN.f1(SURE, 0.6) == 1 and SCAN.f1(SURE, 0.95) == 0
    assert SCAN.dsc(SURE, 0.0) == pytest.approx(2 * 200 / 500)
    assert SCAN.dsc(SURE, 0.6) == pytest.approx(2 * 200 / 450)


def test_a_judgement_is_fitted_so_that_the_shares_of_right_findings_come_true():
    rng = np.random.default_rng(0)
    evidence = np.c_[
        rng.random(8000),
        rng.uniform(-1, 1, 8000),
        rng.uniform(-1, 0, 8000),
        rng.uniform(-2, 2, 8000),
        np.ones(8000),
    ]
    truth = (6.0, 3.0, 2.0, -1.0, -3.0)
    is_right = rng.random(8000) < judging.confidence(evidence, truth)
    findings = [Finding(tuple(e), 1, 1, bool(r)) for e, r in zip(evidence, is_right, strict=True)]

    assert confidence.fitted(findings) == pytest.approx(truth, abs=0.5)


def test_the_table_tells_what_each_lowest_confidence_comes_to(monkeypatch, capsys):
    monkeypatch.setattr(confidence.weights, "open_checkpoint", lambda *_, **__: _Opened())
    monkeypatch.setattr(confidence, "make_phantom", lambda *_: None)
    monkeypatch.setattr(confidence, "searched", lambda *_: [SCAN] * 3)
    monkeypatch.setattr("sys.argv", ["confidence", "--count", "1", "--processes", "1"])
    confidence.main()
    lines = capsys.readouterr().out.splitlines()
    assert "0.1 to 0.2         3  0.00" in lines and "0.9 to 1.0         3  1.00" in lines
    assert "0.00  0.800  0.667" in lines and "0.60  0.889  1.000" in lines


def test_held_out_phantoms_choose_nothing(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["confidence", "--first", "100000"])
    with pytest.raises(SystemExit):
        confidence.main()
    assert "for measuring only" in capsys.readouterr().err


class _Opened:
    network = SimpleNamespace(
        config=replace(
            preset("phantom"), exemplars=ExemplarConfig(judgement=(6.0, 4.0, 1.0, -0.5, -4.0))
        )
    )
