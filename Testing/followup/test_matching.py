"""Which lesion is which, on masks that are registered already."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mois_core.followup.matching import Matching, match

MM = (7.8, 2.0, 2.0)
SHAPE = (6, 40, 40)


def labels_of(*boxes: tuple[int, slice, slice, slice]) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype=np.uint16)
    for value, *box in boxes:
        labels[tuple(box)] = value
    return labels


def block(value: int, k: int, j: int, i: int, size: int = 5) -> tuple:
    return value, slice(k, k + 2), slice(j, j + size), slice(i, i + size)


@st.composite
def scenes(draw) -> np.ndarray:
    """Lesions in some cells of a grid, of any size that leaves neighbours apart."""
    labels = np.zeros(SHAPE, dtype=np.uint16)
    cells = draw(st.sets(st.tuples(st.integers(0, 1), *[st.integers(0, 3)] * 2), min_size=1))
    for value, (k, j, i) in enumerate(sorted(cells), start=1):
        size = draw(st.integers(1, 7))
        labels[tuple(block(value, 3 * k, 10 * j, 10 * i, size)[1:])] = value
    return labels


@given(scenes())
@settings(max_examples=25, deadline=None)
def test_where_nothing_changed_every_lesion_is_itself(labels):
    ids = range(1, int(labels.max()) + 1)
    assert match(labels, labels, MM) == Matching(pairs={n: n for n in ids})


@given(scenes(), scenes(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_how_lesions_are_numbered_changes_nothing(earlier, later, random):
    names = []
    for labels in (earlier, later):
        new = list(range(1, int(labels.max()) + 1))
        random.shuffle(new)
        names.append(np.array([0, *new], dtype=np.uint16))
    one, other = names

    before, after = match(earlier, later, MM), match(one[earlier], other[later], MM)

    assert after.pairs == {one[n]: other[m] for n, m in before.pairs.items()}
    assert after.merged == {one[n]: other[m] for n, m in before.merged.items()}
    assert after.split == {other[m]: one[n] for m, n in before.split.items()}
    assert set(after.gone) == {one[n] for n in before.gone}
    assert set(after.new) == {other[n] for n in before.new}


@given(scenes(), scenes())
@settings(max_examples=40, deadline=None)
def test_every_lesion_is_accounted_for_once(earlier, later):
    found = match(earlier, later, MM)
    before = [*found.pairs, *found.merged, *found.gone]
    after = [*found.pairs.values(), *found.split, *found.new]
    assert sorted(before) == list(range(1, int(earlier.max()) + 1))
    assert sorted(after) == list(range(1, int(later.max()) + 1))


def test_lesions_that_grew_and_moved_a_little_are_the_same():
    earlier = labels_of(block(1, 1, 4, 4), block(2, 3, 20, 20))
    later = labels_of(block(5, 3, 18, 19, 9), block(9, 1, 6, 5))
    assert match(earlier, later, MM).pairs == {1: 9, 2: 5}


def test_a_small_lesion_beside_itself_is_the_same_and_one_far_away_is_not():
    earlier = labels_of(block(1, 1, 4, 4, 2))
    assert match(earlier, labels_of(block(1, 1, 7, 4, 2)), MM).pairs == {1: 1}
    far = match(earlier, labels_of(block(1, 1, 30, 30, 2)), MM)
    assert (far.gone, far.new) == ((1,), (1,))


def test_lesions_that_one_later_lesion_covers_have_merged():
    earlier = labels_of(block(1, 1, 4, 4, 6), block(2, 1, 4, 13, 4))
    later = labels_of((1, slice(1, 3), slice(4, 10), slice(4, 17)))
    assert match(earlier, later, MM) == Matching(pairs={1: 1}, merged={2: 1})


def test_lesions_that_one_earlier_lesion_covers_were_split():
    later = labels_of(block(1, 1, 4, 4, 6), block(2, 1, 4, 13, 4))
    earlier = labels_of((7, slice(1, 3), slice(4, 10), slice(4, 17)))
    assert match(earlier, later, MM) == Matching(pairs={7: 1}, split={2: 7})


def test_a_part_that_grew_beside_the_lesion_was_split_off_all_the_same():
    earlier = labels_of((7, slice(1, 3), slice(4, 10), slice(4, 17)))
    later = labels_of(block(1, 1, 4, 4, 6), (2, slice(1, 3), slice(4, 10), slice(16, 21)))
    assert match(earlier, later, MM) == Matching(pairs={7: 1}, split={2: 7})
    assert match(later, earlier, MM) == Matching(pairs={1: 7}, merged={2: 7})


def test_the_largest_of_lesions_that_merged_stays_itself_and_so_does_the_largest_part():
    large = (1, slice(1, 3), slice(4, 16), slice(4, 10))
    parts = labels_of(large, block(2, 1, 20, 4, 4))
    whole = labels_of((5, slice(1, 3), slice(12, 24), slice(4, 10)))
    assert match(parts, whole, MM) == Matching(pairs={1: 5}, merged={2: 5})
    assert match(whole, parts, MM) == Matching(pairs={5: 1}, split={2: 5})
    assert match(parts, whole, MM, {2: 5}) == Matching(pairs={2: 5}, merged={1: 5})


def test_a_new_lesion_that_touches_another_is_new():
    earlier = labels_of(block(1, 1, 4, 4))
    later = labels_of(block(1, 1, 4, 4), block(2, 1, 4, 9))
    assert match(earlier, later, MM) == Matching(pairs={1: 1}, new=(2,))


def test_pairs_that_are_settled_stay():
    earlier = labels_of(block(1, 1, 4, 4), block(2, 1, 4, 20))
    later = labels_of(block(1, 1, 4, 4), block(2, 1, 4, 20))
    assert match(earlier, later, MM, {1: 2}).pairs[1] == 2


def test_without_lesions_there_are_no_pairs():
    nothing, one = labels_of(), labels_of(block(1, 1, 4, 4))
    assert match(nothing, nothing, MM) == Matching()
    assert match(nothing, one, MM).new == (1,)
    assert match(one, nothing, MM).gone == (1,)


def test_labels_on_different_voxels_are_refused():
    with pytest.raises(ValueError, match="do not lie on"):
        match(labels_of(), labels_of()[1:], MM)
