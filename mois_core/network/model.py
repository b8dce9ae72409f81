"""SAM 2.1 as a whole: its stages, called one by one and batched.

`Sam2` has what every network here shares. `mois_core.network.exemplar.MoisSam2` adds the
exemplar branch and `mois_core.network.short_long.SlmSam2` the second memory; `build` picks by
config. The attribute names are those of the published checkpoints.

A stage takes and returns plain values, so the order of things (which slice, which lesion, which
memories) is decided by whoever calls them.

In the comments on shapes B is the batch, T the positions of a map (rows * columns), C the width and
M the memory width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mois_core.network.config import ConvEncoderConfig, NetworkConfig, Size
from mois_core.network.conv_encoder import ConvEncoder
from mois_core.network.image_encoder import ImageEncoder
from mois_core.network.layers import ConvNextStack, Mlp, learned, set_product_precision
from mois_core.network.mask_decoder import MaskDecoder, RawMasks, stability
from mois_core.network.memory import MASK_SCALE, MASK_SHIFT, MemoryEncoder
from mois_core.network.memory_attention import Keys, MemoryAttention, Tokens, join_keys
from mois_core.network.position import sine_line, sine_map
from mois_core.network.prompt_encoder import PADDING, PromptEncoder
from mois_core.network.unprompted import with_marked

NO_OBJECT_LOGIT = -1024.0
"""Logit of every pixel of a mask whose object is not on the slice."""


@dataclass(frozen=True)
class SliceFeatures:
    """Feature maps of one or several slices, or of crops of slices; they depend on no prompt.

    The first dimension is the batch. Crops have the scale of whole slices, so that a click's
    distance from another place means the same in both.
    """

    coarse: Tensor
    """[batch, width, rows, columns], 16 model pixels per position."""
    middle: Tensor
    """[batch, width / 4, 2 rows, 2 columns]."""
    fine: Tensor
    """[batch, width / 8, 4 rows, 4 columns]."""
    origin: tuple[int, int] = (0, 0)
    """Row and column of the slice's pixel that crops begin at, multiples of `STRIDE`."""

    @classmethod
    def joined(
        cls, parts: Sequence[SliceFeatures], origin: tuple[int, int] = (0, 0)
    ) -> SliceFeatures:
        """Return the features of several batches as those of one."""
        maps = zip(*((part.coarse, part.middle, part.fine) for part in parts), strict=True)
        return cls(*map(torch.cat, maps), origin)

    def __getitem__(self, index: slice) -> SliceFeatures:
        return self.mapped(lambda one: one[index])

    def to(self, where: torch.device | torch.dtype) -> SliceFeatures:
        """Return the features on another device or in another precision."""
        return self.mapped(lambda one: one.to(where))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> SliceFeatures:
        """Return the features with each map changed."""
        return SliceFeatures(*map(change, (self.coarse, self.middle, self.fine)), self.origin)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the features take."""
        return self.coarse.nbytes + self.middle.nbytes + self.fine.nbytes


@dataclass(frozen=True)
class Prompts:
    """Clicks in model pixels and, for a correction, the logits that they correct.

    A box is given by its two corners, with labels of their own.
    """

    points: Tensor
    """[batch, n, (x, y)]."""
    labels: Tensor
    """[batch, n]: 1 positive, 0 negative, 2 and 3 the corners of a box, -1 nothing."""
    logits: Tensor | None = None
    """[batch, 1, low rows, low columns]: the mask that is corrected."""

    @classmethod
    def none(cls, batch: int, device: torch.device) -> Prompts:
        """Return prompts without any content, as for propagation and search."""
        labels = torch.full((batch, 1), PADDING, device=device)
        return cls(torch.zeros(batch, 1, 2, device=device), labels)


@dataclass(frozen=True)
class Decoded:
    """One mask per prompt, and the candidates that it was chosen from."""

    logits: Tensor
    """[batch, 1, low rows, low columns]: the mask, -1024 everywhere where the object is absent."""
    candidates: Tensor
    """[batch, 1 or 3, low rows, low columns]: the masks that it was chosen from."""
    ious: Tensor
    """[batch, 1 or 3]: predicted quality of the candidates."""
    pointer: Tensor
    """[batch, width]: the object as a vector."""
    score: Tensor
    """[batch, 1]: logit that the object is on the slice."""
    raw: RawMasks | None
    """The decoder's own output; None for a mask that was not decoded."""

    def __getitem__(self, index: slice) -> Decoded:
        """Return a part of the batch, without the decoder's own output."""
        fields = (self.logits, self.candidates, self.ious, self.pointer, self.score)
        return Decoded(*(value[index] for value in fields), raw=None)


Choice = Callable[[RawMasks], tuple[Tensor, Tensor, Tensor]]
"""Function from raw masks to candidates, their quality, and for each the token of its pointer."""


@lru_cache(maxsize=16)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return one value per channel, [channels, 1, 1]; a GPU is not to wait for them each time."""
    return torch.tensor(values, device=device)[:, None, None]


class Sam2(nn.Module):
    """SAM 2.1: encode slices, decode prompts, remember masks, attend to memories."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width, memory_width = config.width, config.memory_width
        convolves = isinstance(config.encoder, ConvEncoderConfig)
        self.image_encoder = (ConvEncoder if convolves else ImageEncoder)(config.encoder, width)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.memory_attention = self._stack()
        self.memory_encoder = MemoryEncoder(width, memory_width, config.layer_scale)
        self.maskmem_tpos_enc = learned(config.memories, 1, 1, memory_width)
        self.no_mem_embed = learned(1, 1, width)
        self.no_mem_pos_enc = learned(1, 1, width)
        self.no_obj_ptr = learned(1, width)
        self.no_obj_embed_spatial = learned(1, memory_width)
        self.sam_prompt_encoder = PromptEncoder(width, config.image_size)
        self.sam_mask_decoder = MaskDecoder(width, config.decoder_hidden, config.iou_hidden)
        self.obj_ptr_proj = Mlp((width, width, width, width))
        self.obj_ptr_tpos_proj = nn.Linear(width, memory_width)

    def _stack(self) -> MemoryAttention:
        config = self.config
        return MemoryAttention(
            config.width,
            config.memory_width,
            config.attention_hidden,
            config.attention_layers,
            config.dropout,
        )

    @property
    def device(self) -> torch.device:
        """Device that the network computes on."""
        return self.no_mem_embed.device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the matrix products in the attentions and the memory encoder."""
        return self.memory_attention.dtype

    def set_precision(self, dtype: torch.dtype) -> Sam2:
        """Run the parts that cost time in ``dtype``.

        Prompts and the mask decoder stay in float32: they are half a percent of the work, and
        half precision would move clicks by pixels. So does a narrow encoder, which half
        precision makes no faster.
        """
        for part in self.children():
            if isinstance(part, (MemoryAttention, MemoryEncoder, ConvNextStack)):
                set_product_precision(part, dtype)
        if self.image_encoder.gains_from_half:
            self.image_encoder.to(dtype)
        return self

    # ---- slices ---------------------------------------------------------------------------

    def encode(self, images: Tensor, origin: tuple[int, int] = (0, 0)) -> SliceFeatures:
        """Encode slices given as brightness from 0 to 1, [batch, 1 or 3, rows, columns].

        Crops of slices, whose size is a multiple of 32, are encoded as well; ``origin`` is the
        row and column of the slice that they begin at. Points are always given in pixels of the
        whole slice.
        """
        images = images.to(self.device, torch.float32).expand(-1, 3, -1, -1)
        mean = _per_channel(self.config.pixel_mean, self.device)
        std = _per_channel(self.config.pixel_std, self.device)
        normalised = ((images - mean) / std).to(self.image_encoder.dtype)  # (B, 3, rows, columns)
        fine, middle, coarse = self.image_encoder(normalised)
        decoder = self.sam_mask_decoder
        finer = decoder.conv_s1(middle.float()), decoder.conv_s0(fine.float())
        return SliceFeatures(coarse, *finer, origin)

    # ---- prompts --------------------------------------------------------------------------

    def decode(
        self, features: SliceFeatures, coarse: Tensor, prompts: Prompts | None = None
    ) -> Decoded:
        """Decode masks for prompts on a slice, or without prompts from what ``coarse`` knows.

        ``coarse`` [batch, width, rows, columns] is the slice's map after `without_memory` or an
        attention; the slice itself or ``coarse`` may have a batch of one and serve all prompts.
        One point can mean several things, so up to one point gives the best of three masks.
        """
        if prompts is None:
            prompts = Prompts.none(coarse.shape[0], coarse.device)
        elif self.config.marks_unprompted:
            prompts = self._begun(features, prompts)
        is_ambiguous = prompts.labels.shape[1] <= 1
        raw = self._raw_masks(features, coarse, prompts.points, prompts.labels, prompts.logits)
        return self._choose(raw, self._best_of_three if is_ambiguous else self._stable_single)

    def unprompted(self, features: SliceFeatures) -> Tensor:
        """Return logits of any lesion on slices, [batch, 1, low rows, low columns].

        They mean something only where the weights were taught so (`marks_unprompted`).
        """
        maps = features.coarse, features.middle, features.fine
        return self.sam_mask_decoder.unprompted(*(one.float() for one in maps))

    @torch.no_grad()
    def _begun(self, features: SliceFeatures, prompts: Prompts) -> Prompts:
        """Return prompts whose mask has what the network marks by itself at the newest click."""
        marked = self.unprompted(features)
        where = marked, features.origin, prompts.points, prompts.labels
        return replace(prompts, logits=with_marked(prompts.logits, *where))

    def decode_search(self, features: SliceFeatures, coarse: Tensor, gate: bool = True) -> Decoded:
        """Decode, on each slice, one mask of everything that ``coarse`` knows to look for.

        With ``gate`` a slice whose object score is not positive is left empty, as published.
        """
        none = Prompts.none(coarse.shape[0], coarse.device)
        raw = self._raw_masks(features, coarse, none.points, none.labels, None)
        return self._choose(raw, self._stable_single, gate)

    def decode_mask(self, features: SliceFeatures, mask: Tensor) -> Decoded:
        """Take over a mask given by the user, [batch, 1, rows, columns] of zeros and ones.

        The mask stays as it is; the decoder runs only for the object pointer.
        """
        mask = mask.to(self.device, torch.float32)
        batch = mask.shape[0]
        none = Prompts.none(batch, self.device)
        prompt = self.mask_downsample(mask)
        raw = self._raw_masks(features, features.coarse, none.points, none.labels, prompt)
        present = mask.flatten(1).any(dim=1, keepdim=True)  # (B, 1)
        logits = F.interpolate(
            mask * MASK_SCALE + MASK_SHIFT,
            tuple(features.fine.shape[-2:]),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        # The pointer is gated twice: by what the decoder thinks and by what the user drew.
        pointer = self._pointer(raw.tokens[:, 0], raw.score > 0)
        return Decoded(
            logits=logits,
            candidates=logits,
            ious=torch.ones(batch, 1, device=self.device),
            pointer=torch.where(present, pointer, self.no_obj_ptr),
            score=present * MASK_SCALE + MASK_SHIFT,
            raw=None,
        )

    def _raw_masks(
        self,
        features: SliceFeatures,
        coarse: Tensor,
        points: Tensor,
        labels: Tensor,
        logits: Tensor | None,
    ) -> RawMasks:
        encoder = self.sam_prompt_encoder
        return self.sam_mask_decoder(
            coarse.float(),
            features.middle.float(),
            features.fine.float(),
            encoder.points(points, labels),
            encoder.mask(logits, coarse.shape[-2:]),
            encoder.positions(features.origin, coarse.shape[-2:]),
        )

    def _best_of_three(self, raw: RawMasks) -> tuple[Tensor, Tensor, Tensor]:
        """Choose among the three masks that one click can mean; the single mask takes no part."""
        return raw.logits[:, 1:], raw.ious[:, 1:], raw.tokens[:, 1:]

    def _stable_single(self, raw: RawMasks) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the single mask, or the best of the three where it depends on the threshold."""
        config = self.config
        steady = stability(raw.logits[:, 0], config.stability_delta) >= config.stability_threshold
        chosen = torch.where(steady, 0, 1 + raw.ious[:, 1:].argmax(dim=1))  # (B,)
        rows = torch.arange(len(chosen), device=chosen.device)
        logits, ious = raw.logits[rows, chosen], raw.ious[rows, chosen]
        return logits[:, None], ious[:, None], raw.tokens[:, :1]

    def _choose(self, raw: RawMasks, choice: Choice, gate: bool = True) -> Decoded:
        # (B, n, low rows, low columns), (B, n) and (B, n, C), of which one is chosen
        candidates, ious, tokens = choice(raw)
        present = raw.score > 0  # (B, 1)
        if gate:
            candidates = torch.where(present[:, :, None, None], candidates, NO_OBJECT_LOGIT)
        rows = torch.arange(len(ious), device=ious.device)
        best = ious.argmax(dim=1)
        return Decoded(
            logits=candidates[rows, best][:, None],
            candidates=candidates,
            ious=ious,
            pointer=self._pointer(tokens[rows, best], present),
            score=raw.score,
            raw=raw,
        )

    def _pointer(self, token: Tensor, present: Tensor) -> Tensor:
        return torch.where(present, self.obj_ptr_proj(token), self.no_obj_ptr)

    # ---- memory ---------------------------------------------------------------------------

    def remember(
        self, features: SliceFeatures, logits: Tensor, score: Tensor, from_clicks: bool
    ) -> Tensor:
        """Encode a mask to what other slices attend to, [batch, memory width, rows, columns]."""
        memory = self.memory_encoder(features.coarse.float(), logits, from_clicks)
        absent = (score <= 0)[:, :, None, None]
        return memory + absent * self.no_obj_embed_spatial[:, :, None, None]

    def without_memory(self, features: SliceFeatures) -> Tensor:
        """Return the map of a slice that has no memories to attend to."""
        return features.coarse.float() + self.no_mem_embed.reshape(1, -1, 1, 1)

    def memory_query(self, features: SliceFeatures) -> Tensor:
        """Return the part of memory attention that depends on the slice alone."""
        return self.memory_attention.query(features.coarse)

    def memory_keys(
        self,
        maps: Sequence[tuple[int, Tensor]],
        pointers: Sequence[tuple[int, Tensor]],
        slices: int,
    ) -> Keys:
        """Return keys of the memories that one or several lesions left on other slices.

        ``maps`` are pairs of a temporal index and a memory [batch, memory width, rows, columns];
        ``pointers`` are pairs of a distance in slices and a pointer [batch, width]. The number
        of ``slices`` in the scan sets the scale of the distances.
        """
        return self._keys_of_memories(self.memory_attention, maps, pointers, slices)

    def _keys_of_memories(
        self,
        stack: MemoryAttention,
        maps: Sequence[tuple[int, Tensor]],
        pointers: Sequence[tuple[int, Tensor]],
        slices: int,
    ) -> Keys:
        size = maps[0][1].shape[-2:]
        keys = stack.keys_of_maps(self._map_tokens(maps, size), size)
        if not pointers:
            return keys
        return join_keys(keys, stack.keys_of_pointers(self._pointer_tokens(pointers, slices)))

    def _map_tokens(self, maps: Sequence[tuple[int, Tensor]], size: Size) -> Tokens:
        plane = self.memory_plane(size)  # (T, M)
        times = self.maskmem_tpos_enc.flatten(1)  # (memories, M)
        # (B, maps * T, M) and (maps * T, M)
        content = torch.cat([memory.flatten(2).transpose(1, 2) for _, memory in maps], dim=1)
        position = torch.cat([plane + times[index] for index, _ in maps], dim=0)
        return Tokens(content, position.unsqueeze(0))

    def memory_plane(self, size: Size) -> Tensor:
        """Return the encoding of a memory map's positions, [rows * columns, memory width]."""
        return sine_map(self.config.memory_width, *size, self.device).flatten(1).T

    def _pointer_tokens(self, pointers: Sequence[tuple[int, Tensor]], slices: int) -> Tokens:
        # A scan of one slice has no distances, and no pointers to place either.
        scale = max(min(slices, self.config.max_pointers) - 1, 1)
        distance = torch.tensor([d / scale for d, _ in pointers])
        distance = distance.to(self.device, non_blocking=True)
        position = self.obj_ptr_tpos_proj(sine_line(distance, self.config.width))  # (pointers, M)
        return Tokens(
            self.split_pointers([pointer for _, pointer in pointers]),
            position.repeat_interleave(self.config.pointer_tokens, dim=0).unsqueeze(0),
        )

    def split_pointers(self, pointers: Sequence[Tensor]) -> Tensor:
        """Split pointers [batch, width] into tokens, [batch, tokens, memory width]."""
        stacked = torch.stack(list(pointers), dim=1).to(self.device, torch.float32)  # (B, n, C)
        return stacked.unflatten(2, (-1, self.config.memory_width)).flatten(1, 2)

    def attend_to_memory(self, query: Tensor, keys: Keys) -> Tensor:
        """Return the slice's map conditioned on what the lesion looks like on other slices."""
        return self.memory_attention(query.expand(keys[0].key.shape[0], -1, -1, -1), keys)
