"""Runs that leave the encoder as it is, and keep what it makes of every slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_fixtures import CROP, losses_in, small_config

from mois_core.errors import BadInput
from mois_core.network.model import Sam2
from mois_core.session.preprocess import FULL_BRIGHTNESS
from mois_core.training.config import LossWeights, SamplingConfig, TrainConfig
from mois_core.training.initial_network import new_model
from mois_core.training.kept_features import with_features
from mois_core.training.sampling import sample_scan
from mois_core.training.stages import run_stages
from mois_core.training.trainer import Trainer


@pytest.fixture
def config(tmp_path, scans) -> TrainConfig:
    """Return a run that begins with another one's weights and keeps their features."""
    Trainer(small_config(steps=1), tmp_path / "before", scans=scans).run()
    return small_config(
        start=str(tmp_path / "before" / "newest.pt"),
        kept_features=str(tmp_path / "features"),
        losses=LossWeights(places=0.5),
        log_every=1,
    )


def test_only_what_comes_behind_the_encoder_learns(tmp_path, scans, config):
    before = new_model(config).state_dict()
    trainer = Trainer(config, tmp_path / "run", scans=scans)
    trainer.run()
    after = trainer.model.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    made_by = ("image_encoder.", "sam_mask_decoder.conv_s")
    assert not [name for name in changed if name.startswith(made_by)]
    with_encoder = Trainer(replace(config, kept_features=None), tmp_path / "other", scans=scans)
    with_encoder.run(until=1)
    after = with_encoder.model.state_dict()
    for part in made_by:
        names = [name for name in after if name.startswith(part)]
        assert any(not torch.equal(after[name], before[name]) for name in names), part
    parts = {name.split(".")[0] for name in changed}
    assert {"sam_mask_decoder", "memory_encoder", "memory_attention"} <= parts
    losses = losses_in(tmp_path / "run")
    assert len(losses) == config.steps
    assert np.isfinite(losses).all()


def test_features_are_made_once_for_the_same_encoder(tmp_path, scans, config, monkeypatch):
    with_features(scans, new_model(config), tmp_path / "features")
    monkeypatch.setattr(Sam2, "encode", lambda *_: pytest.fail("encoded again"))
    Trainer(config, tmp_path / "run", scans=scans).run(until=1)
    other = replace(config, start=None, kept_features=None, seed=9)
    with pytest.raises(pytest.fail.Exception, match="encoded again"):
        with_features(scans, new_model(other), tmp_path / "features")
    darker = replace(scans[0], images=scans[0].images // 2)
    with pytest.raises(pytest.fail.Exception, match="encoded again"):
        with_features([darker], new_model(config), tmp_path / "features")


def test_crops_have_the_features_of_their_place_in_the_slice(tmp_path, scans, config):
    model = new_model(config)
    kept = with_features(scans, model, tmp_path / "features")
    how = SamplingConfig(consecutive=2, elsewhere=2, crop_size=CROP, flip=0.0, brightness=0.0)
    sample = sample_scan(np.random.default_rng(3), kept[0], how)
    whole = torch.from_numpy(scans[0].images[list(sample.slice_indices)])[:, None]
    features = model.eval().encode(whole / FULL_BRIGHTNESS)
    rows, columns = (side // 16 for side in CROP)
    for n, image in enumerate(sample.images):
        places = [
            (row, column)
            for row in range(whole.shape[-2] // 16 - rows + 1)
            for column in range(whole.shape[-1] // 16 - columns + 1)
            if torch.allclose(
                whole[n, 0, 16 * row :, 16 * column :][: CROP[0], : CROP[1]] / FULL_BRIGHTNESS,
                image[0],
                atol=1e-6,
            )
        ]
        assert len(places) == 1
        for name, size in (("coarse", 1), ("middle", 2), ("fine", 4)):
            row, column = (size * place for place in places[0])
            own = getattr(features, name)[n, :, row : row + size * rows]
            own = own[..., column : column + size * columns]
            torch.testing.assert_close(
                getattr(sample.features, name)[n].float(), own, atol=0.01, rtol=0.01
            )


def test_a_later_stage_that_cannot_keep_features_is_refused_before_the_first(tmp_path, config):
    turned = replace(config, sampling=SamplingConfig(crop_size=CROP, degrees=5.0))
    with pytest.raises(BadInput, match="cannot be turned"):
        run_stages({"first": small_config(), "second": turned}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"start": None}, "needs a start"),
        ({"sampling": SamplingConfig(crop_size=CROP, degrees=5.0)}, "cannot be turned"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path, scans, config, changes, said):
    with pytest.raises(BadInput, match=said):
        Trainer(replace(config, **changes), tmp_path / "run", scans=scans)


def test_a_damaged_file_says_what_helps(tmp_path, scans, config):
    with_features(scans, new_model(config), tmp_path / "features")
    for path in (tmp_path / "features").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match="remove it"):
        Trainer(config, tmp_path / "run", scans=scans)
