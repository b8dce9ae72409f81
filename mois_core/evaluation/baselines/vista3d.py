"""VISTA3D: MONAI's network for many organs and for clicks on anything, with the user's weights.

Y. He et al., CVPR 2025, arXiv:2406.05285. The network is MONAI's own; what surrounds it follows its
published inference, except for the brightness: a CT window means nothing in MRI, so the percentiles
of its authors' version for all modalities are taken. ``docs/baselines.md`` says more.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from monai.apps.vista3d.inferer import point_based_window_inferer
from monai.inferers import sliding_window_inference
from monai.networks.nets.vista3d import VISTA3D, vista3d132
from scipy import ndimage
from torch import Tensor

from mois_core.errors import BadInput
from mois_core.evaluation.segmenters import (
    AutomaticSegmenter,
    LesionByLesionSegmenter,
    Missing,
    PlacedClick,
)
from mois_core.geometry import SliceStack, Volume
from mois_core.network.checkpoint import load_into, read_checkpoint
from mois_core.session.components import touching_parts

GET_IT = (
    "get vista3d_pretrained_model/model.pt of nvidia/NV-Segment-CT from Hugging Face, and give it "
    "like vista3d=model.pt"
)

PERCENTILES = (1, 99)
OVERLAP = 0.625
CLASSES = 132
ZERO_SHOT = CLASSES + 1
"""Classes above the last one that is supported say that the clicked thing is none of them."""

TUMOURS_AND_VESSELS = (23, 24, 25, 26, 27, 57, 128)
"""Classes whose clicks have labels of their own, 2 and 3, since they lie within other classes."""

WINDOW_UNIT = 16
"""The encoder halves a window four times."""

LEAST_INDEX = 1
"""MONAI takes a click on the first voxel of a window for one beside it."""

SURE = 20.0
"""Logits beyond this are as good as certain; where no window was, it says that nothing is there."""

_WIDTH_KEY = "class_head.class_embeddings.weight"


class Vista3dGrid:
    """A scan as VISTA3D sees it: axes towards right, front and top, voxels of one size."""

    def __init__(self, stack: SliceStack, spacing: float) -> None:
        self.shape = stack.array.shape
        rows, columns = stack.pixel_spacing
        own = np.array([columns, stack.slice_spacing, rows])
        target = own if spacing == 0 else np.full(3, spacing)
        self.step = target / own
        """Voxels of the scan from one voxel of the grid to the next."""
        self.sizes = np.rint((np.array(self._to_ras(stack.array).shape) - 1) / self.step) + 1
        low, high = np.percentile(stack.array, PERCENTILES)
        if not low < high:
            raise BadInput(f"the scan has no contrast: nearly all of it has the value {low:g}")
        scaled = np.clip((self._to_ras(stack.array) - low) / (high - low), 0, 1)
        self.image = self._resampled(scaled, self.step, self.sizes)

    @staticmethod
    def _to_ras(array: np.ndarray) -> np.ndarray:
        """Turn [slices, rows, columns], which grow to the front, downwards and to the left."""
        return array.transpose(2, 0, 1)[::-1, :, ::-1]

    @staticmethod
    def _resampled(array: np.ndarray, step: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        shape = tuple(int(size) for size in sizes)
        image = array.astype(np.float32)
        return ndimage.affine_transform(image, step, output_shape=shape, order=1, mode="nearest")

    def place(self, voxel: tuple[int, int, int]) -> list[int]:
        """Return where a voxel of the stack lies on the grid."""
        z, y, x = voxel
        own = np.array([self.shape[2] - 1 - x, z, self.shape[1] - 1 - y])
        return np.clip(np.rint(own / self.step), LEAST_INDEX, self.sizes - 1).astype(int).tolist()

    def to_stack(self, logits: np.ndarray) -> np.ndarray:
        """Return logits on the grid as a mask of the stack [slices, rows, columns]."""
        known = np.clip(np.nan_to_num(logits, nan=-SURE), -SURE, SURE)
        sizes = np.array(self.shape)[[2, 0, 1]]
        back = self._resampled(known, 1 / self.step, sizes)
        return (back > 0)[::-1, :, ::-1].transpose(1, 2, 0)


class _Vista3dWeights:
    """What clicking and automatic mode have in common: a file of weights, voxel size, windows."""

    def __init__(self, model: str, spacing: float, window: float) -> None:
        if spacing < 0:
            raise BadInput(f"the spacing must be millimetres, or 0 for the scan's, not {spacing:g}")
        if window <= 0 or window % WINDOW_UNIT:
            raise BadInput(f"the window must be a multiple of {WINDOW_UNIT}, not {window:g}")
        self.path = Path(model).expanduser() if model else None
        self.spacing = spacing
        self.window = (int(window),) * 3

    def require(self) -> None:
        if self.path is None or not self.path.is_file():
            raise Missing(
                f"there are no weights{f' in {self.path.name}' if self.path else ''}; {GET_IT}"
            )
        _network(str(self.path), self.path.stat().st_mtime_ns, "cpu")

    def network(self, device: str) -> VISTA3D:
        assert self.path is not None
        return _network(str(self.path), self.path.stat().st_mtime_ns, device)


class Vista3d(LesionByLesionSegmenter):
    """Clicks on one lesion at a time."""

    def __init__(
        self, model: str = "", spacing: float = 1.5, window: float = 128, class_id: float = 0
    ) -> None:
        """``class_id`` is the class that the lesions are of; 0 is none of those it learned."""
        self.weights = _Vista3dWeights(model, spacing, window)
        self.class_id = _checked_class(class_id) if class_id else ZERO_SHOT

    def require(self) -> None:
        self.weights.require()

    def take_up(self) -> None:
        self.network = self.weights.network(self.surroundings.device)
        self.grid = Vista3dGrid(self.stack, self.weights.spacing)
        self.image = _as_tensor(self.grid.image, self.surroundings.device)

    def segment(self, clicks: Sequence[PlacedClick]) -> np.ndarray:
        if not any(click.positive for click in clicks):
            return np.zeros(self.stack.array.shape, dtype=bool)
        device = self.surroundings.device
        first = 2 if self.class_id in TUMOURS_AND_VESSELS else 0
        places = [self.grid.place(click.voxel) for click in clicks]
        labels = [first + int(click.positive) for click in clicks]
        with (
            torch.inference_mode(),
            _autocast(device, self.surroundings.dtype),
            warnings.catch_warnings(),
        ):
            # Of MONAI to itself, about where the scan lies, which is not asked of it.
            warnings.simplefilter("ignore")
            logits = point_based_window_inferer(
                self.image,
                self.weights.window,
                self.network,
                point_coords=torch.tensor([places], device=device),
                point_labels=torch.tensor([labels], device=device),
                prompt_class=torch.tensor([[self.class_id]], device=device),
                transpose=True,
            )
        mask = self.grid.to_stack(np.asarray(logits[0, 0].float().cpu()))
        return touching_parts(mask, _around_clicks(mask.shape, clicks))


class Vista3dAutomatic(AutomaticSegmenter):
    """Everything of one class, without clicks."""

    def __init__(
        self, model: str = "", class_id: float = 0, spacing: float = 1.5, window: float = 128
    ) -> None:
        self.weights = _Vista3dWeights(model, spacing, window)
        self.class_id = class_id

    def require(self) -> None:
        _checked_class(self.class_id)
        self.weights.require()

    def segment(self, volume: Volume) -> np.ndarray:
        device = self.surroundings.device
        network = self.weights.network(device)
        stack = SliceStack(volume)
        grid = Vista3dGrid(stack, self.weights.spacing)
        with torch.inference_mode(), _autocast(device, self.surroundings.dtype):
            logits = sliding_window_inference(
                _as_tensor(grid.image, device),
                self.weights.window,
                1,
                network,
                OVERLAP,
                mode="gaussian",
                class_vector=torch.tensor([[_checked_class(self.class_id)]], device=device),
                transpose=True,
            )
        return stack.to_volume(grid.to_stack(np.asarray(logits[0, 0].float().cpu())))


def _checked_class(class_id: float) -> int:
    if not 1 <= class_id <= CLASSES or class_id != int(class_id):
        raise BadInput(
            f"class_id must be one of VISTA3D's classes, 1 to {CLASSES}, not {class_id:g}; weights "
            "of your own say which one they were trained for"
        )
    return int(class_id)


def _around_clicks(shape: tuple[int, ...], clicks: Sequence[PlacedClick]) -> np.ndarray:
    """Return the clicked voxels and those beside them: a click on the very border counts."""
    seeds = np.zeros(shape, dtype=bool)
    for click in clicks:
        if click.positive:
            seeds[tuple(slice(max(place - 1, 0), place + 2) for place in click.voxel)] = True
    return seeds


def _as_tensor(image: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(image)[None, None].to(device)


def _autocast(device: str, dtype: str) -> AbstractContextManager:
    kind = device.partition(":")[0]
    return torch.autocast(kind, torch.bfloat16, enabled=dtype == "bfloat16")


@lru_cache(maxsize=1)
def _network(path: str, changed: int, device: str) -> VISTA3D:
    """Return the network of a file; ``changed`` tells one of the same name from another."""
    state = read_checkpoint(path)
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if _WIDTH_KEY not in state:
        raise BadInput(
            f"{path} holds no VISTA3D in the names of MONAI 1.4 and later: {_WIDTH_KEY} is "
            f"missing; {GET_IT}"
        )
    network = vista3d132(encoder_embed_dim=state[_WIDTH_KEY].shape[-1])
    load_into(network, state, path)
    return network.eval().to(device)
