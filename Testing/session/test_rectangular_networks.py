"""A network whose input is no square: clicks, boxes and masks lie where they lie in the scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_fixtures import Block, scan_of, volume_of
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import SAM, TALL, TALL_SLM, WIDE, WIDE_MOIS, lively
from stub_network import CUT, STUB, StubNetwork
from stub_sessions import ras, stack_of

from mois_core.errors import BadInput
from mois_core.session import Session
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

SLICES = (1, 3)
SIZES = {"tall": TALL, "wide": WIDE}

parts = st.floats(0, 1, exclude_max=True)
sizes = st.sampled_from(list(SIZES.values()))
FIRST_ROW = 5
"""A dark and a bright row at the top of every scan tell what its brightness is; propagation must
not reach them from a lesion."""


def session_on(block, size, shape, reference=False):
    """A session of the stub network with an input of any size, on a scan of any shape."""
    scan = scan_of(block, slices=4, rows=shape[0], columns=shape[1])
    network = StubNetwork(replace(STUB, image_size=size))
    return Session(network, volume_of(scan), Settings(smallest_cm3=0), reference)


def mask_size(size):
    """Rows and columns of the stub network's masks."""
    return size[0] // 4, size[1] // 4


def extent(start, length, first, last, least):
    """Draw the first and the last place of a block that lies within an axis."""
    count = least + int(length * (last - first - least))
    begin = first + int(start * (last - first - count + 1))
    return begin, begin + count


def block_in(shape, where, least):
    rows = extent(where[0], where[1], FIRST_ROW, shape[0], least[0])
    return Block(SLICES, rows, extent(where[2], where[3], 0, shape[1], least[1]))


def voxels(block, shape):
    stack = np.zeros((4, *shape), dtype=bool)
    stack[block.where] = True
    return stack


# ---- scans of the size of the network's masks: voxel for voxel ---------------------------------


@given(sizes, st.tuples(parts, parts, parts, parts), parts, parts, st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_click_anywhere_in_a_lesion_outlines_it(size, where, down, across, reference):
    shape = mask_size(size)
    block = block_in(shape, where, (3, 3))
    session = session_on(block, size, shape, reference)
    row = block.rows[0] + int(down * (block.rows[1] - block.rows[0]))
    column = block.columns[0] + int(across * (block.columns[1] - block.columns[0]))

    lesion_id = session.click(ras(session, 1, row, column))

    assert np.array_equal(stack_of(session, lesion_id), voxels(block, shape))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("place", [(0.2, 0.2), (0.2, 0.8), (0.8, 0.2), (0.8, 0.8)])
def test_a_negative_click_takes_away_what_is_around_it_and_nothing_else(size, place):
    shape = mask_size(size)
    block = Block(SLICES, (FIRST_ROW, shape[0]), (0, shape[1]))
    session = session_on(block, size, shape)
    lesion_id = session.click(ras(session, 1, shape[0] // 2, shape[1] // 2))
    row, column = (int(part * side) for part, side in zip(place, shape, strict=True))

    session.click(ras(session, 1, row, column), positive=False, lesion=lesion_id)

    mask = stack_of(session, lesion_id)[1]
    rows, columns = np.nonzero(~mask[FIRST_ROW:])
    assert (abs(rows + FIRST_ROW - row) <= CUT).all() and (abs(columns - column) <= CUT).all()
    assert not mask[row, column]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_box_takes_what_is_inside_it(size):
    rows, columns = mask_size(size)
    session = session_on(Block(SLICES, (FIRST_ROW, rows), (0, columns)), size, (rows, columns))
    inside = Block((1, 2), (FIRST_ROW + 1, rows - 4), (2, columns - 5))

    last = ras(session, 1, inside.rows[1] - 1, inside.columns[1] - 1)
    lesion_id = session.box(ras(session, 1, inside.rows[0], inside.columns[0]), last)

    boxed = stack_of(session, lesion_id)[1]
    assert np.array_equal(boxed, voxels(inside, (rows, columns))[1])


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_lesions_alike_are_found_where_they_are(size):
    rows, columns = mask_size(size)
    known = Block(SLICES, (FIRST_ROW, FIRST_ROW + 4), (1, 6))
    session = session_on(known, size, (rows, columns))
    scan = session.stack.array.copy()
    other = Block((2, 4), (rows - 5, rows - 1), (columns - 6, columns - 1))
    scan[other.where] = scan[known.where].max()
    session = Session(session.model, volume_of(scan), Settings(smallest_cm3=0))
    session.click(ras(session, 1, FIRST_ROW + 1, 4))

    (found,) = session.find_similar()

    assert np.array_equal(stack_of(session, found), voxels(other, (rows, columns)))


# ---- scans of other shapes ---------------------------------------------------------------------


@given(
    sizes,
    st.tuples(st.integers(24, 90), st.integers(24, 90)),
    st.tuples(parts, parts, parts, parts),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_click_lies_in_its_lesion_whatever_the_shape_of_the_scan(size, shape, where, reference):
    # In pixels of the mask, how far a border may be off: it is blurred to a pixel at each side.
    pitch = np.array(shape) / mask_size(size)
    least = np.ceil(6 * pitch).astype(int)
    block = block_in(shape, where, np.minimum(least, (shape[0] - FIRST_ROW, shape[1])))
    session = session_on(block, size, shape, reference)
    _, row, column = block.middle

    lesion_id = session.click(ras(session, 1, row, column))

    mask = stack_of(session, lesion_id)[1]
    assert mask[row, column]
    for axis, (first, last) in enumerate((block.rows, block.columns)):
        shown = np.flatnonzero(mask.any(axis=1 - axis))
        slack = 2 * pitch[axis] + 1
        assert first - slack <= shown[0] <= first + slack
        assert last - 1 - slack <= shown[-1] <= last - 1 + slack


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("shape", [(70, 24), (24, 70), (40, 40)])
def test_a_drawn_mask_stays_where_it_was_drawn(size, shape):
    rows, columns = (
        (int(first * side), int(last * side))
        for side, first, last in zip(shape, (0.3, 0.2), (0.8, 0.7), strict=True)
    )
    block = Block((1, 2), rows, columns)
    session = session_on(block, size, shape)
    drawn = voxels(block, shape)

    lesion_id = session.set_mask(None, session.stack.to_volume(drawn))

    assert np.array_equal(stack_of(session, lesion_id)[1], drawn[1])
    logits = session.lesion(lesion_id).prompted[1].logits
    assert logits.shape == (1, *mask_size(size))
    shown = session.decoder.to_images(logits[None])[0]
    both = np.count_nonzero(shown & drawn[1])
    assert 2 * both / (np.count_nonzero(shown) + np.count_nonzero(drawn[1])) > 0.8


# ---- real networks -----------------------------------------------------------------------------

REAL = {"MOIS-SAM2": WIDE_MOIS, "SLM-SAM 2": TALL_SLM, "SAM 2.1": replace(SAM, image_size=TALL)}


@pytest.mark.parametrize("name", REAL)
def test_real_networks_click_propagate_and_search(name):
    config = REAL[name]
    scan = scan_of(Block(SLICES, (6, 20), (5, 18)), slices=4, rows=48, columns=30)
    network = lively(config, score_bias=10.0)
    session = Session(network, volume_of(scan), Settings(smallest_cm3=0))

    lesion_id = session.click(ras(session, 1, 12, 10))

    lesion = session.lesion(lesion_id)
    assert lesion.prompted[1].logits.shape == (1, *config.low_res_size)
    assert {m.memory.shape for m in (*lesion.prompted.values(), *lesion.propagated.values())} == {
        (config.memory_width, *config.map_size)
    }
    assert lesion.propagated
    if config.exemplars:
        session.find_similar()
        assert session.semantic.shape == session.stack.array.shape
    else:
        with pytest.raises(BadInput):
            session.find_similar()
