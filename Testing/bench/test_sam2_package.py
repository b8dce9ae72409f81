"""The baseline is what it says it is: PyPI's ``sam2``, built offline, fed from memory."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from paths import GOLDEN
from PIL import Image

from mois_core.bench import sam2_package
from mois_core.bench.torchvision_stand_in import (
    Normalize,
    Resize,
    ToTensor,
    torchvision_is_usable,
    torchvision_or_stand_in,
)
from mois_core.errors import BadInput

MANIFESTS = GOLDEN / "manifests"
SMALL = 256


@pytest.fixture(scope="module")
def a_small_video_predictor():
    torch.manual_seed(0)
    return sam2_package.build_video_predictor("t", image_size=SMALL)


@pytest.fixture
def some_slices():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, 3, SMALL, SMALL, generator=generator)


@pytest.mark.parametrize("size", ["t", "b+"])
def test_state_dict_has_the_keys_and_shapes_of_the_manifest(size):
    manifest = json.loads((MANIFESTS / f"sam2.1_hiera_{size}.json").read_text(encoding="utf-8"))
    expected = {key: entry["shape"] for key, entry in manifest["entries"].items()}

    model = sam2_package.build_image_model(size)

    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == expected
    assert not model.training


def test_image_size_changes_no_weight(a_small_video_predictor):
    full = sam2_package.build_video_predictor("t", state_dict=a_small_video_predictor.state_dict())

    assert full.image_size == sam2_package.IMAGE_SIZE
    for key, tensor in full.state_dict().items():
        assert torch.equal(tensor, a_small_video_predictor.state_dict()[key]), key


def test_a_state_dict_that_does_not_fit_is_refused(a_small_video_predictor):
    incomplete = dict(a_small_video_predictor.state_dict())
    del incomplete["no_mem_embed"]

    with pytest.raises(RuntimeError, match="no_mem_embed"):
        sam2_package.build_video_predictor("t", image_size=SMALL, state_dict=incomplete)


def test_overrides_reach_the_model():
    model = sam2_package.build_video_predictor(
        "t", image_size=SMALL, overrides=["++model.add_all_frames_to_correct_as_cond=true"]
    )

    assert model.add_all_frames_to_correct_as_cond


def test_unknown_size_is_bad_input():
    with pytest.raises(BadInput, match=r"t, s, b\+, l"):
        sam2_package.build_image_model("xl")


@pytest.mark.parametrize("missing", ["sam2", "hydra"])
def test_missing_package_says_how_to_install_it(monkeypatch, missing):
    for name in list(sys.modules):
        if name.split(".")[0] == "sam2":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(BadInput, match="pip install --no-deps --no-build-isolation sam2") as caught:
        sam2_package.build_image_model("t")
    assert f"'{missing}' is missing" in str(caught.value)


def test_slices_in_memory_give_what_their_own_loader_gives(a_small_video_predictor, tmp_path):
    height, width = 60, 40
    values = np.random.default_rng(2).integers(0, 256, (3, height, width), dtype=np.uint8)
    for index, pixels in enumerate(values):
        Image.fromarray(pixels).save(tmp_path / f"{index}.jpg")
    theirs = a_small_video_predictor.init_state(str(tmp_path))

    ours = sam2_package.start_from_slices(
        a_small_video_predictor, theirs["images"].clone(), height, width
    )

    assert ours.keys() == theirs.keys()
    for state in (theirs, ours):
        a_small_video_predictor.add_new_points_or_box(state, 1, 1, points=[[20, 30]], labels=[1])
    for theirs_out, ours_out in zip(
        a_small_video_predictor.propagate_in_video(theirs),
        a_small_video_predictor.propagate_in_video(ours),
        strict=True,
    ):
        assert theirs_out[:2] == ours_out[:2]
        assert ours_out[2].shape == (1, 1, height, width)
        assert torch.equal(theirs_out[2], ours_out[2])


def test_the_loader_is_theirs_again_afterwards(a_small_video_predictor, some_slices):
    sam2_package.start_from_slices(a_small_video_predictor, some_slices, 10, 10)

    with pytest.raises(NotImplementedError):
        a_small_video_predictor.init_state("no such folder")


@pytest.mark.parametrize("shape", [(3, SMALL, SMALL), (2, 3, SMALL, 8), (0, 3, SMALL, SMALL)])
def test_slices_of_a_wrong_shape_are_bad_input(a_small_video_predictor, shape):
    with pytest.raises(BadInput, match="at least one slice"):
        sam2_package.start_from_slices(a_small_video_predictor, torch.zeros(shape), 10, 10)


def test_image_predictor_follows_the_image_size(a_small_video_predictor):
    model = sam2_package.build_image_model(
        "t", image_size=SMALL, state_dict=a_small_video_predictor.state_dict()
    )
    predictor = sam2_package.build_image_predictor(model)
    pixels = np.random.default_rng(3).integers(0, 256, (50, 70, 3), dtype=np.uint8)

    predictor.set_image(pixels)
    masks, scores, low = predictor.predict(
        point_coords=np.array([[35, 25]]), point_labels=np.array([1]), multimask_output=True
    )

    assert masks.shape == (3, 50, 70)
    assert scores.shape == (3,)
    assert low.shape == (3, SMALL // 4, SMALL // 4)


def test_stand_in_leaves_no_trace():
    before = sys.modules.get("torchvision")

    with torchvision_or_stand_in():
        from torchvision.transforms import Normalize, Resize, ToTensor  # noqa: F401

    assert sys.modules.get("torchvision") is before


@pytest.mark.skipif(torchvision_is_usable(), reason="the real torchvision is here")
def test_stand_in_steps_aside_after_an_error():
    with pytest.raises(ZeroDivisionError), torchvision_or_stand_in():
        raise ZeroDivisionError
    assert "torchvision" not in sys.modules


def test_stand_in_makes_tensors_as_an_image_needs_them():
    pixels = np.array([[[0, 51, 255]], [[255, 102, 0]]], dtype=np.uint8)

    tensor = ToTensor()(pixels)

    assert tensor.shape == (3, 2, 1)
    assert torch.allclose(tensor[:, 0, 0], torch.tensor([0.0, 0.2, 1.0]))
    assert torch.equal(tensor, ToTensor()(Image.fromarray(pixels)))
    assert ToTensor()(np.zeros((4, 5), dtype=np.uint8)).shape == (1, 4, 5)


def test_stand_in_resizes_with_anti_aliasing():
    stripes = torch.zeros(1, 64, 64)
    stripes[:, :, ::2] = 1

    small = Resize((8, 8))(stripes)

    assert small.shape == (1, 8, 8)
    assert torch.allclose(small, torch.full_like(small, 0.5), atol=0.02)


def test_stand_in_normalises_per_channel():
    image = torch.tensor([0.5, 0.7, 0.9])[:, None, None].expand(3, 2, 2)

    result = Normalize([0.5, 0.5, 0.5], [1.0, 0.1, 0.2])(image)

    assert torch.allclose(result[:, 0, 0], torch.tensor([0.0, 2.0, 2.0]))
