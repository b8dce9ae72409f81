"""The same patient and the same click give the same lesion, however the voxels are stored."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import CORONAL, FIRST, OTHER_KIND, SECOND, THIRD, scan_of, volume_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from orientations import STORAGE_ORDERS, stored_as
from scipy.spatial.transform import Rotation
from small_networks import WIDE_MOIS, lively
from stub_network import StubNetwork
from stub_sessions import click_on, ras

from mois_core.geometry import SliceStack, Volume
from mois_core.session import Session
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

SLICES = 7
BLOCKS = (FIRST, SECOND, THIRD, OTHER_KIND)

rotations = st.tuples(*[st.floats(-3, 3)] * 3)
parts = st.floats(0, 1)
places = st.tuples(parts, parts, parts)
"""Where in the scan, as parts of its extent: which slices it has depends on how it is turned."""

orders = st.sampled_from(STORAGE_ORDERS)


def scan_turned(rotation, rows=26) -> Volume:
    """A scan that is no cube, with its patient lying as askew as you like."""
    affine = CORONAL.copy()
    affine[:3, :3] = Rotation.from_rotvec(rotation).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = (12.5, -40, 7)
    return Volume(scan_of(*BLOCKS, slices=SLICES)[:, :rows], affine)


def in_the_patient(session, lesion_id):
    """Where a lesion's voxels are, RAS millimetres, in an order of their own."""
    k, j, i = np.nonzero(session.mask(lesion_id))
    affine = session.volume.ijk_to_ras
    points = np.stack([i, j, k], axis=1) @ affine[:3, :3].T + affine[:3, 3]
    return points[np.lexsort(np.round(points, 3).T)]


def a_life(model, volume, clicks):
    session = Session(model, volume, Settings(propagation_slices=2, smallest_cm3=0))
    first = session.click(clicks[0])
    session.click(clicks[1], positive=False, lesion=first)
    session.click(clicks[2])
    session.find_similar()
    return session


def assert_same_in_the_patient(model, volume, order, where):
    stack = SliceStack(volume)
    last = np.array(stack.array.shape) - 1
    indices = [np.round(place * last) for place in where]
    clicks = [stack.point_to_ras(slice_index, x, y) for slice_index, y, x in indices]
    here = a_life(model, volume, clicks)
    there = a_life(model, stored_as(volume, *order), clicks)

    assert [le.id for le in here.lesions] == [le.id for le in there.lesions]
    for lesion in here.lesions:
        ours, theirs = in_the_patient(here, lesion.id), in_the_patient(there, lesion.id)
        assert ours.shape == theirs.shape
        assert np.allclose(ours, theirs, atol=1e-3)
    labels = [session.stack.from_volume(session.labels()) for session in (here, there)]
    assert np.array_equal(*labels)


BETWEEN_MASK_PIXELS = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.5), (0.0, 0.0, 0.0))
"""Clicks of which the second lies halfway between two pixels of a mask."""


BETWEEN_TWO_PARTS = ((0.25, 0.0, 0.5), (0.25, 0.0, 0.5), (0.0, 0.0, 0.0))
"""Clicks of which the second cuts a lesion into two parts that are equally near to the first."""


@given(rotations, orders, st.tuples(places, places, places))
@example((0.0, 0.5, 0.25), ((0, 1, 2), (False, True, True)), BETWEEN_TWO_PARTS)
@settings(max_examples=40, deadline=None)
def test_storage_makes_no_difference_to_the_lesions(rotation, order, where):
    assert_same_in_the_patient(StubNetwork(), scan_turned(rotation), order, where)


@given(rotations, orders, st.tuples(places, places, places))
@example((1.625, 2.0, -0.5), ((0, 1, 2), (False, True, False)), BETWEEN_MASK_PIXELS)
@settings(max_examples=6, deadline=None)
def test_storage_makes_no_difference_with_a_real_network(rotation, order, where):
    assert_same_in_the_patient(lively(WIDE_MOIS), scan_turned(rotation), order, where)


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS)
def test_a_click_is_right_in_all_48_storage_orders(order, flips):
    """The published app is right in one of them."""
    upright = volume_of(scan_of(*BLOCKS, slices=SLICES))
    place = SliceStack(upright).point_to_ras(5, 8, 9)
    session = Session(StubNetwork(), stored_as(upright, order, flips))
    lesion_id = session.click(place)

    expected = np.zeros(session.stack.array.shape, dtype=bool)
    expected[FIRST.where] = True
    assert np.array_equal(session.stack.from_volume(session.mask(lesion_id)), expected)


@pytest.mark.parametrize("axis", ["sagittal", "axial"])
def test_slices_along_another_axis_are_worked_on_the_same_way(axis):
    session = Session(
        StubNetwork(),
        volume_of(scan_of(*BLOCKS, slices=32)),
        Settings(axis=axis, propagation_slices=40),
    )
    coronal = SliceStack(session.volume)
    lesion_id = session.click(coronal.point_to_ras(5, 8, 9))

    assert coronal.from_volume(session.mask(lesion_id))[FIRST.where].all()
    assert session.find_similar()


def test_an_oblique_scan_is_clicked_where_the_patient_is_pointed_at():
    volume = scan_turned((0.3, -0.2, 0.4), rows=32)
    session = Session(StubNetwork(), volume)
    lesion_id = click_on(session, FIRST)

    points = in_the_patient(session, lesion_id)
    assert len(points) == FIRST.voxels - 49
    assert np.allclose(points.mean(axis=0), ras(session, 4.5, 9, 8), atol=1e-6)
