"""SimpleClick and STCN with synthetic weights: arithmetic, names, and what they heed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from engine_fixtures import FIRST, SECOND, scan_of, volume_of
from paths import ROOT
from torch import nn

from mois_core.bench.synthetic_weights import unit_noise
from mois_core.errors import BadInput
from mois_core.evaluation.baselines.simpleclick_network import (
    SimpleClick,
    SimpleClickSize,
    click_map,
)
from mois_core.evaluation.baselines.simpleclick_stcn import (
    ClickedSlice,
    SimpleClickStcn,
    click_on_slice,
    part_to_look_at,
)
from mois_core.evaluation.baselines.stcn_network import (
    SliceKey,
    Stcn,
    against_background,
    read_memory,
)
from mois_core.evaluation.segmenters import Missing
from mois_core.geometry import SliceStack

SMALL = SimpleClickSize(32, 4, 16, 4, (4, 8, 16, 32), 8, 1, classes=3)
WINDOWED = SimpleClickSize(32, 4, 112, 4, (4, 8, 16, 32), 8, 1, classes=3)
PUBLISHED = np.load(ROOT / "Testing" / "data" / "simpleclick_stcn.npz")
"""What the published code gives on weights made from names: uncbiag/SimpleClick at f33112e,
hkchengrex/STCN at eb83102."""

STACK = SliceStack(volume_of(scan_of(FIRST, SECOND)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("simpleclick")
    torch.manual_seed(3)
    torch.save({"state_dict": SimpleClick(SMALL).state_dict()}, folder / "simpleclick.pt")
    torch.save(Stcn(8, 2, 8).state_dict(), folder / "stcn.pth")
    return folder / "simpleclick.pt", folder / "stcn.pth"


# ---- the networks ------------------------------------------------------------------------------


def test_parameters_are_named_and_shaped_as_in_the_published_checkpoints():
    with torch.device("meta"):
        base = SimpleClick(SimpleClickSize(768, 12, 16, 28, (128, 256, 512, 1024), 256, 1))
        stcn = Stcn()
    shapes = {name: tuple(one.shape) for name, one in base.state_dict().items()}
    assert shapes["backbone.pos_embed"] == (1, 785, 768)
    assert shapes["backbone.blocks.11.attn.qkv.weight"] == (2304, 768)
    assert shapes["patch_embed_coords.proj.weight"] == (768, 3, 16, 16)
    assert shapes["neck.down_4.0.weight"] == (768, 384, 2, 2)
    assert shapes["neck.down_32.2.weight"] == (1024, 1536, 1, 1)
    assert shapes["head.convs.3.conv.weight"] == (256, 1024, 1, 1)
    assert shapes["head.fusion_conv.conv.weight"] == (256, 1024, 1, 1)
    assert shapes["head.up_conv2.0.weight"] == (128, 64, 2, 2)
    assert SimpleClickSize.of(base.state_dict()) == base.size

    shapes = {name: tuple(one.shape) for name, one in stcn.state_dict().items()}
    assert shapes["key_encoder.layer3.5.conv3.weight"] == (1024, 256, 1, 1)
    assert shapes["value_encoder.conv1.weight"] == (64, 5, 7, 7)
    assert shapes["value_encoder.layer2.0.downsample.0.bias"] == (128,)
    assert shapes["value_encoder.fuser.attention.ChannelGate.mlp.1.weight"] == (32, 512)
    assert shapes["value_encoder.fuser.attention.SpatialGate.spatial.conv.weight"] == (1, 2, 7, 7)
    assert shapes["decoder.up_16_8.out_conv.downsample.weight"] == (256, 512, 3, 3)


def weights_from_names(network: nn.Module) -> nn.Module:
    """Fill a network with what its parameters' names alone tell, as the published one was."""
    state = {}
    for name, tensor in network.state_dict().items():
        noise = torch.from_numpy(np.asarray(unit_noise(name, tuple(tensor.shape))))
        if name.endswith("num_batches_tracked"):
            state[name] = tensor
        elif name.endswith("running_var"):
            state[name] = 1 + 0.05 * noise.abs()
        elif name.endswith((".bias", "running_mean")):
            state[name] = 0.05 * noise
        elif tensor.dim() == 1:
            state[name] = 1 + 0.05 * noise
        else:
            state[name] = noise / float(np.prod(tensor.shape[1:])) ** 0.5
    network.load_state_dict(state)
    return network.eval()


def picture(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(unit_noise(name, shape))


def test_stcn_gives_what_the_published_code_gives(one_thread):
    network = weights_from_names(Stcn())
    one, two = picture("one", 1, 3, 64, 96), picture("two", 1, 3, 64, 96)
    with torch.inference_mode():
        key = network.key(one)
        value = network.value(one, key, (picture("mask", 1, 1, 64, 96) > 0).float())
        mask = network.mask(network.key(two), [(key.key, value)])
    assert np.abs(key.key[0, ::4].numpy() - PUBLISHED["stcn_key"]).max() < 1e-4
    assert np.abs(value[0, ::16].numpy() - PUBLISHED["stcn_value"]).max() < 1e-4
    assert np.abs(mask[0, 0, ::4, ::4].numpy() - PUBLISHED["stcn_mask"]).max() < 1e-4


@pytest.mark.parametrize(("enlarged", "channels", "depth"), [(1, 32, 12), (2, 16, 8), (4, 8, 8)])
def test_simpleclick_gives_what_the_published_code_gives(one_thread, enlarged, channels, depth):
    size = SimpleClickSize(128, depth, 16, 28, (16, 32, 64, 128), channels, enlarged)
    network = weights_from_names(SimpleClick(size))
    image = torch.sigmoid(picture("image", 1, 3, 448, 448))
    former = (picture("former", 1, 1, 448, 448) > 1).float()
    positive = torch.tensor([[[100.0, 200.0], [300.0, 40.0]]])
    negative = torch.tensor([[[50.0, 60.0], [-1.0, -1.0]]])
    with torch.inference_mode():
        logits = network(image, former, positive, negative)
    expected = PUBLISHED[f"simpleclick_x{enlarged}"]
    assert expected.std() > 0.1
    assert np.abs(logits[0, 0, ::16, ::16].numpy() - expected).max() < 1e-4


def test_clicks_are_discs_of_five_pixels():
    clicks = torch.tensor([[[10.0, 3.0], [20.0, 30.0]], [[-1.0, -1.0], [0.0, 0.0]]])
    shown = click_map(clicks, (32, 40)).numpy()[:, 0]
    rows, columns = np.mgrid[:32, :40]
    first = (np.hypot(rows - 10, columns - 3) <= 5) | (np.hypot(rows - 20, columns - 30) <= 5)
    assert np.array_equal(shown[0] > 0, first)
    assert np.array_equal(shown[1] > 0, np.hypot(rows, columns) <= 5)
    assert not click_map(torch.zeros(1, 0, 2), (4, 4)).any()


def test_blocks_look_into_windows_except_the_last_of_a_group():
    torch.manual_seed(0)
    network = SimpleClick(WINDOWED).backbone
    assert (network.windows, network.group) == (2, 1)
    tokens = torch.randn(2, 16, 32)
    assert torch.equal(network._joined(network._windows(tokens)), tokens)
    grid = tokens.reshape(2, 4, 4, 32)
    windows = network._windows(tokens)
    assert torch.equal(windows[1], grid[0, :2, 2:].reshape(4, 32))
    assert torch.equal(windows[6], grid[1, 2:, :2].reshape(4, 32))
    eight = SimpleClick(SimpleClickSize(32, 8, 112, 4, (4, 8, 16, 32), 8, 1)).backbone
    seen = [[] for _ in eight.blocks]
    for block, note in zip(eight.blocks, seen, strict=True):
        block.register_forward_pre_hook(lambda _, given, note=note: note.append(given[0].shape[1]))
    eight(torch.randn(1, 3, 448, 448), torch.zeros(1, 16, 32))
    assert [note[0] for note in seen] == [4, 16] * 4


@pytest.mark.parametrize("enlarged", [1, 2, 4])
def test_heads_of_all_three_kinds_give_a_mask_of_the_size_of_the_image(enlarged):
    size = SimpleClickSize(32, 4, 16, 4, (4, 8, 16, 32), 8, enlarged, classes=3)
    network = SimpleClick(size).eval()
    assert SimpleClickSize.of(network.state_dict()) == size
    click = torch.tensor([[[30.0, 30.0]]])
    with torch.inference_mode():
        image, none = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
        assert network(image, none, click, click[:, :0]).shape == (1, 1, 64, 64)


def test_a_memory_is_read_at_the_nearest_keys_alone():
    torch.manual_seed(1)
    keys, values, queries = torch.randn(1, 6, 50), torch.randn(1, 3, 50), torch.randn(1, 6, 7)
    read = read_memory(keys, values, queries)[0].numpy()
    for place in range(7):
        apart = (keys[0] - queries[0, :, place, None]).square().sum(0).double().numpy()
        order = np.argsort(apart)[:20]
        weights = np.exp(-(apart[order] - apart.min()) / np.sqrt(6))
        expected = (values[0, :, order].double().numpy() * weights).sum(1) / weights.sum()
        assert np.allclose(read[:, place], expected, atol=1e-5)


def test_object_and_background_stand_against_each_other_by_their_odds():
    own = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0])
    both = torch.stack([1 - own, own]).clamp(1e-7, 1 - 1e-7)
    expected = torch.softmax(torch.log(both / (1 - both)), 0)[1]
    assert torch.allclose(against_background(own), expected, atol=1e-6)


# ---- one slice ---------------------------------------------------------------------------------


class Spy(nn.Module):
    """Notes what it is shown, and marks what is bright and near to a positive click."""

    size = SMALL

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image, previous, positive, negative):
        self.shown = (image, previous, positive, negative)
        near = click_map(positive, image.shape[-2:]) - click_map(negative, image.shape[-2:])
        return 20 * (image[:, :1] + near - 1.2)


def test_the_whole_slice_is_shown_first_and_then_what_lies_around_the_former_mask():
    clicked = ClickedSlice(np.zeros((1000, 320), np.float32), [(500, 100, True)])
    assert part_to_look_at(clicked) == (0, 999, 0, 319)
    clicked.probability[480:521, 90:111] = 0.9
    assert part_to_look_at(clicked) == (400, 600, 0, 200)
    clicked.probability[200:600, 90:111] = 0.9
    clicked.part = (400, 600, 0, 200)
    assert part_to_look_at(clicked) == (120, 680, 0, 200), "it has grown out of the part"
    clicked.probability[:] = 0
    clicked.probability[470:531, 90:111] = 0.9
    assert part_to_look_at(clicked) == (400, 600, 0, 200), "it is much the same"
    clicked.clicks.append((650, 100, True))
    assert part_to_look_at(clicked)[1] > 650, "a click is never left out"


def test_clicks_and_masks_lie_in_the_part_that_is_shown_and_come_back_from_there():
    spy = Spy()
    image = torch.full((300, 260), 0.1)
    image[40:80, 150:190] = 1.0
    clicked = ClickedSlice(np.zeros(image.shape, np.float32), [(60, 170, True)])
    click_on_slice(spy, image, clicked)
    assert torch.allclose(spy.shown[2][0], torch.tensor([[60 * 64 / 300, 170 * 64 / 260]]))
    assert torch.allclose(spy.shown[2][1], torch.tensor([[60 * 64 / 300, 63 - 170 * 64 / 260]]))
    found = np.argwhere(clicked.probability > 0.5)
    assert np.abs(found.mean(0) - (60, 170)).max() < 3

    clicked.clicks.append((45, 155, False))
    click_on_slice(spy, image, clicked)
    first_row, last_row, first_column, last_column = clicked.part
    assert last_row - first_row < 299
    assert last_column - first_column < 259
    assert spy.shown[1][0].max() > 0.5, "it sees its former mask"
    assert clicked.probability[60, 170] > 0.5 > clicked.probability[45, 155]
    outside = clicked.probability.copy()
    outside[first_row : last_row + 1, first_column : last_column + 1] = 0
    assert not outside.any()


# ---- through the volume ------------------------------------------------------------------------


class Carries:
    """A stand-in for STCN: what is remembered stays, for three slices from where it was clicked."""

    def __init__(self) -> None:
        self.memories: list[int] = []

    def key(self, image):
        return SliceKey(*[image] * 5)

    def value(self, image, key, mask):
        return mask

    def mask(self, key, memory):
        self.memories.append(len(memory))
        return memory[-1][1] * (key.key[:, :1] > 0)


def ras_of(voxel: tuple[int, int, int]) -> tuple[float, float, float]:
    z, y, x = (np.asarray(index) for index in voxel)
    return tuple(STACK.point_to_ras(z, x, y).tolist())


def with_stand_ins(monkeypatch) -> SimpleClickStcn:
    made = SimpleClickStcn()
    monkeypatch.setattr(made, "_networks", lambda device: (Spy(), Carries()))
    made.open(STACK.volume)
    return made


def test_a_lesion_is_carried_both_ways_until_it_is_lost(monkeypatch):
    made = with_stand_ins(monkeypatch)
    made.images[(STACK.array != 180)] = -10.0  # darker than the mean: nothing is carried there
    lesion = made.click(ras_of(FIRST.middle))
    mask = STACK.from_volume(made.lesion(lesion))
    assert np.flatnonzero(mask.any((1, 2))).tolist() == list(range(*FIRST.slices))
    assert mask[FIRST.middle]
    assert made.carry.memories == [1, 2, 3, 1, 2, 3], "the last of each way finds nothing"


def test_a_click_on_another_slice_corrects_it_and_is_remembered(monkeypatch):
    made = with_stand_ins(monkeypatch)
    made.images[(STACK.array != 180)] = -10.0
    lesion = made.click(ras_of(FIRST.middle))
    made.lesion(lesion)
    further = (FIRST.slices[0], *FIRST.middle[1:])
    made.click(ras_of(further), False, lesion)
    corrected = STACK.from_volume(made.lesion(lesion))
    clicked = made.lesions[lesion].slices
    assert sorted(clicked) == [FIRST.slices[0], FIRST.middle[0]]
    assert not corrected[further]
    assert corrected[FIRST.middle]
    assert made.carry.memories[-1] > 1


# ---- the real networks, with synthetic weights -------------------------------------------------


def opened(weights: tuple[Path, Path]) -> SimpleClickStcn:
    made = SimpleClickStcn(*map(str, weights))
    made.require()
    made.open(STACK.volume)
    return made


def test_it_heeds_clicks_and_answers_the_same_clicks_the_same(weights, one_thread):
    answers = {}
    for name, clicks in {
        "here": [(FIRST.middle, True)],
        "there": [(SECOND.middle, True)],
        "corrected": [(FIRST.middle, True), (SECOND.middle, False)],
        "again": [(FIRST.middle, True)],
    }.items():
        made = opened(weights)
        lesion = None
        for voxel, positive in clicks:
            lesion = made.click(ras_of(voxel), positive, lesion)
        mask = made.lesion(lesion)
        assert mask.shape == STACK.volume.array.shape
        answers[name] = made.lesions[lesion].slices[FIRST.middle[0]].probability
    assert np.array_equal(answers["here"], answers["again"])
    for other in ("there", "corrected"):
        assert np.abs(answers["here"] - answers.get(other)).max() > 1e-4
    only_negative = opened(weights)
    assert not only_negative.lesion(only_negative.click(ras_of(FIRST.middle), False)).any()


def test_stcn_finds_a_mask_where_its_memory_says_so(one_thread):
    torch.manual_seed(0)
    network = Stcn(8, 2, 8).eval()
    image = torch.randn(1, 3, 64, 48)
    with torch.inference_mode():
        key = network.key(image)
        full = network.value(image, key, torch.ones(1, 1, 64, 48))
        empty = network.value(image, key, torch.zeros(1, 1, 64, 48))
        assert full.shape == (1, 64, 4, 3)
        one, other = (network.mask(key, [(key.key, value)]) for value in (full, empty))
    assert one.shape == (1, 1, 64, 48)
    assert (one - other).abs().max() > 1e-4
    single = Stcn.of(Stcn(8, 1, 8).state_dict())
    assert single.value_encoder.conv1.in_channels == 4, "as after the first stage of its training"


def test_weights_that_do_not_fit_are_refused(weights, tmp_path):
    simpleclick, stcn = weights
    state = torch.load(simpleclick)["state_dict"]
    for name, wrong, message in (
        ("lacking", {k: v for k, v in state.items() if k != "head.conv_seg.bias"}, "1 missing"),
        ("other", {"weight": torch.zeros(2)}, "no SimpleClick of a plain transformer"),
        ("odd", {**state, "backbone.pos_embed": torch.zeros(1, 16, 32)}, "no SimpleClick has"),
    ):
        torch.save(wrong, tmp_path / f"{name}.pt")
        with pytest.raises(BadInput, match=message):
            SimpleClickStcn(str(tmp_path / f"{name}.pt"), str(stcn)).require()
    for wrong, message in (
        ({"weight": torch.zeros(2)}, "no STCN"),
        (torch.load(stcn) | {"more": torch.zeros(1)}, "1 unknown: more"),
    ):
        torch.save(wrong, tmp_path / "stcn.pth")
        with pytest.raises(BadInput, match=message):
            SimpleClickStcn(str(simpleclick), str(tmp_path / "stcn.pth")).require()


def test_missing_weights_are_said_with_where_to_get_them(weights):
    simpleclick, stcn = map(str, weights)
    with pytest.raises(Missing, match=r"uncbiag/SimpleClick.*docs/baselines.md"):
        SimpleClickStcn("", stcn).require()
    with pytest.raises(Missing, match="in stcn.pth.gone; .*hkchengrex/STCN") as told:
        SimpleClickStcn(simpleclick, f"{stcn}.gone").require()
    assert str(weights[1].parent) not in str(told.value)
