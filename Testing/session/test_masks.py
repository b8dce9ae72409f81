"""Masks are values, as small as their lesions, and lose nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mois_core.session.masks import Mask, Plane, overlap

SHAPE = (4, 7, 5)
stacks = hnp.arrays(bool, SHAPE)


def as_stack(mask):
    stack = np.zeros(SHAPE, dtype=bool)
    mask.paint(stack, True)
    return stack


@given(stacks)
@settings(max_examples=100, deadline=None)
def test_a_mask_holds_exactly_what_it_was_made_from(stack):
    mask = Mask.from_stack(stack)

    assert np.array_equal(as_stack(mask), stack)
    assert mask.voxels == stack.sum()
    assert mask.slices == tuple(np.flatnonzero(stack.any(axis=(1, 2))))
    assert bool(mask) == stack.any()
    assert all(np.array_equal(mask.image(n), stack[n]) for n in range(4))


@given(stacks)
@settings(max_examples=100, deadline=None)
def test_planes_are_cropped_to_what_is_in_them_and_cannot_be_changed(stack):
    for _, plane in Mask.from_stack(stack):
        rows, columns = plane.pixels.any(axis=1), plane.pixels.any(axis=0)
        assert rows[0] and rows[-1] and columns[0] and columns[-1]
        with pytest.raises(ValueError, match="read-only"):
            plane.pixels[0, 0] = True


@given(stacks, stacks)
@settings(max_examples=100, deadline=None)
def test_masks_combine_like_the_sets_they_are(one, other):
    first, second = Mask.from_stack(one), Mask.from_stack(other)

    assert np.array_equal(as_stack(first.union(second)), one | other)
    assert np.array_equal(as_stack(first.without(other)), one & ~other)
    assert overlap(first, second) == (one & other).sum()
    assert first.same_as(second) == np.array_equal(one, other)
    assert np.array_equal(as_stack(first), one)


@given(stacks, st.integers(0, 3), hnp.arrays(bool, SHAPE[1:]))
@settings(max_examples=100, deadline=None)
def test_replacing_a_slice_leaves_the_others_and_the_old_mask_alone(stack, slice_index, image):
    before = Mask.from_stack(stack)
    after = before.with_slice(slice_index, image)
    expected = stack.copy()
    expected[slice_index] = image

    assert np.array_equal(as_stack(after), expected)
    assert np.array_equal(as_stack(before), stack)
    expected[slice_index] = False
    assert np.array_equal(as_stack(before.with_slice(slice_index, None)), expected)


@given(stacks)
@settings(max_examples=50, deadline=None)
def test_values_are_read_where_the_mask_is(stack):
    values = np.arange(stack.size).reshape(SHAPE)

    assert np.array_equal(Mask.from_stack(stack).read(values), values[stack])


def test_the_image_a_plane_is_cropped_from_can_change_later():
    image = np.ones((3, 3), dtype=bool)
    plane = Plane.crop(image)
    image[...] = False

    assert plane.pixels.all()


def test_an_empty_image_has_no_plane():
    assert Plane.crop(np.zeros((3, 3), dtype=bool)) is None
    assert not Mask((3, 3))
    assert len(Mask((3, 3)).read(np.zeros((2, 3, 3)))) == 0
