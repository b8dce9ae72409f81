"""What the networks have in common that are trained here on patches and slid over a scan.

Each says in a file of its own what it is: its layers, how it shows clicks, what its loss is. From
here it gets its weights' file, the grid it works on, and its windows.
"""

from __future__ import annotations

import json
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.sliding_window import Size3, SlidingWindow, crop
from mois_core.evaluation.segmenters import (
    AllClicksSegmenter,
    Missing,
    PlacedClick,
    Surroundings,
)
from mois_core.geometry import Box, SliceStack
from mois_core.io.atomic import atomic_write
from mois_core.network.loading import usable_device
from mois_core.session.intensity import normalise

FORMAT = "mois-baseline-1"

Voxel = tuple[int, int, int]
Guess = Callable[[Sequence[Voxel], Sequence[Voxel]], Tensor]
"""Returns the network's mask of a patch after positive and negative clicks."""


@dataclass(frozen=True)
class NetworkSize:
    """How large a network is, on which grid it works, and of which scans."""

    channels: tuple[int, ...]
    """Of its levels, from the finest on."""
    patch: Size3
    """Slices, rows and columns of what it is trained on, and of its windows."""
    shrink: float = 1.0
    """How many of the scan's pixels become one, along rows and along columns."""
    axis: str = "coronal"
    grey_window: tuple[float, float] | None = None
    """Which slices, and how they are scaled, as the scans were prepared that it learned from."""


class PatchRecipe(ABC):
    """A network that sees patches: layers, click channels, loss, and clicks to learn from."""

    kind: str
    """The word that the command line knows it by."""
    sizes: Mapping[str, NetworkSize]
    """``small`` learns something in minutes on a processor; ``full`` is as published, if it is."""
    takes_clicks = True
    corrects_itself = False
    """Whether the clicks to learn from depend on what the network marks."""
    rate = 1e-3
    """Highest learning rate."""
    betas = (0.9, 0.999)
    weight_decay = 0.0
    reach: Size3 = (0, 0, 0)
    """How far a click shows in its channel, in slices, rows and columns."""

    @abstractmethod
    def network(self, size: NetworkSize) -> nn.Module:
        """Return a network with random weights, of patches [n, channels, ...] to [n, 2, ...]."""

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a batch; ``target`` is [n, slices, rows, columns], 0 or 1."""

    def guide(
        self, shape: Size3, positive: Sequence[Voxel], negative: Sequence[Voxel]
    ) -> Tensor | None:
        """Return the channels that show clicks [2, ...]; voxels may lie outside of the patch."""
        return None

    def draw_clicks(
        self, rng: np.random.Generator, target: np.ndarray, guess: Guess
    ) -> tuple[list[Voxel], list[Voxel]]:
        """Return simulated clicks to learn from, positive and negative ones."""
        return [], []

    def inputs(self, image: Tensor, positive: Sequence[Voxel], negative: Sequence[Voxel]) -> Tensor:
        """Return what the network sees of a patch: brightness, then what shows the clicks."""
        shape: Size3 = tuple(image.shape)
        guide = self.guide(shape, positive, negative)
        return image[None] if guide is None else torch.cat([image[None], guide])


# ---- the grid ------------------------------------------------------------------------------


def standardised(images: np.ndarray) -> Tensor:
    """Return brightness with mean 0 and deviation 1 over the body; air stays 0."""
    brightness = torch.as_tensor(np.ascontiguousarray(images), dtype=torch.float32)
    body = brightness > 0
    inside = brightness[body]
    if not len(inside):
        return brightness
    scaled = (brightness - inside.mean()) / (inside.std(correction=0) + 1e-8)
    return torch.where(body, scaled, 0.0)


def shrunk(images: np.ndarray, shrink: float) -> np.ndarray:
    """Return slices with rows and columns on the coarser grid that a network works on."""
    size = working_size(images.shape[1:], shrink)
    if size == images.shape[1:]:
        return images
    slices = torch.as_tensor(np.ascontiguousarray(images), dtype=torch.float32)[:, None]
    small = F.interpolate(slices, size, mode="bilinear", antialias=True, align_corners=False)
    return small[:, 0].numpy()


def working_size(size: Sequence[int], shrink: float) -> tuple[int, int]:
    """Return rows and columns of the working grid."""
    rows, columns = (max(round(n / shrink), 1) for n in size)
    return rows, columns


class WindowedScan:
    """A scan on a network's grid, and what the network makes of it after some clicks."""

    def __init__(
        self, network: nn.Module, recipe: PatchRecipe, size: NetworkSize, stack: SliceStack,
        dtype: str = "float32",
    ) -> None:  # fmt: skip
        self.network = network
        self.recipe = recipe
        self.stack = stack
        brightness = stack.from_volume(normalise(stack.volume.array, size.grey_window))
        # Rounded as in training scans, which are kept in bytes: what is nearly dark is air in both.
        self.image = standardised(np.rint(shrunk(np.rint(brightness), size.shrink)))
        self.windows = SlidingWindow(tuple(self.image.shape), size.patch)
        self.device = next(network.parameters()).device
        self.autocast = dtype == "bfloat16"

    def mask(self, clicks: Sequence[PlacedClick] = ()) -> np.ndarray:
        """Return the mask of all lesions on the scan's own grid [slices, rows, columns]."""
        placed = [(self._on_grid(click.voxel), click.positive) for click in clicks]

        def seen(box: Box) -> tuple[tuple[Voxel, bool], ...]:
            return tuple(one for one in placed if self._shows(one[0], box))

        def answer(box: Box) -> Tensor:
            positive, negative = [], []
            for voxel, is_positive in seen(box):
                inside = tuple(v - part.start for v, part in zip(voxel, box, strict=True))
                (positive if is_positive else negative).append(inside)
            patch = self.recipe.inputs(crop(self.image, box), positive, negative)
            with (
                torch.inference_mode(),
                torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast),
            ):
                logits = self.network(patch[None].to(self.device))[0]
            return logits[1].float() - logits[0].float()

        scores = torch.from_numpy(self.windows.update(seen, answer))
        rows, columns = self.stack.array.shape[1:]
        if scores.shape[1:] != (rows, columns):
            scores = F.interpolate(
                scores[:, None], (rows, columns), mode="bilinear", align_corners=False
            )[:, 0]
        return (scores > 0).numpy()

    def _on_grid(self, voxel: Voxel) -> Voxel:
        slice_index, *in_slice = voxel
        sizes = zip(in_slice, self.stack.array.shape[1:], self.image.shape[1:], strict=True)
        row, column = (
            min(max(int(np.floor((at + 0.5) * new / old)), 0), new - 1) for at, old, new in sizes
        )
        return slice_index, row, column

    def _shows(self, voxel: Voxel, box: Box) -> bool:
        return all(
            part.start - reach <= at < part.stop + reach
            for at, part, reach in zip(voxel, box, self.recipe.reach, strict=True)
        )


# ---- weights -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """What a network was given to learn from. It stands in tables beside its results."""

    parameters: int = 0
    minutes: float = 0.0
    device: str = ""
    cores: int = 0
    """Of the processor: minutes on one are worth less than on two."""
    steps: int = 0
    patches: int = 0
    """Of one step."""
    scans: int = 0
    seed: int = 0


def save_weights(
    path: Path, network: nn.Module, recipe: PatchRecipe, size: NetworkSize, given: Given
) -> None:
    """Write a network's weights with all that is needed to use them and to judge them."""
    tensors = {name: value.cpu().contiguous() for name, value in _own_tensors(network).items()}
    told = {
        "format": FORMAT,
        "kind": recipe.kind,
        "size": json.dumps(asdict(size)),
        "given": json.dumps(asdict(given)),
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata=told)


def read_told(path: Path, recipe: PatchRecipe) -> tuple[NetworkSize, Given]:
    """Return what a file of weights says of itself; refuse one of another network."""
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
    except (OSError, SafetensorError, struct.error) as error:
        raise BadInput(f"{path.name} is no file of weights (safetensors), or is damaged") from error
    if told.get("format") != FORMAT:
        raise BadInput(
            f"{path.name} was not written by 'mois train-baseline'; '{recipe.kind}' needs weights "
            "that were"
        )
    if told.get("kind") != recipe.kind:
        raise BadInput(f"{path.name} has weights of '{told.get('kind')}', not of '{recipe.kind}'")
    try:
        size = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in json.loads(told["size"]).items()
        }
        return NetworkSize(**size), Given(**json.loads(told["given"]))
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{path.name} is from another version of 'mois train-baseline'; train it again"
        ) from error


def load_weights(path: Path, recipe: PatchRecipe, device: str) -> tuple[nn.Module, NetworkSize]:
    """Return a network with the weights of a file, ready to be asked."""
    return _loaded(path, path.stat().st_mtime_ns, recipe, device)


@lru_cache(maxsize=4)
def _loaded(
    path: Path, changed: int, recipe: PatchRecipe, device: str
) -> tuple[nn.Module, NetworkSize]:
    size, _ = read_told(path, recipe)
    network = recipe.network(size)
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    expected = _own_tensors(network)
    wrong = sorted(
        name
        for name in tensors.keys() | expected.keys()
        if name not in tensors
        or name not in expected
        or tensors[name].shape != expected[name].shape
    )
    if wrong:
        listed = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        raise BadInput(f"{path.name} does not fit the network it names: {listed}")
    network.load_state_dict(tensors, strict=False)
    return network.to(usable_device(device)).eval(), size


def _own_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return every tensor once; MONAI's `DynUNet` has each of its parts under two names."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


class FromWeights:
    """The part of a segmenter that has its network from a file that was trained here."""

    recipe: PatchRecipe
    surroundings: Surroundings

    def __init__(self, model: str = "") -> None:
        self.weights = Path(model).expanduser() if model else None

    def require(self) -> None:
        kind = self.recipe.kind
        how = (
            f"train them with 'mois train-baseline {kind} --out FOLDER', then give "
            f"{kind}=FOLDER/weights.safetensors"
        )
        if self.weights is None:
            raise Missing(f"it needs weights; {how}")
        if not self.weights.is_file():
            raise Missing(f"there is no file {self.weights.name}; {how}")
        load_weights(self.weights, self.recipe, "cpu")

    def given(self) -> Mapping[str, object]:
        if self.weights is None or not self.weights.is_file():
            return {}
        return asdict(read_told(self.weights, self.recipe)[1])

    @property
    def axis(self) -> str:
        """Which slices the network was trained on."""
        self.require()
        assert self.weights is not None
        return read_told(self.weights, self.recipe)[0].axis

    def windowed(self, stack: SliceStack) -> WindowedScan:
        """Return the scan as the network sees it."""
        assert self.weights is not None
        told = self.surroundings
        network, size = load_weights(self.weights, self.recipe, told.device)
        return WindowedScan(network, self.recipe, size, stack, told.dtype)


class ClickedWindows(FromWeights, AllClicksSegmenter):
    """A segmenter that shows its network all clicks of a scan, window by window."""

    def take_up(self) -> None:
        self.scan = self.windowed(self.stack)

    def segment(self, clicks: Sequence[PlacedClick]) -> np.ndarray:
        return self.scan.mask(clicks)
