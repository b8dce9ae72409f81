"""Lesions that were outlined elsewhere: they stay as they are, and say what to search for."""

from __future__ import annotations

import numpy as np
import pytest
from engine_fixtures import FIRST, SCENE, SECOND, THIRD, Block, painted, scan_of, volume_of
from orientations import STORAGE_ORDERS, stored_as
from scipy import ndimage
from session_files import document_of, with_document
from stub_network import StubNetwork
from stub_sessions import click_on, digest, is_exactly, ras, stack_of, stub_session

from mois_core.errors import BadInput
from mois_core.geometry import Volume
from mois_core.results.dicom_equipment import algorithm_type
from mois_core.session import Session
from mois_core.session.lesion import Status
from mois_core.session.session_file import describe, restore, to_bytes

pytestmark = pytest.mark.usefixtures("one_thread")

INNER = Block((4, 7), (8, 11), (7, 10))
"""The middle of the first lesion: a search marks more in contact with it."""
SCAN_BEFORE_FORMAT_6 = "fe51c4f13da55494bedca807629804e6aee12161f8c9180a52c75acb0e8e6016"
"""What the program wrote for the scan of a stub's session."""


def labels_of(session, **blocks) -> np.ndarray:
    """Label values in the volume's order: lesion3=BLOCK."""
    stack = np.zeros(session.stack.array.shape, dtype=np.uint8)
    for name, block in blocks.items():
        stack[block.where] = int(name.removeprefix("lesion"))
    return session.stack.to_volume(stack)


@pytest.fixture
def given():
    """A session that begins with an outline that is too small, as lesion 3, and with lesion 9."""
    session = stub_session()
    labels = labels_of(session, lesion3=INNER, lesion9=SECOND)
    assert session.add_lesions(labels, {3: "Läsion"}) == [3, 9]
    return session


def test_each_value_is_the_lesion_of_that_number_in_one_step(given):
    assert is_exactly(given, 3, INNER) and is_exactly(given, 9, SECOND)
    assert [(le.name, le.status) for le in given.lesions] == [
        ("Läsion", Status.PROMPTED),
        ("", Status.PROMPTED),
    ]
    assert given.undo() == "add lesions"
    assert not given.lesions


@pytest.mark.parametrize(("order", "flips"), STORAGE_ORDERS[::5])
def test_the_order_in_which_a_scan_is_stored_does_not_matter(order, flips):
    session = Session(StubNetwork(), stored_as(volume_of(scan_of(*SCENE)), order, flips))
    labels = np.ascontiguousarray(labels_of(session, lesion3=INNER))
    session.add_lesions(labels)
    assert np.array_equal(session.labels(), labels)


def test_a_search_leaves_them_as_they_are_and_numbers_findings_after_them(given):
    found = given.find_similar()

    assert is_exactly(given, 3, INNER) and is_exactly(given, 9, SECOND)
    assert min(found) == 10
    assert any(is_exactly(given, n, THIRD) for n in found)
    labels = given.stack.from_volume(given.labels())
    assert np.array_equal(labels == 3, painted(INNER))


def test_what_a_small_outline_leaves_is_a_finding_that_merging_makes_part_of_it(given):
    (rest,) = [n for n in given.find_similar() if is_beside(given, n, INNER)]

    assert given.lesion(rest).status is Status.FOUND
    assert np.array_equal(stack_of(given, rest), painted(FIRST) & ~painted(INNER))
    assert given.merge(3, rest) == 3
    assert is_exactly(given, 3, FIRST)
    given.find_similar()
    assert is_exactly(given, 3, FIRST)
    assert not [n for n in given.state.lesions if n != 3 and is_beside(given, n, FIRST)]


def is_beside(session, lesion: int, block: Block) -> bool:
    wider = ndimage.binary_dilation(painted(block))
    return bool((stack_of(session, lesion) & wider & ~painted(block)).any())


def test_an_outline_of_most_of_a_finding_leaves_nothing_of_it(session):
    most = Block(FIRST.slices, FIRST.rows, (FIRST.columns[0], FIRST.columns[1] - 1))
    session.add_lesions(labels_of(session, lesion3=most))
    session.find_similar()
    assert is_exactly(session, 3, most)
    assert not [n for n in session.state.lesions if n != 3 and is_beside(session, n, most)]


def test_a_clicked_lesion_takes_nothing_from_them(given):
    click_on(given, FIRST, lesion=4)
    given.find_similar()
    labels = given.stack.from_volume(given.labels())
    assert np.array_equal(labels == 3, painted(INNER))
    assert np.array_equal(labels == 4, painted(FIRST) & ~painted(INNER))


def test_all_are_exemplars_from_the_same_moment_so_the_nearest_count():
    session = stub_session(exemplars=2)
    session.add_lesions(labels_of(session, lesion1=THIRD, lesion2=FIRST))
    assert {e.lesion for e in session.exemplars_for(10)} == {1}
    assert {e.lesion for e in session.exemplars_for(3)} == {2}
    assert all(e.view.is_prompted for e in session.exemplars_for(3))


def test_a_click_asks_for_another_outline_and_taking_it_back_for_the_old_one(given):
    click = given.state.next_click
    given.click(ras(given, *FIRST.middle), True, 3)
    own = stack_of(given, 3)
    middle = FIRST.middle[0]
    assert np.array_equal(own[middle], painted(FIRST)[middle])
    others = [n for n in range(*INNER.slices) if n != middle]
    assert np.array_equal(own[others], painted(INNER)[others])
    given.find_similar()
    assert is_exactly(given, 9, SECOND)

    given.delete_click(click)
    assert is_exactly(given, 3, INNER)
    given.find_similar()
    assert is_exactly(given, 3, INNER)


def test_parts_of_a_given_lesion_stay_as_given():
    session = stub_session()
    session.add_lesions(labels_of(session, lesion3=INNER) | labels_of(session, lesion3=SECOND))
    pieces = session.split(3)
    session.find_similar()
    assert [is_exactly(session, *pair) for pair in zip(pieces, (SECOND, INNER), strict=True)] == [
        True,
        True,
    ]
    assert session.merge(*pieces) == 3
    session.find_similar()
    assert np.array_equal(stack_of(session, 3), painted(INNER) | painted(SECOND))


def test_what_cannot_be_taken_over_is_refused(given):
    before = given.state
    for labels, words in (
        (labels_of(given, lesion4=THIRD) | labels_of(given, lesion9=INNER), "number 9 already"),
        (labels_of(given), "no outlined lesion"),
        (labels_of(given)[1:], "same grid"),
    ):
        with pytest.raises(BadInput, match=words):
            given.add_lesions(labels)
    assert given.state is before


# ---- saved ----------------------------------------------------------------------------------


def test_they_are_still_given_in_a_session_that_is_restored(given):
    restored = restore(to_bytes(given), given.model, given.volume, given.model_info)
    assert digest(restored.state) == digest(given.state)
    restored.find_similar()
    assert is_exactly(restored, 3, INNER)


def test_a_file_tells_about_itself_and_what_was_noted(given):
    saved = describe(to_bytes(given, {"thicken": True}))
    assert (saved.lesion_ids, saved.last_id) == ((3, 9), 9)
    assert (saved.settings, saved.made_with) == (given.settings, given.model_info)
    assert saved.notes == {"thicken": True} and not saved.reference
    saved.check_scan(given.volume)
    with pytest.raises(BadInput, match="another scan"):
        saved.check_scan(volume_of(scan_of()))
    with pytest.raises(BadInput, match="damaged"):
        describe(b"no session")


def test_what_a_lesion_was_known_by_stays_with_it(given):
    session = stub_session()
    labels = labels_of(session, lesion3=INNER, lesion9=SECOND, lesion4=THIRD)
    session.add_lesions(labels, uids={3: "2.25.3", 9: "2.25.9"})
    click_on(session, FIRST, lesion=3)
    session.set_mask(4, session.mask(4) | session.mask(9))
    session.split(4)

    def uids():
        return {lesion.id: lesion.uid for lesion in session.lesions if lesion.uid}

    assert uids() == {3: "2.25.3", 9: "2.25.9"}
    restored = restore(to_bytes(session), session.model, session.volume, session.model_info)
    assert {le.id: le.uid for le in restored.lesions if le.uid} == uids()
    # Both are the lesion of before, which has one UID only.
    session.merge(4, 9)
    assert uids() == {3: "2.25.3", 4: "2.25.9"}
    session.split(4)
    assert uids() == {3: "2.25.3", 4: "2.25.9"}
    session.delete_clicks([click.id for click in session.lesions[0].clicks])
    assert uids()[3] == "2.25.3"


def in_earlier_format(content: bytes, number: int) -> bytes:
    """Return the content of a file of a session on a stub's scan as format 2, 3, 4 or 5 had it."""
    document = document_of(content)
    document["format"] = number
    document["scan"] = SCAN_BEFORE_FORMAT_6
    for lesion in document["lesions"] if number < 5 else ():
        del lesion["uid"]
        if number == 4:
            continue
        lesion["absorbed"] = lesion["absorbed"]["planes"] if lesion["absorbed"] else []
        del lesion["confidence"]
        if number == 2:
            lesion["paintings"] = [painting[:2] for painting in lesion["paintings"]]
    if number == 2:
        del document["notes"]
    return with_document(content, document)


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_a_file_of_an_earlier_format_opens(given, number):
    given.set_mask(None, given.stack.to_volume(painted(THIRD)))
    given.delete(3, 9)
    content = in_earlier_format(to_bytes(given), number)
    restored = restore(content, given.model, given.volume, given.model_info)
    assert digest(restored.state) == digest(given.state)
    other = Volume(given.volume.array + 1, given.volume.ijk_to_ras)
    with pytest.raises(BadInput, match="another scan"):
        restore(content, given.model, other)


def test_what_a_search_added_to_a_lesion_is_in_a_file_of_an_earlier_format_too():
    session = stub_session(propagation_slices=0)
    lesion = click_on(session, FIRST)
    session.find_similar()
    content = in_earlier_format(to_bytes(session), 3)
    restored = restore(content, session.model, session.volume, session.model_info)
    assert session.lesion(lesion).absorbed
    assert digest(restored.lesion(lesion)) == digest(session.lesion(lesion))


def test_what_a_reader_drew_is_nobodys_algorithm_until_a_network_takes_part():
    session = stub_session(FIRST, SECOND)
    drawn = session.set_mask(None, session.stack.to_volume(painted(FIRST)))
    clicked = click_on(session, SECOND)
    assert algorithm_type(session.lesion(drawn)) == "MANUAL"
    assert algorithm_type(session.lesion(clicked)) == "SEMIAUTOMATIC"
    session.click(ras(session, *FIRST.middle), lesion=drawn)
    assert algorithm_type(session.lesion(drawn)) == "SEMIAUTOMATIC"
