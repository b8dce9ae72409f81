"""Whole operations are timed against the published app's order of work, which is as it says."""

from __future__ import annotations

import json

import pytest
import torch

from mois_core.bench import operations
from mois_core.bench.operations import PublishedSchedule
from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.cli import EXIT_BAD_INPUT, EXIT_DONE, main
from mois_core.network.config import preset
from mois_core.network.loading import build


@pytest.fixture
def a_small_scan(monkeypatch):
    """Operations on a scan of few and small slices."""
    monkeypatch.setattr(operations, "SLICES", 8)
    monkeypatch.setattr(operations, "ROWS", 64)
    monkeypatch.setattr(operations, "COLUMNS", 48)


@pytest.fixture
def a_published_schedule(a_small_scan):
    model = fill_synthetic(build(preset("mois-tiny")), score_bias=operations.PRESENT_BIAS).eval()
    encoded = []
    encode = model.encode

    def counted(images):
        encoded.append(1)
        return encode(images)

    model.encode = counted
    size = model.config.image_size
    return PublishedSchedule(model, lambda n: torch.zeros(1, *size), 8), encoded


def test_the_published_order_encodes_eight_slices_for_a_lesion(a_published_schedule):
    schedule, encoded = a_published_schedule

    lesion = schedule.lesion(4)

    assert len(encoded) == 8
    assert sorted(lesion.propagated) == [1, 2, 3, 5, 6, 7]


def test_the_command_prints_and_writes_every_operation(a_small_scan, tmp_path, capsys):
    out = tmp_path / "operations.json"
    command = ["bench", "--preset", "mois-tiny", "--dtype", "float32", "--repeats", "1"]

    assert main([*command, "--against", "published", "--out", str(out)]) == EXIT_DONE

    timed = json.loads(out.read_text(encoding="utf-8"))["operations"]
    assert [time["operation"] for time in timed] == list(operations.OPERATIONS)
    assert all(time["seconds"] > 0 and time["published_seconds"] > 0 for time in timed)
    printed = capsys.readouterr().out
    assert all(operation in printed for operation in operations.OPERATIONS)


def test_a_model_that_the_published_app_cannot_run_is_refused(capsys):
    assert main(["bench", "--preset", "sam2.1-t", "--against", "published"]) == EXIT_BAD_INPUT

    assert "mois-sam2-b+" in capsys.readouterr().err
