"""Tests of the tool that looks at a click on its own slice."""

from __future__ import annotations

import numpy as np
import torch
from training_fixtures import small_config

from mois_core.training.initial_network import new_model
from tools.clicked_slice import PARTS, answer, crop_size


def test_crops_are_parts_of_the_slice_that_every_encoder_takes():
    assert [crop_size((1024, 320), part) for part in PARTS] == [
        (1024, 320),
        (512, 160),
        (256, 64),
        (128, 32),
    ]


def test_a_click_at_the_border_of_a_slice_is_measured_on_every_crop():
    model = new_model(small_config()).eval()
    truth = np.zeros(model.config.image_size, bool)
    truth[-6:, -9:] = True
    image = torch.rand(1, 1, *model.config.image_size)
    for part in (1, 2):
        with torch.inference_mode():
            found = answer(model, image, truth, part)
        assert found.pixels == 54
        assert 0 <= found.chosen <= found.best + 1e-9 <= 1 + 1e-9
        assert 0 <= found.missing <= 1 and found.near >= 0 and found.far >= 0
