"""SimpleClick outlines a lesion on the slice that was clicked; STCN carries it through the others.

Both networks are written anew, with the names of the published checkpoints, which the user gives.
What surrounds them follows their published inference. ``docs/baselines.md`` says where not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.simpleclick_network import (
    MEAN,
    STD,
    SimpleClick,
    SimpleClickSize,
)
from mois_core.evaluation.baselines.stcn_network import STRIDE, Stcn
from mois_core.evaluation.segmenters import LesionByLesionSegmenter, Missing, PlacedClick
from mois_core.network.checkpoint import load_into, read_file, weights_in
from mois_core.session.intensity import BRIGHTEST, normalise

GET_SIMPLECLICK = (
    "get a checkpoint of SimpleClick (github.com/uncbiag/SimpleClick, like "
    "cocolvis_vit_base.pth), turn it into plain weights as docs/baselines.md says, and give it "
    "like simpleclick-stcn=weights.pt"
)
GET_STCN = "get stcn.pth (github.com/hkchengrex/STCN), and give it like stcn=stcn.pth"

EXPANSION = 1.4
"""How much larger than a former mask the part of a slice is that is looked at again."""

SMALLEST_PART = 200
"""Pixels of its side at least."""

SAME_PART = 0.5
"""The part stays while it overlaps so much with the one that would be chosen now."""

Part = tuple[int, int, int, int]
"""First and last row, first and last column."""


@dataclass
class ClickedSlice:
    """The clicks on one slice, and what they have come to so far."""

    probability: np.ndarray
    clicks: list[tuple[int, int, bool]] = field(default_factory=list)
    part: Part | None = None


@dataclass
class ClickedLesion:
    """A lesion after some clicks: its slices with clicks, and its mask."""

    mask: np.ndarray
    clicks: tuple[PlacedClick, ...] = ()
    slices: dict[int, ClickedSlice] = field(default_factory=dict)


class SimpleClickStcn(LesionByLesionSegmenter):
    """Click on a slice, propagate through the volume; a click on another slice corrects it."""

    def __init__(self, model: str = "", stcn: str = "") -> None:
        self.simpleclick_file = Path(model).expanduser() if model else None
        self.stcn_file = Path(stcn).expanduser() if stcn else None

    def require(self) -> None:
        for path, get_it in (
            (self.simpleclick_file, GET_SIMPLECLICK),
            (self.stcn_file, GET_STCN),
        ):
            if path is None or not path.is_file():
                where = f" in {path.name}" if path else ""
                raise Missing(f"there are no weights{where}; {get_it}")
        self._networks("cpu")

    def _networks(self, device: str) -> tuple[SimpleClick, Stcn]:
        assert self.simpleclick_file is not None and self.stcn_file is not None
        return (
            _simpleclick(str(self.simpleclick_file), _changed(self.simpleclick_file), device),
            _stcn(str(self.stcn_file), _changed(self.stcn_file), device),
        )

    def take_up(self) -> None:
        self.outline, self.carry = self._networks(self.surroundings.device)
        brightness = self.stack.from_volume(normalise(self.stack.volume.array))
        self.images = torch.from_numpy(np.ascontiguousarray(brightness)) / float(BRIGHTEST)
        self.lesions: dict[int, ClickedLesion] = {}

    @torch.inference_mode()
    def segment(self, clicks: Sequence[PlacedClick]) -> np.ndarray:
        owner = clicks[0].lesion_id
        lesion = self.lesions.get(owner)
        if lesion is None or lesion.clicks != tuple(clicks[: len(lesion.clicks)]):
            lesion = ClickedLesion(np.zeros(self.stack.array.shape, dtype=bool))
        for click in clicks[len(lesion.clicks) :]:
            z, row, column = click.voxel
            clicked = lesion.slices.setdefault(z, ClickedSlice(lesion.mask[z].astype(np.float32)))
            clicked.clicks.append((row, column, click.positive))
            click_on_slice(self.outline, self.images[z], clicked)
            lesion.mask = self._propagated(lesion.slices)
        lesion.clicks = tuple(clicks)
        self.lesions[owner] = lesion
        if not any(click.positive for click in clicks):
            return np.zeros_like(lesion.mask)
        return lesion.mask

    # ---- from slice to slice -----------------------------------------------------------------

    def _propagated(self, slices: dict[int, ClickedSlice]) -> np.ndarray:
        """Carry the masks of clicked slices both ways, to the next of them or until it is lost."""
        whole = np.zeros(self.stack.array.shape, dtype=bool)
        outlines = {z: clicked.probability > 0.5 for z, clicked in slices.items()}
        remembered = {z: self._remembered(z, mask) for z, mask in outlines.items()}
        for z, mask in outlines.items():
            whole[z] = mask
            if not mask.any():
                continue
            for way in (1, -1):
                memory = [*remembered.values()]
                at = z + way
                while 0 <= at < len(whole) and at not in slices:
                    image = _padded(_rgb(self.images[at], self.surroundings.device))
                    key = self.carry.key(image)
                    probability = self.carry.mask(key, memory)
                    found = self._cut(probability) > 0.5
                    if not found.any():
                        break
                    whole[at] |= found
                    memory.append((key.key, self.carry.value(image, key, probability)))
                    at += way
        return whole

    def _remembered(self, z: int, mask: np.ndarray) -> tuple[Tensor, Tensor]:
        device = self.surroundings.device
        image = _padded(_rgb(self.images[z], device))
        key = self.carry.key(image)
        shown = _padded(torch.from_numpy(mask)[None, None].float().to(device))
        return key.key, self.carry.value(image, key, shown)

    def _cut(self, probability: Tensor) -> np.ndarray:
        rows, columns = self.stack.shape
        top, left = _before(rows), _before(columns)
        return probability[0, 0, top : top + rows, left : left + columns].float().cpu().numpy()


def _rgb(image: Tensor, device: str) -> Tensor:
    """Return a grey slice as the colours that the networks know."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((image[None] - mean) / std)[None].to(device)


def _before(size: int) -> int:
    return (-size % STRIDE) // 2


def _padded(image: Tensor) -> Tensor:
    """Add zeros on all sides so that rows and columns can be halved four times."""
    rows, columns = image.shape[-2:]
    top, left = _before(rows), _before(columns)
    return F.pad(image, (left, -columns % STRIDE - left, top, -rows % STRIDE - top))


# ---- on one slice --------------------------------------------------------------------------


def click_on_slice(network: SimpleClick, image: Tensor, clicked: ClickedSlice) -> None:
    """Outline a slice [rows, columns], 0 to 1, anew with all of its clicks and its former mask."""
    clicked.part = part_to_look_at(clicked)
    first_row, last_row, first_column, last_column = clicked.part
    rows, columns = last_row - first_row + 1, last_column - first_column + 1
    side = network.size.side
    device = next(network.parameters()).device
    where = np.s_[first_row : last_row + 1, first_column : last_column + 1]
    former = torch.from_numpy(clicked.probability)
    both = torch.stack([image[where], former[where]])[None].to(device)
    both = F.interpolate(both, (side, side), mode="bilinear", align_corners=True)
    scale = torch.tensor([side / rows, side / columns])
    kinds = [
        (torch.tensor([(row, column) for row, column, is_positive in clicked.clicks
                       if is_positive is kind]).reshape(-1, 2)
         - torch.tensor([first_row, first_column])) * scale
        for kind in (True, False)
    ]  # fmt: skip
    # As published, the mirrored part is asked as well.
    pictures = torch.cat([both, both.flip(3)])
    shown = [torch.stack([one, _mirrored(one, side)]).to(device) for one in kinds]
    logits = network(pictures[:, :1].expand(-1, 3, -1, -1), pictures[:, 1:], *shown)
    probability = torch.sigmoid(logits)
    probability = 0.5 * (probability[:1] + probability[1:].flip(3))
    probability = F.interpolate(probability, (rows, columns), mode="bilinear", align_corners=True)
    clicked.probability = np.zeros(image.shape, dtype=np.float32)
    clicked.probability[where] = probability[0, 0].float().cpu().numpy()


def _mirrored(clicks: Tensor, side: int) -> Tensor:
    return torch.stack([clicks[:, 0], side - 1 - clicks[:, 1]], dim=1)


def part_to_look_at(clicked: ClickedSlice) -> Part:
    """Return the part of a slice that is shown: all of it at first, then around the former mask."""
    rows, columns = clicked.probability.shape
    positive = [(row, column) for row, column, is_positive in clicked.clicks if is_positive]
    mask = clicked.probability > 0.5
    if not mask.any():
        return 0, rows - 1, 0, columns - 1
    for row, column in positive:
        mask[row, column] = True
    there = np.argwhere(mask)
    spans = [
        _span(int(first), int(last), size)
        for first, last, size in zip(there.min(0), there.max(0), mask.shape, strict=True)
    ]
    now: Part = (*spans[0], *spans[1])
    before = clicked.part
    if before is None or _overlap(now, before) < SAME_PART:
        return now
    inside = all(
        before[0] <= row < before[1] and before[2] <= column < before[3] for row, column in positive
    )
    return before if inside else now


def _span(first: int, last: int, size: int) -> tuple[int, int]:
    middle = 0.5 * (first + last)
    half = 0.5 * max(EXPANSION * (last - first + 1), SMALLEST_PART)
    return max(round(middle - half), 0), min(round(middle + half), size - 1)


def _overlap(one: Part, other: Part) -> float:
    shares = []
    for a, b, c, d in ((*one[:2], *other[:2]), (*one[2:], *other[2:])):
        shares.append(max(0, min(b, d) - max(a, c) + 1) / (max(b, d) - min(a, c) + 1))
    return shares[0] * shares[1]


# ---- weights ---------------------------------------------------------------------------------


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


def _state(path: str) -> dict[str, Tensor]:
    content = read_file(path)
    inner = content.get("state_dict") if isinstance(content, dict) else None
    return weights_in(content if inner is None else inner, path)


@lru_cache(maxsize=1)
def _simpleclick(path: str, changed: int, device: str) -> SimpleClick:
    """Return the network of a file; ``changed`` tells one of the same name from another."""
    state = _state(path)
    try:
        network = SimpleClick(SimpleClickSize.of(state))
    except BadInput as error:
        raise BadInput(f"{path} does not fit: {error}") from error
    load_into(network, state, path)
    return network.eval().to(device)


@lru_cache(maxsize=1)
def _stcn(path: str, changed: int, device: str) -> Stcn:
    state = _state(path)
    try:
        network = Stcn.of(state)
    except BadInput as error:
        raise BadInput(f"{path} does not fit: {error}") from error
    load_into(network, state, path)
    return network.eval().to(device)
