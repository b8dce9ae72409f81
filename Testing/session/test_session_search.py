"""The search: what it finds, what it leaves alone, and which lesions it goes by."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import (
    CORONAL,
    FIRST,
    LESION,
    OTHER,
    OTHER_KIND,
    SECOND,
    THIRD,
    TINY,
    Block,
    painted,
    scan_of,
    volume_of,
)
from small_networks import MOIS, SAM, SLM, lively
from stub_network import StubNetwork
from stub_sessions import click_on, digest, is_exactly, ras, stack_of, stub_session

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.session import Session
from mois_core.session.lesion import Status
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

VOXEL_CM3 = 0.62 * 0.62 * 7.8 / 1000


def found_blocks(session, blocks=(FIRST, SECOND, THIRD, OTHER_KIND, TINY)):
    """Which blocks the undecided findings are, and whether there is anything else."""
    found = [le.id for le in session.lesions if le.status is Status.FOUND]
    exact = [block for block in blocks for n in found if is_exactly(session, n, block)]
    assert len(exact) == len(found)
    return exact


# ---- what is found -----------------------------------------------------------------------------


def test_each_lesion_like_the_exemplar_is_a_finding_of_its_own(session):
    click_on(session, FIRST)
    found_ids = session.find_similar()

    assert found_blocks(session) == [SECOND, THIRD]
    assert found_ids == [2, 3]


def test_what_looks_different_is_found_by_its_own_exemplar_only(session):
    click_on(session, OTHER_KIND)

    assert session.find_similar() == []
    click_on(session, FIRST)
    session.find_similar()
    assert found_blocks(session) == [SECOND, THIRD]


@pytest.mark.parametrize(
    ("smallest", "expected"),
    [
        (0, [SECOND, THIRD, TINY]),
        (TINY.voxels * VOXEL_CM3 - 1e-9, [SECOND, THIRD, TINY]),
        (TINY.voxels * VOXEL_CM3 + 1e-6, [SECOND, THIRD]),
        (THIRD.voxels * VOXEL_CM3 + 1e-6, [SECOND]),
        (10, []),
    ],
)
def test_findings_below_the_smallest_volume_are_left_out(smallest, expected):
    session = stub_session(smallest_cm3=smallest)
    click_on(session, FIRST)
    session.find_similar()

    assert found_blocks(session) == expected


def test_a_smallest_volume_below_zero_is_refused():
    with pytest.raises(BadInput, match="negative"):
        stub_session(smallest_cm3=-1)


def test_the_mask_of_everything_is_kept_for_those_who_want_it(session):
    assert session.semantic is None
    click_on(session, FIRST)
    session.find_similar()

    everything = np.zeros_like(session.semantic)
    for block in (FIRST, SECOND, THIRD, TINY):
        everything |= painted(block)
    assert np.array_equal(session.semantic, everything)


def test_holes_in_a_finding_are_filled():
    scan = scan_of(FIRST, Block((9, 11), (16, 28), (16, 28)))
    scan[9:11, 20:24, 20:24] = OTHER
    session = Session(StubNetwork(), volume_of(scan))
    click_on(session, FIRST)
    session.find_similar()

    assert found_blocks(session, [Block((9, 11), (16, 28), (16, 28))])


def test_a_component_inside_a_filled_hole_is_no_finding_of_its_own():
    scan = scan_of(FIRST, Block((9, 11), (14, 30), (14, 30)))
    scan[9:11, 16:28, 16:28] = OTHER
    scan[9:11, 20:24, 20:24] = LESION
    session = Session(StubNetwork(), volume_of(scan), Settings(smallest_cm3=0))
    click_on(session, FIRST)
    session.find_similar()

    assert found_blocks(session, [Block((9, 11), (14, 30), (14, 30))])


def test_findings_touch_when_they_share_a_corner_between_slices():
    step = (Block((5, 6), (6, 11), (6, 11)), Block((6, 7), (11, 16), (11, 16)))
    session = stub_session(FIRST, *step, Block((9, 11), (20, 28), (20, 28)))
    click_on(session, Block((9, 11), (20, 28), (20, 28)))
    session.find_similar()

    assert len([le for le in session.lesions if le.status is Status.FOUND]) == 1


# ---- what is known already ---------------------------------------------------------------------


def test_nothing_is_found_on_top_of_prompted_accepted_or_rejected_lesions(session):
    click_on(session, FIRST)
    second, third = session.find_similar()
    session.accept(second)
    session.reject(third)

    assert session.find_similar() == []
    assert session.lesion(second).status is Status.ACCEPTED
    assert session.lesion(third).status is Status.REJECTED


def test_a_deleted_lesion_can_be_found_again_under_a_new_id(session):
    click_on(session, FIRST)
    second, third = session.find_similar()
    session.delete(second)
    found_ids = session.find_similar()

    assert found_ids == [4, third]
    assert is_exactly(session, 4, SECOND)


def test_only_what_lies_outside_a_known_lesion_is_new():
    session = stub_session(FIRST, Block((4, 7), (18, 30), (4, 10)), absorb=False)
    half = painted(Block((4, 7), (18, 21), (4, 10)))
    session.set_mask(None, session.stack.to_volume(half))
    click_on(session, FIRST)
    (rest,) = session.find_similar()

    assert is_exactly(session, rest, Block((4, 7), (21, 30), (4, 10)))


def test_the_rim_around_a_known_lesion_is_that_lesion_seen_again():
    session = stub_session(FIRST, Block((4, 7), (18, 30), (4, 12)), absorb=False)
    inner = painted(Block((4, 7), (19, 30), (5, 12)))
    session.set_mask(None, session.stack.to_volume(inner))
    click_on(session, FIRST)

    assert session.find_similar() == []


def test_undecided_findings_keep_id_and_name_through_a_second_search(session):
    click_on(session, FIRST)
    second, third = session.find_similar()
    session.rename(third, "neck")
    click_on(session, OTHER_KIND)

    assert set(session.find_similar()) == {second, third}
    assert is_exactly(session, second, SECOND)
    assert is_exactly(session, third, THIRD)
    assert session.lesion(third).name == "neck"


def test_undecided_findings_that_are_not_found_again_go(session):
    first = click_on(session, FIRST)
    session.find_similar()
    session.reject(first)
    click_on(session, OTHER_KIND)

    assert session.find_similar() == []
    assert [le.status for le in session.lesions] == [Status.REJECTED, Status.PROMPTED]


# ---- where is searched -------------------------------------------------------------------------


def test_a_search_stays_inside_the_region_and_searches_its_slices_only(session):
    click_on(session, FIRST)
    before = session.model.calls["decode_search"]
    session.find_similar(inside=session.stack.to_volume(painted(SECOND)))

    assert found_blocks(session) == [SECOND]
    assert session.model.calls["decode_search"] - before == 3


def test_what_a_search_added_to_a_lesion_outside_of_the_region_stays():
    session = stub_session(FIRST, SECOND, THIRD, propagation_slices=1)
    lesion = click_on(session, FIRST)
    clicked = stack_of(session, lesion)
    session.find_similar()
    whole = stack_of(session, lesion)
    assert whole.sum() > clicked.sum()
    far, near = np.zeros((2, *whole.shape), dtype=bool)
    far[9:], near[: np.argwhere(whole)[:, 0].max()] = True, True

    session.find_similar(inside=session.stack.to_volume(far))
    assert np.array_equal(stack_of(session, lesion), whole)
    session.find_similar(inside=session.stack.to_volume(near))
    assert np.array_equal(stack_of(session, lesion), whole)
    session.find_similar()
    assert np.array_equal(stack_of(session, lesion), whole)


def test_a_search_leaves_out_what_is_to_be_left_out(session):
    click_on(session, FIRST)
    session.find_similar(outside=session.stack.to_volume(painted(SECOND)))

    assert found_blocks(session) == [THIRD]


def test_a_hole_in_the_region_is_not_filled(session):
    click_on(session, FIRST)
    hole = Block((5, 6), (23, 24), (7, 8))
    session.find_similar(outside=session.stack.to_volume(painted(hole)))

    labels = session.stack.from_volume(session.labels())
    assert (labels[5, 22:25, 6:9] > 0).sum() == 8
    assert labels[5, 23, 7] == 0


def test_both_regions_together_leave_what_is_in_one_and_not_in_the_other(session):
    click_on(session, FIRST)
    inside = painted(Block((0, 12), (18, 30), (0, 32)))
    session.find_similar(
        inside=session.stack.to_volume(inside),
        outside=session.stack.to_volume(painted(Block((0, 5), (0, 32), (0, 32)))),
    )

    assert found_blocks(session, [Block((5, 7), (20, 27), (4, 10))])


def test_a_region_without_voxels_or_on_another_grid_is_refused(session):
    click_on(session, FIRST)
    before = session.state
    everything = np.ones(session.volume.array.shape, dtype=bool)

    with pytest.raises(BadInput, match="nothing of the scan"):
        session.find_similar(inside=~everything)
    with pytest.raises(BadInput, match="nothing of the scan"):
        session.find_similar(outside=everything)
    with pytest.raises(BadInput, match="grid"):
        session.find_similar(inside=everything[1:])
    assert session.state is before


# ---- what is searched for ----------------------------------------------------------------------


def test_there_is_nothing_to_search_for_before_the_first_lesion(session):
    with pytest.raises(BadInput, match="click on a lesion first"):
        session.find_similar()
    session.new_lesion()
    with pytest.raises(BadInput, match="click on a lesion first"):
        session.find_similar()


def test_without_exemplars_the_network_shows_what_it_takes_for_lesions(session):
    found_ids = session.find_similar(use_exemplars=False)

    bright_row = Block((0, 12), (0, 1), (0, 32))
    found = found_blocks(session, (FIRST, SECOND, THIRD, OTHER_KIND, bright_row))
    assert len(found) == len(found_ids) == 5
    assert session.model.calls["exemplar_keys"] == 0


def test_in_reference_mode_propagated_exemplars_alone_are_nothing_to_search_for():
    session = stub_session(FIRST, reference=True)
    lesion_id = click_on(session, FIRST)
    session.click(ras(session, 5, 9, 8), positive=False, lesion=lesion_id, propagate=False)
    for row, column in ((7, 6), (7, 10), (11, 6), (11, 10)):
        session.click(ras(session, 5, row, column), False, lesion_id, propagate=False)
    assert not session.lesion(lesion_id).prompted[5].found

    with pytest.raises(BadInput, match="click on a lesion first"):
        session.find_similar()


@pytest.mark.parametrize("config", [SAM, SLM], ids=["SAM 2.1", "SLM-SAM 2"])
def test_models_without_exemplars_propagate_lesions_and_say_that_they_cannot_search(config):
    session = Session(lively(config), volume_of(scan_of(FIRST, SECOND, slices=8)))
    lesion_id = click_on(session, FIRST)
    session.click(ras(session, 4, 8, 8), positive=False, lesion=lesion_id)
    session.set_mask(None, session.stack.to_volume(painted(SECOND, 8)))
    session.propagate()
    assert session.lesion(lesion_id).mask

    for use_exemplars in (True, False):
        with pytest.raises(BadInput, match="cannot search"):
            session.find_similar(use_exemplars=use_exemplars)


@pytest.mark.parametrize("gate", [True, False])
def test_a_real_network_searches_with_and_without_exemplars(gate):
    volume = volume_of(scan_of(FIRST, SECOND, slices=6))
    session = Session(lively(MOIS), volume, Settings(gate=gate, smallest_cm3=0))
    session.find_similar(use_exemplars=False)
    click_on(session, SECOND)
    first = session.find_similar()
    masks = [digest(session.lesion(n).mask) for n in first]

    assert session.find_similar() == first
    assert [digest(session.lesion(n).mask) for n in first] == masks


# ---- findings asked again ----------------------------------------------------------------------


def test_findings_can_be_outlined_anew_from_their_deepest_points():
    session = stub_session(findings="reprompted")
    click_on(session, FIRST)
    found_ids = session.find_similar()

    assert found_blocks(session) == [SECOND, THIRD]
    assert all(not session.lesion(n).clicks for n in found_ids)
    assert all(session.lesion(n).status is Status.FOUND for n in found_ids)


def test_two_findings_that_turn_out_to_be_one_lesion_are_merged():
    """A seam cuts it in two for the search; a click looks at how bright it is there."""
    lesion = Block((5, 7), (16, 28), (8, 24), LESION - 15)
    scan = scan_of(FIRST, lesion)
    scan[5:7, 16:28, 15:17] = LESION - 35

    apart = findings_on(scan, "components")
    again = findings_on(scan, "reprompted")

    assert len(apart) == 2
    assert len(again) == 1
    assert np.array_equal(again[0], painted(lesion))


def test_findings_asked_again_never_share_voxels():
    """Here a click stops at the seam, and propagation goes a little beyond it."""
    scan = scan_of(FIRST, Block((5, 8), (16, 28), (8, 24)))
    scan[5:8, 16:28, 15:17] = LESION - 28

    one, other = findings_on(scan, "reprompted")

    assert not (one & other).any()


def findings_on(scan, how):
    session = Session(StubNetwork(), volume_of(scan), Settings(findings=how))
    click_on(session, FIRST)
    return [stack_of(session, lesion_id) for lesion_id in session.find_similar()]


def test_a_finding_that_is_not_there_when_asked_again_stays_as_the_search_marked_it():
    class Blind(StubNetwork):
        def decode(self, features, coarse, prompts=None):
            decoded = super().decode(features, coarse, prompts)
            if prompts is None or not self.blind:
                return decoded
            return self._decoded(decoded.logits > 1e9)

        blind = False

    volume = volume_of(scan_of(FIRST, SECOND))
    session = Session(Blind(), volume, Settings(findings="reprompted"))
    click_on(session, FIRST)
    session.model.blind = True
    session.find_similar()

    assert found_blocks(session) == [SECOND]


def test_asking_again_never_grows_into_a_known_lesion():
    whole = Block((4, 7), (16, 28), (4, 28))
    session = stub_session(FIRST, whole, findings="reprompted", absorb=False)
    known = painted(Block((4, 7), (16, 28), (4, 10)))
    session.set_mask(None, session.stack.to_volume(known))
    click_on(session, FIRST)
    (rest,) = session.find_similar()

    assert not (stack_of(session, rest) & known).any()
    assert is_exactly(session, rest, Block((4, 7), (16, 28), (10, 28)))


# ---- lesions from elsewhere --------------------------------------------------------------------


def test_lesions_outlined_on_this_scan_serve_as_exemplars(session):
    labels = np.zeros((12, 32, 32), dtype=np.uint8)
    labels[FIRST.where] = 1
    labels[OTHER_KIND.where] = 5
    assert session.add_exemplars(session.stack.to_volume(labels)) == 2

    session.find_similar()

    assert set(found_blocks(session)) == {FIRST, OTHER_KIND, SECOND, THIRD}
    assert [exemplar.lesion for exemplar in session.state.imported] == [0, -1]


def test_lesions_of_an_earlier_scan_with_another_geometry_serve_as_exemplars(session):
    """Stored the other way round, with thicker slices, and moved by 20 mm."""
    earlier = scan_of(Block((2, 4), (10, 20), (10, 20)), slices=6)
    affine = CORONAL.copy()
    affine[1, 2] = 15.6
    affine[:3, 3] = (5, 20, -3)
    stored = earlier.transpose(2, 0, 1)[::-1]
    turned = affine[:, [1, 2, 0, 3]]
    turned[:3, 3] += 31 * turned[:3, 2]
    turned[:3, 2] *= -1
    volume = Volume(stored, turned)
    labels = (stored == LESION).astype(np.int16)
    assert labels.sum() == 200

    assert session.add_exemplars(labels, volume) == 1
    (exemplar,) = session.state.imported
    middle = 20 + 15.6 * largest_slice(earlier)
    assert exemplar.view.slice == round(middle / 7.8)
    encoded = session.embeddings.encoded
    session.find_similar()

    assert set(found_blocks(session)) == {FIRST, SECOND, THIRD}
    assert encoded == 0


def largest_slice(scan):
    """The slice of a scan on which the lesion is largest, the first of equal ones."""
    return int((scan == LESION).sum(axis=(1, 2)).argmax())


def test_a_lesion_from_outside_the_scan_counts_as_at_its_end(session):
    far = CORONAL.copy()
    far[1, 3] = 1000
    labels = np.zeros((12, 32, 32), dtype=bool)
    labels[FIRST.where] = True
    session.add_exemplars(labels, Volume(scan_of(FIRST), far))

    assert session.state.imported[0].view.slice == 11


def test_exemplars_from_elsewhere_can_be_undone_and_cleared(session):
    labels = session.stack.to_volume(painted(FIRST))
    session.add_exemplars(labels)
    session.add_exemplars(labels)
    assert [exemplar.lesion for exemplar in session.state.imported] == [0, -1]
    session.undo()
    assert [exemplar.lesion for exemplar in session.state.imported] == [0]
    session.clear_exemplars()
    session.clear_exemplars()
    assert session.exemplars_for(3) == []
    assert session.undo() == "clear exemplars"
    assert len(session.exemplars_for(3)) == 1


def test_labels_without_a_lesion_or_on_another_grid_are_refused(session):
    with pytest.raises(BadInput, match="no outlined lesion"):
        session.add_exemplars(np.zeros((12, 32, 32), dtype=np.uint8))
    with pytest.raises(BadInput, match="same grid"):
        session.add_exemplars(np.ones((11, 32, 32), dtype=np.uint8))
    with pytest.raises(BadInput, match="same grid"):
        session.add_exemplars(np.ones((12, 32, 32)), Volume(scan_of(FIRST)[1:], CORONAL))
    assert session.undo() is None
