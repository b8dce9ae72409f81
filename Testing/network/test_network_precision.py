"""The networks in half precision, and on other devices, draw the masks of float32 on the CPU."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from paths import DATA
from small_networks import GOLDEN, overlap, relative_rms
from torch import Tensor

from mois_core.bench.synthetic_weights import fill_synthetic
from mois_core.network.config import preset
from mois_core.network.exemplar import ExemplarView, MoisSam2
from mois_core.network.loading import build
from mois_core.network.model import Prompts, Sam2
from mois_core.session.preprocess import published_input
from tools.golden_sets import GoldenSet, Recipe, read_sets

SAME_MASK = 0.99
"""Intersection over union that makes two masks the same (DESIGN: every fast path is held so)."""

HALF, SINGLE = torch.bfloat16, torch.float32
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
WAYS = [
    pytest.param(("cpu", HALF), id="cpu-bfloat16"),
    pytest.param(("cuda", SINGLE), id="cuda-float32", marks=NEEDS_GPU),
    pytest.param(("cuda", HALF), id="cuda-bfloat16", marks=NEEDS_GPU),
]

NEAR_GATE = 0.05
"""Half precision moves an object score by up to 0.03: so close to zero it decides nothing."""
NEAR_THRESHOLD = 0.002
NEAR_TIE = 0.01


SHOWN = ("best", "filled", "pred_masks", "video")
"""Masks that someone gets to see; the candidates that were not chosen are not among them."""


# ---- the golden inputs -------------------------------------------------------------------------


class OtherWay(Recipe):
    """The golden recipe on another device or in another precision."""

    def __init__(self, golden: GoldenSet, device: str, dtype: torch.dtype) -> None:
        super().__init__(golden)
        self.device, self.dtype = device, dtype

    def model(self, score_bias: float | None = None) -> Sam2:
        return super().model(score_bias).to(self.device).set_precision(self.dtype)

    def record_encoder(self, model: Sam2) -> None:
        """Features are compared at the precision they were made for, by the parity check."""


def fell_the_other_way(golden: GoldenSet, ours: dict[str, Tensor], prefix: str) -> bool:
    """Whether a choice that float32 made by a hair came out the other way: then two masks are
    compared that answer different questions."""

    def both(what: str) -> tuple[np.ndarray, np.ndarray] | None:
        name = f"{prefix}.{what}"
        return (golden.arrays[name], ours[name].numpy()) if name in golden.arrays else None

    if pair := both("score"):
        gates = [values.item() > 0 for values in pair]
        if gates[0] != gates[1]:
            return abs(pair[0].item()) < NEAR_GATE
    if prefix.startswith("sem.") and (pair := both("stab")):
        scenario = prefix.split(".")[1]
        threshold = golden.facts.get(f"{scenario}.stability_thresh", 0.98)
        steady = [values.item() >= threshold for values in pair]
        return steady[0] != steady[1] and abs(pair[0].item() - threshold) < NEAR_THRESHOLD
    if pair := both("ious"):
        first, second = (values.argmax() for values in pair)
        return first != second and pair[0][first] - pair[0][second] < NEAR_TIE
    return False


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["tiny", "slm_tiny"])
def test_golden_masks_are_the_same(name, way):
    golden = next(g for g in read_sets(GOLDEN) if g.name == name)

    ours = OtherWay(golden, *way).run().arrays

    overlaps, excused = {}, set()
    for array, expected in golden.arrays.items():
        prefix, _, last = array.rpartition(".")
        if last not in SHOWN:
            continue
        if fell_the_other_way(golden, ours, prefix):
            excused.add(prefix)
            continue
        overlaps[array] = overlap(ours[array] > 0, torch.from_numpy(expected) > 0)
    assert not {array: share for array, share in overlaps.items() if share < SAME_MASK}
    assert len(excused) <= len(overlaps) / 10


# ---- one slice at full size, end to end --------------------------------------------------------

SLICE = 3
PUBLISHED_CLICK = DATA / "full_click.npz"
"""What the published code decodes at full size for the first click of the golden sets."""


SENSITIVE_CLICK = (
    "rounding the encoder's weights alone moves 2% of this mask, and all of bfloat16 6%: "
    "synthetic weights draw it along thousands of pixels of border"
)


class FullSlice:
    """One slice through a full-size model: encoded, clicked on, and searched."""

    def __init__(self, model: MoisSam2, golden: GoldenSet) -> None:
        self.dtype = model.dtype
        image = published_input(golden.volume[SLICE], model.config.image_size)
        click = next(c for c in golden.facts["clicks"] if c["slice"] == SLICE)
        rows, columns = golden.volume.shape[1:]
        height, width = model.config.image_size
        scale = torch.tensor([width / columns, height / rows])
        point = (torch.tensor(click["positive_xy"]) * scale).reshape(1, 1, 2).to(model.device)

        self.features = model.encode(image[None])
        coarse = model.without_memory(self.features)
        prompt = Prompts(point, torch.ones(1, 1, device=model.device))
        self.clicked = model.decode(self.features, coarse, prompt)
        memory = model.remember(self.features, self.clicked.logits, self.clicked.score, True)
        exemplar = ExemplarView(SLICE, True, memory[0].to(HALF), self.clicked.pointer[0])
        found = model.attend_to_exemplars(
            model.exemplar_query(self.features), model.exemplar_keys([exemplar]), [SLICE]
        )
        self.found = model.decode_search(self.features, found.float())


@pytest.fixture(scope="module")
def a_golden_set():
    return next(g for g in read_sets(GOLDEN) if g.name == "tiny")


@pytest.fixture(scope="module")
def a_full_model(a_golden_set):
    facts = a_golden_set.facts
    model = build(preset("mois-sam2-b+")).requires_grad_(False).eval()
    return fill_synthetic(model, facts["salt"], facts["obj_score_bias"])


@pytest.fixture(scope="module")
@torch.no_grad()
def in_float32(a_full_model, a_golden_set):
    return FullSlice(a_full_model, a_golden_set)


@pytest.fixture(scope="module", params=WAYS)
@torch.no_grad()
def another_way(request, a_full_model, a_golden_set):
    device, dtype = request.param
    model = copy.deepcopy(a_full_model).to(device).set_precision(dtype)
    return FullSlice(model, a_golden_set)


def test_a_full_size_click_is_the_published_one(in_float32):
    published, ours = np.load(PUBLISHED_CLICK), in_float32.clicked
    for index in range(3):
        mask = np.unpackbits(published[f"multi{index}.bits"]).astype(bool)
        found = (ours.candidates[0, index] > 0).numpy().ravel()
        assert int((mask != found).sum()) <= 1e-4 * mask.size
    for name, value in (("ious", ours.ious), ("iou4", ours.raw.ious), ("score", ours.score)):
        assert torch.allclose(value[0], torch.from_numpy(published[name]), atol=5e-3), name
    assert relative_rms(ours.pointer[0], torch.from_numpy(published["obj_ptr"])) <= 1e-4


def test_a_full_size_slice_is_searched_from_its_click(in_float32):
    share = float((in_float32.found.logits > 0).float().mean())

    assert in_float32.found.logits.isfinite().all()
    assert in_float32.found.score > NEAR_GATE
    assert 0.05 < share < 0.95


def test_full_size_features_are_close(in_float32, another_way):
    for field in ("coarse", "middle", "fine"):
        ours, exact = (getattr(way.features, field).cpu() for way in (another_way, in_float32))
        assert relative_rms(ours, exact) <= 0.02, field


def test_a_full_size_search_finds_the_same(in_float32, another_way):
    ours, exact = (way.found.logits.cpu() > 0 for way in (another_way, in_float32))

    assert overlap(ours, exact) >= SAME_MASK


def test_a_full_size_click_chooses_the_same(in_float32, another_way):
    ours, exact = another_way.clicked, in_float32.clicked

    assert int(ours.ious.argmax()) == int(exact.ious.argmax())
    assert bool(ours.score > 0) == bool(exact.score > 0)
    assert relative_rms(ours.pointer.cpu(), exact.pointer) <= 0.03


def test_a_full_size_click_draws_the_same(request, in_float32, another_way):
    if another_way.dtype == HALF:
        request.applymarker(pytest.mark.xfail(reason=SENSITIVE_CLICK))
    ours, exact = (way.clicked.logits.cpu() > 0 for way in (another_way, in_float32))

    assert overlap(ours, exact) >= SAME_MASK
