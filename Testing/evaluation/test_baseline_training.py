"""Training of baselines: it learns, goes on where it stopped, and tells what it was given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import mois
from engine_fixtures import volume_of
from safetensors.torch import load_file

pytest.importorskip("monai")

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.dins import DinsRecipe
from mois_core.evaluation.baselines.patch_network import NetworkSize, WindowedScan, read_told
from mois_core.evaluation.baselines.patches import PatchScan, draw_patch
from mois_core.evaluation.baselines.sw_fastedit import SwFastEditRecipe
from mois_core.evaluation.baselines.training import (
    WEIGHTS,
    BaselineRun,
    BaselineTrainer,
    BatchesAhead,
    Budget,
    rate_at,
)
from mois_core.evaluation.baselines.unet3d import UNetRecipe
from mois_core.evaluation.segmenter_specs import make_segmenter, parse_spec
from mois_core.evaluation.segmenters import PlacedClick
from mois_core.geometry import SliceStack
from mois_core.results.scores import dice
from mois_core.training.config import DataConfig, PhantomRange
from mois_core.training.scans import INDEX, training_cases
from mois_core.training.training_case import TrainingCase, case_of

SLICES, SIDE, BLOCK = 8, 40, (3, 6, 6)
AIR, BODY, BRIGHT = 0, 60, 200
DINS = NetworkSize((4, 8, 8, 8, 16), (4, 16, 16))
SW = NetworkSize((4, 8, 16), (4, 16, 16))
UNET = NetworkSize((8, 16, 16), (4, 16, 16))


def toy_case(seed: int, lesions: int = 4) -> TrainingCase:
    """Return a scan with bright blocks in two appearances that look alike."""
    rng = np.random.default_rng(seed)
    images = rng.normal(BODY, 6, (SLICES, SIDE, SIDE)).clip(1, 255).astype(np.uint8)
    images[:, :2] = AIR
    labels = np.zeros_like(images)
    for lesion_id in range(1, lesions + 1):
        corner = rng.integers((0, 4, 2), (SLICES - 3, SIDE - 8, SIDE - 8))
        box = tuple(slice(at, at + n) for at, n in zip(corner, BLOCK, strict=True))
        images[box] = rng.normal(BRIGHT, 6, images[box].shape)
        labels[box] = lesion_id
    appearances = np.arange(lesions + 1, dtype=np.uint8) % 2
    return TrainingCase(f"toy-{seed}", images, labels, appearances)


def toy_scans(count: int = 6) -> list[PatchScan]:
    return [PatchScan.of(toy_case(seed), 1.0) for seed in range(count)]


def trainer_of(
    recipe, size: NetworkSize, out: Path, seed: int = 1, patches: int = 2
) -> BaselineTrainer:
    run = BaselineRun(seed=seed, patches=patches, changed_size=size)
    return BaselineTrainer(recipe, run, out, "cpu", toy_scans())


def quiet(line: str) -> None:
    return None


# ---- learning ----------------------------------------------------------------------------------


class FastUNet(UNetRecipe):
    rate = 5e-3


class FastDins(DinsRecipe):
    rate = 5e-3


class FastSwFastEdit(SwFastEditRecipe):
    rate = 5e-3


def trained(recipe, size: NetworkSize, folder: Path, steps: int):
    trainer = trainer_of(recipe, size, folder, patches=4)
    trainer.run(Budget(steps=steps), quiet)
    return trainer.network.eval()


def test_a_network_without_clicks_learns_to_mark_what_is_bright(tmp_path, one_thread):
    network = trained(FastUNet(), UNET, tmp_path, steps=80)

    scores = []
    for seed in range(90, 94):
        case = toy_case(seed)
        stack = SliceStack(volume_of(case.images))
        scan = WindowedScan(network, UNetRecipe(), UNET, stack)
        scores.append(dice(scan.mask(), case.labels > 0))
    assert np.mean(scores) > 0.6


@pytest.mark.parametrize(("recipe", "size"), [(FastDins(), DINS), (FastSwFastEdit(), SW)])
def test_a_network_with_clicks_learns_to_heed_them(tmp_path, one_thread, recipe, size):
    """Two kinds of lesions that look alike: only a click can tell which is meant."""
    network = trained(recipe, size, tmp_path, steps=150)

    gains, marked = [], []
    for seed in range(90, 96):
        case = toy_case(seed)
        scan = WindowedScan(network, recipe, size, SliceStack(volume_of(case.images)))
        click = tuple(int(v) for v in np.argwhere(case.labels == 1).mean(axis=0))
        scores = {}
        for positive in (True, False):
            mask = scan.mask([PlacedClick(click, positive, 1)])
            scores[positive] = score_at(scan, click)
            marked += [mask[click]] if positive else []
        gains.append(scores[True] - scores[False])
    assert all(marked)
    assert min(gains) > 0
    assert np.mean(gains) > 1


def score_at(scan: WindowedScan, voxel: tuple[int, int, int]) -> float:
    """Return by how much the network calls a voxel lesion rather than background."""
    windows = scan.windows
    inside = tuple(
        slice(first, first + n) for first, n in zip(windows.before, windows.shape, strict=True)
    )
    return float((windows.sum / windows.total)[inside][voxel])


# ---- patches -----------------------------------------------------------------------------------


def test_patches_are_of_one_appearance_where_clicks_say_which_and_of_all_otherwise():
    scan = toy_scans(1)[0]
    size = NetworkSize((1,), (SLICES, SIDE, SIDE))
    one = [draw_patch(np.random.default_rng(n), scan, size, True) for n in range(12)]
    every = [draw_patch(np.random.default_rng(n), scan, size, False) for n in range(12)]

    assert all(patch.image.shape == patch.target.shape == size.patch for patch in one)
    assert np.mean([p.target.sum() for p in one]) < 0.8 * np.mean([p.target.sum() for p in every])
    # Lesions are marked where they are bright, whatever was turned, zoomed and flipped.
    marked = [float(p.image[torch.from_numpy(p.target)].mean()) for p in every]
    assert min(marked) > 1
    again = draw_patch(np.random.default_rng(3), scan, size, True)
    assert torch.equal(again.image, one[3].image)


def test_a_scan_smaller_than_a_patch_is_put_in_its_middle():
    size = NetworkSize((1,), (SLICES + 8, 2 * SIDE, 2 * SIDE))
    patch = draw_patch(np.random.default_rng(0), toy_scans(1)[0], size, False)
    assert not patch.image[:4].any() and not patch.image[-4:].any()
    assert patch.target.any()


def test_lesions_are_where_they_are_bright_on_a_coarser_grid():
    scan = PatchScan.of(toy_case(0), 2.0)
    assert scan.images.shape == (SLICES, SIDE // 2, SIDE // 2)
    assert scan.images[scan.labels > 0].mean() > BRIGHT - 30


@pytest.mark.parametrize("shrink", [1.0, 2.0])
def test_a_network_sees_a_scan_as_it_saw_it_in_training(shrink):
    rng = np.random.default_rng(0)
    # Most of the air is not quite dark.
    array = rng.gamma(0.3, 40, (6, 40, 32)).astype(np.float32)
    array[:, 10:30, 8:24] += 300
    volume = volume_of(array)
    size = NetworkSize((2,) * 5, (4, 16, 16), shrink)
    of_training = PatchScan.of(
        case_of("a", volume, np.zeros(array.shape, np.uint8), np.zeros(1)), shrink
    )
    whole = tuple(slice(0, n) for n in of_training.images.shape)
    recipe = DinsRecipe()
    seen = WindowedScan(recipe.network(size), recipe, size, SliceStack(volume)).image

    torch.testing.assert_close(seen, of_training.standardised_crop(whole), atol=1e-4, rtol=0)


# ---- a run -------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path, one_thread):
    whole = trainer_of(SwFastEditRecipe(), SW, tmp_path / "whole")
    whole.run(Budget(steps=6), quiet)
    first = trainer_of(SwFastEditRecipe(), SW, tmp_path / "stopped")
    for step in range(3):
        first.step(step / 6)
        first.progress = type(first.progress)(step=step + 1, seconds=1.0 + step)
    first.save()
    second = trainer_of(SwFastEditRecipe(), SW, tmp_path / "stopped")
    assert (second.progress.step, second.progress.seconds) == (3, 3.0)
    second.run(Budget(steps=6), quiet)

    kept = load_file(tmp_path / "whole" / WEIGHTS)
    again = load_file(tmp_path / "stopped" / WEIGHTS)
    assert all(torch.equal(kept[name], again[name]) for name in kept)
    assert any(not torch.equal(kept[name], value) for name, value in fresh_tensors().items())


def fresh_tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return dict(SwFastEditRecipe().network(SW).named_parameters())


def test_batches_drawn_ahead_are_the_same(tmp_path):
    trainer = trainer_of(DinsRecipe(), DINS, tmp_path)
    ahead = BatchesAhead(trainer.batch, threads=2)
    for step in range(5):
        for one, other in zip(ahead(step), trainer.batch(step), strict=True):
            assert torch.equal(one, other)
    ahead.close()


def test_a_run_of_minutes_ends_by_the_clock_and_says_what_it_was_given(tmp_path, one_thread):
    trainer = trainer_of(UNetRecipe(), UNET, tmp_path, seed=5)
    trainer.run(Budget(minutes=0.02), quiet)
    _, given = read_told(tmp_path / WEIGHTS, UNetRecipe())

    assert given.steps == trainer.progress.step > 0
    assert given.minutes == pytest.approx(0.02, abs=0.05)
    assert (given.device, given.patches, given.scans, given.seed) == ("cpu", 2, 6, 5)
    assert given.parameters == sum(p.numel() for p in trainer.network.parameters())
    before = given.steps
    trainer_of(UNetRecipe(), UNET, tmp_path, seed=5).run(Budget(minutes=0.02), quiet)
    assert read_told(tmp_path / WEIGHTS, UNetRecipe())[1].steps == before


def test_a_run_with_another_seed_is_another_run(tmp_path, one_thread):
    trainer_of(UNetRecipe(), UNET, tmp_path, seed=1).run(Budget(steps=1), quiet)
    with pytest.raises(BadInput, match="another seed"):
        trainer_of(UNetRecipe(), UNET, tmp_path, seed=2)


def test_a_loss_that_is_not_finite_ends_the_run_before_the_weights_are_touched(tmp_path):
    class Broken(UNetRecipe):
        def loss(self, logits, target):
            return logits.sum() * float("nan")

    trainer = trainer_of(Broken(), UNET, tmp_path)
    before = [p.clone() for p in trainer.network.parameters()]
    with pytest.raises(BadInput, match="not a finite number"):
        trainer.run(Budget(steps=2), quiet)
    assert all(map(torch.equal, before, trainer.network.parameters()))


def test_the_rate_rises_and_falls_within_the_budget():
    rates = [rate_at(spent) for spent in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates[0] < 0.1 and rates[-1] == pytest.approx(0.01)
    with pytest.raises(BadInput, match="either minutes or steps"):
        Budget()
    with pytest.raises(BadInput, match="more than 0"):
        Budget(minutes=-1.0)


# ---- scans and the command ---------------------------------------------------------------------


def test_held_out_phantoms_are_refused_even_if_they_lie_in_the_cache(tmp_path):
    toy_case(0).save(tmp_path / "phantom-100000.npz")
    data = DataConfig(phantoms=PhantomRange(99_999, 2, str(tmp_path)))
    with pytest.raises(BadInput, match="held out"):
        list(training_cases(data))


def test_phantoms_in_the_cache_are_not_made_again(tmp_path):
    toy_case(0).save(tmp_path / "phantom-1000.npz")
    data = DataConfig(phantoms=PhantomRange(1000, 1, str(tmp_path)))
    (case,) = training_cases(data)
    assert np.array_equal(case.images, toy_case(0).images)


def prepared(folder: Path, **told: object) -> Path:
    folder.mkdir()
    cases = []
    for seed in range(3):
        toy_case(seed).save(folder / f"{seed}.npz")
        cases.append({"file": f"{seed}.npz", "fold": seed})
    (folder / INDEX).write_text(json.dumps({"cases": cases, **told}), "utf-8")
    return folder


def test_the_command_trains_on_prepared_scans_and_its_weights_can_be_evaluated(
    tmp_path, capsys, one_thread
):
    folder = prepared(tmp_path / "prepared")
    words = ["train-baseline", "unet", "--steps", "2", "--prepared", folder, "--fold", "0"]
    assert mois(*words, "--out", tmp_path / "unet", "--patches", "1") == 0

    weights = tmp_path / "unet" / WEIGHTS
    assert f"mois evaluate --segmenter unet={weights}" in capsys.readouterr().out
    size, given = read_told(weights, UNetRecipe())
    assert size == UNetRecipe.sizes["small"]
    assert (given.steps, given.scans, given.patches) == (2, 2, 1)


def test_weights_know_how_the_scans_were_sliced_and_scaled_that_they_are_from(tmp_path, one_thread):
    folder = prepared(tmp_path / "prepared", axis="axial", grey_window=[-100.0, 200.0])
    run = BaselineRun(patches=1, data=DataConfig(str(folder)), changed_size=DINS)
    trainer = BaselineTrainer(DinsRecipe(), run, tmp_path / "out", "cpu")
    path = trainer.run(Budget(steps=1), quiet)

    size, _ = read_told(path, DinsRecipe())
    assert (size.axis, size.grey_window) == ("axial", (-100.0, 200.0))
    array = np.random.default_rng(0).integers(-300, 500, (40, 8, 24)).astype(np.int16)
    segmenter = make_segmenter(parse_spec(f"dins={path}"))
    segmenter.open(volume_of(array))
    assert segmenter.scan.image.shape == SliceStack(volume_of(array), "axial").array.shape
    assert segmenter.result().shape == array.shape


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["dins", "--fold", "1"], "--prepared"),
        (["dins", "--patches", "0"], "--patches"),
        (["dins", "--minutes", "0"], "more than 0"),
        (["dins", "--phantoms", "0", "--steps", "1"], "nothing to learn from"),
        (
            ["dins", "--phantoms", "1", "--steps", "1", "--cache", __file__],
            "is a file",
        ),
        (["dins", "--steps", "1", "--device", "cuda:99"], "no device 'cuda:99'"),
        (["dins", "--prepared", "nowhere", "--steps", "1"], "mois prepare"),
    ],
)
def test_bad_input_is_refused_with_one_line(tmp_path, capsys, words, why):
    assert mois("train-baseline", *words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err.strip()
    assert why in said
    assert len(said.splitlines()) == 1
