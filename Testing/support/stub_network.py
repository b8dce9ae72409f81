"""A network that sees what anyone would see, so that a test can say what must come out.

Real networks with made-up weights mark half a slice or nothing. This one has the same stages
and the same shapes, but a positive click takes the evenly bright area it lies in, a negative one
cuts a hole, a lesion is propagated to whatever is bright where it was on the slices before, and the
search takes what is as bright as the exemplars. Its masks are 32 x 32, like the scans in
`engine_fixtures`, so that they come out voxel for voxel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from mois_core.network.config import HIERA_TINY, ExemplarConfig, NetworkConfig
from mois_core.network.exemplar import ExemplarView, MoisSam2
from mois_core.network.model import Decoded, Prompts, SliceFeatures
from mois_core.network.prompt_encoder import BOX_FIRST, BOX_SECOND, NEGATIVE, POSITIVE

STUB = NetworkConfig(
    HIERA_TINY, image_size=(128, 128), width=64, memory_width=16, exemplars=ExemplarConfig()
)

ALIKE = 0.1
"""Brightness, of 0 to 1, by which two places may differ and still be the same thing."""

BRIGHT = 0.3
"""What a lesion is propagated on to has to be this bright."""

CUT = 3
"""Half the side of the square that a negative click takes away, in mask pixels."""

MOVES = 2
"""How far a lesion may move from one slice to the next, in mask pixels."""

LOGIT = 10.0
"""What all masks and scores are made of: plus this where something is, minus it elsewhere."""

PACK = 4
"""A mask is four times as fine as the maps, so 4 x 4 of its pixels fit into 16 channels."""

Look = tuple[Tensor, ...]


class StubNetwork(MoisSam2):
    """MOIS-SAM2's stages as plain arithmetic on brightness; counts how often each is called."""

    def __init__(self, config: NetworkConfig = STUB) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, config.width), requires_grad=False)
        self.calls: Counter[str] = Counter()

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    # ---- slices ---------------------------------------------------------------------------

    def encode(self, images: Tensor) -> SliceFeatures:
        """Put how bright the middle of each mask pixel is into the first channels of the map."""
        self.calls["encode"] += 1
        middle = F.avg_pool2d(images[..., 1:-1, 1:-1], kernel_size=2, stride=PACK)
        width, (rows, columns) = self.config.width, self.config.map_size
        batch = len(images)
        return SliceFeatures(
            _packed(middle, width),
            torch.full((batch, width // 4, 2 * rows, 2 * columns), 0.5),
            torch.full((batch, width // 8, 4 * rows, 4 * columns), 0.5),
        )

    def without_memory(self, features: SliceFeatures) -> Tensor:
        return _packed(torch.zeros_like(unpacked(features.coarse)), self.config.width)

    # ---- prompts --------------------------------------------------------------------------

    def decode(
        self, features: SliceFeatures, coarse: Tensor, prompts: Prompts | None = None
    ) -> Decoded:
        self.calls["decode"] += 1
        if prompts is None:
            return self._decoded(unpacked(coarse) > 0)
        brightness = unpacked(features.coarse)[0, 0].cpu().numpy()
        masks = []
        for index, (points, labels) in enumerate(zip(prompts.points, prompts.labels, strict=True)):
            mask = np.zeros(brightness.shape, dtype=bool)
            if prompts.logits is not None:
                mask = prompts.logits[index, 0].cpu().numpy() > 0
            masks.append(self._prompted(mask, brightness, points.tolist(), labels.tolist()))
        return self._decoded(torch.from_numpy(np.stack(masks))[:, None].to(self.device))

    def _prompted(
        self, mask: np.ndarray, brightness: np.ndarray, points: list, labels: list
    ) -> np.ndarray:
        mask = mask.copy()
        corner = (0, 0)
        for (x, y), label in zip(points, labels, strict=True):
            row, column = (int((v + 0.5) // PACK) for v in (y, x))
            if label == POSITIVE:
                alike = abs(brightness - brightness[row, column]) < ALIKE
                areas, _ = ndimage.label(alike)
                mask |= areas == areas[row, column]
            elif label == NEGATIVE:
                rows, columns = (slice(max(v - CUT, 0), v + CUT + 1) for v in (row, column))
                mask[rows, columns] = False
            elif label == BOX_FIRST:
                corner = (row, column)
            elif label == BOX_SECOND:
                inside = (slice(corner[0], row + 1), slice(corner[1], column + 1))
                mask[inside] |= brightness[inside] > BRIGHT
        return mask

    def decode_search(self, features: SliceFeatures, coarse: Tensor, gate: bool = True) -> Decoded:
        self.calls["decode_search"] += 1
        return self._decoded(unpacked(coarse) > 0)

    def decode_mask(self, features: SliceFeatures, mask: Tensor) -> Decoded:
        self.calls["decode_mask"] += 1
        low = F.interpolate(
            mask * 2 * LOGIT - LOGIT,
            self.config.low_res_size,
            mode="bilinear",
            antialias=True,
        )
        return self._decoded(low > 0, mask.flatten(1).any(dim=1, keepdim=True))

    def _decoded(self, mask: Tensor, present: Tensor | None = None) -> Decoded:
        if present is None:
            present = mask.flatten(1).any(dim=1, keepdim=True)
        logits = mask * 2 * LOGIT - LOGIT
        score = present * 2 * LOGIT - LOGIT
        pointer = torch.ones(len(mask), self.config.width, device=self.device)
        return Decoded(logits, logits, torch.ones_like(score), pointer, score, raw=None)

    # ---- memory ---------------------------------------------------------------------------

    def remember(
        self, features: SliceFeatures, logits: Tensor, score: Tensor, from_clicks: bool
    ) -> Tensor:
        """Remember how bright the slice is inside the mask, and nothing outside."""
        self.calls["remember"] += 1
        brightness = unpacked(features.coarse).clamp(min=2**-8)
        return _packed((logits > 0) * brightness, self.config.memory_width)

    def memory_query(self, features: SliceFeatures) -> Tensor:
        self.calls["memory_query"] += 1
        return features.coarse.permute(0, 2, 3, 1).contiguous()

    def memory_keys(self, maps: Sequence, pointers: Sequence, slices: int) -> Look:
        return tuple(unpacked(memory.float()) > 0 for _, memory in maps)

    def attend_to_memory(self, query: Tensor, keys: Look) -> Tensor:
        """Mark what is bright about where the lesion was last."""
        self.calls["attend_to_memory"] += 1
        last = keys[0]
        for mask in keys[1:]:
            last = torch.where(mask.flatten(1).any(dim=1)[:, None, None, None], mask, last)
        near = F.max_pool2d(last.float(), 2 * MOVES + 1, stride=1, padding=MOVES) > 0
        return _packed((near & (self._seen(query) > BRIGHT)).float(), self.config.width)

    def _seen(self, query: Tensor) -> Tensor:
        return unpacked(query.permute(0, 3, 1, 2))

    # ---- search ---------------------------------------------------------------------------

    def exemplar_query(self, features: SliceFeatures) -> Tensor:
        self.calls["exemplar_query"] += 1
        return self.memory_query(features)

    def exemplar_keys(self, exemplars: Sequence[ExemplarView]) -> Look:
        self.calls["exemplar_keys"] += 1
        looks = [unpacked(e.memory.float().unsqueeze(0)) for e in exemplars]
        return tuple(look[look > 0].mean() for look in looks)

    def attend_to_exemplars(self, query: Tensor, exemplars: Look, slices: Sequence[int]) -> Tensor:
        self.calls["attend_to_exemplars"] += 1
        seen = self._seen(query)
        alike = torch.stack([(seen - look).abs() < ALIKE for look in exemplars]).any(dim=0)
        return _packed(alike.float(), self.config.width)

    def attend_to_nothing(self, query: Tensor) -> Tensor:
        """Mark everything bright: without exemplars the network takes it for lesions."""
        return _packed((self._seen(query) > BRIGHT).float(), self.config.width)


class NetworkOnDevice(StubNetwork):
    """The stub as if it ran on a device, until it is moved; the device is the processor too."""

    place = torch.device("cpu", 0)

    @property
    def device(self) -> torch.device:
        return self.place

    def to(self, where: torch.device) -> NetworkOnDevice:
        self.place = where
        return self


def any_stub(seed: int) -> StubNetwork:
    """Return a stub network, one in four as if on a device."""
    return NetworkOnDevice() if seed % 4 == 3 else StubNetwork()


def _packed(image: Tensor, channels: int) -> Tensor:
    """An image [batch, 1, 4 rows, 4 columns] as a map [batch, channels, rows, columns]."""
    packed = F.pixel_unshuffle(image, PACK)
    rest = packed.new_full((len(packed), channels - PACK**2, *packed.shape[2:]), 0.5)
    return torch.cat((packed, rest), dim=1)


def unpacked(packed: Tensor) -> Tensor:
    return F.pixel_shuffle(packed[:, : PACK**2], PACK)
