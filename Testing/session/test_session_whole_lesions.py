"""One click, the whole lesion: how far it is followed, and what of the mask belongs to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_fixtures import FIRST, SCENE, SIDE, THIRD, Block, painted, scan_of, volume_of
from orientations import STORAGE_ORDERS, stored_as
from stub_network import BRIGHT, StubNetwork, unpacked
from stub_sessions import click_on, digest, is_exactly, ras, stack_of, stub_session

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.session import Session
from mois_core.session.lesion import Status
from mois_core.session.session_file import restore, to_bytes
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

LONG = Block((0, 12), (8, 14), (8, 14))


def thin(slice_mm: float, **how) -> Session:
    """A session on a scan with slices of another thickness."""
    volume = volume_of(scan_of(LONG))
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 2] *= slice_mm / 7.8
    return Session(StubNetwork(), Volume(volume.array, matrix), Settings(**how))


# ---- painting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS)
def test_a_plain_mask_is_painted_in_all_48_storage_orders(order, flips):
    """As Slicer and SimpleITK hand masks over: contiguous, in the order of the scan's array."""
    scan = stored_as(volume_of(scan_of(*SCENE)), order, flips)
    session = Session(StubNetwork(), scan)
    mask = np.zeros(scan.array.shape, dtype=np.uint8)
    mask[session.stack.to_volume(painted(FIRST))] = 1

    lesion = session.set_mask(None, mask)

    assert np.array_equal(session.mask(lesion), mask > 0)
    assert session.find_similar()


# ---- how far -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slice_mm", "first", "last"),
    [(7.8, 3, 9), (8.0, 3, 9), (2.0, 0, 11), (6.0, 2, 10), (30, 6, 6)],
)
def test_a_lesion_is_followed_by_distance(slice_mm, first, last):
    session = thin(slice_mm)
    lesion = session.click(ras(session, 6, 11, 11))

    assert session.lesion(lesion).mask.slices == tuple(range(first, last + 1))


def test_a_number_of_slices_can_be_asked_for_instead():
    session = thin(2.0, propagation_slices=1)
    lesion = session.click(ras(session, 6, 11, 11))
    assert session.lesion(lesion).mask.slices == (5, 6, 7)

    session.adjust(propagation_slices=None, propagation_mm=4.0)
    session.click(ras(session, 6, 11, 11), True, lesion)
    assert session.lesion(lesion).mask.slices == (4, 5, 6, 7, 8)


@pytest.mark.parametrize(("positive", "last"), [(False, 7), (True, 9)])
def test_only_a_click_on_the_lesion_makes_it_be_followed_further(positive, last):
    session = thin(2.0, propagation_slices=2)
    lesion = session.click(ras(session, 5, 11, 11))
    assert session.lesion(lesion).mask.slices == (3, 4, 5, 6, 7)

    place = (11, 11) if positive else (9, 9)
    session.click(ras(session, 7, *place), positive, lesion)
    assert session.lesion(lesion).mask.slices[-1] == last


def test_the_published_flow_counts_slices_whatever_their_thickness():
    volume = thin(2.0).volume
    session = Session(StubNetwork(), volume, reference=True)
    lesion = session.click(ras(session, 6, 11, 11))

    assert session.lesion(lesion).mask.slices == tuple(range(3, 10))


@pytest.mark.parametrize("how", [{"propagation_mm": -1}, {"propagation_mm": float("inf")}])
def test_a_distance_that_makes_no_sense_is_refused(how):
    with pytest.raises(BadInput, match="0 mm or more"):
        Settings(**how)


def test_the_published_flow_counts_slices_after_an_adjustment_and_in_a_saved_session_too():
    session = Session(StubNetwork(), thin(2.0).volume, reference=True)
    session.adjust(propagation_slices=None)
    reopened = restore(to_bytes(session), session.model, session.volume)
    for one in (session, reopened):
        lesion = one.click(ras(one, 6, 11, 11))
        assert one.lesion(lesion).mask.slices == tuple(range(3, 10))


def test_only_what_may_change_in_the_middle_of_the_work_can_be_adjusted():
    with pytest.raises(BadInput, match="axis cannot change"):
        stub_session().adjust(axis="axial")


# ---- what is connected -------------------------------------------------------------------------


class Scattered(StubNetwork):
    """Marks a spot far from every lesion besides what it is asked for."""

    def decode(self, *how):
        decoded = super().decode(*how)
        decoded.logits[..., 28:31, 2:5] = 10.0
        return decoded


@pytest.mark.parametrize(("connected", "extra"), [(True, 0), (False, 9)])
def test_what_is_not_connected_to_the_click_is_left_out(connected, extra):
    volume = volume_of(scan_of(*SCENE))
    session = Session(Scattered(), volume, Settings(connected=connected))
    lesion = click_on(session, FIRST)

    stack = stack_of(session, lesion)
    assert stack[FIRST.middle[0], 28:31, 2:5].sum() == extra
    assert stack[FIRST.where].all()


def test_the_published_flow_keeps_what_is_not_connected():
    session = Session(Scattered(), volume_of(scan_of(*SCENE)), reference=True)
    lesion = click_on(session, FIRST)

    assert stack_of(session, lesion)[FIRST.middle[0], 28:31, 2:5].all()


class Greedy(StubNetwork):
    """Marks everything bright on the slices that a lesion is followed to."""

    def decode(self, features, coarse, prompts=None):
        if prompts is not None:
            return super().decode(features, coarse, prompts)
        return self._decoded(unpacked(features.coarse) > BRIGHT)


@pytest.mark.parametrize(
    ("side", "how", "last"),
    [
        (8, {}, 8),  # four times as large, as where a lesion was clicked near its end
        (12, {}, 5),
        (12, {"connected": False}, 8),
    ],
)
def test_a_lesion_ends_where_a_much_larger_one_begins(side, how, last):
    small = Block((3, 6), (8, 12), (8, 12))
    scan = scan_of(small, Block((6, 9), (8, 8 + side), (8, 8 + side)))
    session = Session(Greedy(), volume_of(scan), Settings(**how))

    lesion = session.click(ras(session, 5, 9, 9))

    assert session.lesion(lesion).mask.slices[-1] == last


def test_a_component_that_is_too_large_does_not_take_the_rest_along():
    small, beside = Block((3, 9), (8, 12), (8, 12)), Block((6, 9), (8, 20), (13, 25))
    session = Session(Greedy(), volume_of(scan_of(small, beside)))

    lesion = session.click(ras(session, 5, 9, 9))

    assert is_exactly(session, lesion, small)


# ---- corrections -------------------------------------------------------------------------------


def test_a_part_that_is_added_on_another_slice_leaves_what_was_there():
    part = Block((8, 9), (20, 26), (20, 26))
    session = Session(StubNetwork(), volume_of(scan_of(LONG, part)))
    lesion = session.click(ras(session, 6, 11, 11))
    before = stack_of(session, lesion).copy()

    session.click(ras(session, *part.middle), lesion=lesion)

    assert before[8].sum() == 36
    assert np.array_equal(stack_of(session, lesion)[8], (before | painted(part))[8])


def test_what_is_cut_off_from_the_click_goes_and_what_was_clicked_elsewhere_stays():
    bar, part = Block((6, 7), (8, 12), (4, 28)), Block((6, 7), (20, 26), (20, 26))
    session = Session(StubNetwork(), volume_of(scan_of(bar, part)))
    lesion = session.click(ras(session, 6, 10, 6))
    session.click(ras(session, *part.middle), lesion=lesion)

    session.click(ras(session, 6, 10, 16), positive=False, lesion=lesion)

    stack = stack_of(session, lesion)
    assert stack[6, 10, 6]
    assert not stack[6, 8:12, 16:].any()
    assert stack[part.where].all()


def test_a_click_that_empties_the_last_slice_leaves_the_others():
    small = Block((2, 9), (8, 12), (8, 12))
    session = Session(StubNetwork(), volume_of(scan_of(small)))
    lesion = session.click(ras(session, 5, 10, 10))
    assert session.lesion(lesion).mask.slices == tuple(range(2, 9))

    session.click(ras(session, 8, 10, 10), positive=False, lesion=lesion)

    assert session.lesion(lesion).mask.slices == tuple(range(2, 8))


# ---- what a search marks in contact with a clicked lesion ---------------------------------------


def half_clicked(**how) -> tuple[Session, int]:
    """A lesion of twelve slices of which a click follows five."""
    scan = scan_of(LONG, THIRD)
    scan[THIRD.where] = 20
    session = Session(StubNetwork(), volume_of(scan), Settings(propagation_slices=2, **how))
    return session, session.click(ras(session, 6, 11, 11))


def test_it_becomes_part_of_the_lesion():
    session, lesion = half_clicked()
    assert session.find_similar() == []

    assert is_exactly(session, lesion, LONG)
    assert [le.id for le in session.lesions] == [lesion]


def test_without_that_rule_it_is_a_finding():
    session, lesion = half_clicked(absorb=False)

    assert session.find_similar()
    assert session.lesion(lesion).mask.slices == (4, 5, 6, 7, 8)


def test_a_second_search_begins_from_what_was_clicked_where_it_searches():
    session, lesion = half_clicked()
    first = session.stack.to_volume(painted(Block((0, 3), (0, 32), (0, 32))))
    session.find_similar(outside=first)
    assert session.lesion(lesion).mask.slices == tuple(range(3, 12))
    session.find_similar()
    whole = session.lesion(lesion).mask.slices
    assert whole == tuple(range(12))

    # What was added where the next search does not look stays.
    session.find_similar(outside=first)
    assert session.lesion(lesion).mask.slices == whole


@pytest.mark.parametrize("place", [(6, 9, 9), (11, 9, 9)], ids=["outlined", "gained"])
def test_it_comes_back_when_a_later_click_is_taken_back(place):
    session, lesion = half_clicked()
    session.find_similar()
    before = digest(session.lesion(lesion))
    session.click(ras(session, *place), False, lesion)
    reopened = restore(to_bytes(session), session.model, session.volume)
    for one in (session, reopened):
        assert not is_exactly(one, lesion, LONG)
        one.delete_click(one.lesion(lesion).clicks[-1].id)

        assert is_exactly(one, lesion, LONG)
        assert digest(replace(one.lesion(lesion), changed=1)) == before


def test_it_goes_with_the_click_that_it_was_in_contact_with():
    session, lesion = half_clicked()
    session.find_similar()
    session.delete_click(session.lesion(lesion).clicks[0].id)

    assert not session.lesion(lesion).mask


def test_what_was_outlined_elsewhere_is_as_it_was_without_the_click_that_let_a_search_add_to_it():
    session, _ = half_clicked()
    given = painted(Block((5, 8), (8, 14), (8, 14)))
    session.delete(1)
    (lesion,) = session.add_lesions(session.stack.to_volume(given).astype(np.uint8) * 3)
    session.click(ras(session, 6, 11, 11), True, lesion, propagate=False)
    session.find_similar()
    assert session.lesion(lesion).absorbed

    session.delete_click(session.lesion(lesion).clicks[0].id, propagate=False)
    assert np.array_equal(stack_of(session, lesion), given)


def test_what_was_rejected_with_the_lesion_stays_part_of_it_and_is_not_found_again():
    session, lesion = half_clicked()
    session.find_similar()
    session.reject(lesion)

    session.find_similar(use_exemplars=False)
    assert is_exactly(session, lesion, LONG)
    assert not (session.stack.from_volume(session.labels()) > 0)[LONG.where].any()


@pytest.mark.parametrize("closes", ["erased", "denied"])
def test_no_search_adds_to_a_slice_that_the_user_erased_or_denied_something_on(closes):
    session, lesion = half_clicked()
    if closes == "denied":
        session.click(ras(session, 6, 13, 13), False, lesion)
    else:
        stack = stack_of(session, lesion)
        stack[6, 11:] = False
        session.set_mask(lesion, session.stack.to_volume(stack))
    before = stack_of(session, lesion)[6]
    session.find_similar()

    assert np.array_equal(stack_of(session, lesion)[6], before)
    assert stack_of(session, lesion)[0].any(), "it does on others"


def test_undo_takes_it_back():
    session, lesion = half_clicked()
    session.find_similar()
    session.undo()

    assert session.lesion(lesion).mask.slices == (4, 5, 6, 7, 8)


def test_a_correction_on_a_slice_that_was_gained_is_heeded():
    session, lesion = half_clicked()
    session.find_similar()
    session.click(ras(session, 11, 9, 9), False, lesion)

    assert not session.lesion(lesion).mask.image(11)[9, 9]
    assert session.lesion(lesion).mask.image(0).any()


def test_what_touches_two_clicked_lesions_is_shared_out():
    upper, lower = Block((2, 8), (4, 10), (8, 14)), Block((2, 8), (14, 20), (8, 14))
    between = Block((2, 8), (10, 14), (8, 14))
    session = stub_session(upper, lower, between, propagation_slices=0)
    ids = [session.new_lesion() for _ in (upper, lower)]
    for lesion, block in zip(ids, (upper, lower), strict=True):
        (top, bottom), (left, right) = block.rows, block.columns
        for n in range(*block.slices):
            corners = ras(session, n, top, left), ras(session, n, bottom - 1, right - 1)
            session.box(*corners, lesion)
    assert session.find_similar() == []

    stacks = [stack_of(session, lesion) for lesion in ids]
    assert stacks[0][3, 4:12, 10].all() and not stacks[0][3, 12:, 10].any()
    assert stacks[1][3, 12:20, 10].all() and not stacks[1][3, :12, 10].any()


@pytest.mark.parametrize(("rows", "is_same"), [(12, True), (6, False)])
def test_what_hardly_agrees_with_what_was_clicked_is_a_finding_of_its_own(rows, is_same):
    whole = Block((4, 5), (4, 20), (8, 14))
    session = stub_session(whole, propagation_slices=0)
    lesion = session.box(ras(session, 4, 4, 8), ras(session, 4, 3 + rows, 13))
    outlined = stack_of(session, lesion)
    found = session.find_similar()

    assert bool(found) != is_same
    assert np.array_equal(stack_of(session, lesion), outlined) != is_same
    assert np.array_equal(session.stack.from_volume(session.labels()) > 0, painted(whole))


def test_a_neighbour_that_is_marked_with_a_lesion_keeps_no_scraps_around_it_from_it():
    whole = Block((4, 5), (4, 30), (8, 14))
    session = stub_session(whole, propagation_slices=0)
    lesion = session.box(ras(session, 4, 6, 8), ras(session, 4, 15, 13))
    (neighbour,) = session.find_similar()

    assert is_exactly(session, lesion, Block((4, 5), (4, 16), (8, 14)))
    assert is_exactly(session, neighbour, Block((4, 5), (16, 30), (8, 14)))


def test_what_was_denied_of_a_lesion_is_no_finding():
    whole = Block((4, 5), (4, 20), (8, 14))
    session = stub_session(whole, propagation_slices=0)
    lesion = session.box(ras(session, 4, 4, 8), ras(session, 4, 9, 13))
    session.click(ras(session, 4, 16, 10), False, lesion)

    assert session.find_similar() == []
    assert np.array_equal(
        session.stack.from_volume(session.labels()) > 0, stack_of(session, lesion)
    )


def test_an_accepted_finding_stays_as_it_was_accepted():
    session, lesion = half_clicked(absorb=False)
    finding = session.find_similar()[0]
    session.accept(finding)
    before = stack_of(session, finding)
    session.adjust(propagation_slices=1)
    session.find_similar()

    assert np.array_equal(stack_of(session, finding), before)
    assert session.lesion(finding).status is Status.ACCEPTED


# ---- the region of a search --------------------------------------------------------------------


@pytest.mark.parametrize("findings", ["components", "reprompted"])
def test_no_finding_reaches_out_of_the_region(findings):
    session = stub_session(*SCENE, findings=findings)
    click_on(session, FIRST)
    region = np.zeros((12, SIDE, SIDE), dtype=bool)
    region[:, 22:] = True
    found = session.find_similar(inside=session.stack.to_volume(region))

    assert found
    for lesion in found:
        assert not (stack_of(session, lesion) & ~region).any()
