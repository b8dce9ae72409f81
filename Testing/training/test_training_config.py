"""The config of a run as a file: what it can say, and how it is refused."""

from __future__ import annotations

import json
import re

import pytest
from training_fixtures import CONFIGS

from mois_core.errors import BadInput
from mois_core.training.config_file import read_config, read_stages


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_config_that_ships_can_be_read(path):
    stages = read_stages(path)
    assert stages and all(stage.steps > 0 for stage in stages.values())


def test_a_misspelt_option_is_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"sampling": {"scnas": 2}}', "utf-8")
    with pytest.raises(BadInput, match="unknown option 'scnas'"):
        read_config(path)
    path.write_text('{"steps": "many"}', "utf-8")
    with pytest.raises(BadInput, match="steps cannot be"):
        read_config(path)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"steps": "many"}, 'steps cannot be "many"'),
        ({"steps": True}, "steps cannot be true"),
        ({"steps": 1.5}, "steps cannot be 1.5"),
        ({"frozen": "image_encoder"}, 'frozen cannot be "image_encoder"'),
        ({"changes": []}, "changes cannot be"),
        ({"sampling": 3}, "sampling must be an object"),
        ({"interaction": {"prompts": "boxes"}}, 'interaction: prompts cannot be "boxes"'),
        ({"sampling": {"crop_size": 64}}, "sampling: crop_size cannot be 64"),
        ({"sampling": {"crop_size": [64]}}, "sampling: crop_size cannot be [64]"),
        ({"sampling": {"crop_size": [64, 32, 1]}}, "sampling: crop_size cannot be [64, 32, 1]"),
        ({"sampling": {"crop_size": [64, "32"]}}, 'sampling: crop_size cannot be [64, "32"]'),
        ({"frozen": ["a", 3]}, 'frozen cannot be ["a", 3]'),
        ({"stages": []}, "stages must be an object"),
        ({"stages": {"one": 3}}, "stages: one must be an object"),
        ({"stages": {"one": {"steps": "many"}}}, 'stages: one: steps cannot be "many"'),
        ({"checkpoint_every": 0}, "checkpoint_every begins at 1, and cannot be 0"),
        ({"threads": -1}, "threads begins at 0, and cannot be -1"),
        ({"optimizer": {"rate": float("nan")}}, "optimizer: rate begins at 0, and cannot be nan"),
        ({"optimizer": {"beta1": 2}}, "optimizer: beta1 begins at 0 and is less than 1"),
        ({"base": "run.json"}, "its base run.json leads back to itself"),
        ({"sampling": {"scnas": 2}}, "sampling: unknown option 'scnas'; known are anywhere, "),
    ],
)
def test_a_wrong_option_is_refused_with_where_it_is(tmp_path, content, place):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(BadInput, match=re.escape(f"run.json: {place}")):
        read_config(path)


def test_whole_numbers_do_for_fractions_and_lists_for_patterns(tmp_path):
    path = tmp_path / "run.json"
    content = {"optimizer": {"rate": 1}, "frozen": ["a", "b"], "data": {"fold": None}}
    path.write_text(json.dumps(content | {"sampling": {"crop_size": [64, 32]}}), "utf-8")
    config = read_config(path)
    assert config.optimizer.rate == 1.0 and isinstance(config.optimizer.rate, float)
    assert config.frozen == ("a", "b") and config.data.fold is None
    assert config.sampling.crop_size == (64, 32)
