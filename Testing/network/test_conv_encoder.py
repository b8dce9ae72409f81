"""The encoder of convolutions: what it must see, and that a crop is a part of its slice."""

from __future__ import annotations

import copy

import pytest
import torch
from small_networks import (
    CONVOLVED,
    TALL,
    WIDE,
    assert_same,
    lively,
    overlap,
    relative_rms,
    some_slices,
)

from mois_core.network.conv_encoder import ConvEncoder
from mois_core.network.loading import build, load_model
from mois_core.network.model import Prompts

HALF = torch.bfloat16
MAPS = ("coarse", "middle", "fine")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def an_encoder(seed=0):
    torch.manual_seed(seed)
    return ConvEncoder(CONVOLVED.encoder, 32)


@pytest.mark.parametrize("size", [TALL, WIDE])
def test_maps_have_4_8_and_16_pixels_per_place(size):
    maps = an_encoder()(some_slices(2, size).expand(-1, 3, -1, -1))

    for one, pixels in zip(maps, (4, 8, 16), strict=True):
        assert one.shape == (2, 32, size[0] // pixels, size[1] // pixels)


def test_slices_are_encoded_together_as_alone():
    slices = some_slices(3, TALL).expand(-1, 3, -1, -1)
    encoder = an_encoder()

    together, alone = encoder(slices), [encoder(slices[[n]]) for n in range(3)]

    for index, maps in enumerate(together):
        assert_same(maps, torch.cat([one[index] for one in alone]))


# ---- brightness --------------------------------------------------------------------------------


def difference_of_brightness(encoder):
    slices = 0.25 + 0.25 * some_slices(1, TALL).expand(-1, 3, -1, -1)
    dark, bright = encoder(slices), encoder(2 * slices)
    return [relative_rms(*pair) for pair in zip(bright, dark, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_brightness_counts(seed):
    assert min(difference_of_brightness(an_encoder(seed))) > 0.05


def test_without_a_bias_before_the_norm_brightness_would_not_count():
    encoder = an_encoder()
    encoder.stem[0].conv.bias.zero_()

    assert max(difference_of_brightness(encoder)) < 1e-3


# ---- crops -------------------------------------------------------------------------------------


def test_the_middle_of_a_crop_looks_as_on_its_slice():
    encoder = an_encoder()
    whole = some_slices(1, (512, 512)).expand(-1, 3, -1, -1)
    (top, left), (height, width) = (64, 32), (384, 416)
    crop = whole[:, :, top : top + height, left : left + width]

    for pixels, of_whole, of_crop in zip((4, 8, 16), encoder(whole), encoder(crop), strict=True):
        row, column, rows, columns = (v // pixels for v in (top, left, height, width))
        same_part = of_whole[:, :, row : row + rows, column : column + columns]
        far = 160 // pixels
        middle = (..., slice(far, rows - far), slice(far, columns - far))
        assert of_crop[middle].numel() > 0
        assert_same(of_crop[middle], same_part[middle])
        # At the border of a crop the slice goes on, which the crop cannot know.
        assert relative_rms(of_crop[..., 0], same_part[..., 0]) > 1e-3


# ---- half precision ----------------------------------------------------------------------------


def test_half_precision_reaches_the_encoder_and_leaves_the_decoder_alone():
    network = load_model(CONVOLVED, dtype=HALF)

    assert network.dtype == network.image_encoder.dtype == HALF
    assert {p.dtype for p in network.image_encoder.parameters()} == {HALF}
    assert {p.dtype for p in network.sam_mask_decoder.parameters()} == {torch.float32}
    assert network.set_precision(torch.float32).image_encoder.dtype == torch.float32


def test_half_precision_is_close():
    exact = lively(CONVOLVED, score_bias=10.0)
    halves = copy.deepcopy(exact).set_precision(HALF)
    slices = some_slices(1, CONVOLVED.image_size)
    ours, theirs = halves.encode(slices), exact.encode(slices)

    assert ours.coarse.dtype == HALF
    for name in MAPS:
        assert relative_rms(getattr(ours, name).float(), getattr(theirs, name)) <= 0.02, name
    for x, y in ((30.0, 40.0), (100.0, 70.0)):
        click = Prompts(torch.tensor([[[x, y]]]), torch.ones(1, 1))
        masks = [
            network.decode(features, network.without_memory(features), click).candidates > 0
            for network, features in ((halves, ours), (exact, theirs))
        ]
        assert 0 < float(masks[1].float().mean()) < 1
        for index in range(3):
            assert overlap(masks[0][:, index], masks[1][:, index]) >= 0.95


# ---- learning ----------------------------------------------------------------------------------


def test_every_weight_of_the_encoder_is_learned():
    with torch.enable_grad():
        torch.manual_seed(0)
        network = build(CONVOLVED).train()
        features = network.encode(some_slices(2, CONVOLVED.image_size))
        sum(getattr(features, name).square().mean() for name in MAPS).backward()

    for name, parameter in network.image_encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name
