"""Our SAM 2.1 computes what PyPI's ``sam2`` computes with the same weights.

The bounds are those that the golden sets have for figures of the published code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import lively, overlap, relative_rms
from torch import Tensor

from mois_core.bench import sam2_package
from mois_core.network.config import IMAGENET_MEAN, IMAGENET_STD, PRESETS
from mois_core.network.model import Decoded, Prompts, Sam2
from tools.published_flow import ObjectState, PublishedPredictor, Stored

SIZES = ("t", "b+")
SMALL, SMALLEST = 256, 128
SALT = "against sam2"
ALWAYS_THERE = 20.0
"""An object score that no slice gets below: their image predictor knows no empty mask."""
LOGIT_LIMIT = 32.0
BFLOAT16_STEP = 2.0**-7
ROWS, COLUMNS = 100, 150


@dataclass(frozen=True)
class Bound:
    """Relative rms, the share of the largest value, and the share of elements within it."""

    rms: float
    largest: float
    within: float


DIRECT = Bound(1e-4, 1e-3, 1.0)
PROPAGATED = Bound(2e-3, 1e-3, 0.999)


def assert_equal(ours: Tensor, theirs: Tensor, bound: Bound, what: str) -> None:
    ours, theirs = ours.detach().float(), theirs.detach().float()
    assert ours.shape == theirs.shape, what
    assert relative_rms(ours, theirs) <= bound.rms, what
    close = (ours - theirs).abs() <= bound.largest * theirs.abs().max()
    assert float(close.float().mean()) >= bound.within, what


def assert_same_mask(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Masks agree, pixels apart whose logit is zero within the bound of the logits: how many
    threads summed it decides their sign."""
    undecided = theirs.abs() <= PROPAGATED.largest * theirs.abs().max()
    ours, theirs = (ours > 0) & ~undecided, (theirs > 0) & ~undecided
    differing = int((ours != theirs).sum())
    assert differing <= max(2, 1e-4 * ours.numel()), what
    assert differing <= 2 or overlap(ours, theirs) >= 0.999, what


def our_model(size: str, image_size: int, score_bias: float) -> Sam2:
    return lively(
        replace(PRESETS[f"sam2.1-{size}"], image_size=(image_size,) * 2), SALT, score_bias
    )


def their_weights(model: Sam2) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def grey_slices(count: int, rows: int, columns: int) -> np.ndarray:
    """Slices of blobs and waves as bytes, [count, rows, columns]."""
    z, y, x = np.indices((count, rows, columns)).astype(float)
    y, x = y / rows, x / columns
    waves = 40 * np.sin(14 * y + 0.3 * z) * np.cos(11 * x - 0.2 * z)
    blob = 120 * np.exp(-(((y - 0.4) / 0.12) ** 2) - ((x - 0.55 + 0.02 * z) / 0.1) ** 2)
    other = 90 * np.exp(-(((y - 0.7) / 0.08) ** 2) - ((x - 0.3) / 0.15) ** 2)
    noise = np.random.default_rng(5).normal(0, 4, (count, rows, columns))
    return (70 + waves + blob + other + noise).clip(0, 255).astype(np.uint8)


# ---- one image ---------------------------------------------------------------------------------


@dataclass
class ImagePair:
    """The same image in both packages."""

    ours: Sam2
    theirs: object
    side: int

    def decode(self, points: list, labels: list, logits: Tensor | None = None) -> Decoded:
        prompts = Prompts(torch.tensor([points]).float(), torch.tensor([labels]), logits)
        coarse = self.ours.without_memory(self.features)
        return self.ours.decode(self.features, coarse, prompts)

    def load(self, image: np.ndarray) -> None:
        """Encode in both; theirs normalises before, ours within."""
        self.theirs.set_image(np.repeat(image[:, :, None], 3, axis=2))
        brightness = torch.from_numpy(image).float()[None, None] / 255
        self.features = self.ours.encode(brightness)

    def assert_features_equal(self) -> None:
        fine, middle = self.theirs._features["high_res_feats"]
        coarse = self.theirs._features["image_embed"]
        assert_equal(self.features.fine, fine, DIRECT, "fine")
        assert_equal(self.features.middle, middle, DIRECT, "middle")
        assert_equal(self.ours.without_memory(self.features), coarse, DIRECT, "coarse")

    def assert_decodes_equal(self, multimask: bool, decoded: Decoded, **prompts: object) -> None:
        masks, ious, low = (
            torch.from_numpy(value)[None]
            for value in self.theirs.predict(
                multimask_output=multimask, return_logits=True, **prompts
            )
        )
        assert_equal(decoded.ious, ious, DIRECT, "quality")
        assert_equal(decoded.candidates.clamp(-LOGIT_LIMIT, LOGIT_LIMIT), low, DIRECT, "logits")
        assert_same_mask(decoded.candidates, low, "low-resolution mask")
        shown = F.interpolate(decoded.candidates, (self.side,) * 2, mode="bilinear")
        assert_equal(shown, masks, DIRECT, "shown logits")
        assert_same_mask(shown, masks, "mask")


def an_image_pair(size: str, side: int) -> ImagePair:
    ours = our_model(size, side, ALWAYS_THERE)
    model = sam2_package.build_image_model(size, image_size=side, state_dict=their_weights(ours))
    pair = ImagePair(ours, sam2_package.build_image_predictor(model), side)
    pair.load(grey_slices(1, side, side)[0])
    return pair


@pytest.fixture(scope="module", params=SIZES)
def a_pair(request):
    with torch.no_grad():
        yield an_image_pair(request.param, SMALL)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


POINTS = {
    "one click": ([[140.0, 102.0]], [1]),
    "two clicks": ([[140.0, 102.0], [70.0, 180.0]], [1, 0]),
    "four clicks": ([[140.0, 102.0], [70.5, 180.0], [2.0, 3.0], [255.0, 250.0]], [1, 1, 0, 0]),
}


def as_arrays(points, labels):
    return {"point_coords": np.array(points), "point_labels": np.array(labels)}


def test_images_encode_alike(a_pair):
    a_pair.assert_features_equal()


@pytest.mark.parametrize("clicks", POINTS)
@pytest.mark.parametrize("corrects", [False, True], ids=["new", "correction"])
def test_clicks_on_an_image_give_the_same(a_pair, clicks, corrects):
    points, labels = POINTS[clicks]
    earlier = torch.linspace(-20, 20, 64).repeat(1, 1, 64, 1) if corrects else None
    given = as_arrays(points, labels) | {"mask_input": earlier[0].numpy() if corrects else None}

    decoded = a_pair.decode(points, labels, earlier)

    a_pair.assert_decodes_equal(len(points) == 1, decoded, **given)


@pytest.mark.parametrize("clicks", POINTS)
def test_all_three_candidates_are_the_same(a_pair, clicks):
    points, labels = POINTS[clicks]
    raw = a_pair.decode(points, labels).raw

    three = replace(
        a_pair.decode(points, labels), candidates=raw.logits[:, 1:], ious=raw.ious[:, 1:]
    )

    a_pair.assert_decodes_equal(True, three, **as_arrays(points, labels))


def test_a_box_on_an_image_gives_the_same(a_pair):
    corners = [60.0, 40.0, 200.0, 150.0]

    decoded = a_pair.decode([corners[:2], corners[2:]], [2, 3])

    a_pair.assert_decodes_equal(False, decoded, box=np.array(corners))


def test_a_box_and_a_click_give_the_same(a_pair):
    decoded = a_pair.decode([[60.0, 40.0], [200.0, 150.0], [120.0, 90.0]], [2, 3, 0])

    given = as_arrays([[120.0, 90.0]], [0]) | {"box": np.array([60.0, 40.0, 200.0, 150.0])}
    a_pair.assert_decodes_equal(False, decoded, **given)


def test_an_image_of_the_published_size_gives_the_same():
    pair = an_image_pair("t", sam2_package.IMAGE_SIZE)

    pair.assert_features_equal()
    for points, labels in ([[[500.0, 400.0]], [1]], [[[500.0, 400.0], [99.0, 900.0]], [1, 0]]):
        decoded = pair.decode(points, labels)
        pair.assert_decodes_equal(len(points) == 1, decoded, **as_arrays(points, labels))


# ---- a stack of slices -------------------------------------------------------------------------


class VideoPair:
    """The same slices and the same clicks in both packages, object by object."""

    def __init__(self, ours: Sam2, theirs: torch.nn.Module, count: int) -> None:
        size = ours.config.image_size
        slices = torch.from_numpy(grey_slices(count, *size)).float()[:, None] / 255
        mean, std = (torch.tensor(t)[:, None, None] for t in (IMAGENET_MEAN, IMAGENET_STD))
        normalised = (slices.expand(-1, 3, -1, -1) - mean) / std
        self.theirs = theirs
        self.state = sam2_package.start_from_slices(theirs, normalised, ROWS, COLUMNS)
        self.flow = PublishedPredictor(ours, slices, (ROWS, COLUMNS), lambda *_: None, {})
        self.objects: dict[int, ObjectState] = {}

    def click(
        self, slice_index: int, points: list, labels: list, owner: int = 1, **how: bool
    ) -> None:
        state = self.objects.setdefault(owner, ObjectState())
        keeps = how.get("keep_earlier", False)
        decoded = self.flow.click(
            state, slice_index, points, labels, keep_earlier=keeps, object_id=None
        )
        _, ids, theirs = self.theirs.add_new_points_or_box(
            self.state, slice_index, owner, points=points, labels=labels, clear_old_points=not keeps
        )
        ours = self.flow.to_video(decoded.logits)[0, 0]
        bound = PROPAGATED if slice_index in state.propagated_in_reverse else DIRECT
        assert_equal(ours, theirs[ids.index(owner), 0], bound, f"click on {slice_index}")
        assert_same_mask(ours, theirs[ids.index(owner), 0], f"click on {slice_index}")

    def box(self, slice_index: int, corners: list, owner: int = 1) -> None:
        state = self.objects.setdefault(owner, ObjectState())
        self.flow.click(state, slice_index, corners, [2, 3], object_id=None)
        _, _, theirs = self.theirs.add_new_points_or_box(
            self.state, slice_index, owner, box=corners
        )
        ours = self.flow.to_video(state.new_prompted[slice_index].logits)
        assert_equal(ours, theirs, DIRECT, f"box on {slice_index}")

    def mask(self, slice_index: int, mask: Tensor, owner: int = 1) -> None:
        state = self.objects.setdefault(owner, ObjectState())
        self.flow.mask(state, slice_index, mask, "")
        _, _, theirs = self.theirs.add_new_mask(self.state, slice_index, owner, mask)
        ours = self.flow.to_video(state.prompted[slice_index].logits)
        assert_equal(ours, theirs, DIRECT, f"mask on {slice_index}")

    def track(self, steps: int, reverse: bool = False) -> list[int]:
        theirs = self.theirs.propagate_in_video(
            self.state, max_frame_num_to_track=steps, reverse=reverse
        )
        shown = {slice_index: masks.clone() for slice_index, _, masks in theirs}
        # Theirs starts every object where the earliest of all was prompted.
        starts = [min(state.prompted | state.new_prompted) for state in self.objects.values()]
        for index, state in enumerate(self.objects.values()):
            ours = self.flow.propagate(state, steps, reverse, start=min(starts), object_id=None)
            assert list(ours) == list(shown)
            for slice_index, mask in ours.items():
                what = f"object {index} on slice {slice_index}"
                assert_equal(mask, shown[slice_index][index, 0], PROPAGATED, what)
                assert_same_mask(mask, shown[slice_index][index, 0], what)
        self.assert_kept_alike()
        return list(shown)

    def assert_kept_alike(self) -> None:
        """Both keep the same things on the same slices."""
        for index, state in enumerate(self.objects.values()):
            kept = self.state["output_dict_per_obj"][index]
            for ours, key in ((state.prompted, "cond"), (state.propagated, "non_cond")):
                theirs = kept[f"{key}_frame_outputs"]
                assert sorted(ours) == sorted(theirs)
                for slice_index, stored in ours.items():
                    self.assert_stored_alike(
                        stored, theirs[slice_index], f"{key} {index}.{slice_index}"
                    )

    def assert_stored_alike(self, ours: Stored, theirs: dict[str, Tensor], what: str) -> None:
        assert_equal(ours.logits, theirs["pred_masks"], PROPAGATED, f"logits of {what}")
        assert_equal(ours.pointer, theirs["obj_ptr"], PROPAGATED, f"pointer of {what}")
        score = theirs["object_score_logits"]
        assert (ours.score - score).abs().max() <= 5e-3, f"score of {what}"
        memory = theirs["maskmem_features"].float()
        # Kept in half precision: a step of that, or what any propagated array may differ by.
        step = (memory.abs() * BFLOAT16_STEP).clamp(min=PROPAGATED.largest * memory.abs().max())
        close = ((ours.memory.float() - memory).abs() <= step).float().mean()
        assert close >= 0.999, f"memory of {what}"


def a_video(size: str, count: int = 6, side: int = SMALL, score_bias: float = 2.0) -> VideoPair:
    ours = our_model(size, side, score_bias)
    return VideoPair(ours, their_predictor(size, side, score_bias), count)


THEIR_PREDICTORS: dict[tuple, torch.nn.Module] = {}


def their_predictor(size: str, side: int, score_bias: float) -> torch.nn.Module:
    """One for each size, since building the large ones takes seconds."""
    key = (size, side, score_bias)
    if key not in THEIR_PREDICTORS:
        weights = their_weights(our_model(size, side, score_bias))
        THEIR_PREDICTORS[key] = sam2_package.build_video_predictor(
            size, image_size=side, state_dict=weights
        )
    return THEIR_PREDICTORS[key]


LEFT, RIGHT = [45.0, 70.0], [82.0, 40.0]


@pytest.mark.parametrize("size", SIZES)
def test_a_lesion_is_propagated_alike_both_ways(size):
    video = a_video(size, count=5)
    video.click(2, [RIGHT], [1])

    assert video.track(3) == [2, 3, 4]
    assert video.track(1, reverse=True) == [2, 1]


def test_corrections_change_the_same():
    video = a_video("t", side=SMALLEST)
    video.click(1, [RIGHT], [1])
    video.click(1, [LEFT], [0], keep_earlier=True)
    video.track(2)
    video.click(2, [LEFT, RIGHT], [1, 0])
    video.track(4)
    video.click(1, [RIGHT, LEFT], [1, 1])
    video.track(2)


def test_several_prompted_slices_are_seen_alike():
    video = a_video("t", side=SMALLEST)
    video.click(4, [LEFT], [1])
    video.click(1, [RIGHT, LEFT], [1, 0])

    assert video.track(4) == [1, 2, 3, 4, 5]
    assert video.track(4, reverse=True) == [1, 0]


def test_more_slices_than_memories_are_propagated_alike():
    video = a_video("t", count=11, side=SMALLEST)
    video.click(0, [RIGHT], [1])

    assert video.track(10) == list(range(11))
    assert video.track(10, reverse=True) == []


def test_several_objects_are_propagated_alike():
    video = a_video("t", count=4, side=SMALLEST)
    video.click(1, [RIGHT], [1], owner=7)
    video.click(1, [LEFT], [1], owner=4)

    video.track(2)


def test_boxes_and_masks_prompt_alike():
    video = a_video("t", side=SMALLEST)
    video.box(2, [30.0, 20.0, 100.0, 70.0])
    video.track(1)
    drawn = torch.zeros(ROWS, COLUMNS, dtype=torch.bool)
    drawn[20:55, 60:110] = True
    video = a_video("t", side=SMALLEST)
    video.mask(3, drawn)
    video.track(2, reverse=True)


def test_lesions_that_are_not_there_are_empty_alike():
    video = a_video("t", side=SMALLEST, score_bias=-3.6)
    video.click(1, [RIGHT], [1])
    video.track(3)

    kept = video.objects[1]
    scores = [float(s.score) for s in (*kept.prompted.values(), *kept.propagated.values())]
    assert min(scores) < 0 < max(scores), "one side only, so that this test shows nothing"


def test_slices_of_the_published_size_are_propagated_alike():
    video = a_video("t", count=2, side=sam2_package.IMAGE_SIZE)
    video.click(0, [RIGHT], [1])

    assert video.track(1) == [0, 1]
