"""The baseline of the bench: PyPI's ``sam2`` with our weights, inputs and attention kernel.

The package decides how it processes a slice; everything else is made equal. Its attention calls
ours, since a faster kernel could be had by anyone, and its decoder is called as by its image
predictor, without the resize of masks that follows there. In bfloat16 it runs under autocast, as
its authors run it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from mois_core.bench import sam2_package
from mois_core.bench.steps import CLICK, ENCODE, PROPAGATE, PROPAGATED_TO, SLICES, BenchSteps
from mois_core.network.attention import attend
from mois_core.network.config import PRESETS, NetworkConfig
from mois_core.network.model import Sam2

_WITH_ATTENTION = ("sam2.modeling.backbones.hieradet", "sam2.modeling.sam.transformer")


def counterpart(config: NetworkConfig) -> str | None:
    """Return the size of SAM 2.1 that a network contains, or None if the package has none.

    The package has encoders of that kind only, and takes square images only.
    """
    rows, columns = config.image_size
    if rows != columns:
        return None
    for size in sam2_package.SIZES:
        published = PRESETS[f"sam2.1-{size}"]
        if (published.encoder, published.width) == (config.encoder, config.width):
            return size
    return None


class Sam2Baseline:
    """The package's SAM 2.1, run on the inputs of our steps."""

    def __init__(self, size: str, ours: Sam2, dtype: torch.dtype) -> None:
        """Build the network with the weights of ``ours``, which must not have been rounded yet."""
        self.dtype = dtype
        self.device = ours.device
        with torch.random.fork_rng(devices=[]):
            self.model = sam2_package.build_image_model(
                size, device=ours.device, image_size=ours.config.image_size[0]
            )
        weights = ours.state_dict()
        self.model.load_state_dict({key: weights[key] for key in self.model.state_dict()})
        self.model.requires_grad_(False)

    def all(self, steps: BenchSteps) -> dict[str, Callable[[], object]]:
        """Return the steps that both implementations have, by our names."""
        image = _normalised(steps)
        with self._as_they_run():
            encoded = self.model.forward_image(image)
            _, *one_slice = self.model._prepare_backbone_features(encoded)
        memories = _memories(steps)
        works = {
            ENCODE: lambda: self.model.forward_image(image),
            CLICK: lambda: self._click(steps, *one_slice),
            PROPAGATE: lambda: self._propagate(memories, *one_slice),
        }
        return {name: lambda work=work: self._run(work) for name, work in works.items()}

    def _run(self, work: Callable[[], object]) -> object:
        with self._as_they_run():
            return work()

    @contextmanager
    def _as_they_run(self) -> Iterator[None]:
        in_half = self.dtype != torch.float32
        with (
            _our_attention(),
            torch.no_grad(),
            torch.autocast(self.device.type, dtype=self.dtype, enabled=in_half),
        ):
            yield

    def _click(
        self,
        steps: BenchSteps,
        features: list[Tensor],
        _positions: object,
        sizes: list[tuple[int, int]],
    ) -> object:
        model = self.model
        *fine, coarse = (
            feature.permute(1, 2, 0).unflatten(2, size)
            for feature, size in zip(features, sizes, strict=True)
        )
        clicks = (steps.click.points, steps.click.labels)
        sparse, dense = model.sam_prompt_encoder(points=clicks, boxes=None, masks=None)
        return model.sam_mask_decoder(
            image_embeddings=coarse + model.no_mem_embed.reshape(1, -1, 1, 1),
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            repeat_image=False,
            high_res_features=fine,
        )

    def _propagate(
        self,
        memories: dict[int, dict[str, Any]],
        features: list[Tensor],
        positions: list[Tensor],
        sizes: list[tuple[int, int]],
    ) -> object:
        return self.model.track_step(
            frame_idx=PROPAGATED_TO,
            is_init_cond_frame=False,
            current_vision_feats=features,
            current_vision_pos_embeds=positions,
            feat_sizes=sizes,
            point_inputs=None,
            mask_inputs=None,
            output_dict={
                "cond_frame_outputs": {0: memories[0]},
                "non_cond_frame_outputs": {n: m for n, m in memories.items() if n > 0},
            },
            num_frames=SLICES,
        )


def _normalised(steps: BenchSteps) -> Tensor:
    """Return the steps' image normalised; their networks, unlike ours, do not do it themselves."""
    config = steps.model.config
    mean, std = (
        steps.image.new_tensor(values)[:, None, None]
        for values in (config.pixel_mean, config.pixel_std)
    )
    return (steps.image.expand(-1, 3, -1, -1) - mean) / std


def _memories(steps: BenchSteps) -> dict[int, dict[str, Any]]:
    """Return memories of a lesion in their format, by slice; the user clicked on slice 0."""
    size = steps.model.config.map_size
    plane = steps.model.memory_plane(size).T.unflatten(1, size).unsqueeze(0)
    return {
        PROPAGATED_TO - distance: {
            "maskmem_features": memory,
            "maskmem_pos_enc": [plane],
            "obj_ptr": pointer,
        }
        for (_, memory), (distance, pointer) in zip(steps.memories, steps.pointers, strict=True)
    }


class _Functional:
    """`torch.nn.functional` with our attention in place of its own."""

    def __getattr__(self, name: str) -> Any:
        return getattr(F, name)

    @staticmethod
    def scaled_dot_product_attention(
        q: Tensor, k: Tensor, v: Tensor, dropout_p: float = 0.0
    ) -> Tensor:
        assert dropout_p == 0.0
        return attend(q, k, v)


@contextmanager
def _our_attention() -> Iterator[None]:
    first, second = (importlib.import_module(name) for name in _WITH_ATTENTION)
    functional = _Functional()
    with mock.patch.object(first, "F", functional), mock.patch.object(second, "F", functional):
        yield
