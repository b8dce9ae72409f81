"""What the encoder makes of every slice, computed once for a run that leaves the encoder as it is.

On crops most of a step is the encoder. A run that only teaches what comes behind it, from clicks to
the search, gets through more of them if the maps are there already. They are of whole slices as
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
from mois_core.io.atomic import atomic_write, make_folder
from mois_core.network.model import Sam2, SliceFeatures
from mois_core.session.preprocess import FULL_BRIGHTNESS
from mois_core.training import distributed
from mois_core.training.config import TrainConfig
from mois_core.training.resized_case import ResizedCase

_SLICES_AT_ONCE = 4
_SCANS_PER_LINE = 20


def check_kept(config: TrainConfig, has_start: bool) -> None:
    """Refuse what a run that keeps features cannot do; ``has_start`` if it begins with weights."""
    if config.kept_features is None:
        return
    if not has_start:
        raise BadInput("kept_features needs a start: without it the encoder has learned nothing")
    how = config.sampling
    if how.degrees or how.shear or how.scale:
        raise BadInput("slices whose features are kept cannot be turned, sheared or scaled")


def as_kept(config: TrainConfig) -> TrainConfig:
    """Return a run's config with slices as they are if their features are kept."""
    if config.kept_features is None:
        return config
    return replace(config, sampling=replace(config.sampling, flip=0.0, brightness=0.0))


@torch.no_grad()
def with_features(scans: Sequence[ResizedCase], model: Sam2, folder: Path) -> list[ResizedCase]:
    """Return scans with their features, made once and kept in a folder for these weights.

    Each of several processes makes a part, and opens what all of them have made.
    """
    folder = folder / _name_of_encoder(model)
    make_folder(folder)
    paths = [folder / f"{scan.name}-{_hash(scan.images.tobytes())}.safetensors" for scan in scans]
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
    return [replace(scan, features=_kept(path)) for scan, path in zip(scans, paths, strict=True)]


def _name_of_encoder(model: Sam2) -> str:
    decoder, config = model.sam_mask_decoder, model.config
    parts = [f"{config.image_size} {config.pixel_mean} {config.pixel_std}".encode()]
    for module in (model.image_encoder, decoder.conv_s0, decoder.conv_s1):
        for name, value in module.state_dict().items():
            parts += [f"{name} {tuple(value.shape)}".encode(), value.cpu().numpy().tobytes()]
    return _hash(*parts)


def _hash(*parts: bytes) -> str:
    content = hashlib.blake2b(digest_size=8)
    for part in parts:
        content.update(part)
    return content.hexdigest()


def _encoded(model: Sam2, scan: ResizedCase) -> SliceFeatures:
    """Return the features of all slices of a scan in half precision."""
    parts = []
    for first in range(0, scan.count, _SLICES_AT_ONCE):
        images = torch.from_numpy(scan.images[first : first + _SLICES_AT_ONCE].copy())
        features = model.encode(images[:, None].float() / FULL_BRIGHTNESS)
        parts.append(features.to(torch.float16).to(torch.device("cpu")))
    return SliceFeatures.joined(parts).mapped(Tensor.contiguous)


def _keep(features: SliceFeatures, path: Path) -> None:
    maps = {"coarse": features.coarse, "middle": features.middle, "fine": features.fine}
    with atomic_write(path) as temporary:
        save_file(maps, temporary)


def _kept(path: Path) -> SliceFeatures:
    try:
        return SliceFeatures(**load_file(path))
    except (OSError, SafetensorError, TypeError) as error:
        raise BadInput(f"{path} is damaged; remove it, and it is made again") from error
