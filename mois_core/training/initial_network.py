"""The network that a run begins with: from a checkpoint, or drawn so that it learns soon.

A network that starts from SAM 2.1 needs nothing of this. One from scratch spends its first hour on
what is set right here in a second: a click that looks at its own place.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import torch
from torch import Tensor

from mois_core.errors import BadInput
from mois_core.network.checkpoint import from_sam2, load_into, read_checkpoint, read_file
from mois_core.network.config import STRIDE, NetworkConfig, preset, with_changes
from mois_core.network.loading import build
from mois_core.network.model import Sam2
from mois_core.network.short_long import SlmSam2
from mois_core.training.config import TrainConfig
from mois_core.training.places_loss import PlacesHead


def network_config(config: TrainConfig) -> NetworkConfig:
    """Return the preset's config with the run's changes."""
    return with_changes(preset(config.model), config.changes)


def check_crops(config: TrainConfig) -> None:
    """Refuse crops that the run's network cannot encode."""
    crop, network = config.sampling.crop_size, network_config(config)
    if crop is None:
        return
    where = f"sampling.crop_size {crop[0]} x {crop[1]}"
    if any(side <= 0 or side % 32 for side in crop):
        raise BadInput(f"{where}: rows and columns must be multiples of 32")
    if any(side > whole for side, whole in zip(crop, network.image_size, strict=True)):
        rows, columns = network.image_size
        raise BadInput(f"{where} is larger than the network's input, {rows} x {columns}")
    places = math.prod(side // STRIDE for side in crop)
    if network.exemplars and network.no_exemplar_tokens % places:
        raise BadInput(
            f"{where} has {places} places, of which the {network.no_exemplar_tokens} that stand "
            "for no exemplar are no multiple; choose a crop whose sides divide the input's"
        )


def new_model(config: TrainConfig) -> Sam2:
    """Return the network as the run begins with it, on the GPU if there is one."""
    torch.manual_seed(config.seed)
    model = build(network_config(config))
    own = model.state_dict().keys()
    _check_patterns("frozen", config.frozen, own)
    if config.start is not None:
        state = read_checkpoint(config.start)
        state = _completed(model, state) if config.start_is_sam2 else state
        _check_patterns("redrawn", config.redrawn, own | state.keys())
        kept = {name: own for name, own in state.items() if not _matches(name, config.redrawn)}
        drawn = model.state_dict().items()
        state = kept | {name: own for name, own in drawn if _matches(name, config.redrawn)}
        load_into(model, state, config.start)
    else:
        matrix = model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        matrix.mul_(config.point_frequency)
        if config.matching:
            _match_places(model, config.matching)
        if config.losses.places:
            _silence_tokens(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not _matches(name, config.frozen))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device).train()


def new_places_head(config: TrainConfig, model: Sam2) -> PlacesHead | None:
    """Return the head of the loss on places, or None if the config gives that loss no weight.

    It is the one of the run that ``start`` is of, if that had one; else it is drawn anew.
    """
    if not config.losses.places:
        return None
    head = PlacesHead(model.config.width)
    content = {} if config.start is None else read_file(Path(config.start))
    if isinstance(content, Mapping) and "places" in content:
        head.load_state_dict(content["places"])
    return head.to(model.device)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, one) for one in patterns)


def _check_patterns(option: str, patterns: Sequence[str], names: Collection[str]) -> None:
    """Refuse a pattern that no parameter's name matches: it would do nothing, in silence."""
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise BadInput(f"{option}: no parameter of the network is called '{pattern}'")


def _completed(model: Sam2, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add what the model has beyond SAM 2.1 to a state dict of it.

    Second attentions begin as copies of the memory attention, the rest as it was drawn.
    """
    if not isinstance(model, SlmSam2):
        return from_sam2(model, state)
    completed = dict(state)
    for key, value in model.state_dict().items():
        twin = key.replace("recent_memory_attention.", "memory_attention.", 1)
        completed.setdefault(key, state.get(twin, value))
    return completed


@torch.no_grad()
def _match_places(model: Sam2, gain: float) -> None:
    """Let the mask decoder's queries and keys begin as the same projection.

    A click and the place it points at have the same encoding, so their product is then the
    largest. Drawn apart, it takes hundreds of steps until a network from scratch heeds a click.
    """
    transformer = model.sam_mask_decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        attention.q_proj.weight.mul_(gain)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        attention.q_proj.bias.zero_()
        attention.k_proj.bias.zero_()


@torch.no_grad()
def _silence_tokens(model: Sam2) -> None:
    """Let all masks begin as what the loss on places teaches the decoder to say without prompts."""
    first, *others = (mlp.layers[-1] for mlp in model.sam_mask_decoder.output_hypernetworks_mlps)
    for layer in (first, *others):
        layer.weight.zero_()
        layer.bias.copy_(first.bias)
