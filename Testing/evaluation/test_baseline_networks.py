"""Networks that are trained here to be compared with: arithmetic, weights and clicks.

Guide maps, click channels and windows are held against what the published code computes them with.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_fixtures import FIRST, SECOND, THIRD, scan_of, volume_of
from evaluation_fixtures import LESIONS, truth_of
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor, nn

pytest.importorskip("monai")

from monai.inferers import SlidingWindowInferer
from monai.networks.layers import GaussianFilter

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.dins import (
    DEVIATIONS,
    DinsRecipe,
    _eroded,
    exponential_guide,
)
from mois_core.evaluation.baselines.patch_network import (
    Given,
    NetworkSize,
    PatchRecipe,
    WindowedScan,
    read_told,
    save_weights,
    shrunk,
    standardised,
)
from mois_core.evaluation.baselines.sliding_window import SlidingWindow, crop
from mois_core.evaluation.baselines.sw_fastedit import (
    BALL_FROM,
    SIGMA,
    SwFastEditRecipe,
    click_channel,
)
from mois_core.evaluation.baselines.unet3d import UNetRecipe
from mois_core.evaluation.protocols import Protocol, run_protocol
from mois_core.evaluation.segmenter_specs import given_to, make_segmenter, parse_spec, weights_of
from mois_core.evaluation.segmenters import Missing, PlacedClick
from mois_core.geometry import SliceStack

RECIPES: dict[str, PatchRecipe] = {
    "unet": UNetRecipe(),
    "dins": DinsRecipe(),
    "sw-fastedit": SwFastEditRecipe(),
}
SIZES = {
    "unet": NetworkSize((4, 8, 8), (8, 16, 16)),
    "dins": NetworkSize((2, 4, 4, 4, 8), (10, 32, 32)),
    "sw-fastedit": NetworkSize((2, 4, 4), (8, 16, 16)),
}
INTERACTIVE = ("dins", "sw-fastedit")


def write_weights(folder: Path, kind: str, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    path = folder / f"{kind}.safetensors"
    network = RECIPES[kind].network(SIZES[kind])
    given = Given(parameters=7, minutes=3.5, device="cpu", steps=11, patches=2, scans=4, seed=seed)
    save_weights(path, network, RECIPES[kind], SIZES[kind], given)
    return path


# ---- windows -----------------------------------------------------------------------------------


class Local(nn.Module):
    """A network that answers differently in the middle of a window than at its border."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv(x)) + x.mean(dim=(2, 3, 4), keepdim=True)


@pytest.mark.parametrize(
    ("shape", "window"),
    [((20, 37, 41), (8, 16, 16)), ((5, 37, 41), (8, 16, 16)), ((8, 16, 16), (8, 16, 16))],
)
def test_windows_give_what_monais_inferer_gives(shape, window):
    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    network = Local()
    with torch.no_grad():
        inferer = SlidingWindowInferer(window, overlap=0.25, mode="gaussian")
        expected = inferer(image[None, None], network)[0, 0].numpy()
        windows = SlidingWindow(shape, window)
        got = windows.update(lambda box: 0, lambda box: network(crop(image, box)[None, None])[0, 0])

    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert windows.computed == len(windows.windows)


def test_windows_that_show_nothing_new_are_not_asked_again():
    image = torch.randn((8, 64, 64), generator=torch.Generator().manual_seed(1))
    network = Local()
    windows = SlidingWindow((8, 64, 64), (8, 16, 16))
    bright = image.clone()
    bright[:, 40:, 40:] += 1

    def answer(of: Tensor):
        return lambda box: network(crop(of, box)[None, None])[0, 0]

    def seen(box) -> bool:
        return box[1].stop > 40 and box[2].stop > 40

    with torch.no_grad():
        windows.update(lambda box: False, answer(image))
        every = windows.computed
        got = windows.update(seen, answer(bright))
        whole = SlidingWindow((8, 64, 64), (8, 16, 16)).update(lambda box: 0, answer(bright))

    assert 0 < windows.computed - every < every / 2
    np.testing.assert_allclose(got, whole, atol=1e-5)


# ---- clicks as the networks see them -----------------------------------------------------------


def test_a_guide_map_of_dins_is_the_published_exponential_distance():
    clicks = [(2, 9, 4), (5, 9, 30)]
    guide = exponential_guide((7, 20, 36), clicks).numpy()

    coordinates = np.stack(np.meshgrid(*map(np.arange, (7, 20, 36)), indexing="ij"), axis=-1)
    scale = 2 * np.square(DEVIATIONS)
    expected = np.max(
        [np.exp(-(((coordinates - one) ** 2) / scale).sum(axis=-1)) for one in clicks], axis=0
    )
    np.testing.assert_allclose(guide, expected, atol=1e-6)
    assert guide[2, 9, 4] == guide[5, 9, 30] == 1
    assert guide[2, 14, 4] == pytest.approx(np.exp(-0.5), abs=1e-6)
    assert not exponential_guide((7, 20, 36), []).any()


def test_a_click_beyond_its_reach_shows_nowhere_in_a_guide_map():
    reach = DinsRecipe.reach
    outside = (-reach[0] - 1, 5, 5)
    assert exponential_guide((4, 10, 10), [outside]).max() < np.exp(-(4**2) / 2)


def test_erosion_by_one_distance_transform_is_many_erosions():
    mask = np.zeros((3, 40, 30), dtype=bool)
    mask[0, 5:30, 3:28] = True
    mask[0, 12, 12] = False
    mask[1] = True
    square = np.zeros((3, 3, 3), dtype=bool)
    square[1] = True
    for beyond in (False, True):
        expected = ndimage.binary_erosion(mask, square, iterations=3, border_value=beyond)
        assert np.array_equal(_eroded(mask, 3, beyond), expected)


def test_a_click_channel_of_sw_fastedit_is_monais_gaussian_cut_at_a_tenth():
    click = (5, 8, 3)
    impulse = torch.zeros((1, 1, 11, 16, 9))
    impulse[(0, 0, *click)] = 1
    blurred = GaussianFilter(3, sigma=SIGMA)(impulse)[0, 0]
    expected = (blurred / blurred.max() > BALL_FROM).float()

    assert torch.equal(click_channel((11, 16, 9), [click]), expected)
    both = click_channel((11, 16, 9), [click, (5, 8, 4)])
    assert both.max() == 1
    assert both.sum() > expected.sum()
    beside = click_channel((11, 16, 9), [(-1, 8, 3)])
    assert beside[0, 8, 3] == 1
    assert beside[4:].sum() == 0
    assert click_channel((11, 16, 9), [(40, 8, 3)]).sum() == 0


# ---- clicks to learn from ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", INTERACTIVE)
def test_clicks_to_learn_from_are_right(kind):
    target = np.zeros((10, 64, 64), dtype=bool)
    target[3:7, 20:44, 20:44] = True
    wrong = torch.zeros(target.shape, dtype=torch.bool)
    wrong[2:5, 10:30, 10:30] = True
    rng = np.random.default_rng(0)
    seen_negative = 0
    for _ in range(20):
        positive, negative = RECIPES[kind].draw_clicks(rng, target, lambda p, n: wrong)
        assert positive
        assert all(target[voxel] for voxel in positive)
        assert not any(target[voxel] for voxel in negative)
        seen_negative += len(negative)
        if kind == "sw-fastedit":
            assert all(wrong.numpy()[voxel] for voxel in negative)
    assert seen_negative


@pytest.mark.parametrize("kind", INTERACTIVE)
def test_a_small_lesion_is_clicked_and_an_empty_patch_is_not(kind):
    rng = np.random.default_rng(0)
    target = np.zeros((4, 16, 16), dtype=bool)
    nothing = torch.zeros(target.shape, dtype=torch.bool)
    assert RECIPES[kind].draw_clicks(rng, target, lambda p, n: nothing)[0] == []
    target[2, 5, 6] = True
    assert RECIPES[kind].draw_clicks(rng, target, lambda p, n: nothing)[0][0] == (2, 5, 6)


# ---- networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("size", ["small", "full"])
def test_every_size_answers_patches_of_its_own_size(kind, size):
    recipe = RECIPES[kind]
    with torch.device("meta"):
        network = recipe.network(recipe.sizes[size])
        channels = 3 if recipe.takes_clicks else 1
        patch = recipe.sizes[size].patch
        assert network(torch.zeros(1, channels, *patch)).shape == (1, 2, *patch)


def test_dins_has_the_published_number_of_parameters():
    with torch.device("meta"):
        network = RECIPES["dins"].network(RECIPES["dins"].sizes["full"])
    # Counted from the published layers: convolutions without bias, two numbers for each channel of
    # an instance norm, transposed convolutions, the guide's convolution, the last one.
    one, two, three, four, five = 30, 60, 120, 240, 320

    def block(before: int, after: int, kernel: int) -> int:
        return kernel * after * (before + after) + 4 * after

    down = block(3, one, 9) + block(one, two, 9) + block(two, three, 27) + block(three, four, 27)
    bridge = block(four, five, 27)
    up = block(2 * four, four, 27) + block(2 * three, three, 27)
    up += block(2 * two, two, 9) + block(2 * one, one, 9)
    raised = 8 * five * four + 4 * (four * three + three * two + two * one)
    rest = 27 * 2 * five + five + 2 * one + 2
    assert sum(p.numel() for p in network.parameters()) == down + bridge + up + raised + rest


def test_dins_weighs_its_classes_one_to_three_and_one_on_average():
    logits = torch.randn((2, 2, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    target = torch.zeros(2, 4, 8, 8)
    target[0, 1, :4] = 1
    got = RECIPES["dins"].loss(logits, target)

    log = torch.log_softmax(logits, 1)
    parts = []
    for n in range(2):
        weight = 1 + 2 * target[n]
        weight = weight / weight.sum() * weight.numel()
        chosen = torch.where(target[n] > 0, log[n, 1], log[n, 0])
        parts.append(-(weight * chosen).mean())
    assert got == pytest.approx(float(sum(parts) / 2), abs=1e-6)


# ---- whole scans -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INTERACTIVE)
def test_a_click_changes_what_is_near_it_and_undoing_nothing_else_is_asked(kind):
    recipe, size = RECIPES[kind], SIZES[kind]
    torch.manual_seed(2)
    network = recipe.network(size).eval()
    stack = SliceStack(volume_of(scan_of(*LESIONS, rows=96, columns=96)))
    scan = WindowedScan(network, recipe, size, stack)

    scan.mask()
    before, asked = scan.windows.sum.clone(), scan.windows.computed
    scan.mask([PlacedClick((5, 9, 8), True, 1)])
    changed = (scan.windows.sum != before).nonzero()
    assert 0 < scan.windows.computed - asked < asked
    assert len(changed)
    farthest = [reach + 2 * window for reach, window in zip(recipe.reach, size.patch, strict=True)]
    assert (changed[:, 1].max() <= 9 + farthest[1]) and (changed[:, 2].max() <= 8 + farthest[2])

    positive = scan.windows.sum.clone()
    scan.mask([PlacedClick((5, 9, 8), False, 1)])
    assert not torch.equal(scan.windows.sum, positive)
    again = WindowedScan(network, recipe, size, stack)
    mask = again.mask([PlacedClick((5, 9, 8), False, 1)])
    torch.testing.assert_close(scan.windows.sum, again.windows.sum, atol=1e-4, rtol=0)
    assert mask.shape == stack.array.shape


@pytest.mark.parametrize("kind", RECIPES)
def test_every_baseline_goes_through_the_protocol_and_is_the_same_twice(kind, tmp_path):
    path = write_weights(tmp_path, kind)
    volume, labels = volume_of(scan_of(FIRST, SECOND, THIRD)), truth_of(*LESIONS)
    results = []
    for _ in range(2):
        segmenter = make_segmenter(parse_spec(f"{kind}={path}"), "scan")
        (step,) = run_protocol(Protocol(lesions=1, clicks=2), segmenter, volume, labels, "scan")
        results.append(step.result)
    assert step.clicks == (2 if kind in INTERACTIVE else 0)
    assert np.array_equal(*results)


def test_a_coarser_grid_puts_clicks_and_masks_where_they_belong():
    class AtClicks(DinsRecipe):
        def network(self, size):
            class Shown(nn.Module):
                def __init__(self) -> None:
                    super().__init__()
                    self.none = nn.Parameter(torch.zeros(()))

                def forward(self, x: Tensor) -> Tensor:
                    lesion = x[:, 1:2] - 0.9
                    return torch.cat([torch.zeros_like(lesion), lesion], 1) + self.none

            return Shown()

    recipe, size = AtClicks(), NetworkSize((1,), (4, 16, 16), shrink=2.0)
    stack = SliceStack(volume_of(scan_of(*LESIONS, rows=64, columns=48)))
    scan = WindowedScan(recipe.network(size), recipe, size, stack)
    mask = scan.mask([PlacedClick((5, 41, 20), True, 1)])

    assert scan.image.shape == (12, 32, 24)
    slices, rows, columns = np.nonzero(mask)
    assert set(slices) == {5}
    assert rows.mean() == pytest.approx(41, abs=1)
    assert columns.mean() == pytest.approx(20, abs=1)


def test_brightness_is_standardised_over_the_body_and_air_stays_dark():
    images = np.zeros((3, 8, 8), dtype=np.float32)
    images[:, 2:, 2:] = np.random.default_rng(0).uniform(10, 200, (3, 6, 6))
    image = standardised(images)
    assert not image[:, :2].any()
    assert image[:, 2:, 2:].mean() == pytest.approx(0, abs=1e-5)
    assert image[:, 2:, 2:].std(correction=0) == pytest.approx(1, abs=1e-5)
    assert not standardised(np.zeros((2, 4, 4))).any()
    assert shrunk(images, 2.0).shape == (3, 4, 4)


# ---- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RECIPES)
def test_weights_tell_what_they_were_given_and_come_back_exactly(kind, tmp_path):
    path = write_weights(tmp_path, kind)
    size, given = read_told(path, RECIPES[kind])
    assert (size, given.minutes, given.steps) == (SIZES[kind], 3.5, 11)
    spec = parse_spec(f"{kind}={path}")
    assert given_to(spec)["parameters"] == 7
    assert len(weights_of(spec)["sha256"]) == 64
    torch.manual_seed(0)
    fresh = RECIPES[kind].network(SIZES[kind])
    kept = load_file(path)
    assert all(torch.equal(value, kept[name]) for name, value in fresh.named_parameters())


@pytest.mark.parametrize("kind", RECIPES)
def test_bad_weights_are_refused_before_any_work(kind, tmp_path):
    def require(path: Path) -> None:
        make_segmenter(parse_spec(f"{kind}={path}")).require()

    with pytest.raises(Missing, match=f"mois train-baseline {kind}"):
        make_segmenter(parse_spec(kind)).require()
    with pytest.raises(Missing, match="no file nowhere.safetensors; train them with"):
        require(tmp_path / "nowhere.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights", "utf-8")
    with pytest.raises(BadInput, match="is no file of weights"):
        require(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match="was not written by 'mois train-baseline'"):
        require(tmp_path / "other.safetensors")
    other = next(one for one in RECIPES if one != kind)
    with pytest.raises(BadInput, match=f"has weights of '{other}', not of '{kind}'"):
        require(write_weights(tmp_path, other))

    path = write_weights(tmp_path, kind)
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name][..., :0]
    told = {
        "format": "mois-baseline-1",
        "kind": kind,
        "size": json.dumps(vars(SIZES[kind])),
        "given": "{}",
    }
    save_file(tensors, tmp_path / "wrong.safetensors", metadata=told)
    other_size = {**told, "size": "{}"}
    save_file(tensors, tmp_path / "older.safetensors", metadata=other_size)
    with pytest.raises(BadInput, match="from another version"):
        require(tmp_path / "older.safetensors")
    with pytest.raises(BadInput, match=f"does not fit the network it names: {name}"):
        require(tmp_path / "wrong.safetensors")
