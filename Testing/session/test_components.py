"""From a mask of everything to single lesions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from mois_core.session.components import connected_components, deepest_point, fill_holes, grown
from mois_core.session.masks import Mask

stacks = hnp.arrays(bool, (4, 8, 6))


def stack_with(*boxes, shape=(6, 20, 20)):
    stack = np.zeros(shape, dtype=bool)
    for slices, rows, columns in boxes:
        stack[slice(*slices), slice(*rows), slice(*columns)] = True
    return stack


def as_stack(mask, shape):
    stack = np.zeros(shape, dtype=bool)
    mask.paint(stack, True)
    return stack


@given(stacks)
@settings(max_examples=100, deadline=None)
def test_components_are_disjoint_and_make_up_the_whole(stack):
    components = connected_components(stack)
    total = sum(as_stack(component.mask, stack.shape).astype(int) for component in components)

    assert np.array_equal(total, stack.astype(int)) or not components
    assert sum(component.voxels for component in components) == stack.sum()
    assert [component.voxels for component in components] == [
        component.mask.voxels for component in components
    ]
    sizes = [component.voxels for component in components]
    assert sizes == sorted(sizes, reverse=True)
    assert len(components) == ndimage.label(stack, np.ones((3, 3, 3)))[1]


@given(stacks)
@settings(max_examples=100, deadline=None)
def test_a_grown_mask_has_every_voxel_that_touches_it(stack):
    before = stack.copy()

    assert np.array_equal(grown(stack), ndimage.binary_dilation(stack, np.ones((3, 3, 3))))
    assert np.array_equal(stack, before)


def test_components_below_the_smallest_are_left_out():
    stack = stack_with(((0, 1), (0, 3), (0, 3)), ((3, 5), (10, 12), (10, 12)))

    assert [component.voxels for component in connected_components(stack, 8)] == [9, 8]
    assert [component.voxels for component in connected_components(stack, 9)] == [9]
    assert connected_components(stack, 10) == []


def test_components_whose_boxes_overlap_keep_their_own_voxels():
    stack = stack_with(((1, 2), (2, 12), (2, 12)))
    stack[1, 3:11, 3:11] = False
    stack[1, 6:8, 6:8] = True

    ring, dot = connected_components(stack)

    assert ring.voxels == 36
    assert dot.voxels == 4
    assert not (ring.mask.image(1) & dot.mask.image(1)).any()


@pytest.mark.parametrize("corner", [(1, 0, 0), (0, 1, 1), (1, 1, 1), (1, 1, 0)])
def test_voxels_that_share_a_corner_belong_together(corner):
    stack = np.zeros((4, 5, 5), dtype=bool)
    stack[1, 2, 2] = True
    stack[tuple(np.add((1, 2, 2), corner))] = True

    assert len(connected_components(stack)) == 1


def test_holes_closed_within_a_slice_are_filled_whatever_their_size():
    stack = stack_with(((2, 3), (2, 18), (2, 18)))
    stack[2, 3:17, 3:17] = False
    stack[3, 5:8, 5:8] = True
    stack[3, 5, 6] = False

    filled = fill_holes(Mask.from_stack(stack))

    assert filled.image(2).sum() == 16 * 16
    assert np.array_equal(filled.image(3), stack[3])


def test_the_deepest_point_is_the_middle_of_the_largest_slice():
    mask = Mask.from_stack(
        stack_with(((1, 2), (5, 8), (5, 8)), ((2, 3), (4, 9), (4, 13)), ((3, 4), (4, 9), (4, 13)))
    )
    slice_index, x, y = deepest_point(mask, (1.0, 1.0))

    assert (slice_index, y) == (2, 6)
    assert 6 <= x <= 10


def test_the_deepest_point_is_measured_in_millimetres():
    """In pixels the upright bar is the thicker one, but a row can be ten times a column."""
    image = np.zeros((1, 40, 40), dtype=bool)
    image[0, 2:7, 0:20] = True
    image[0, 12:32, 25:32] = True
    mask = Mask.from_stack(image)

    assert deepest_point(mask, (1.0, 1.0))[2] > 12
    assert deepest_point(mask, (10.0, 1.0))[2] < 7


@given(stacks)
@settings(max_examples=100, deadline=None)
def test_the_deepest_point_lies_in_the_mask(stack):
    mask = Mask.from_stack(stack)
    if not mask:
        return
    slice_index, x, y = deepest_point(mask, (0.6, 0.9))

    assert (x, y) == (int(x), int(y))
    assert stack[slice_index, int(y), int(x)]


def test_a_mask_at_the_edge_of_the_scan_does_not_go_on_outside():
    mask = Mask.from_stack(stack_with(((0, 1), (0, 5), (0, 20))))
    _, x, y = deepest_point(mask, (1.0, 1.0))

    assert y == 2
    assert 2 <= x <= 17
