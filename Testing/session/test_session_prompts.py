"""Clicks, boxes and painted masks: what a lesion becomes, here and on its neighbouring slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_fixtures import FIRST, SCENE, SECOND, THIRD, Block, painted
from stub_sessions import click_on, digest, is_exactly, ras, stack_of, stub_session

from mois_core.errors import BadInput
from mois_core.session.lesion import Status
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

LONG = Block((0, 12), (8, 16), (8, 16))
"""A lesion on every slice."""


@pytest.fixture
def on_long():
    return stub_session(LONG, propagation_slices=3)


def corner_of(session, block, slice_index):
    """A place inside a lesion near its first row and column."""
    return ras(session, slice_index, block.rows[0] + 1, block.columns[0] + 1)


# ---- one click ---------------------------------------------------------------------------------


def test_one_click_outlines_the_lesion_on_its_slice_and_the_neighbours(session):
    lesion_id = click_on(session, FIRST)

    assert is_exactly(session, lesion_id, FIRST)
    assert session.lesion(lesion_id).status is Status.PROMPTED


def test_a_click_anywhere_in_a_voxel_is_a_click_on_it(session):
    slice_index, row, column = FIRST.middle
    for offset in (-0.49, 0.49):
        lesion_id = session.click(ras(session, slice_index + offset, row + offset, column + offset))
        assert is_exactly(session, lesion_id, FIRST)


@pytest.mark.parametrize(
    "place",
    [(-0.6, 5, 5), (11.6, 5, 5), (5, -0.6, 5), (5, 31.6, 5), (5, 5, -0.6), (5, 5, 31.6)],
)
def test_a_point_outside_the_scan_is_refused_and_nothing_changes(session, place):
    before = session.state

    with pytest.raises(BadInput, match="outside the scan"):
        session.click(ras(session, *place))

    assert session.state is before


@pytest.mark.parametrize("point", [(np.nan, 0, 0), (np.inf, 0, 0), (0, 0), None, [[0, 0, 0]]])
def test_what_is_no_point_is_refused(session, point):
    with pytest.raises(BadInput):
        session.click(point)


def test_a_click_without_propagation_changes_its_own_slice_only(session):
    lesion_id = click_on(session, FIRST, propagate=False)

    assert session.lesion(lesion_id).mask.slices == (FIRST.middle[0],)


def test_propagation_later_gives_the_same_as_propagation_at_once(session):
    click_on(session, FIRST)
    at_once = digest(session.state)
    session.undo()

    click_on(session, FIRST, propagate=False)
    session.propagate()

    assert digest(session.state) == at_once


@pytest.mark.parametrize("lesion_id", [0, -1, 65536, 10**9])
def test_an_id_that_no_label_can_have_is_refused(session, lesion_id):
    before = session.state
    middle = ras(session, *FIRST.middle)

    with pytest.raises(BadInput, match="number"):
        session.click(middle, lesion=lesion_id)
    with pytest.raises(BadInput, match="number"):
        session.box(middle, middle, lesion=lesion_id)
    with pytest.raises(BadInput, match="number"):
        session.set_mask(lesion_id, session.stack.to_volume(painted(FIRST)))
    with pytest.raises(BadInput, match="number"):
        session.new_lesion(lesion_id=lesion_id)

    assert session.state is before


def test_a_lesion_can_be_begun_under_an_id_of_ones_own(session):
    assert click_on(session, FIRST, lesion=7) == 7
    assert click_on(session, SECOND) == 8
    assert session.new_lesion(lesion_id=3) == 3
    with pytest.raises(BadInput):
        session.new_lesion(lesion_id=3)
    assert [lesion.id for lesion in session.lesions] == [3, 7, 8]


# ---- how far a lesion is propagated ------------------------------------------------------------


@pytest.mark.parametrize("reach", [0, 1, 3, 20])
@pytest.mark.parametrize("clicked", [0, 1, 6, 11])
def test_a_lesion_is_propagated_as_far_as_the_settings_say_and_the_scan_goes(reach, clicked):
    session = stub_session(LONG, propagation_slices=reach)
    lesion_id = session.click(ras(session, clicked, 12, 12))

    expected = range(max(clicked - reach, 0), min(clicked + reach, 11) + 1)
    assert session.lesion(lesion_id).mask.slices == tuple(expected)


def test_a_scan_of_one_slice_works(session):
    single = stub_session(Block((0, 1), (8, 16), (8, 16)), slices=1)
    lesion_id = single.click(ras(single, 0, 12, 12))
    single.click(ras(single, 0, 9, 9), positive=False, lesion=lesion_id)

    assert single.lesion(lesion_id).mask.slices == (0,)
    assert single.lesion(lesion_id).mask.voxels == 64 - 25
    assert single.find_similar() == []


def test_a_lesion_is_not_looked_for_behind_a_slice_without_it():
    gap = (Block((2, 4), (8, 16), (8, 16)), Block((5, 8), (8, 16), (8, 16)))
    session = stub_session(*gap)
    lesion_id = session.click(ras(session, 3, 12, 12))

    assert session.lesion(lesion_id).mask.slices == (2, 3)
    assert set(session.lesion(lesion_id).propagated) == {1, 2, 4}


def test_settings_can_be_adjusted_for_what_comes_next(session):
    first = click_on(session, FIRST)
    before = session.lesion(first)
    undo = session.history.past

    session.adjust(propagation_slices=1, smallest_cm3=0.5, exemplars=2)
    second = click_on(session, SECOND)

    assert session.lesion(first) is before
    assert session.history.past[: len(undo)] == undo
    assert len(session.lesion(second).mask.slices) == 3
    assert (session.settings.smallest_cm3, session.settings.exemplars) == (0.5, 2)


def test_settings_that_make_no_sense_are_refused_and_nothing_changes(session):
    before = session.settings

    with pytest.raises(BadInput, match="propagated each way"):
        session.adjust(propagation_slices=-1, smallest_cm3=0.5, exemplars=2)
    with pytest.raises(BadInput, match="exemplar"):
        session.adjust(propagation_slices=1, smallest_cm3=0.5, exemplars=0)

    assert session.settings is before
    assert session.editor.propagation_slices == before.reach(session.stack.slice_spacing) == 3


def test_propagation_over_less_than_no_slices_is_refused():
    with pytest.raises(BadInput, match="propagated each way"):
        stub_session(propagation_slices=-1)


# ---- corrections -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "corrected", [6, 7, 4], ids=["prompted", "propagated up", "propagated down"]
)
def test_a_second_click_changes_its_slice_and_the_neighbours(on_long, corrected):
    lesion_id = on_long.click(ras(on_long, 6, 12, 12))
    before = stack_of(on_long, lesion_id)

    on_long.click(ras(on_long, corrected, 9, 9), positive=False, lesion=lesion_id)

    after = stack_of(on_long, lesion_id)
    assert not after[corrected, 9, 9]
    changed = {n for n in range(12) if (after[n] != before[n]).any()}
    assert {corrected - 1, corrected, corrected + 1} - {6} <= changed
    assert {6, corrected} == set(on_long.lesion(lesion_id).prompted)


def test_a_correction_of_the_prompted_slice_reaches_the_neighbours(on_long):
    lesion_id = on_long.click(ras(on_long, 6, 12, 12))
    on_long.click(ras(on_long, 6, 11, 11), positive=False, lesion=lesion_id)

    after = stack_of(on_long, lesion_id)
    assert not after[6, 8:15, 8:15].any()
    # What was cut away comes back only as far as a lesion may move from slice to slice.
    assert not after[5, 8:13, 8:13].any()
    assert not after[7, 8:10, 8:10].any()


def test_a_correction_further_away_takes_its_own_neighbours_along():
    session = stub_session(LONG, propagation_slices=1)
    lesion_id = session.click(ras(session, 2, 12, 12))
    session.click(ras(session, 9, 12, 12), lesion=lesion_id)

    assert session.lesion(lesion_id).mask.slices == (1, 2, 3, 8, 9, 10)


def test_several_prompted_slices_each_keep_their_own_mask(on_long):
    lesion_id = on_long.click(ras(on_long, 3, 12, 12))
    for corrected in (6, 8):
        on_long.click(ras(on_long, corrected, 9, 9), positive=False, lesion=lesion_id)
    kept = stack_of(on_long, lesion_id)

    on_long.propagate([lesion_id])

    assert np.array_equal(stack_of(on_long, lesion_id), kept)
    assert list(on_long.lesion(lesion_id).prompted) == [3, 6, 8]
    assert kept[3].sum() == 64
    assert kept[6].sum() < 64
    assert kept[8].sum() < 64


def test_a_positive_click_adds_what_the_first_one_missed(session):
    lesion_id = click_on(session, FIRST)
    session.click(ras(session, 5, 23, 7), lesion=lesion_id)

    both = painted(FIRST)[5] | painted(SECOND)[5]
    assert np.array_equal(stack_of(session, lesion_id)[5], both)


def test_a_negative_click_can_end_a_lesion(on_long):
    lesion_id = on_long.click(ras(on_long, 5, 12, 12))
    for row, column in ((10, 10), (10, 14), (14, 10), (14, 14)):
        on_long.click(ras(on_long, 6, row, column), positive=False, lesion=lesion_id)

    assert 6 not in on_long.lesion(lesion_id).mask.slices
    assert on_long.lesion(lesion_id).mask.slices[:4] == (2, 3, 4, 5)


def test_exemplars_follow_a_correction(session):
    lesion_id = click_on(session, FIRST)
    (before,) = [e for e in session.exemplars_for(0) if e.view.is_prompted]

    session.click(corner_of(session, FIRST, 5), positive=False, lesion=lesion_id)

    (after,) = [e for e in session.exemplars_for(0) if e.view.is_prompted]
    assert (after.view.memory > 0).sum() < (before.view.memory > 0).sum()
    assert after.changed > before.changed


# ---- moving and deleting clicks ----------------------------------------------------------------


@pytest.mark.parametrize("target", [(5, 8, 7), (6, 9, 8), (10, 10, 24), (5, 23, 23)])
def test_moving_a_click_is_deleting_it_and_clicking_elsewhere(session, target):
    lesion_id = click_on(session, FIRST)
    click = session.lesion(lesion_id).clicks[0]
    session.move_click(click.id, ras(session, *target))
    moved = session.lesion(lesion_id)
    session.undo()

    session.delete_click(click.id)
    session.click(ras(session, *target), lesion=lesion_id)

    assert session.lesion(lesion_id).mask.same_as(moved.mask)
    (after,) = moved.clicks
    assert replace(after, x=0, y=0) == replace(click, slice=target[0], x=0, y=0)
    assert (after.y, after.x) == pytest.approx(target[1:])
    assert list(moved.prompted) == [target[0]]
    assert digest(moved.prompted) == digest(session.lesion(lesion_id).prompted)


def test_deleting_the_only_click_leaves_an_empty_lesion_that_can_be_clicked_again(session):
    lesion_id = click_on(session, FIRST)
    session.delete_click(session.lesion(lesion_id).clicks[0].id)

    assert not session.lesion(lesion_id).mask
    assert not session.lesion(lesion_id).prompted
    assert session.labels().max() == 0
    click_on(session, FIRST, lesion=lesion_id)
    assert is_exactly(session, lesion_id, FIRST)


def test_deleting_the_last_click_of_a_slice_leaves_it_to_the_neighbours(on_long):
    lesion_id = on_long.click(ras(on_long, 5, 12, 12))
    whole = digest(on_long.lesion(lesion_id).mask)
    on_long.click(ras(on_long, 7, 9, 9), positive=False, lesion=lesion_id)
    assert digest(on_long.lesion(lesion_id).mask) != whole

    on_long.delete_click(on_long.lesion(lesion_id).clicks[-1].id)

    assert digest(on_long.lesion(lesion_id).mask) == whole
    assert list(on_long.lesion(lesion_id).prompted) == [5]


def test_without_propagation_the_last_click_of_a_slice_leaves_it_empty(on_long):
    lesion_id = on_long.click(ras(on_long, 5, 12, 12))
    on_long.delete_click(on_long.lesion(lesion_id).clicks[0].id, propagate=False)

    assert 5 not in on_long.lesion(lesion_id).mask.slices


def test_propagation_after_the_only_click_is_gone_empties_the_lesion(on_long):
    lesion_id = on_long.click(ras(on_long, 5, 12, 12))
    on_long.delete_click(on_long.lesion(lesion_id).clicks[0].id, propagate=False)
    assert on_long.lesion(lesion_id).mask

    on_long.propagate()

    assert not on_long.lesion(lesion_id).mask


def test_deleting_one_click_of_a_slice_gives_what_the_others_alone_give(session):
    lesion_id = click_on(session, FIRST)
    alone = digest(session.lesion(lesion_id).mask)
    session.click(corner_of(session, FIRST, 5), positive=False, lesion=lesion_id)
    session.click(ras(session, 5, 23, 7), lesion=lesion_id)

    for click in session.lesion(lesion_id).clicks[1:]:
        session.delete_click(click.id)

    assert digest(session.lesion(lesion_id).mask) == alone


def test_a_click_that_is_not_there_is_refused(session):
    lesion_id = click_on(session, FIRST)
    for bad in (0, 99, session.lesion(lesion_id).clicks[0].id + 1):
        with pytest.raises(BadInput, match="click"):
            session.delete_click(bad)
        with pytest.raises(BadInput, match="click"):
            session.move_click(bad, ras(session, 5, 5, 5))


def test_clicks_that_are_deleted_together_are_one_step_and_empty_lesions_go(session):
    first = click_on(session, FIRST)
    session.click(ras(session, 4, 8, 8), lesion=first)
    second = click_on(session, SECOND)
    found = session.find_similar()[0]
    session.click(ras(session, *THIRD.middle), lesion=found)
    before, steps = digest(session.state), len(session.history.past)
    gone = [c.id for n in (first, second, found) for c in session.lesion(n).clicks]

    session.delete_clicks(gone)

    assert len(session.history.past) == steps + 1
    assert {first, second}.isdisjoint(session.state.lesions)
    assert session.lesion(found).mask and not session.lesion(found).clicks
    assert session.undo() == "delete clicks"
    assert digest(session.state) == before
    with pytest.raises(BadInput, match="click"):
        session.delete_clicks([*gone, 999])
    assert digest(session.state) == before


def test_clicks_keep_their_ids_and_none_is_given_twice(session):
    lesion_id = click_on(session, FIRST)
    session.click(ras(session, 4, 8, 8), lesion=lesion_id)
    first, second = (click.id for click in session.lesion(lesion_id).clicks)
    session.delete_click(second)
    session.click(ras(session, 6, 8, 8), lesion=lesion_id)

    ids = [click.id for click in session.lesion(lesion_id).clicks]
    assert ids[0] == first
    assert ids[1] > second


# ---- boxes -------------------------------------------------------------------------------------


def test_a_box_outlines_what_is_in_it_and_is_propagated(session):
    lesion_id = session.box(ras(session, 5, 3, 3), ras(session, 5, 15, 15))

    assert is_exactly(session, lesion_id, FIRST)


def test_the_corners_of_a_box_can_be_given_in_any_order(session):
    one = session.box(ras(session, 5, 3, 15), ras(session, 5, 15, 3))

    assert is_exactly(session, one, FIRST)


def test_a_box_across_slices_is_refused(session):
    with pytest.raises(BadInput, match="one slice"):
        session.box(ras(session, 5, 3, 3), ras(session, 6, 15, 15))


def test_a_click_corrects_a_box(session):
    lesion_id = session.box(ras(session, 5, 3, 3), ras(session, 5, 15, 15))
    session.click(corner_of(session, FIRST, 5), positive=False, lesion=lesion_id)
    assert not stack_of(session, lesion_id)[5, 7, 6]

    session.delete_click(session.lesion(lesion_id).clicks[0].id)

    assert is_exactly(session, lesion_id, FIRST)


# ---- painted masks -----------------------------------------------------------------------------


def test_a_painted_mask_is_kept_voxel_for_voxel_and_propagated_on(on_long):
    drawn = np.zeros((12, 32, 32), dtype=bool)
    drawn[6, 9:12, 9:14] = True
    drawn[6, 30, 30] = True
    lesion_id = on_long.set_mask(None, on_long.stack.to_volume(drawn))
    assert np.array_equal(stack_of(on_long, lesion_id), drawn)

    on_long.propagate([lesion_id])

    after = stack_of(on_long, lesion_id)
    assert np.array_equal(after[6], drawn[6])
    assert on_long.lesion(lesion_id).mask.slices == (3, 4, 5, 6, 7, 8, 9)
    assert on_long.exemplars_for(0)[0].view.slice == 6


def test_painting_over_a_clicked_lesion_keeps_the_strokes_through_later_clicks(on_long):
    lesion_id = on_long.click(ras(on_long, 5, 12, 12))
    drawn = stack_of(on_long, lesion_id)
    drawn[7] = False
    drawn[7, 20:24, 20:24] = True
    on_long.set_mask(lesion_id, on_long.stack.to_volume(drawn))

    on_long.click(ras(on_long, 5, 9, 9), positive=False, lesion=lesion_id)

    assert np.array_equal(stack_of(on_long, lesion_id)[7], drawn[7])
    assert on_long.lesion(lesion_id).painted == {7}


def test_an_erased_slice_stays_empty(on_long):
    lesion_id = on_long.click(ras(on_long, 5, 12, 12))
    drawn = stack_of(on_long, lesion_id)
    drawn[6] = False
    on_long.set_mask(lesion_id, on_long.stack.to_volume(drawn))

    on_long.propagate([lesion_id])

    assert on_long.lesion(lesion_id).mask.slices == (2, 3, 4, 5, 7, 8)


def test_a_click_corrects_what_was_painted(on_long):
    drawn = np.zeros((12, 32, 32), dtype=bool)
    drawn[6, 9:20, 9:20] = True
    lesion_id = on_long.set_mask(None, on_long.stack.to_volume(drawn))

    on_long.click(ras(on_long, 6, 18, 18), positive=False, lesion=lesion_id)

    after = stack_of(on_long, lesion_id)[6]
    drawn[6, 15:22, 15:22] = False
    assert np.array_equal(after, drawn[6])


def test_a_click_moved_onto_a_painted_slice_corrects_the_painting_too(on_long):
    drawn = np.zeros((12, 32, 32), dtype=bool)
    drawn[6, 9:20, 9:20] = True
    lesion_id = on_long.set_mask(None, on_long.stack.to_volume(drawn))
    on_long.click(ras(on_long, 2, 18, 18), positive=False, lesion=lesion_id)

    on_long.move_click(on_long.lesion(lesion_id).clicks[0].id, ras(on_long, 6, 18, 18))

    drawn[6, 15:22, 15:22] = False
    assert np.array_equal(stack_of(on_long, lesion_id)[6], drawn[6])


def test_deleting_a_click_does_not_wipe_what_was_painted_over_it(on_long):
    lesion_id = on_long.click(ras(on_long, 6, 12, 12))
    drawn = stack_of(on_long, lesion_id)
    drawn[6, 20:24, 20:24] = True
    on_long.set_mask(lesion_id, on_long.stack.to_volume(drawn))

    on_long.delete_click(on_long.lesion(lesion_id).clicks[0].id)

    assert np.array_equal(stack_of(on_long, lesion_id)[6], drawn[6])
    assert list(on_long.lesion(lesion_id).prompted) == [6]


def test_a_mask_finer_than_the_networks_pixels_still_leaves_an_exemplar():
    session = stub_session(Block((3, 6), (8, 16), (8, 16)), slices=8)
    session.decoder.shape = session.stack.shape
    dot = np.zeros((8, 32, 32), dtype=bool)
    dot[4, 9, 9] = True
    lesion_id = session.set_mask(None, session.stack.to_volume(dot))

    assert np.array_equal(stack_of(session, lesion_id), dot)
    assert session.lesion(lesion_id).prompted[4].found
    assert len(session.exemplars_for(4)) == 1


def test_a_mask_of_another_shape_is_refused(session):
    with pytest.raises(BadInput, match="grid"):
        session.set_mask(None, np.zeros((3, 4, 5), dtype=bool))


def test_the_scene_is_seen_as_it_was_drawn(session):
    for block in SCENE[:4]:
        assert is_exactly(session, click_on(session, block), block)


def test_a_reach_beyond_the_scan_costs_nothing():
    far, seen = stub_session(FIRST, propagation_slices=10**6), []
    whole = far.click(ras(far, *FIRST.middle), progress=lambda *how: seen.append(how))
    assert len(seen) < 100
    near = stub_session(FIRST, propagation_slices=11)
    assert np.array_equal(stack_of(far, whole), stack_of(near, click_on(near, FIRST)))


@pytest.mark.parametrize("slice_mm", [0.3, 0.6, 0.7, 0.9, 2.0, 7.8])
def test_the_reach_is_the_same_from_files_that_keep_fewer_digits(slice_mm):
    assert Settings().reach(float(np.float32(slice_mm))) == Settings().reach(slice_mm)
