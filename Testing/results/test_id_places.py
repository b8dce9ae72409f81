"""Numbers beside lesions can all be read: none lies on another, or reaches out of the picture."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mois_core.results.id_places import Rectangle, free_place

PICTURE = Rectangle(0, 0, 320, 1024)
SIZE, GAP = (16, 14), (4, 4)


def places(boxes):
    taken = []
    for box in boxes:
        place = free_place(box, SIZE, GAP, PICTURE, taken)
        if place is not None:
            taken.append(place)
    return taken


def test_numbers_of_lesions_that_touch_stand_apart():
    # Each is lower than its number: side by side, these would lie on one another.
    boxes = [(slice(400 + 5 * n, 405 + 5 * n), slice(100, 130)) for n in range(5)]
    found = places(boxes)
    assert len(found) == 5
    assert not any(one.meets(other) for one, other in pairwise(sorted(found, key=lambda r: r.top)))
    assert not any(a.meets(b) for n, a in enumerate(found) for b in found[n + 1 :])


@pytest.mark.parametrize(
    "box",
    [
        (slice(0, 3), slice(0, 3)),
        (slice(1020, 1024), slice(316, 320)),
        (slice(500, 510), slice(300, 320)),
        (slice(500, 510), slice(0, 300)),
    ],
)
def test_a_number_at_the_edge_stays_in_the_picture(box):
    (place,) = places([box])
    assert place.within(PICTURE)
    rows, columns = box
    lesion = Rectangle(columns.start, rows.start, columns.stop - 1, rows.stop - 1)
    assert not place.meets(lesion)


def test_without_room_there_is_no_number():
    everywhere = Rectangle(0, 0, 320, 1024)
    assert free_place((slice(5, 9), slice(5, 9)), SIZE, GAP, PICTURE, [everywhere]) is None
