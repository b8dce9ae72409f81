"""What is said of clicks and boxes that make no sense; none of it changes a result."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import FIRST, OTHER_KIND, SECOND, TINY, scan_of, volume_of
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import STORAGE_ORDERS, stored_as
from scipy import ndimage
from stub_network import StubNetwork
from stub_sessions import click_on, digest, ras, stub_session

from mois_core.geometry import SliceStack, Volume
from mois_core.phantom import make_phantom
from mois_core.phantom.cohorts import COHORTS, cohort_settings
from mois_core.session import NewClick, Session
from mois_core.session.body import MARGIN_MM, find_body
from mois_core.session.prompt_notices import (
    BOTH,
    BOX_EMPTY,
    BOX_FAR,
    BOX_FOR_TWO,
    BOX_IN_AIR,
    BOX_ON_FINDING,
    BOX_ON_LESION,
    BOX_TWICE,
    FAR_INSIDE,
    FAR_OUTSIDE,
    IN_AIR,
    IN_FINDING,
    IN_LESION,
    MORE,
    NO_LESION_YET,
    NO_OUTLINE,
    TWICE,
    TWO_LESIONS,
)

pytestmark = pytest.mark.usefixtures("one_thread")

BODY_MM = (60, 130, 60)
"""Half the sizes of a body without limbs: an ellipsoid."""
FIELD_MM = (150, 360, 240)


@pytest.fixture
def session(session):
    """A session that is listened to, on the scan with all lesions."""
    return listened_to(session)


@pytest.fixture
def blind(session, monkeypatch):
    """A session whose network outlines nothing."""
    decode = session.editor.prompter.decode

    def decode_nothing(*how):
        return [one._replace(image=np.zeros_like(one.image)) for one in decode(*how)]

    monkeypatch.setattr(session.editor.prompter, "decode", decode_nothing)
    return session


def listened_to(session: Session) -> Session:
    session.heard = []
    session.on_notice = session.heard.append
    return session


def a_body(noise: float, lungs: bool = True, spacing=(7.8, 2.5, 2.5)) -> tuple[Volume, np.ndarray]:
    """A coronal scan of an ellipsoid in air, and how far outside it voxels lie; below 0 inside."""
    shape = [round(mm / step) for mm, step in zip(FIELD_MM, spacing, strict=True)]
    axes = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    a, b, c = BODY_MM
    inside = (z / a) ** 2 + (y / b) ** 2 + (x / c) ** 2 < 1
    signal = np.where(inside, 120.0, 0.0)
    if lungs:
        for side in (-1, 1):
            lung = (z / 30) ** 2 + ((y + 30) / 45) ** 2 + ((x - side * 25) / 18) ** 2 < 1
            signal[lung] = 0
    signal[:, shape[1] // 2, shape[2] // 2] = 400
    rng = np.random.default_rng(1)
    real, imaginary = (
        signal + noise * rng.standard_normal(shape),
        noise * rng.standard_normal(shape),
    )
    array = np.rint(np.hypot(real, imaginary)).astype(np.int16)
    affine = np.array(
        [
            [-spacing[2], 0, 0, 100],
            [0, 0, spacing[0], -20],
            [0, -spacing[1], 0, 30],
            [0, 0, 0, 1],
        ],
        dtype=float,
    )
    outside = ndimage.distance_transform_edt(~inside, spacing)
    return Volume(array, affine), np.where(inside, -1, outside)


def ras_of(volume: Volume, kji) -> np.ndarray:
    return (volume.ijk_to_ras @ (*np.asarray(kji)[::-1], 1))[:3]


# ---- the body ------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0, 10, 25])
def test_air_is_told_from_the_body_and_its_lungs(noise):
    volume, outside = a_body(noise)
    body = find_body(SliceStack(volume))
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(0, n, 400) for n in volume.array.shape], axis=1)
    for place in places:
        mm = body.mm_outside(ras_of(volume, place))
        true = outside[tuple(place)]
        if true < 0:
            assert mm == 0, place
        elif true > 20:
            # A block of 5 mm and a slice of 7.8 mm are as exact as it gets.
            assert mm == pytest.approx(true, abs=13), place


@given(st.sampled_from(STORAGE_ORDERS), st.sampled_from(["coronal", "sagittal", "axial"]))
@settings(max_examples=30, deadline=None)
def test_the_order_of_voxels_makes_no_difference_to_where_the_body_is(order, axis):
    volume, outside = THE_BODY
    body = find_body(SliceStack(stored_as(volume, *order), axis))
    for place in ((3, 10, 10), (10, 72, 48), (10, 60, 39), (10, 20, 48), (10, 72, 5)):
        mm = body.mm_outside(ras_of(volume, place))
        assert (mm > 0) == (outside[place] > MARGIN_MM), place


THE_BODY = a_body(10)


def test_a_scan_of_one_slice_has_its_body_and_air():
    volume, _ = a_body(10, spacing=(7.8, 1.25, 1.25))
    one = Volume(volume.array[10:11], volume.ijk_to_ras)
    body = find_body(SliceStack(one))
    assert body.mm_outside(ras_of(one, (0, 144, 6))) > 0
    assert body.mm_outside(ras_of(one, (0, 120, 78))) == 0


def test_a_scan_that_is_too_small_to_tell_has_no_air():
    assert find_body(SliceStack(volume_of(scan_of(FIRST)))) is None


@pytest.mark.parametrize(
    "array",
    [
        np.full((20, 60, 40), 77, np.int16),
        np.zeros((20, 60, 40), np.float32),
        np.random.default_rng(0).normal(100, 30, (20, 60, 40)),
        np.arange(48000.0).reshape(20, 60, 40),
        np.ones((1, 1, 1)),
        np.ones((2, 1, 300), np.uint8),
    ],
)
def test_without_air_no_place_lies_in_it(array):
    body = find_body(SliceStack(Volume(array, THE_BODY[0].ijk_to_ras)))
    assert body is None


def test_negative_values_are_air_as_well_as_zeros():
    volume, outside = a_body(10)
    in_hounsfield = Volume(volume.array * np.int16(8) - np.int16(1000), volume.ijk_to_ras)
    body = find_body(SliceStack(in_hounsfield))
    assert body.mm_outside(ras_of(volume, (10, 72, 3))) > 0
    assert body.mm_outside(ras_of(volume, (10, 60, 39))) == 0


def test_the_inside_of_a_body_has_no_air_though_lungs_are_cut_by_its_edge():
    volume, _ = THE_BODY
    inside = Volume(volume.array[5:15, 58:90, 34:62], volume.ijk_to_ras)
    body = find_body(SliceStack(inside))
    assert body is None


def test_a_station_that_ends_in_the_lungs_has_lungs_in_its_body():
    volume, outside = THE_BODY
    cut = Volume(volume.array[:, 60:], volume.ijk_to_ras)
    body = find_body(SliceStack(cut))
    assert body.mm_outside(ras_of(cut, (10, 0, 39))) == 0
    assert body.mm_outside(ras_of(cut, (10, 0, 3))) > 0


@pytest.mark.parametrize("cohort", COHORTS)
def test_no_voxel_of_a_phantoms_lesions_lies_in_air(cohort):
    seed = 90_700
    phantom = make_phantom(seed, cohort_settings(cohort, seed, size=(512, 160)))
    volume = Volume(phantom.scan, phantom.ijk_to_ras)
    body = find_body(SliceStack(volume))
    places = np.argwhere(phantom.instances > 0)
    chosen = np.random.default_rng(0).choice(places, 2000)
    assert not any(body.mm_outside(ras_of(volume, place)) for place in chosen)
    corners = [(n, row, 2) for n in (0, len(phantom.scan) // 2) for row in (5, 505)]
    assert all(body.mm_outside(ras_of(volume, corner)) > 20 for corner in corners)


# ---- clicks --------------------------------------------------------------------------------


def test_a_click_in_air_is_said_and_made():
    volume, _ = THE_BODY
    session = listened_to(Session(StubNetwork(), volume))
    lesion = session.click(ras_of(volume, (10, 72, 3)))
    (text,) = session.heard
    mm = session.prompt_notices.body.mm_outside(ras_of(volume, (10, 72, 3)))
    assert text == IN_AIR.format(lesion=lesion, mm=mm)
    assert len(session.lesion(lesion).clicks) == 1
    session.click(ras_of(volume, (10, 72, 8)), positive=False, lesion=lesion)
    assert len(session.heard) == 1, "what a lesion leaks into may be air"


def test_sensible_clicks_are_made_in_silence(session):
    first = click_on(session, FIRST)
    click_on(session, SECOND)
    session.click(ras(session, 5, 7, 6), lesion=first)
    session.click(ras(session, 5, 14, 8), positive=False, lesion=first)
    session.find_similar()
    assert session.heard == []


def test_the_same_place_twice_is_said(session):
    lesion = click_on(session, FIRST)
    click_on(session, FIRST, lesion=lesion)
    assert session.heard == [TWICE.format(lesion=lesion)]


def test_inside_and_outside_at_one_place_is_said(session):
    lesion = click_on(session, FIRST)
    click_on(session, FIRST, lesion=lesion, positive=False)
    assert session.heard == [BOTH.format(lesion=lesion)]


def test_a_new_lesion_in_an_old_one_is_said(session):
    first = click_on(session, FIRST)
    second = session.click(ras(session, 5, 8, 7))
    assert session.heard == [IN_LESION.format(lesion=second, other=first)]


def test_a_new_lesion_in_a_finding_is_said(session):
    click_on(session, FIRST)
    findings = session.find_similar()
    new = click_on(session, SECOND)
    (found,) = [n for n in findings if f"lies in lesion {n}, which" in session.heard[0]]
    assert session.heard == [IN_FINDING.format(lesion=new, other=found)]


def test_a_new_lesion_in_a_rejected_finding_is_made_in_silence(session):
    click_on(session, FIRST)
    session.reject(*session.find_similar())
    click_on(session, SECOND)
    assert session.heard == []


def test_two_new_lesions_in_one_are_said_once_though_they_are_one_step(session):
    places = [ras(session, *FIRST.middle), ras(session, 5, 8, 7)]
    first, second = session.clicks([NewClick(place) for place in places])
    assert session.heard == [IN_LESION.format(lesion=second, other=first)]


def test_two_lesions_clicked_where_nothing_is_are_said(blind):
    first, second = click_on(blind, FIRST), click_on(blind, FIRST)
    assert blind.heard == [
        NO_OUTLINE.format(lesion=first),
        TWO_LESIONS.format(lesion=second, other=first),
    ]


def test_a_click_on_an_old_lesion_with_another_one_chosen_is_said(session):
    first, second = click_on(session, FIRST), click_on(session, SECOND)
    session.click(ras(session, 5, 8, 7), lesion=second)
    assert session.heard == [IN_LESION.format(lesion=second, other=first)]


def test_a_lesion_that_begins_with_what_lies_outside_is_said(session):
    lesion = click_on(session, FIRST, positive=False)
    assert session.heard == [NO_LESION_YET.format(lesion=lesion)]


def test_a_click_outside_that_is_far_from_the_lesion_is_said(session):
    lesion = click_on(session, TINY)
    far = max(session.lesion(lesion).mask.slices) + 4
    session.click(ras(session, far, 17, 17), positive=False, lesion=lesion)
    assert session.heard == [FAR_OUTSIDE.format(lesion=lesion, mm=31.2)]


def test_a_click_that_is_meant_for_another_lesion_is_said(session):
    session.adjust(propagation_mm=0)
    lesion = session.click(ras(session, 0, 17, 17))
    session.heard.clear()
    session.click(ras(session, 9, 10, 24), lesion=lesion)
    (text,) = session.heard
    assert text == FAR_INSIDE.format(lesion=lesion, mm=70.4)


def test_where_nothing_is_outlined_is_said(blind):
    lesion = click_on(blind, FIRST)
    assert blind.heard == [NO_OUTLINE.format(lesion=lesion)]


def test_a_click_that_is_dragged_astray_is_said_and_one_dragged_to_another_lesion_is_not(session):
    first, second = click_on(session, FIRST), click_on(session, SECOND)
    (click,) = session.lesion(second).clicks
    session.move_click(click.id, ras(session, 5, 8, 7))
    assert session.heard == [IN_LESION.format(lesion=second, other=first)]
    session.heard.clear()
    session.move_click(click.id, ras(session, *OTHER_KIND.middle))
    assert session.heard == []


def test_what_many_clicks_have_in_common_is_said_once(blind):
    places = [ras(blind, 11, 30, column) for column in (4, 12, 20, 28)]
    ids = blind.clicks([NewClick(place) for place in places])
    assert blind.heard == [NO_OUTLINE.format(lesion=ids[0]) + MORE.format(count=3, all=4)]


def test_a_click_that_fails_says_nothing(session, monkeypatch):
    lesion = click_on(session, FIRST)
    monkeypatch.setattr(session.editor, "add_prompts", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        click_on(session, FIRST, lesion=lesion)
    assert session.heard == []


# ---- boxes ---------------------------------------------------------------------------------


def around(session, block, lesion=None, **how) -> int:
    """Draw a box around a block on its middle slice."""
    n, row, column = block.middle
    corners = ras(session, n, row - 4, column - 4), ras(session, n, row + 4, column + 4)
    return session.box(*corners, lesion, **how)


def test_a_box_in_air_is_said_and_made_and_one_that_reaches_the_body_is_not_said():
    volume, _ = THE_BODY
    session = listened_to(Session(StubNetwork(), volume))
    lesion = session.box(ras_of(volume, (10, 60, 2)), ras_of(volume, (10, 80, 8)))
    (text,) = session.heard
    mm = session.prompt_notices.body.mm_outside(ras_of(volume, (10, 70, 8)))
    assert text == BOX_IN_AIR.format(lesion=lesion, mm=mm)
    assert len(session.lesion(lesion).boxes) == 1
    session.heard.clear()
    session.box(ras_of(volume, (10, 60, 2)), ras_of(volume, (10, 80, 40)))
    assert "air" not in "".join(session.heard)


def test_sensible_boxes_are_drawn_in_silence(session):
    lesion = around(session, FIRST)
    around(session, SECOND)
    n, row, column = FIRST.middle
    corners = ras(session, n, row - 6, column - 6), ras(session, n, row + 6, column + 6)
    session.box(*corners, lesion)
    assert session.heard == []


def test_the_same_box_twice_is_said(session):
    lesion = around(session, FIRST)
    around(session, FIRST, lesion)
    assert session.heard == [BOX_TWICE.format(lesion=lesion)]


def test_one_box_for_two_lesions_is_said(session):
    first, second = around(session, FIRST), around(session, FIRST)
    assert session.heard == [BOX_FOR_TWO.format(lesion=second, other=first)]


def test_a_box_that_outlines_an_old_lesion_or_a_finding_is_said(session):
    first = click_on(session, FIRST)
    findings = session.find_similar()
    second = around(session, FIRST)
    assert session.heard == [BOX_ON_LESION.format(lesion=second, other=first)]
    session.heard.clear()
    third = around(session, SECOND)
    assert session.heard in [[BOX_ON_FINDING.format(lesion=third, other=n)] for n in findings]


def test_a_box_around_a_rejected_finding_is_drawn_in_silence(session):
    click_on(session, FIRST)
    session.reject(*session.find_similar())
    around(session, SECOND)
    assert session.heard == []


def test_a_box_that_is_meant_for_another_lesion_is_said(session):
    session.adjust(propagation_mm=0)
    lesion = session.click(ras(session, 0, 17, 17))
    session.heard.clear()
    corners = ras(session, 9, 8, 22), ras(session, 9, 12, 26)
    session.box(*corners, lesion)
    assert session.heard == [BOX_FAR.format(lesion=lesion, mm=70.4)]


def test_a_box_with_nothing_outlined_in_it_is_said(blind):
    lesion = around(blind, FIRST)
    assert blind.heard == [BOX_EMPTY.format(lesion=lesion)]


def test_what_is_painted_is_as_its_user_wants_it(session):
    first = click_on(session, FIRST)
    session.set_mask(None, session.mask(first))
    assert session.heard == []


operations = st.lists(
    st.tuples(
        st.integers(0, 11), st.integers(0, 31), st.integers(0, 31), st.booleans(), st.integers(0, 3)
    ),
    max_size=6,
)


@given(operations, st.booleans())
@settings(max_examples=40, deadline=None)
def test_listening_changes_nothing(clicks, reference):
    sessions = stub_session(reference=reference), listened_to(stub_session(reference=reference))
    for session in sessions:
        for n, row, column, positive, lesion in clicks:
            known = {le.id for le in session.lesions}
            chosen = lesion if lesion in known else None
            place = ras(session, n, row, column)
            if positive and row % 2:
                session.box(place, ras(session, n, row // 2, column // 2), chosen)
            else:
                session.click(place, positive, chosen)
    assert digest(sessions[0].state) == digest(sessions[1].state)
