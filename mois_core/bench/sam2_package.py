"""PyPI's ``sam2`` package as the baseline: the same weights and inputs, through its own code.

The tests compare our SAM 2.1 with it, and `mois bench --against sam2` its speed with ours. Models
are built from the configurations that the package carries; nothing is ever downloaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import nn

from mois_core.bench.torchvision_stand_in import torchvision_or_stand_in
from mois_core.errors import BadInput

SIZES = ("t", "s", "b+", "l")

IMAGE_SIZE = 1024
"""The size the published SAM 2.1 models are made for; any multiple of 32 can be built."""

HOW_TO_INSTALL = (
    "Comparing with SAM 2 needs the package 'sam2' and what it imports ({missing} is missing). "
    "Install them with:\n"
    "  pip install hydra-core iopath tqdm setuptools wheel\n"
    "  pip install --no-deps --no-build-isolation sam2\n"
    "with the environment variable SAM2_BUILD_CUDA=0 for the second, which leaves out its CUDA "
    "extension. torchvision is not needed."
)

FEATURE_STRIDES = (4, 8, 16)


@dataclass(frozen=True)
class Sam2Modules:
    """Modules of the ``sam2`` package that are called here."""

    build_sam: ModuleType
    image_predictor: ModuleType
    video_predictor: ModuleType


def import_sam2() -> Sam2Modules:
    """Import the package, with a stand-in where there is no torchvision.

    Raises `BadInput` that says how to install what is missing.
    """
    try:
        with torchvision_or_stand_in():
            return Sam2Modules(
                build_sam=importlib.import_module("sam2.build_sam"),
                image_predictor=importlib.import_module("sam2.sam2_image_predictor"),
                video_predictor=importlib.import_module("sam2.sam2_video_predictor"),
            )
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise BadInput(HOW_TO_INSTALL.format(missing=f"'{package}'")) from error


def build_image_model(
    size: str,
    *,
    state_dict: Mapping[str, torch.Tensor] | None = None,
    device: torch.device | str = "cpu",
    image_size: int = IMAGE_SIZE,
    post_processing: bool = True,
    overrides: Sequence[str] = (),
) -> nn.Module:
    """Build their ``SAM2Base`` for evaluation, with random weights unless a state dict is given.

    ``post_processing`` is their switch for the stability fallback; ``overrides`` are further
    settings in their configuration's own notation, such as ``++model.num_maskmem=3``.
    """
    build = import_sam2().build_sam.build_sam2
    return _build(build, size, state_dict, device, image_size, post_processing, overrides)


def build_video_predictor(
    size: str,
    *,
    state_dict: Mapping[str, torch.Tensor] | None = None,
    device: torch.device | str = "cpu",
    image_size: int = IMAGE_SIZE,
    post_processing: bool = True,
    overrides: Sequence[str] = (),
) -> nn.Module:
    """Build their ``SAM2VideoPredictor``, which is also the network.

    Arguments are those of `build_image_model`. Its hole filling stays off: it exists only in the
    CUDA extension, and without that the package warns at every mask and returns the mask as it was.
    """
    build = import_sam2().build_sam.build_sam2_video_predictor
    predictor = _build(build, size, state_dict, device, image_size, post_processing, overrides)
    predictor.fill_hole_area = 0
    return predictor


def build_image_predictor(model: nn.Module) -> Any:
    """Build their ``SAM2ImagePredictor`` on a model of any image size.

    The package writes the feature sizes of 1024 into the predictor; here they follow the model.
    """
    predictor = import_sam2().image_predictor.SAM2ImagePredictor(model)
    sides = [model.image_size // stride for stride in FEATURE_STRIDES]
    predictor._bb_feat_sizes = [(side, side) for side in sides]
    return predictor


def start_from_slices(
    predictor: nn.Module, slices: torch.Tensor, height: int, width: int
) -> dict[str, Any]:
    """Return their inference state for slices in memory, float [N, 3, S, S], used as they are.

    The package starts from a folder of JPEG files only, which would change every pixel. Its own
    ``init_state`` runs here, and only the loader it calls is replaced. It encodes slice 0.
    ``height`` and ``width`` are those of the original slices, the size of clicks and masks.
    """
    side = predictor.image_size
    if slices.ndim != 4 or tuple(slices.shape[1:]) != (3, side, side) or len(slices) == 0:
        raise BadInput(
            f"The slices must be a tensor [N, 3, {side}, {side}] with at least one slice, "
            f"not {list(slices.shape)}."
        )

    def slices_as_they_are(**_unused: Any) -> tuple[torch.Tensor, int, int]:
        return slices.float().to(predictor.device), height, width

    modules = import_sam2()
    with mock.patch.object(modules.video_predictor, "load_video_frames", slices_as_they_are):
        return predictor.init_state(video_path="in memory")


def _build(
    build: Any,
    size: str,
    state_dict: Mapping[str, torch.Tensor] | None,
    device: torch.device | str,
    image_size: int,
    post_processing: bool,
    overrides: Sequence[str],
) -> nn.Module:
    if size not in SIZES:
        raise BadInput(f"SAM 2.1 has the sizes {', '.join(SIZES)}; there is no '{size}'.")
    model = build(
        f"configs/sam2.1/sam2.1_hiera_{size}.yaml",
        ckpt_path=None,
        device=device,
        apply_postprocessing=post_processing,
        hydra_overrides_extra=[f"++model.image_size={image_size}", *overrides],
    )
    if state_dict is not None:
        model.load_state_dict(state_dict, strict=True)
    return model
