"""VISTA3D with synthetic weights: what it is shown, what it is asked, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from engine_fixtures import FIRST, SECOND, scan_of, volume_of
from monai.data import MetaTensor
from monai.networks.nets.vista3d import vista3d132
from monai.transforms import Spacing
from orientations import STORAGE_ORDERS, stored_as

from mois_core.errors import BadInput
from mois_core.evaluation.baselines import vista3d
from mois_core.evaluation.baselines.vista3d import Vista3d, Vista3dAutomatic, Vista3dGrid
from mois_core.evaluation.segmenters import Missing
from mois_core.geometry import SliceStack

STACK = SliceStack(volume_of(scan_of(FIRST, SECOND)))
WINDOW = 32


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("vista3d") / "model.pt"
    torch.save(vista3d132(encoder_embed_dim=8).state_dict(), path)
    return path


def ras_of(voxel: tuple[int, int, int]) -> tuple[float, float, float]:
    z, y, x = (np.asarray(index) for index in voxel)
    return tuple(STACK.point_to_ras(z, x, y).tolist())


# ---- what it is shown --------------------------------------------------------------------------


def test_the_grid_is_what_monai_makes_of_the_scan():
    noise = np.random.default_rng(0).integers(1, 1000, (6, 40, 31))
    stack = SliceStack(volume_of(noise))
    grid = Vista3dGrid(stack, 1.5)

    turned = np.ascontiguousarray(noise.transpose(2, 0, 1)[::-1, :, ::-1])
    low, high = np.percentile(turned, (1, 99))
    scaled = np.clip((turned - low) / (high - low), 0, 1)
    image = MetaTensor(torch.from_numpy(scaled)[None], affine=np.diag([0.62, 7.8, 0.62, 1]))
    expected = Spacing(pixdim=(1.5, 1.5, 1.5), mode="bilinear", align_corners=True)(image)[0]
    assert grid.image.shape == expected.shape
    assert np.abs(grid.image - expected.numpy()).max() < 1e-6


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS[::11])
def test_it_is_shown_the_same_however_the_scan_is_stored(order, flips):
    stored = SliceStack(stored_as(STACK.volume, order, flips))
    assert np.array_equal(Vista3dGrid(stored, 1.5).image, Vista3dGrid(STACK, 1.5).image)


@pytest.mark.parametrize("spacing", [0, 0.31])
def test_a_click_lies_on_what_was_clicked_and_a_mask_comes_back_to_its_place(spacing):
    grid = Vista3dGrid(STACK, spacing)
    for block in (FIRST, SECOND):
        assert grid.image[tuple(grid.place(block.middle))] > 0.5
        x, y, z = grid.place(block.middle)
        beside = grid.place((block.middle[0], block.middle[1], block.columns[1] + 2))
        assert beside[0] < x
        assert beside[1:] == [y, z]
    logits = np.where(grid.image > 0.5, 1.0, -1.0)
    logits[:, :, -4:] = np.nan  # the bright row on top, where no window was
    expected = STACK.array > 100
    expected[:, :2] = False
    assert np.array_equal(grid.to_stack(logits), expected)


def test_a_scan_without_contrast_is_refused():
    with pytest.raises(BadInput, match="no contrast"):
        Vista3dGrid(SliceStack(volume_of(np.full((4, 8, 8), 7))), 0)


# ---- what it is asked --------------------------------------------------------------------------


def opened(weights: Path, **options: float) -> Vista3d:
    made = Vista3d(str(weights), spacing=0, window=WINDOW, **options)
    made.open(STACK.volume)
    return made


def logits_asked(monkeypatch, made: Vista3d) -> list[np.ndarray]:
    """Note what comes back from the network, before it is cut at 0."""
    seen: list[np.ndarray] = []
    real = made.grid.to_stack
    monkeypatch.setattr(made.grid, "to_stack", lambda logits: seen.append(logits) or real(logits))
    return seen


def test_it_heeds_a_click_and_answers_the_same_clicks_the_same(weights, monkeypatch):
    made = opened(weights)
    seen = logits_asked(monkeypatch, made)
    first = made.click(ras_of(FIRST.middle))
    made.lesion(first)
    second = made.click(ras_of(SECOND.middle))
    made.lesion(second)
    made.click(ras_of(SECOND.middle), False, first)
    made.lesion(first)
    again = opened(weights)
    repeated = logits_asked(monkeypatch, again)
    again.lesion(again.click(ras_of(FIRST.middle)))

    assert (first, second) == (1, 2)
    here, there, corrected = seen
    assert np.nanstd(here) > 0
    assert np.nanmax(np.abs(here - there)) > 1e-3
    assert np.nanmax(np.abs(here - corrected)) > 1e-3
    assert np.array_equal(here, repeated[0], equal_nan=True)


def test_a_lesion_is_what_is_joined_to_its_positive_clicks(weights, monkeypatch):
    made = opened(weights)
    bright = STACK.array > 100
    monkeypatch.setattr(made.grid, "to_stack", lambda logits: bright)
    lesion = made.click(ras_of(FIRST.middle))
    expected = np.zeros(bright.shape, dtype=bool)
    expected[FIRST.where] = True
    assert np.array_equal(made.lesion(lesion), expected)
    assert set(np.unique(made.result())) == {0, 1}
    only_negative = made.click(ras_of(SECOND.middle), False)
    assert not made.lesion(only_negative).any()


@pytest.mark.parametrize(
    ("class_id", "labels", "prompt"), [(0, [1, 0], 133), (3, [1, 0], 3), (26, [3, 2], 26)]
)
def test_clicks_say_which_kind_of_class_they_are_on(weights, monkeypatch, class_id, labels, prompt):
    made = opened(weights, class_id=class_id)
    asked = {}

    def network(image, **prompts):
        asked.update(prompts)
        return torch.zeros_like(image)

    made.network = network
    lesion = made.click(ras_of(FIRST.middle))
    made.click(ras_of(SECOND.middle), False, lesion)
    made.lesion(lesion)
    assert asked["point_labels"].tolist() == [labels]
    assert asked["prompt_class"].tolist() == [[prompt]]
    padded = (WINDOW - np.array(made.grid.image.shape)).clip(min=0) // 2
    expected = [
        (np.array(made.grid.place(block.middle)) + padded).tolist() for block in (FIRST, SECOND)
    ]
    assert asked["point_coords"].tolist() == [expected]


def test_a_click_outside_the_scan_is_refused(weights):
    with pytest.raises(BadInput, match="outside the scan"):
        opened(weights).click((1e4, 0, 0))


def test_without_clicks_it_marks_one_class_the_same_each_time(weights):
    results = []
    for class_id in (3, 3, 26):
        made = Vista3dAutomatic(str(weights), class_id, spacing=0, window=WINDOW)
        made.open(STACK.volume)
        results.append(made.result())
    assert results[0].shape == STACK.volume.array.shape
    assert results[0].any() and not results[0].all()
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


# ---- what it refuses ---------------------------------------------------------------------------


def test_weights_of_a_training_on_several_gpus_are_read(weights, tmp_path):
    state = torch.load(weights)
    path = tmp_path / "trained.pt"
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, path)
    Vista3d(str(path)).require()


def test_weights_of_another_network_or_of_older_names_are_refused(weights, tmp_path):
    state = torch.load(weights)
    for wrong, message in {
        "renamed": "names of MONAI 1.4 and later",
        "shortened": "1 missing: point_head.mask_tokens.weight",
        "misshaped": "1 of another shape: point_head.mask_tokens.weight",
    }.items():
        changed = dict(state)
        if wrong == "renamed":
            changed = {f"old.{name}": tensor for name, tensor in state.items()}
        elif wrong == "shortened":
            del changed["point_head.mask_tokens.weight"]
        else:
            changed["point_head.mask_tokens.weight"] = torch.zeros(2, 8)
        torch.save(changed, tmp_path / f"{wrong}.pt")
        with pytest.raises(BadInput, match=message):
            Vista3d(str(tmp_path / f"{wrong}.pt")).require()


def test_missing_weights_are_said_with_where_to_get_them(tmp_path):
    for path in ("", str(tmp_path / "none.pt")):
        with pytest.raises(Missing, match="NV-Segment-CT") as told:
            Vista3d(path).require()
        assert str(tmp_path) not in str(told.value)


@pytest.mark.parametrize("class_id", [0, 133, 2.5])
def test_a_class_that_it_does_not_have_is_refused(weights, class_id):
    with pytest.raises(BadInput, match="1 to 132"):
        Vista3dAutomatic(str(weights), class_id).require()


def test_windows_and_spacings_that_do_not_work_are_refused():
    with pytest.raises(BadInput, match="multiple of 16"):
        Vista3d(window=100)
    with pytest.raises(BadInput, match="millimetres"):
        Vista3d(spacing=-1)


def test_the_cached_network_is_of_the_file_as_it_is_now(weights, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(weights.read_bytes())
    before = vista3d._network(str(path), 1, "cpu")
    assert vista3d._network(str(path), 1, "cpu") is before
    assert vista3d._network(str(path), 2, "cpu") is not before
