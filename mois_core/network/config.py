"""Configs of networks: frozen dataclasses and the named presets.

A published model is a set of numbers here plus a class in ``model``; which class is decided by
the parts that the config has (an exemplar branch, a short memory, or neither).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal

from mois_core.errors import BadInput
from mois_core.geometry import VIEWS

STRIDE = 16
"""Model pixels per token of the map that memories and exemplars are compared on."""

MASK_STRIDE = 4
"""Model pixels per pixel of a mask as the decoder gives it."""

WIDTH_UNIT = 16
"""The mask decoder has eight heads, and half the width in its attention to the image."""

MEMORY_WIDTH_UNIT = 4
"""A position is encoded by a sine and a cosine of its row, and two more of its column."""

PUBLISHED_NO_EXEMPLAR_TOKENS = 4096
"""Length of the learned no-exemplar bank in the published models, at every image size."""

Size = tuple[int, int]
"""Rows and columns."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderConfig:
    """Hiera encoder of four stages, each half as large and twice as wide as the one before."""

    width: int
    heads: int
    stages: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    position_grid: int = 7
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        if any(window % 2 for window in self.windows[:3]):
            raise ValueError(f"windows of the first three stages must be even: {self.windows}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be split among {self.heads} heads")

    @property
    def unit(self) -> int:
        """What the first map's rows and columns are a multiple of."""
        return self.windows[0]


@dataclass(frozen=True)
class ConvEncoderConfig:
    """Residual convolutions in four stages with 4, 8, 16 and 32 image pixels per place.

    Hiera is made for a start from a billion masks; from scratch, convolutions learn in hours what
    it does not learn in days.
    """

    widths: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int] = (1, 2, 2, 2)

    def __post_init__(self) -> None:
        for name, least in (("widths", 2), ("blocks", 1)):
            values = getattr(self, name)
            if len(values) != 4 or min(values) < least:
                raise ValueError(
                    f"{name} of the encoder must be four numbers from {least} on, not {values}"
                )

    @property
    def unit(self) -> int:
        """What the first map's rows and columns are a multiple of."""
        return 8


EVIDENCE = 5
"""Numbers that a finding is judged by (`mois_core/session/judging.py`)."""


@dataclass(frozen=True)
class ExemplarConfig:
    """Exemplar branch of MOIS-SAM2; the alternatives are those of the paper's ablation."""

    attention: Literal["dedicated", "shared"] = "dedicated"
    """Whether exemplars have an attention of their own, or share the memory attention."""
    pointers: Literal["placed", "unplaced", "none"] = "placed"
    """Whether object pointers come with their slice distance, without it, or not at all."""
    no_exemplar_tokens: int | None = None
    """Length of the learned bank; None means one token per position of the map."""
    min_confidence: float = 0.0
    """`Settings.min_confidence` that suits these weights; for the published ones it is 0."""
    judgement: tuple[float, float, float, float, float] | None = None
    """How confident to be of a finding, for networks that mark unprompted: what its evidence is
    multiplied with (`mois_core/session/judging.py`). For others confidence is the height of the
    logits."""


@dataclass(frozen=True)
class ShortMemoryConfig:
    """Short memory of SLM-SAM 2, which was trained with one slice and is run with seven."""

    slices: int = 7


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and parts of one network; `preset` gives the published ones."""

    encoder: EncoderConfig | ConvEncoderConfig
    image_size: Size = (1024, 1024)
    """Rows and columns of the input, which every slice is stretched to."""
    width: int = 256
    memory_width: int = 64
    attention_layers: int = 4
    attention_hidden: int = 2048
    decoder_hidden: int = 2048
    iou_hidden: int = 256
    dropout: float = 0.1
    layer_scale: float = 1e-6
    memories: int = 7
    max_pointers: int = 16
    stability_delta: float = 0.05
    stability_threshold: float = 0.98
    pixel_mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pixel_std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exemplars: ExemplarConfig | None = None
    short_memory: ShortMemoryConfig | None = None
    marks_unprompted: bool = False
    """Whether the weights were taught to mark every lesion without a prompt; a click then begins
    with what is marked where it is."""
    axis: str = "coronal"
    """Along which the slices were taken that the weights were trained on."""
    grey_window: tuple[float, float] | None = None
    """Values that were black and white in them; None for percentiles of each scan."""

    def __post_init__(self) -> None:
        _check_image_size(self.image_size, self.encoder.unit)
        if self.axis not in VIEWS:
            raise ValueError(f"axis must be one of {', '.join(VIEWS)}, not {self.axis!r}")
        if self.grey_window is not None:
            check_grey_window(self.grey_window)
        if self.width <= 0 or self.width % WIDTH_UNIT:
            raise ValueError(f"width must be a multiple of {WIDTH_UNIT}, not {self.width}")
        if self.memory_width <= 0 or self.memory_width % MEMORY_WIDTH_UNIT:
            raise ValueError(
                f"memory_width must be a multiple of {MEMORY_WIDTH_UNIT}, not {self.memory_width}"
            )
        if self.width % self.memory_width:
            raise ValueError("width must be a multiple of memory_width: a pointer is split so")
        if self.exemplars and self.short_memory:
            raise ValueError("a network has exemplars or a short memory, not both")
        if self.exemplars and self.exemplars.judgement:
            if not self.marks_unprompted:
                raise ValueError("a judgement is of lesions that the network marks unprompted")
            if len(self.exemplars.judgement) != EVIDENCE:
                raise ValueError(f"a judgement has {EVIDENCE} factors (`tools.confidence --again`)")
        if self.exemplars and self.no_exemplar_tokens % math.prod(self.map_size):
            raise ValueError("no_exemplar_tokens must be a multiple of the map's positions")

    @property
    def map_size(self) -> Size:
        """Rows and columns of the map that memories and exemplars are compared on."""
        rows, columns = self.image_size
        return rows // STRIDE, columns // STRIDE

    @property
    def low_res_size(self) -> Size:
        """Rows and columns of the mask logits as the decoder gives them."""
        rows, columns = self.image_size
        return rows // MASK_STRIDE, columns // MASK_STRIDE

    @property
    def pointer_tokens(self) -> int:
        """Tokens of memory width that one object pointer is split into."""
        return self.width // self.memory_width

    @property
    def no_exemplar_tokens(self) -> int:
        """Length of the learned no-exemplar bank of a network with exemplars."""
        asked = self.exemplars.no_exemplar_tokens if self.exemplars else None
        return math.prod(self.map_size) if asked is None else asked


def check_grey_window(window: object) -> None:
    """Refuse what is no pair of numbers of which the first is below the second."""
    try:
        low, high = (float(value) for value in window)
    except (TypeError, ValueError):
        raise BadInput(f"a grey window is two numbers, not {window!r}") from None
    if not -math.inf < low < high < math.inf:
        raise BadInput(f"a grey window begins below its end, unlike {low:g} to {high:g}")


def _check_image_size(size: Size, unit: int) -> None:
    if not (isinstance(size, tuple) and len(size) == 2 and all(type(one) is int for one in size)):
        raise ValueError(f"image_size must be two whole numbers, rows and columns, not {size}")
    for side, name in zip(size, ("rows", "columns"), strict=True):
        if side <= 0 or side % 32:
            raise ValueError(f"image_size must be multiples of 32; {side} {name} are not")
        if (side // MASK_STRIDE) % unit:
            multiple = f"multiples of {MASK_STRIDE * unit} for this encoder"
            raise ValueError(f"image_size must be {multiple}; {side} {name} are not")


HIERA_T = EncoderConfig(96, 1, (1, 2, 7, 2), (5, 7, 9))
HIERA_S = EncoderConfig(96, 1, (1, 2, 11, 2), (7, 10, 13))
HIERA_B_PLUS = EncoderConfig(112, 2, (2, 3, 16, 3), (12, 16, 20), position_grid=14)
HIERA_L = EncoderConfig(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8))
HIERA_TINY = EncoderConfig(16, 1, (1, 2, 3, 2), (4,), windows=(8, 4, 6, 3), position_grid=5)

PUBLISHED_EXEMPLARS = ExemplarConfig(no_exemplar_tokens=PUBLISHED_NO_EXEMPLAR_TOKENS)


def _sam2(encoder: EncoderConfig) -> NetworkConfig:
    return NetworkConfig(encoder, pixel_mean=IMAGENET_MEAN, pixel_std=IMAGENET_STD)


TINY_SHAPE = {
    "image_size": (256, 256),
    "width": 64,
    "memory_width": 16,
    "attention_layers": 2,
    "attention_hidden": 128,
}
"""Sizes of the small models that figures of the published code exist for."""

PRESETS: Mapping[str, NetworkConfig] = MappingProxyType(
    {
        "mois-sam2-b+": NetworkConfig(HIERA_B_PLUS, exemplars=PUBLISHED_EXEMPLARS),
        "sam2.1-t": _sam2(HIERA_T),
        "sam2.1-s": _sam2(HIERA_S),
        "sam2.1-b+": _sam2(HIERA_B_PLUS),
        "sam2.1-l": _sam2(HIERA_L),
        "slm-sam2-t": NetworkConfig(
            HIERA_T,
            pixel_mean=IMAGENET_MEAN,
            pixel_std=IMAGENET_STD,
            short_memory=ShortMemoryConfig(),
        ),
        "mois-tiny": NetworkConfig(HIERA_TINY, exemplars=PUBLISHED_EXEMPLARS, **TINY_SHAPE),
        "slm-tiny": NetworkConfig(
            HIERA_TINY,
            pixel_mean=IMAGENET_MEAN,
            pixel_std=IMAGENET_STD,
            short_memory=ShortMemoryConfig(),
            **TINY_SHAPE,
        ),
        "phantom": NetworkConfig(
            ConvEncoderConfig((48, 96, 160, 224)),
            image_size=(1024, 320),
            width=96,
            memory_width=32,
            attention_layers=2,
            attention_hidden=256,
            decoder_hidden=256,
            iou_hidden=128,
            dropout=0.0,
            layer_scale=0.1,
            marks_unprompted=True,
            exemplars=ExemplarConfig(
                min_confidence=0.35,
                judgement=(1.86, 3.31, 2.72, -0.19, -2.3),
            ),
        ),
    }
)


def preset(name: str) -> NetworkConfig:
    """Return the config of a named network."""
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(PRESETS)
        raise BadInput(f"there is no model called '{name}'; known are {known}") from None


def with_changes(config: Any, changes: Mapping[str, Any]) -> Any:
    """Return a config with fields replaced; a mapping changes fields of the config in its place."""
    known = {one.name for one in fields(config)}
    for name in changes:
        if name not in known:
            raise BadInput(f"changes: the network's config has no '{name}'")
    made = {
        name: with_changes(getattr(config, name), value)
        if isinstance(value, Mapping)
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in changes.items()
    }
    try:
        return replace(config, **made)
    except (ValueError, TypeError) as error:
        raise BadInput(f"changes: {error}") from error
