"""A step on a GPU computes what it does on a processor, in every precision."""

from __future__ import annotations

import math

import pytest
import torch
from training_fixtures import losses_in, places_config, small_config

from mois_core.training.config import InteractionConfig, LossWeights
from mois_core.training.losses import LOSSES
from mois_core.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

EVERY_LOSS = LossWeights(
    places=0.5, attention=0.3, click_contrast=0.5, heeded=0.5, contrast=0.3, spread=0.1
)


def test_the_first_losses_are_those_of_a_processor(tmp_path, scans, monkeypatch):
    # A correction goes where the network is wrong, and rounding may move that.
    interaction = InteractionConfig(most_corrections=0, corrected=0.0)
    config = small_config(losses=EVERY_LOSS, interaction=interaction, log_every=1)
    on_gpu = Trainer(config, tmp_path / "gpu", scans=scans)
    assert on_gpu.model.device.type == "cuda"
    there = on_gpu.step(0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = Trainer(config, tmp_path / "cpu", scans=scans).step(0)
    for name in LOSSES:
        assert there[name] == pytest.approx(here[name], rel=2e-2, abs=1e-3), name


def test_half_precision_computes_every_loss(tmp_path, scans):
    config = small_config(losses=EVERY_LOSS, autocast=True, steps=3, log_every=1)
    Trainer(config, tmp_path, scans=scans).run()
    assert all(math.isfinite(loss) for loss in losses_in(tmp_path))


def test_a_killed_run_goes_on(tmp_path, scans):
    Trainer(places_config(), tmp_path, scans=scans).run(until=2)
    resumed = Trainer(places_config(), tmp_path, scans=scans)
    assert resumed.progress.step == 2
    resumed.run()
    assert len(losses_in(tmp_path)) == 4
