"""Going through findings: their order, keys that decide and go on, groups, and what is left."""

from __future__ import annotations

import pytest
from engine_fixtures import FIRST, Block, scan_of
from PySide6 import QtCore, QtTest
from scans import place, volume_node
from test_panel_lesion_table import LARGE, status_of

from mois_core.session.lesion import Status

KEYS = QtCore.Qt.Key
BY_COLUMN, SUREST, LARGEST, DOWNWARDS = range(4)
SIMILAR = [
    Block((8 - n, 10 - n), (30 - 3 * n, 31 - 2 * n), (4 * n, 4 * n + 2)) for n in range(1, 6)
]
"""The later ones lie higher, and are larger."""
DOUBT = 0.4


@pytest.fixture
def a_review(a_panel):
    """A user who has clicked one lesion and found five others, some of them with doubt."""
    user = a_panel
    volume_node(user.scene, scan_of(FIRST, *SIMILAR), LARGE)
    user.start()
    user.window.activateWindow()
    QtTest.QTest.qWaitForWindowActive(user.window)
    user.press("newLesionButton")
    user.click_into(FIRST)
    doubt(user, {2: 0.5, 4: DOUBT})
    user.press("searchButton")
    user.wait()
    user.table.setFocus()
    assert [status for _, status, *_ in user.rows()[1:]] == ["? To check"] * len(SIMILAR)
    return user


def doubt(user, by_column: dict[int, float]) -> None:
    """Have the search be less sure of what lies in some columns of the scan, of four each."""
    search = user.workspace.session.search
    run = search.run

    def doubtful(*how):
        marked = run(*how)
        for column, factor in by_column.items():
            marked.confidence[:, :, 4 * column : 4 * column + 4] *= factor
        return marked

    search.run = doubtful


def order(user, index: int) -> list[int]:
    """Choose an order, and return the ids of the findings in it."""
    user.find("orderBox").setCurrentIndex(index)
    return [row.lesion_id for row in user.panel.table.rows if row.lesion_id != 1]


def press(user, key) -> list[int]:
    """Press a key, and return the ids of the lesions that are chosen then."""
    user.key(key)
    user.wait()
    return user.panel.table.chosen


def left(user) -> str:
    return user.find("findingLabel").text()


def test_findings_come_by_confidence_by_size_or_from_head_to_foot(a_review):
    user = a_review
    entries = {entry.lesion_id: entry for entry in user.workspace.entries()}

    for index, value in (
        (SUREST, lambda n: -entries[n].confidence),
        (LARGEST, lambda n: -entries[n].volume_cm3),
        (DOWNWARDS, lambda n: -entries[n].height_mm),
    ):
        found = order(user, index)
        assert found == sorted(found, key=lambda n: (value(n), n))
        assert len({round(value(n), 3) for n in found}) > 2
    heights = {n: user.workspace.work.middle_of(user.workspace.state.lesion(n))[2] for n in found}
    assert found == sorted(found, key=lambda n: -heights[n])
    assert order(user, BY_COLUMN) == sorted(found)


def test_a_title_takes_the_order_over(a_review):
    user = a_review
    order(user, LARGEST)

    user.table.horizontalHeader().sectionClicked.emit(2)

    assert user.find("orderBox").currentIndex() == BY_COLUMN
    percent = [int(row[2]) for row in user.rows() if row[2]]
    assert percent == sorted(percent)
    assert percent[0] == round(100 * DOUBT)


def test_decisions_go_on_in_the_order_of_the_rows_with_the_views(a_review):
    user = a_review
    found = order(user, SUREST)
    user.panel.table.choose(found[0])
    views = user.workspace.views

    for key, after in zip((KEYS.Key_A, KEYS.Key_D, KEYS.Key_J), found[1:], strict=False):
        assert press(user, key) == [after]
        assert views.current == after

    assert status_of(user, found[0]) is Status.ACCEPTED
    assert status_of(user, found[1]) is Status.REJECTED
    assert status_of(user, found[2]) is Status.FOUND
    assert press(user, KEYS.Key_K) == [found[2]]
    assert left(user) == "3 of 5 left"


def test_undo_goes_back_to_the_finding_that_is_undecided_again(a_review):
    user = a_review
    first = user.panel.table.chosen
    press(user, KEYS.Key_D)

    assert press(user, KEYS.Key_U) == first
    assert user.workspace.views.current == first[0]
    assert left(user) == "5 of 5 left"


def test_a_refined_finding_is_done_with_one_more_key(a_review):
    user = a_review
    (first,) = user.panel.table.chosen
    session = user.workspace.session
    labels = session.stack.from_volume(session.labels())
    block = next(b for b in SIMILAR if labels[b.middle] == first)

    user.key(KEYS.Key_E)
    assert user.find("placeButton").isChecked()
    place(user.workspace, block)
    user.wait()
    assert status_of(user, first) is Status.PROMPTED
    following = press(user, KEYS.Key_A)

    assert following != [first]
    assert left(user) == "4 of 5 left"
    assert not user.find("placeButton").isChecked()
    assert user.workspace.commands.active_lesion is None


def test_findings_that_the_search_is_sure_of_are_accepted_in_one_step(a_review):
    user = a_review
    sure = [e.lesion_id for e in user.workspace.entries() if (e.confidence or 0) > 0.8]
    assert 0 < len(sure) < 5

    user.press("acceptAllButton")
    assert user.find("acceptSureButton").text() == "Accept 5 of 5"
    user.find("confidenceBox").setValue(80)
    assert user.find("acceptSureButton").text() == f"Accept {len(sure)} of 5"
    assert all(status_of(user, n) is Status.FOUND for n in sure)
    user.press("acceptSureButton")
    user.wait()

    accepted = [n for n in range(2, 7) if status_of(user, n) is Status.ACCEPTED]
    assert accepted == sure
    assert left(user) == f"{5 - len(sure)} of 5 left"
    user.press("undoButton")
    user.wait()
    assert left(user) == "5 of 5 left"


def test_accepting_many_can_be_thought_better_of(a_review):
    user = a_review
    user.press("acceptAllButton")
    user.find("confidenceBox").setValue(100)
    user.find("confidenceBox").setFocus()
    before = user.workspace.state

    user.key(KEYS.Key_A)
    user.press("cancelAcceptButton")

    assert user.workspace.state is before
    assert user.find("acceptAllButton").isVisible()
    assert not user.find("acceptSureButton").isVisible()


def test_lesions_are_drawn_as_lines_or_hidden_by_key_until_the_next_is_looked_at(a_review):
    user = a_review
    display = user.workspace.segments_node.GetDisplayNode()

    user.key(KEYS.Key_L)
    assert not display.GetVisibility2DFill()
    assert display.GetVisibility2DOutline()
    user.key(KEYS.Key_L)
    assert display.GetVisibility2DFill()

    user.key(KEYS.Key_H)
    assert not display.GetVisibility()
    user.panel.message_line.clear()
    assert "hidden" in user.hint
    user.key(KEYS.Key_H)
    assert display.GetVisibility()
    user.key(KEYS.Key_H)
    user.key(KEYS.Key_J)
    assert display.GetVisibility()
    assert "hidden" not in user.hint


def test_the_end_of_a_review_is_summed_up_with_what_to_do_next(a_review):
    user = a_review
    press(user, KEYS.Key_D)
    for _ in range(4):
        press(user, KEYS.Key_A)

    volume = sum(e.volume_cm3 for e in user.workspace.entries() if e.status != "rejected")
    assert left(user) == "0 of 5 left"
    assert user.hint.startswith(f"4 accepted, 1 rejected, 0 left; {volume:.2f} cm\u00b3 in all.")
    assert user.hint.endswith("Search again (rejections teach) or report.")


def test_new_keys_are_letters_in_a_text_and_dead_when_the_panel_is_left(a_review):
    user = a_review
    display = user.workspace.segments_node.GetDisplayNode()
    user.find("filterBox").setFocus()
    for key in (KEYS.Key_L, KEYS.Key_E, KEYS.Key_H):
        user.key(key)
    assert user.find("filterBox").text() == "leh"
    user.find("filterBox").clear()
    user.table.setFocus()
    user.widget.exit()
    for key in (KEYS.Key_L, KEYS.Key_E, KEYS.Key_H):
        user.key(key)

    assert display.GetVisibility()
    assert display.GetVisibility2DFill()
    assert not user.find("placeButton").isChecked()
