"""Golden sets: figures of the published implementations, and our own on the same recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.network.config import Size, preset
from mois_core.network.loading import build
from mois_core.network.model import Sam2, SliceFeatures
from mois_core.network.position import sine_map
from mois_core.session.preprocess import FULL_BRIGHTNESS, published_input
from tools.published_flow import Alternatives, ObjectState, PublishedPredictor

PRESET_OF_KIND = {
    "mois-tiny": "mois-tiny",
    "mois-full": "mois-sam2-b+",
    "slm-tiny": "slm-tiny",
    "slm-full": "slm-sam2-t",
}
NOISE_FILE = "noise_f32_vs_f64.json"
CHAMFER_STEPS = ((0, 1, 1.0), (1, 1, 1.4), (1, 2, 2.1969))
"""Rows, columns and cost of the steps that the published distance transform knows."""


@dataclass
class GoldenSet:
    """The arrays of one ``.npz`` file and the facts of the ``.json`` file beside it."""

    name: str
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    """Its own facts, and those of the set that it inherits from."""
    noise: dict[str, tuple[float, float]]
    """By array, the largest and the root mean square difference that float32 alone makes."""
    own_facts: dict[str, Any]
    parent_arrays: dict[str, np.ndarray]

    @property
    def volume(self) -> np.ndarray:
        """The slices [slice, row, column]."""
        return (self.arrays | self.parent_arrays)["in.volume_u8"]

    def has(self, prefix: str) -> bool:
        """Return whether any array belongs to a scenario."""
        return any(name.startswith(prefix + ".") for name in self.arrays)


def read_sets(folder: Path) -> list[GoldenSet]:
    """Read every set of a golden folder, in the order of their names."""
    noise_file = folder / NOISE_FILE
    noise = json.loads(noise_file.read_text("utf-8")) if noise_file.exists() else {}
    sets = []
    for path in sorted(folder.glob("*.npz")):
        own_facts = facts = json.loads(path.with_suffix(".json").read_text("utf-8"))
        parent_arrays = {}
        if "inherits" in facts:
            parent = folder / facts["inherits"]
            facts = json.loads(parent.with_suffix(".json").read_text("utf-8")) | own_facts
            parent_arrays = {"in.volume_u8": np.load(parent.with_suffix(".npz"))["in.volume_u8"]}
        sets.append(
            GoldenSet(
                path.stem,
                dict(np.load(path)),
                facts,
                noise.get(path.stem, {}),
                own_facts,
                parent_arrays,
            )
        )
    return sets


def golden_input(image: np.ndarray, size: Size) -> Tensor:
    """Turn a slice into network input as the published loader did when the figures were made.

    It ran with Pillow 13.0, which begins with the columns where more than twice as many rows as
    columns are lost; else as in `published_input`.
    """
    fewer_rows, fewer_columns = (
        there - here for there, here in zip(image.shape, size, strict=True)
    )
    if fewer_rows > max(0, 2 * fewer_columns):
        return published_input(image.T, size[::-1]).mT.contiguous()
    return published_input(image, size)


@dataclass
class Results:
    """What our network makes of a set: arrays and facts under the set's own names."""

    arrays: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    alternatives: dict[str, Alternatives] = field(default_factory=dict)
    """What an array would be if pixels that hang on rounding had fallen the other way."""


class Recipe:
    """Runs our network on everything that a set has figures for."""

    def __init__(self, golden: GoldenSet, device: str | torch.device = "cpu") -> None:
        self.golden = golden
        self.device = device
        self.facts = golden.facts
        self.results = Results()
        self.features: dict[int, SliceFeatures] = {}
        differs = self.facts.get("differs", "")
        self.fill_holes = "hole filling on" in differs
        self.memory_dtype = torch.float32 if "stay float32" in differs else torch.bfloat16
        self.config = preset(PRESET_OF_KIND[self.facts["kind"]])

    @cached_property
    def images(self) -> Tensor:
        """The network's input as the published loader made it, (slices, 1, rows, columns)."""
        return torch.stack([golden_input(s, self.config.image_size) for s in self.golden.volume])

    def model(self, score_bias: float | None = None) -> Sam2:
        """Return the set's network with the set's synthetic weights."""
        bias = self.facts["obj_score_bias"] if score_bias is None else score_bias
        return fill_synthetic(build(self.config), self.facts["salt"], bias).eval().to(self.device)

    def predictor(self, model: Sam2, short_reach: int | None = None) -> PublishedPredictor:
        """Return a predictor with an empty exemplar bank."""
        flow = PublishedPredictor(
            model,
            self.images,
            self.golden.volume.shape[1:],
            self.record,
            self.features,
            self.fill_holes,
            self.memory_dtype,
            short_reach,
        )
        flow.alternatives = self.results.alternatives
        return flow

    def record(self, name: str, value: Tensor) -> None:
        """Keep an array if the set has a figure for it."""
        known = set(self.golden.arrays) | set(self.facts.get("probes", {}))
        if known & {name, f"{name}.bits", f"{name}_half"}:
            self.results.arrays[name] = value.detach().float().cpu().clone()

    @torch.no_grad()
    def run(self) -> Results:
        """Run the whole recipe, in the order that keeps states and banks as the set had them."""
        model = self.model()
        self._inputs()
        self.record_encoder(model)
        if self.facts["kind"].startswith("slm"):
            self._short_long(model)
        else:
            self._objects_and_search(model)
            for name, steps in self._scenarios().items():
                if isinstance(steps, list) and (self.golden.has(name)):
                    self._scenario(name, steps, model)
        return self.results

    def _scenarios(self) -> dict[str, Any]:
        """Return the steps of each scenario; those of the first two follow from the click list."""
        first = self.facts["clicks"][0]
        positive, negative = first["positive_xy"], first["second_negative_xy"]
        one = {"slice": first["slice"], "points_xy": [positive], "labels": [1]}
        correction = {
            "slice": first["slice"],
            "points_xy": [negative],
            "labels": [0],
            "keep_earlier_points": True,
            "arrays": "corr.iter.*",
        }
        both = one | {"points_xy": [positive, negative], "labels": [1, 0], "arrays": "corr.app.*"}
        implied = {"corr.iter": [one, correction], "corr.app": [both]}
        return implied | self.facts.get("scenarios", {})

    def _inputs(self) -> None:
        resized = (self.images[:, 0] * FULL_BRIGHTNESS).round()
        self.results.arrays["in.volume_u8"] = torch.from_numpy(self.golden.volume).float()
        self.results.arrays["in.resized_u8"] = resized
        for slice_index, image in enumerate(resized):
            for name in self.golden.arrays:
                if name.startswith(f"in.resized_u8.s{slice_index}."):
                    self.results.arrays[name] = image
        digests = [hashlib.sha256(i.numpy().astype(np.uint8).tobytes()) for i in resized]
        self.results.facts["in.resized_u8.sha256"] = [digest.hexdigest() for digest in digests]

    def record_encoder(self, model: Sam2) -> None:
        """Record the encoder's maps and the position encodings."""
        config = self.config
        names = set(self.golden.arrays)
        for slice_index in sorted(
            {int(m[1]) for n in names if (m := re.match(r"enc\.s(\d+)\.", n))}
        ):
            image = self.images[slice_index : slice_index + 1]
            features = model.encode(image)
            maps = (features.fine, features.middle, features.coarse)
            for level, value in enumerate(maps):
                self.record(f"enc.s{slice_index}.fpn{level}", value[0])
            if any(name.startswith(f"enc.s{slice_index}.trunk") for name in names):
                mean, std = (
                    torch.tensor(t)[:, None, None] for t in (config.pixel_mean, config.pixel_std)
                )
                normalised = (image.expand(-1, 3, -1, -1) - mean) / std
                trunk = model.image_encoder.trunk(normalised.to(model.device))
                for level, value in enumerate(trunk):
                    self.record(f"enc.s{slice_index}.trunk{level}", value[0].permute(2, 0, 1))
        for level in range(3):
            rows, columns = (side >> level for side in config.low_res_size)
            self.record(f"enc.pos{level}", sine_map(config.width, rows, columns, model.device))
        whole = model.sam_prompt_encoder.positions((0, 0), config.map_size)
        self.record("enc.dense_pe", whole[0])
        plane = model.memory_plane(config.map_size).T.unflatten(1, config.map_size)
        self.record("mem_pos", plane)
        self.record("obj1.click1.mem_pos", plane)

    def _objects_and_search(self, model: Sam2) -> None:
        flow, facts = self.predictor(model), self.facts
        for click in facts["clicks"]:
            object_id, slice_index = click["object"], click["slice"]
            name, state = f"obj{object_id}", ObjectState()
            flow.click(
                state,
                slice_index,
                [click["positive_xy"]],
                [1],
                f"{name}.click1",
                object_id=object_id,
            )
            clicked = flow.to_video(state.new_prompted[slice_index].logits)[0, 0]
            merged = torch.zeros(self.golden.volume.shape, dtype=torch.bool)
            merged[slice_index] = clicked > 0
            for way, reverse in (("fwd", False), ("bwd", True)):
                frames = facts[f"{name}.{way}.frames"]
                steps = max(len(frames) - 1, 0)
                masks = flow.propagate(state, steps, reverse, f"{name}.{way}", object_id=object_id)
                self.results.facts[f"{name}.{way}.frames"] = list(masks)
                for tracked, mask in masks.items():
                    merged[tracked] |= mask > 0
            self.results.arrays[f"{name}.app_mask"] = merged
        self.results.facts["exemplar_keys_after_3_objects"] = list(flow.bank)
        self.results.facts["exemplar_meta"] = {
            key: {"frame_idx": view.slice, "is_prompted": view.is_prompted}
            for key, view in flow.bank.items()
        }
        for key, view in flow.bank.items():
            self.record(f"ex.{key}.maskmem_bf16", view.memory)
            self.record(f"ex.{key}.obj_ptr", view.pointer)
        for name, how in facts.items():
            if name.startswith("sem.") and self.golden.has(name):
                self._search(flow, name, how)

    def _search(self, flow: PublishedPredictor, name: str, how: dict[str, Any]) -> None:
        model = flow.model
        threshold = self.facts.get(f"{name.removeprefix('sem.')}.stability_thresh")
        config = model.config
        if threshold is not None:
            model.config = dataclasses.replace(config, stability_threshold=threshold)
        automatic = how.get("use_automatic_segmentation", False)
        # The published code leaves the gate out in "automatic" mode too.
        gate = not (how.get("switch_off_object_score_check", False) or automatic)
        # Where ours left something else in the bank, that is a row of its own and no crash.
        known = [key for key in how["exemplars"] if key in flow.bank]
        exemplars = flow.offered(known, how["num_max_exemplars"], how["only_prompted"])
        if not (exemplars or automatic):
            return
        for slice_index in how["slices"]:
            prefix = f"{name}.s{slice_index}"
            logits = flow.search(slice_index, None if automatic else exemplars, prefix, gate)
            self.results.facts[f"{prefix}.logits"] = logits
        model.config = config

    def _scenario(self, name: str, steps: list[dict[str, Any]], model: Sam2) -> None:
        states: dict[int, ObjectState] = {}
        flow = self.predictor(model)
        for step in steps:
            object_id = step.get("object", 1)
            prefix = _prefixes(step)[0] if _prefixes(step) else ""
            if "set" in step:
                flow = self.predictor(self.model(self.facts[f"{name}.obj_score_bias"]))
            elif "track" in step:
                self._propagate(name, step, flow, states)
            elif "search" in step:
                slice_index = int(re.search(r"slice (\d+)", step["search"])[1])
                most = int(re.search(r"at most (\d+)", step["search"])[1])
                only_prompted = "prompted only" in step["search"]
                self._note_bank(name, flow)
                chosen = flow.offered(flow.bank, most, only_prompted)
                if chosen:
                    flow.search(slice_index, chosen, f"{name}.sem.s{slice_index}")
            else:
                state = states.setdefault(object_id, ObjectState())
                self._prompt(name, step, flow, state, prefix)
                self._note_bank(name, flow)
        for state in list(states.values())[:1]:
            self.results.facts[f"{name}.cond_frames"] = sorted(state.prompted)
            self.results.facts[f"{name}.non_cond_frames"] = sorted(state.propagated)
        self.results.facts[f"{name}.ids"] = list(states)

    def _note_bank(self, name: str, flow: PublishedPredictor) -> None:
        """Note the bank; sets hold it as it is after the last prompt, or as a search finds it."""
        self.results.facts[f"{name}.exemplar_keys"] = list(flow.bank)
        self.results.facts[f"{name}.exemplars"] = list(flow.bank)

    def _prompt(
        self,
        name: str,
        step: dict[str, Any],
        flow: PublishedPredictor,
        state: ObjectState,
        prefix: str,
    ) -> None:
        slice_index = step["slice"]
        object_id = step.get("object", 1) if step.get("exemplar", True) else None
        if step.get("box"):
            flow.box(state, slice_index, self.facts[name]["xyxy"], prefix)
        elif step.get("com"):
            com = self.facts[name]
            scale = com["scale_to_model_pixels"]
            flow.click(
                state, slice_index, [com["xy_lowres"]], step["labels"], prefix, scale_to_model=scale
            )
        else:
            flow.click(
                state,
                slice_index,
                step["points_xy"],
                step["labels"],
                prefix,
                keep_earlier=step.get("keep_earlier_points", False),
                object_id=object_id,
            )

    def _propagate(
        self,
        name: str,
        step: dict[str, Any],
        flow: PublishedPredictor,
        states: dict[int, ObjectState],
    ) -> None:
        prefixes = _prefixes(step) or [""]
        runs = re.findall(r"(forward|backward) (\d+)", step["track"])
        several = len(states) > 1
        for index, (way, count) in enumerate(runs):
            prefix = "" if several else prefixes[min(index, len(prefixes) - 1)]
            masks = {
                object_id: flow.propagate(
                    state,
                    int(count),
                    way == "backward",
                    prefix,
                    object_id=None if several else object_id,
                )
                for object_id, state in states.items()
            }
            frames = list(next(iter(masks.values())))
            self.results.facts[f"{prefix}.frames" if prefix else f"{name}.frames"] = frames
            for slice_index in frames:
                stacked = torch.stack([own[slice_index] for own in masks.values()])
                self.record(f"{name}.f{slice_index}.video", stacked)
            if frames:
                first = next(iter(masks.values()))[frames[0]]
                self.record(f"{name}.video_of_frame_after_repropagation", first)

    def _short_long(self, model: Sam2) -> None:
        start = self.facts["prompt_slice"]
        mask = torch.from_numpy(self.golden.arrays["in.mask_prompt"])
        self.results.arrays["in.mask_prompt"] = mask.float()
        last = len(self.images) - 1
        for reach in sorted(
            {int(m[1]) for n in self.golden.arrays if (m := re.match(r"n(\d+)\.", n))}
        ):
            flow, state = self.predictor(model, short_reach=reach), ObjectState()
            flow.mask(state, start, mask, f"n{reach}.prompt")
            forward = flow.propagate(state, last - start, False, f"n{reach}.fwd")
            backward = flow.propagate(state, start, True, f"n{reach}.bwd")
            order = [f"n{reach}.fwd.f{n}" for n in forward]
            order += [f"n{reach}.bwd.f{n}" for n in backward]
            self.results.facts[f"n{reach}.order"] = order


def _prefixes(step: dict[str, Any]) -> list[str]:
    return re.findall(r"[\w.]+(?=\.\*)", step.get("arrays", ""))


def chamfer_depth(mask: np.ndarray) -> np.ndarray:
    """Return distances to the nearest pixel outside, by the published distance transform.

    What lies beyond the image does not count as outside.
    """
    depth = np.where(mask, np.inf, 0.0)
    moves = set()
    for rows, columns, cost in CHAMFER_STEPS:
        for r, c in ((rows, columns), (columns, rows)):
            moves |= {(r, c, cost), (r, -c, cost), (-r, c, cost), (-r, -c, cost)}
    reach = 2
    while True:
        padded = np.pad(depth, reach, constant_values=np.inf)
        shifted = [
            padded[reach + r : reach + r + mask.shape[0], reach + c : reach + c + mask.shape[1]]
            + cost
            for r, c, cost in moves
        ]
        closer = np.minimum.reduce([depth, *shifted])
        if np.array_equal(closer, depth):
            return depth
        depth = closer
