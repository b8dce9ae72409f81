"""The same anatomy and the same click give the same result, however the voxels are stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from orientations import STORAGE_ORDERS, stored_as
from scipy.spatial.transform import Rotation

from mois_core.errors import BadInput
from mois_core.geometry import VIEWS, Box, SliceStack, Volume, acquired_axis, same_grid

coordinates = st.floats(-300, 300, allow_nan=False)
fractions = st.floats(0, 1)


@st.composite
def volumes(draw) -> Volume:
    """Draw a volume: any rotation, spacing, offset, a little shear; every voxel different."""
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    rotation = Rotation.from_rotvec(draw(st.tuples(*[st.floats(-4, 4)] * 3))).as_matrix()
    spacing = draw(st.tuples(*[st.floats(0.3, 10)] * 3))
    shear = np.eye(3)
    shear[0, 1] = draw(st.sampled_from([0, 0, 0.1]))
    return a_volume(shape, rotation @ shear * spacing, draw(st.tuples(*[coordinates] * 3)))


def a_volume(shape, directions, origin=(0, 0, 0)) -> Volume:
    affine = np.eye(4)
    affine[:3, :3] = directions
    affine[:3, 3] = origin
    return Volume(np.arange(np.prod(shape), dtype=np.int32).reshape(shape), affine)


@given(volumes(), st.sampled_from(list(VIEWS)))
@settings(max_examples=25, deadline=None)
def test_the_same_anatomy_gives_the_same_stack_in_all_48_storage_orders(volume, axis):
    stack = SliceStack(volume, axis)
    for order, flips in STORAGE_ORDERS:
        other = SliceStack(stored_as(volume, order, flips), axis)
        assert np.array_equal(other.array, stack.array)
        assert np.allclose(other.to_ras, stack.to_ras, atol=1e-9)
        assert np.allclose(other.pixel_spacing, stack.pixel_spacing)
        assert np.isclose(other.slice_spacing, stack.slice_spacing)


@pytest.mark.parametrize("degrees", [45, 135, -45, 60, 120])
@pytest.mark.parametrize("about", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (1, 1, 0)])
def test_ties_between_axes_are_decided_by_anatomy_and_not_by_storage(degrees, about):
    vector = np.radians(degrees) * np.array(about) / np.linalg.norm(about)
    volume = a_volume((2, 3, 4), Rotation.from_rotvec(vector).as_matrix())
    stack = SliceStack(volume)
    for order, flips in STORAGE_ORDERS:
        other = SliceStack(stored_as(volume, order, flips))
        assert np.array_equal(other.array, stack.array)


@given(volumes(), st.sampled_from(list(VIEWS)), coordinates, coordinates, coordinates)
@settings(max_examples=200, deadline=None)
def test_points_go_there_and_back(volume, axis, n, x, y):
    stack = SliceStack(volume, axis)
    back = stack.point_from_ras(stack.point_to_ras(n, x, y))
    assert np.abs(np.subtract(back, (n, x, y))).max() < 1e-3


@given(volumes(), st.sampled_from(list(VIEWS)), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_masks_go_there_and_back_voxel_for_voxel(volume, axis, seed):
    stack = SliceStack(volume, axis)
    mask = np.random.default_rng(seed).random(volume.array.shape) < 0.5
    assert np.array_equal(stack.to_volume(stack.from_volume(mask)), mask)
    assert np.array_equal(stack.to_volume(stack.array), volume.array)


@st.composite
def boxes(draw, shape) -> Box:
    """Draw a box with at least one voxel in it."""
    parts = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        parts.append(slice(start, draw(st.integers(start + 1, size))))
    return tuple(parts)


@given(volumes(), st.sampled_from(list(VIEWS)), st.data())
@settings(max_examples=40, deadline=None)
def test_a_crop_of_the_stack_lies_at_its_box_in_all_48_storage_orders(volume, axis, data):
    box = data.draw(boxes(SliceStack(volume, axis).array.shape))
    for order, flips in STORAGE_ORDERS:
        stack = SliceStack(stored_as(volume, order, flips), axis)
        crop = stack.array[box]
        turned = stack.crop_to_volume(crop)
        assert np.array_equal(stack.volume.array[stack.box_to_volume(box)], turned)
        assert np.shares_memory(turned, crop)

        own = np.zeros(crop.shape, dtype=bool)
        own.flat[0] = True
        mask = np.zeros(stack.volume.array.shape, dtype=bool)
        mask[stack.box_to_volume(box)] = stack.crop_to_volume(own)
        first = tuple(part.start for part in box)
        assert np.argwhere(stack.from_volume(mask)).tolist() == [list(first)]


@given(volumes(), st.sampled_from(list(VIEWS)))
@settings(max_examples=25, deadline=None)
def test_the_box_of_the_whole_stack_is_the_whole_volume(volume, axis):
    stack = SliceStack(volume, axis)
    whole = tuple(slice(0, size) for size in stack.array.shape)
    assert stack.box_to_volume(whole) == tuple(slice(0, size) for size in volume.array.shape)


@pytest.mark.parametrize("part", [slice(-1, 1), slice(1, 5), slice(2, 1)])
def test_a_box_beyond_the_stack_is_not_taken_for_one_of_it(part):
    stack = SliceStack(a_volume((2, 3, 4), np.eye(3)))
    with pytest.raises(ValueError, match="does not lie in the stack"):
        stack.box_to_volume((slice(0, 1), slice(0, 1), part))


@given(volumes(), fractions, fractions, fractions)
@settings(max_examples=25, deadline=None)
def test_the_same_click_marks_the_same_place_in_all_48_storage_orders(volume, u, v, w):
    def rounded(index):
        return tuple(int(round(float(value))) for value in index)

    sizes = np.array(volume.array.shape[::-1])
    centre = np.minimum(np.floor(np.array([u, v, w]) * sizes), sizes - 1)
    # Off the borders between voxels, where the last bit of a float may decide.
    ijk = centre + 0.98 * (np.array([w, u, v]) - 0.5)
    click = volume.ijk_to_ras[:3, :3] @ ijk + volume.ijk_to_ras[:3, 3]
    marked = []
    for order, flips in STORAGE_ORDERS:
        other = stored_as(volume, order, flips)
        stack = SliceStack(other)
        assert stack.contains(click)
        n, x, y = rounded(stack.point_from_ras(click))
        mask = np.zeros(stack.array.shape, dtype=bool)
        mask[n, y, x] = True
        k, j, i = np.argwhere(stack.to_volume(mask))[0]
        assert other.array[k, j, i] == volume.array[tuple(centre[::-1].astype(int))]
        marked.append((other.ijk_to_ras @ (i, j, k, 1))[:3])
    assert np.allclose(marked, marked[0], atol=1e-6)


@pytest.mark.parametrize(
    ("axis", "slices", "rows", "columns"),
    [
        ("coronal", (0, 1, 0), (0, 0, -1), (-1, 0, 0)),
        ("sagittal", (-1, 0, 0), (0, 0, -1), (0, -1, 0)),
        ("axial", (0, 0, -1), (0, -1, 0), (-1, 0, 0)),
    ],
)
def test_slices_are_seen_as_radiologists_see_them(axis, slices, rows, columns):
    to_ras = SliceStack(a_volume((4, 5, 6), np.eye(3)), axis).to_ras
    assert np.array_equal(to_ras[:3, :3], np.transpose([slices, rows, columns]))


def test_a_coronal_stack_of_a_ras_volume_looks_as_expected():
    stack = SliceStack(a_volume((4, 5, 6), np.diag([1.0, 2.0, 3.0])))
    assert (stack.count, stack.shape) == (5, (4, 6))
    assert (stack.slice_spacing, stack.pixel_spacing) == (2.0, (3.0, 1.0))
    right_superior_posterior = stack.volume.array[3, 0, 5]
    assert stack.image(0)[0, 0] == right_superior_posterior
    assert np.shares_memory(stack.array, stack.volume.array)
    assert stack.volume.voxel_volume_cm3 == pytest.approx(0.006)


def test_points_are_converted_many_at_a_time():
    stack = SliceStack(a_volume((4, 5, 6), np.diag([1.0, 2.0, 3.0]), (7, 8, 9)))
    n, x, y = np.mgrid[0:5, 0:6, 0:4]
    ras = stack.point_to_ras(n, x, y)
    assert ras.shape == (5, 6, 4, 3)
    assert np.allclose(stack.point_from_ras(ras), (n, x, y))
    assert stack.contains(ras).all()


def test_points_are_inside_up_to_half_a_voxel_beyond_the_outermost_centres():
    stack = SliceStack(a_volume((4, 5, 6), np.diag([1.0, 2.0, 3.0])))
    assert stack.contains(stack.point_to_ras(-0.49, 5.49, 3.49))
    assert not stack.contains(stack.point_to_ras(-0.51, 0, 0))
    assert not stack.contains(stack.point_to_ras(0, 5.51, 0))
    assert not stack.contains(stack.point_to_ras(0, 0, 3.51))
    assert not stack.contains((np.nan, 0, 0))


def test_grids_are_compared_by_where_their_corners_lie():
    volume = a_volume((4, 5, 6), np.diag([1.0, 2.0, 3.0]), (7, 8, 9))
    nudged = volume.ijk_to_ras + 1e-6
    nudged[3] = volume.ijk_to_ras[3]
    assert same_grid(volume, Volume(volume.array > 3, nudged))
    assert not same_grid(volume, a_volume((4, 5, 6), np.diag([1.0, 2.0, 3.0]), (7.2, 8, 9)))
    assert not same_grid(volume, a_volume((4, 5, 6), np.diag([1.02, 2.0, 3.0]), (7, 8, 9)))
    assert not same_grid(volume, a_volume((4, 6, 5), np.diag([1.0, 2.0, 3.0]), (7, 8, 9)))


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ((0.6, 7.8, 0.6), "coronal"),
        ((0.7, 0.7, 5.0), "axial"),
        ((4.0, 1.0, 1.0), "sagittal"),
        ((1.0, 1.0, 1.2), None),
        ((1.0, 3.0, 3.0), None),
    ],
)
def test_the_acquired_axis_is_the_plainly_coarsest(spacing, expected):
    volume = a_volume((9, 9, 9), np.diag(spacing))
    for order, flips in STORAGE_ORDERS:
        assert acquired_axis(stored_as(volume, order, flips)) == expected
    warning = SliceStack(volume).acquisition_warning()
    assert (warning is None) == (expected in (None, "coronal"))
    assert warning is None or (expected in warning and "\n" not in warning)


def test_a_lone_slice_says_by_itself_how_it_was_acquired():
    assert acquired_axis(a_volume((9, 1, 9), np.eye(3))) == "coronal"
    lone_axial = a_volume((1, 9, 9), np.eye(3))
    assert acquired_axis(lone_axial) == "axial"
    assert SliceStack(lone_axial, "axial").acquisition_warning() is None
    assert SliceStack(lone_axial).shape == (1, 9)


@pytest.mark.parametrize(
    ("shape", "affine", "says"),
    [
        ((2, 3), np.eye(4), "2 dimensions"),
        ((1, 2, 3, 4), np.eye(4), "4 dimensions"),
        ((0, 3, 3), np.eye(4), "no voxels"),
        ((2, 2, 2), np.eye(3), "4 x 4"),
        ((2, 2, 2), np.diag([1.0, 1.0, 1.0, 2.0]), "4 x 4"),
        ((2, 2, 2), np.diag([1.0, np.nan, 1.0, 1.0]), "not finite"),
        ((2, 2, 2), np.diag([1.0, 0.0, 1.0, 1.0]), "spacing of 0"),
        ((2, 2, 2), [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], "one plane"),
    ],
)
def test_what_is_no_volume_is_refused(shape, affine, says):
    with pytest.raises(BadInput, match=says):
        Volume(np.zeros(shape), affine)


def test_an_unknown_axis_is_refused_by_name():
    with pytest.raises(BadInput, match="'oblique'.*coronal, sagittal, axial"):
        SliceStack(a_volume((2, 2, 2), np.eye(3)), "oblique")


def test_arrays_of_another_shape_are_not_taken_for_masks():
    stack = SliceStack(a_volume((2, 3, 4), np.eye(3)))
    with pytest.raises(ValueError, match="shape"):
        stack.to_volume(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="shape"):
        stack.from_volume(np.zeros((3, 2, 4)))
