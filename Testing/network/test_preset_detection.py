"""A checkpoint says by its shapes which network it is for."""

from __future__ import annotations

import pytest
import torch
from small_networks import manifest

from mois_core.errors import BadInput
from mois_core.network.config import PRESETS
from mois_core.network.loading import build, preset_of

PUBLISHED = {
    "mois-sam2-b+": "mois_sam2.1_hiera_b+",
    "sam2.1-t": "sam2.1_hiera_t",
    "sam2.1-l": "sam2.1_hiera_l",
    "slm-sam2-t": "slm_sam2_hiera_t",
}


@pytest.fixture(scope="module")
def states():
    with torch.device("meta"):
        return {name: build(config).state_dict() for name, config in PRESETS.items()}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_recognised(states, name):
    assert preset_of(states[name], "weights.pt") == name


@pytest.mark.parametrize(("name", "file"), PUBLISHED.items())
def test_published_checkpoints_are_recognised(name, file):
    shapes = {key: entry["shape"] for key, entry in manifest(file).items()}
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    assert preset_of(state, "weights.pt") == name


def test_a_missing_or_another_weight_fits_nothing(states):
    lacking = dict(states["mois-tiny"])
    key, value = lacking.popitem()
    with pytest.raises(BadInput, match="odd.pt fits none of the models"):
        preset_of(lacking, "odd.pt")
    with pytest.raises(BadInput, match="fits none"):
        preset_of({**lacking, key: torch.empty(*value.shape, 2, device="meta")}, "odd.pt")
