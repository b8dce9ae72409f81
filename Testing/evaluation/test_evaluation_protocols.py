"""The protocols, on scans so plain that it can be said what must come out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from engine_fixtures import CORONAL, FIRST, LESION, OTHER_KIND, SECOND, THIRD, Block, scan_of
from evaluation_fixtures import LESIONS, truth_of
from scipy import ndimage
from stub_segmenter import Everything, StubMois, StubSam

from mois_core.errors import BadInput
from mois_core.evaluation.baselines.region_growing import RegionGrowing
from mois_core.evaluation.protocols import Protocol, ProtocolStep, run_protocol
from mois_core.evaluation.segmenters import AllClicksSegmenter, PlacedClick, Segmenter
from mois_core.evaluation.simulated_reader import Mistakes
from mois_core.evaluation.truth import label_lesions, lesions_to_click, true_lesions
from mois_core.geometry import SliceStack, Volume
from mois_core.results.scores import dice


class Recorder(Segmenter):
    """A segmenter that marks nothing, or always the same, and records its calls."""

    def __init__(self, mark: np.ndarray | None = None) -> None:
        self.mark = mark
        self.calls: list[tuple] = []

    def open(self, volume: Volume) -> None:
        self.stack = SliceStack(volume)
        self.shape = volume.array.shape

    def click(self, ras, positive=True, lesion_id=None) -> int:
        point = tuple(int(round(float(v))) for v in self.stack.point_from_ras(np.asarray(ras)))
        clicked = (call[3] for call in self.calls if call[0] == "click")
        lesion_id = lesion_id or 1 + max(clicked, default=0)
        self.calls.append(("click", point, positive, lesion_id))
        return lesion_id

    def search(self) -> None:
        self.calls.append(("search",))

    def reject(self, lesion_id: int, ras) -> None:
        self.calls.append(("reject", lesion_id))

    def result(self) -> np.ndarray:
        empty = np.zeros(self.shape, dtype=np.uint16)
        return empty if self.mark is None else self.mark

    @property
    def clicks(self) -> list[tuple]:
        return [call for call in self.calls if call[0] == "click"]


def steps_of(segmenter: Segmenter, *blocks: Block, seed: int = 0, **protocol) -> list[ProtocolStep]:
    volume = Volume(scan_of(*blocks, OTHER_KIND), CORONAL)
    rules = Protocol(**{"lesions": 20, "seed": seed, **protocol})
    return list(run_protocol(rules, segmenter, volume, truth_of(*blocks), "scan"))


def truth_mask(*blocks: Block) -> np.ndarray:
    return truth_of(*blocks) > 0


# ---- lesion by lesion ------------------------------------------------------------------------


def test_the_largest_lesions_are_clicked_on_in_turn_each_in_its_middle():
    recorder = Recorder()
    steps_of(recorder, *LESIONS, lesions=2, clicks=1)

    points = [call[1] for call in recorder.clicks]
    assert len(points) == 2
    for (slice_index, x, y), block in zip(points, (FIRST, SECOND), strict=True):
        assert truth_of(block)[slice_index, y, x]
    assert [call[3] for call in recorder.clicks] == [1, 2]


def test_a_lesion_gets_as_many_clicks_as_it_needs_and_no_more_than_allowed():
    hopeless = Recorder()
    (step,) = steps_of(hopeless, FIRST, clicks=3)
    assert (len(hopeless.clicks), step.clicks, step.interactions) == (3, 3, 3)

    sees_it = StubSam()
    (step,) = steps_of(sees_it, FIRST, clicks=3)
    assert (step.clicks, step.prompted_dice) == (1, (1.0,))


class Joins(AllClicksSegmenter):
    """Marks two lesions and what lies between them, as one piece."""

    def take_up(self) -> None:
        self.clicked = []

    def segment(self, clicks: Sequence[PlacedClick]) -> np.ndarray:
        self.clicked = [(click.voxel, click.positive) for click in clicks]
        both = truth_of(FIRST, SECOND) > 0
        joined = np.zeros_like(both)
        joined[ndimage.find_objects(both.astype(np.uint8))[0]] = True
        return self.stack.from_volume(joined)


def test_a_lesion_is_not_clicked_away_where_one_mask_holds_all_of_them():
    # Of each lesion the other is a part of the same piece.
    joins = Joins()
    (step,) = steps_of(joins, FIRST, SECOND, clicks=3)
    truth = truth_of(FIRST, SECOND) > 0
    negative = [voxel for voxel, positive in joins.clicked if not positive]

    assert len(joins.clicked) == 6 and len(negative) == 4
    assert not any(truth[voxel] for voxel in negative)
    assert all(value < 1 for value in step.prompted_dice)


def test_a_lesion_of_its_own_is_corrected_where_it_reaches_over_another():
    both = (truth_of(FIRST, SECOND) > 0).astype(np.uint16)
    recorder = Recorder(both)
    steps_of(recorder, FIRST, SECOND, lesions=1, clicks=2)
    (slice_index, x, y), positive = recorder.clicks[1][1:3]
    assert not positive and truth_of(SECOND)[slice_index, y, x]


def test_clicking_ends_at_the_dice_that_is_good_enough():
    half = np.where(np.arange(12)[:, None, None] < 6, truth_of(FIRST), 0).astype(np.uint16)
    assert 0.7 < dice(half > 0, truth_mask(FIRST)) < 0.8

    def clicks(stop_at: float) -> int:
        recorder = Recorder(half)
        steps_of(recorder, FIRST, clicks=3, stop_at=stop_at)
        return len(recorder.clicks)

    assert clicks(0.7) == 1
    assert clicks(0.8) == 3


def test_the_search_comes_after_the_last_lesion_or_after_each():
    at_end, each = Recorder(), Recorder()
    assert len(steps_of(at_end, *LESIONS, clicks=1)) == 1
    assert len(steps_of(each, *LESIONS, clicks=1, measured="lesion")) == 3

    assert [call[0] for call in at_end.calls] == ["click"] * 3 + ["search"]
    assert [call[0] for call in each.calls] == ["click", "search"] * 3


def test_every_click_can_be_measured_and_only_the_last_step_is_the_last():
    steps = steps_of(Recorder(), FIRST, SECOND, clicks=2, measured="click")

    assert [step.clicks for step in steps] == [1, 2, 3, 4]
    assert [step.number for step in steps] == [1, 2, 3, 4]
    assert [step.prompted for step in steps] == [1, 1, 2, 2]
    assert [step.is_last for step in steps] == [False, False, False, True]


def test_exemplars_find_the_lesions_that_were_not_clicked_on():
    (alone,) = steps_of(StubSam(), *LESIONS, lesions=1, clicks=1)
    (searched,) = steps_of(StubMois(), *LESIONS, lesions=1, clicks=1)

    assert np.array_equal(alone.result > 0, truth_mask(FIRST))
    assert np.array_equal(searched.result > 0, truth_mask(*LESIONS))


def test_a_click_after_a_search_begins_a_lesion_of_its_own():
    steps = steps_of(StubMois(), *LESIONS, clicks=1, measured="lesion")

    assert [step.prompted for step in steps] == [1, 2, 3]
    assert all(np.array_equal(step.result > 0, truth_mask(*LESIONS)) for step in steps)
    assert steps[-1].prompted_dice == (1, 1, 1)


def test_a_scan_without_lesions_is_measured_without_a_click():
    recorder = Recorder()
    (step,) = steps_of(recorder, clicks=3)

    assert (step.clicks, step.prompted, step.is_last) == (0, 0, True)
    assert not recorder.clicks


def test_touching_lesions_are_one_unless_the_labels_are_taken_at_their_word():
    beside = Block(FIRST.slices, FIRST.rows, (FIRST.columns[1], FIRST.columns[1] + 4))
    labels = truth_of(FIRST, beside)

    assert label_lesions(labels).max() == 1
    assert label_lesions(labels, "labels").max() == 2


def test_the_published_order_is_that_of_the_file_split_at_corners():
    joined = Block((0, 2), (0, 3), (0, 3)), Block((2, 4), (3, 6), (3, 6))
    labels = truth_of(*joined, THIRD)
    lesions = true_lesions(label_lesions(labels))
    assert len(lesions) == 2

    ours = lesions_to_click(lesions, 2, labels.shape)
    theirs = lesions_to_click(lesions, 2, labels.shape, "published")

    assert [lesion.voxels for lesion in ours] == [THIRD.voxels, 36]
    assert [lesion.voxels for lesion in theirs] == [18, 18]


# ---- the whole scan --------------------------------------------------------------------------


def test_scan_wise_clicks_go_to_the_largest_error_of_all_and_end_when_it_is_good():
    steps = steps_of(StubSam(), *LESIONS, kind="scan-wise", clicks=8, stop_at=1, measured="click")

    assert [step.clicks for step in steps] == [1, 2, 3]
    assert np.array_equal(steps[0].result > 0, truth_mask(FIRST))
    assert np.array_equal(steps[-1].result > 0, truth_mask(*LESIONS))
    assert [step.is_last for step in steps] == [False, False, True]


def test_scan_wise_with_a_search_is_done_at_the_first_click():
    steps = steps_of(StubMois(), *LESIONS, kind="scan-wise", clicks=8, stop_at=1)
    assert [step.clicks for step in steps] == [1]


def test_scan_wise_lesions_are_objects_of_their_own_unless_as_published():
    own, one = Recorder(), Recorder()
    steps_of(own, FIRST, SECOND, kind="scan-wise", clicks=2, stop_at=1)
    steps_of(one, FIRST, SECOND, kind="scan-wise", clicks=2, stop_at=1, objects="one")

    # Nothing is ever marked, so both clicks go to the largest lesion.
    assert [call[3] for call in own.clicks] == [1, 1]
    assert [call[3] for call in one.clicks] == [1, 1]
    assert len(steps_of(StubSam(), *LESIONS, kind="scan-wise", clicks=9, stop_at=1)) == 1


def test_a_finding_that_is_mostly_no_lesion_is_rejected_whole():
    mark = np.zeros(scan_of().shape, dtype=np.uint16)
    mark[OTHER_KIND.where] = 7
    mark[FIRST.where] = 3
    recorder = Recorder(mark)
    steps_of(recorder, FIRST, kind="scan-wise", clicks=2, stop_at=1)

    # The first click answers the empty result, the second one what is marked.
    assert [call[0] for call in recorder.calls if call[0] != "search"] == ["click", "reject"]
    assert ("reject", 7) in recorder.calls


def test_too_much_of_a_clicked_lesion_is_corrected_not_rejected():
    everything = Everything()
    (step,) = steps_of(everything, FIRST, kind="scan-wise", clicks=2, stop_at=1)

    assert step.clicks == 2
    assert [positive for _, positive in everything.regions.clicks[1]] == [True, False]


# ---- a reader who makes mistakes -------------------------------------------------------------


def test_a_readers_run_is_the_same_again_and_another_with_another_seed():
    mistakes = Mistakes(jitter_mm=2, late=0.3, wrong=0.3)

    def clicks(seed: int) -> list[tuple]:
        recorder = Recorder()
        steps_of(recorder, *LESIONS, kind="reader", mistakes=mistakes, seed=seed)
        return recorder.clicks

    assert clicks(0) == clicks(0)
    assert clicks(0) != clicks(1)


def test_a_flawless_reader_does_as_the_lesion_wise_protocol():
    flawless, plain = Recorder(), Recorder()
    steps_of(flawless, *LESIONS, kind="reader", mistakes=Mistakes(0, 0, 0))
    steps_of(plain, *LESIONS)

    assert flawless.calls == plain.calls


def test_a_late_reader_corrects_what_was_there_before():
    class Grows(Recorder):
        """A segmenter that finds half of the lesion at the first click, all at the second."""

        def result(self) -> np.ndarray:
            mark = truth_of(FIRST).astype(np.uint16)
            if len(self.clicks) < 2:
                mark[:, :, FIRST.columns[0] + 3 :] = 0
            return mark

    late, prompt = Grows(), Grows()
    steps_of(late, FIRST, kind="reader", mistakes=Mistakes(0, 1, 0), clicks=2)
    steps_of(prompt, FIRST, clicks=2)

    assert late.clicks[1][1] == late.clicks[0][1]
    assert prompt.clicks[1][1] != prompt.clicks[0][1]


@pytest.mark.parametrize(
    "wrong", [{"kind": "blind"}, {"rule": "luck"}, {"lesions": 0}, {"clicks": 0}, {"stop_at": 0}]
)
def test_a_protocol_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(BadInput):
        Protocol(**wrong)


# ---- region growing --------------------------------------------------------------------------


def grown(*clicks: tuple[tuple[int, int, int], bool], **options) -> np.ndarray:
    segmenter = RegionGrowing(**options)
    volume = Volume(scan_of(FIRST, SECOND), CORONAL)
    segmenter.open(volume)
    lesion_id = None
    for (slice_index, row, column), positive in clicks:
        ras = SliceStack(volume).point_to_ras(slice_index, column, row)
        lesion_id = segmenter.click(ras, positive, lesion_id)
    return segmenter.lesion(lesion_id)


def test_a_region_grows_over_what_is_as_bright_and_joined():
    assert np.array_equal(grown((FIRST.middle, True)), truth_mask(FIRST))


def test_a_region_does_not_grow_beyond_its_reach():
    near = grown((FIRST.middle, True), reach_mm=8.0)

    assert 0 < near.sum() < FIRST.voxels
    assert set(np.flatnonzero(near.any(axis=(1, 2)))) <= {FIRST.middle[0] + n for n in (-1, 0, 1)}


def test_a_negative_click_takes_what_is_nearer_to_it():
    slice_index, row, _ = FIRST.middle
    left, right = FIRST.columns[0], FIRST.columns[1] - 1
    cut = grown(((slice_index, row, left), True), ((slice_index, row, right), False))

    assert cut[slice_index, row, left]
    assert not cut[slice_index, row, right]
    assert ndimage.label(cut)[1] == 1


@pytest.mark.parametrize("wrong", [{"fraction": 0}, {"fraction": 1.5}, {"reach_mm": 0}])
def test_region_growing_refuses_numbers_that_make_no_sense(wrong):
    segmenter = RegionGrowing(**wrong)
    with pytest.raises(BadInput):
        segmenter.open(Volume(scan_of(THIRD), CORONAL))


def test_brightness_of_the_scene_is_what_these_tests_take_it_for():
    assert scan_of(FIRST)[FIRST.middle] == LESION
