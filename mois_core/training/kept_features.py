"""What the encoder makes of every slice, computed once for a run that leaves the encoder as it is.

Most of a step is the encoder. A run that only teaches what comes behind it, from clicks to the
search, does many times as many of them if the maps are there already. They are of whole slices as
they are: crops are cut from them at whole places, and neither mirrored nor varied in brightness.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mois_core.errors import BadInput
from mois_core.io.atomic import atomic_write
from mois_core.network.model import Sam2, SliceFeatures
from mois_core.session.preprocess import FULL_BRIGHTNESS
from mois_core.training import distributed
from mois_core.training.config import TrainConfig
from mois_core.training.resized_case import ResizedCase

_MADE_BY = ("image_encoder.*", "sam_mask_decoder.conv_s*")
"""The parameters that the maps depend on."""
_SLICES_AT_ONCE = 4
_SCANS_PER_LINE = 20


def as_kept(config: TrainConfig) -> TrainConfig:
    """Return a run's config with what follows from keeping the features, if it does."""
    if config.kept_features is None:
        return config
    if config.start is None:
        raise BadInput("kept_features needs a start: without it the encoder has learned nothing")
    how = config.sampling
    if how.degrees or how.shear or how.scale:
        raise BadInput("slices whose features are kept cannot be turned, sheared or scaled")
    return replace(
        config,
        frozen=tuple(dict.fromkeys((*config.frozen, *_MADE_BY))),
        sampling=replace(how, flip=0.0, brightness=0.0),
    )


@torch.no_grad()
def with_features(scans: Sequence[ResizedCase], model: Sam2, folder: Path) -> list[ResizedCase]:
    """Return scans with their features, made once and kept in a folder for these weights.

    Each of several processes makes a part, and opens what all of them have made.
    """
    folder = folder / _name_of_encoder(model)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{scan.name}.safetensors" for scan in scans]
    own = slice(distributed.rank(), None, distributed.processes())
    missing = [
        (scan, path)
        for scan, path in zip(scans[own], paths[own], strict=True)
        if not path.is_file()
    ]
    model.eval()
    for done, (scan, path) in enumerate(missing, start=1):
        _keep(_encoded(model, scan), path)
        if done % _SCANS_PER_LINE == 0 or done == len(missing):
            print(f"features {done}/{len(missing)}", flush=True)
    model.train()
    distributed.wait_for_all()
    return [
        replace(scan, features=_kept(path, scan)) for scan, path in zip(scans, paths, strict=True)
    ]


def _name_of_encoder(model: Sam2) -> str:
    content = hashlib.sha256()
    decoder = model.sam_mask_decoder
    for part in (model.image_encoder, decoder.conv_s0, decoder.conv_s1):
        for name, value in part.state_dict().items():
            content.update(f"{name} {tuple(value.shape)}".encode())
            content.update(value.cpu().numpy().tobytes())
    return content.hexdigest()[:16]


def _encoded(model: Sam2, scan: ResizedCase) -> SliceFeatures:
    """Return the features of all slices of a scan in half precision."""
    parts = []
    for first in range(0, scan.count, _SLICES_AT_ONCE):
        images = torch.from_numpy(scan.images[first : first + _SLICES_AT_ONCE].copy())
        features = model.encode(images[:, None].float() / FULL_BRIGHTNESS)
        parts.append(features.to(torch.float16).to(torch.device("cpu")))
    coarse, middle, fine = (
        torch.cat([getattr(part, name) for part in parts]).contiguous()
        for name in ("coarse", "middle", "fine")
    )
    return SliceFeatures(coarse, middle, fine)


def _keep(features: SliceFeatures, path: Path) -> None:
    tensors: dict[str, Tensor] = {
        "coarse": features.coarse,
        "middle": features.middle,
        "fine": features.fine,
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary)


def _kept(path: Path, scan: ResizedCase) -> SliceFeatures:
    try:
        features = SliceFeatures(**load_file(path))
    except (OSError, SafetensorError, TypeError) as error:
        raise BadInput(f"{path} is damaged; remove it, and it is made again") from error
    if len(features.coarse) != scan.count:
        raise BadInput(f"{path} is of another scan of this name; remove it, and it is made again")
    return features
