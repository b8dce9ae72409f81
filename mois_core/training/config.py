"""Everything that the config of a training run can say, with the defaults.

`mois_core.training.config_file` reads a config from JSON, whose keys are the names of these fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class PhantomRange:
    """Synthetic scans to learn from, made when the run starts or read from a cache."""

    first: int = 1000
    """Seed of the first phantom."""
    count: int = 0
    cache: str | None = None
    """A folder to keep them in; None makes them anew in every run."""


@dataclass(frozen=True)
class DataConfig:
    """Where the scans come from: prepared files, phantoms, or both."""

    prepared: str | None = None
    """A folder that `mois prepare` wrote."""
    fold: int | None = None
    """The fold of patients that is left out for validation."""
    phantoms: PhantomRange = field(default_factory=PhantomRange)


@dataclass(frozen=True)
class SamplingConfig:
    """How many slices of how many scans a step learns from, and how much of each slice."""

    scans: int = 4
    """Scans per step, over all processes."""
    consecutive: int = 4
    """Neighbouring slices of each scan, which lesions are propagated through."""
    elsewhere: int = 3
    """Further single slices of each scan."""
    by_size: float = 0.0
    """Share of the lesions to crop around that are drawn by how large they are on a slice; the
    others are drawn lesion by lesion. What is measured in voxels depends on the large ones."""
    anywhere: float = 0.0
    """Share of the further slices whose crop is of any place in the body, with or without
    lesions: crops around lesions do not show every healthy tissue."""
    crop_size: tuple[int, int] | None = None
    """Rows and columns of the crops in model pixels; None for whole slices."""
    degrees: float = 0.0
    """Largest angle that slices are turned by, either way; all slices of a scan alike."""
    shear: float = 0.0
    """Largest angle in degrees that slices are sheared by, either way."""
    scale: float = 0.0
    """Largest part of their size that slices are enlarged or reduced by."""
    flip: float = 0.5
    """How often left and right are exchanged."""
    brightness: float = 1.0
    """How strongly brightness and contrast vary; 0 leaves them as they are."""


@dataclass(frozen=True)
class InteractionConfig:
    """What the simulated user does in a step, and what the network has to answer."""

    prompts: Literal["clicks", "masks", "none"] = "clicks"
    """SLM-SAM 2 is given the outline on one slice; nothing is clicked. With "none" the encoder
    alone learns, by the loss on places."""
    propagate: bool = True
    """Propagate the prompted lesions through the consecutive slices."""
    search: bool = True
    """Search the slices with the prompted lesions as exemplars."""
    as_one_object: bool = False
    """Take all lesions of one appearance as a single object, as the paper's variant without
    exemplars does."""
    most_corrections: int = 6
    mean_corrections: float | None = 2.0
    """Their number is drawn anew for each step, small ones more often; None: always the most."""
    corrected: float = 0.0
    """Share of the propagated lesions that get a correction where they were propagated to."""
    propagated_again: float = 0.0
    """Share of steps in which all lesions are corrected on one of the slices that they were
    propagated to, and propagated once more from both."""
    most_lesions: int = 3
    """Lesions of a scan that are prompted on the same slice."""
    painted: float = 0.5
    """Share of exemplars that are outlined by the user instead of clicked."""


@dataclass(frozen=True)
class SearchConfig:
    """Which exemplars the slices are searched with."""

    most_exemplars: int = 4
    without_exemplars: float = 0.12
    """Share of searches without exemplars, whose answer is every lesion."""
    propagated: float = 0.3
    """Share of searches whose exemplars include propagated lesions, not prompted ones alone."""
    own_crop: float = 0.3
    """Share of searches in which the exemplars' own crops are searched as well."""


@dataclass(frozen=True)
class LossWeights:
    """Weights and forms of the losses. The defaults are the paper's where it names any; the
    published code has other weights and a focal semantic loss."""

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    score: float = 1.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    pooling: int = 1
    """Masks are compared at a resolution so many times lower; 2 quarters the cost of losses, which
    on whole slices is most of a step of a small network."""
    semantic: float = 2.0
    """Weight of the search; its own terms are binary cross-entropy, Dice and IoU."""
    semantic_pixels: float = 1.0
    """Weight of the cross-entropy among the terms of the search."""
    semantic_focal: bool = False
    """The published code's focal form in place of the paper's binary cross-entropy."""
    unused_heads: float = 0.25
    """For the masks that are not chosen at this step: the single one after one click, the three
    after several. At inference an unstable single mask gives way to one of the three."""
    contrast: float = 0.5
    """Cross-entropy of a search on lesions only, the right appearance against all others, each
    counting the same."""
    heeded: float = 0.0
    """Cross-entropy at the clicked places themselves: a correction shall at least change what it
    points at."""
    click_contrast: float = 0.0
    """Cross-entropy of a click on lesions only, the right lesion against all others: without it a
    network from scratch outlines whatever looks like a lesion for a long time before it heeds the
    click."""
    attention: float = 0.0
    """Weight of the loss on where the search looks; see `mois_core.training.attention_loss`."""
    spread: float = 0.0
    """Weight of the loss on how far the encoder's values exceed 1 in the root of their mean
    square. Nothing in the network's first maps is normed; from scratch they grow thirtyfold, and
    every attention to what is remembered of them then sees a single token."""
    places: float = 0.0
    """Weight of the loss on what every place shows; see `mois_core.training.places_loss`."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Learning rates and all that goes with them. The defaults are the published ones."""

    rate: float = 5e-6
    encoder_rate: float = 3e-6
    final: float = 0.1
    """What part of its rate a group ends with."""
    warmup: int = 0
    """Steps over which the rates rise from nothing."""
    layer_decay: float = 0.9
    """Factor on the encoder's rate for each block further from its output."""
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    clip: float = 0.1
    """Largest norm of all gradients together."""
    matrices: Literal["adamw", "muon"] = "adamw"
    """What moves the weights of linear layers. Muon takes steps of AdamW's size that turn a matrix
    in all its directions alike; docs/training.md tells what came of it."""


@dataclass(frozen=True)
class ValidationConfig:
    """How often to measure: on the fold that is left out, or else on phantoms, which are of the
    training range and never held out."""

    every: int = 0
    """Steps between two measurements; 0 for none."""
    first_phantom: int = 90000
    """Seed of the first phantom to measure on."""
    phantoms: int = 4
    exemplars: int = 5


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    model: str = "phantom"
    changes: dict[str, Any] = field(default_factory=dict)
    """Fields of the network's config that differ from the preset's."""
    start: str | None = None
    """A checkpoint to start from; with `start_is_sam2` one of SAM 2.1."""
    start_is_sam2: bool = False
    redrawn: tuple[str, ...] = ()
    """Parameters whose names match one of these patterns are not taken from `start`, and need not
    be in it."""
    point_frequency: float = 1.0
    """Factor on the random frequencies that tell where a click is, in a run from scratch. Small
    lesions in small images are told apart sooner with higher ones."""
    matching: float = 0.0
    """In a run from scratch, how strongly a click looks at its own place from the beginning;
    0 leaves the attention of the mask decoder as PyTorch draws it."""
    seed: int = 123
    steps: int = 1000
    frozen: tuple[str, ...] = ()
    """Parameters whose names match one of these patterns are left as they are."""
    kept_features: str | None = None
    """A folder for what the encoder makes of every slice. The encoder then stays as it is in
    `start`, and steps are shorter; see `mois_core.training.kept_features`."""
    autocast: bool = False
    """Compute in bfloat16 where that is safe: all of it on a GPU, the encoder on a processor, where
    it pays if that multiplies bfloat16 in tiles (AMX)."""
    threads: int = 0
    """Processor threads; 0 leaves it to PyTorch."""
    checkpoint_every: int = 100
    log_every: int = 20
    data: DataConfig = field(default_factory=DataConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    interaction: InteractionConfig = field(default_factory=InteractionConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
