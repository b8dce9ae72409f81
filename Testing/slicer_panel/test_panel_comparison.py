"""Comparing with an earlier scan in the panel: choice, lesions by key, proposals, files."""

from __future__ import annotations

import csv
import json

import pytest
import slicer
from compared_scans import register_once
from comparing_user import ComparingUser
from MOISSAM2SegmentLib.scene.scan_layout import COMPARISON, COMPARISON_AND_TABLE, SCAN
from PySide6 import QtCore

KEYS = QtCore.Qt.Key


@pytest.fixture
def registrations(monkeypatch):
    return register_once(monkeypatch)


@pytest.fixture
def a_reader(a_slicer, a_panel, registrations):
    """A reader at work on the second visit's scan, with the first one in the scene."""
    return ComparingUser(a_panel, a_slicer.views.window)


@pytest.fixture
def a_comparison(a_reader):
    a_reader.compare()
    return a_reader


def test_the_section_is_folded_until_it_is_wanted_and_folds_away_again(a_reader):
    user = a_reader.user
    user.press("changeButton")
    assert not user.find("compareButton").isVisible()
    a_reader.open_section()
    assert user.find("compareButton").isVisible()
    assert not user.find("uncheckedButton").isVisible()
    assert not user.find("modelBox").isVisible()
    user.press("changeButton")
    user.press("changeButton")
    assert not user.find("compareButton").isVisible()
    assert user.find("modelBox").isVisible()


def test_an_earlier_scan_brings_its_lesions_along(a_reader):
    a_reader.open_section()
    a_reader.user.find("earlierScanBox").setCurrentNode(a_reader.earlier)
    assert a_reader.user.find("earlierLesionsBox").currentNode() is a_reader.segments


def test_the_choice_is_saved_with_the_scene(a_reader):
    a_reader.choose()
    parameters = a_reader.user.widget.parameters
    assert parameters.earlierScan is a_reader.earlier
    assert parameters.earlierLesions is a_reader.segments


def test_what_is_missing_is_asked_for(a_reader):
    a_reader.open_section()
    a_reader.user.press("compareButton")
    assert "Choose an earlier scan" in a_reader.user.message


def test_the_comparison_has_a_page_with_a_row_for_each_lesion(a_comparison):
    user, rows = a_comparison.user, a_comparison.rows()
    result = user.workspace.comparison.result
    assert user.find("compareFrame").isVisible()
    assert not user.find("workFrame").isVisible() and not user.find("setupFrame").isVisible()
    assert len(rows) == len(result.changes)
    by_name = {row.name: row.change for row in user.panel.compare.table.rows}
    state = user.workspace.state
    assert {f"Lesion {n}" for n in state.lesions} <= by_name.keys()
    assert sum(name.startswith("Tumour") for name in by_name) == len(result.missing)
    for name, change, then, now, percent in rows:
        row = by_name[name]
        assert change.split()[1] == row.change
        assert then == ("–" if row.then_cm3 is None else f"{row.then_cm3:.2f}")
        assert now == ("–" if row.now_cm3 is None else f"{row.now_cm3:.2f}")
        if row.percent is not None:
            assert percent == f"{row.percent:+.0f}".replace("-", "\u2212")
    assert "cm³" in user.message and "gone" in user.message
    assert a_comparison.window.arrangement == COMPARISON


def test_keys_go_through_the_lesions_on_both_scans(a_comparison):
    user, comparison = a_comparison.user, a_comparison.user.workspace.comparison
    count = len(a_comparison.rows())
    numbers = [comparison.current]
    assert user.find("comparedLabel").text() == f"1 of {count}"
    for n in range(1, count + 1):
        a_comparison.key(KEYS.Key_J)
        numbers.append(comparison.current)
        assert user.find("comparedLabel").text() == f"{n % count + 1} of {count}"
    assert numbers[0] == numbers[-1]
    assert sorted(numbers[1:]) == sorted(row.lesion for row in comparison.result.changes)
    a_comparison.key(KEYS.Key_K)
    assert comparison.current == numbers[-2]
    row = user.panel.compare.table.rows[-1]
    told = user.find("comparisonLabel").text()
    assert told.startswith(f"{row.name}: {row.change.change}") and "cm³" in told


def test_buttons_and_rows_go_there_too(a_comparison):
    user, comparison = a_comparison.user, a_comparison.user.workspace.comparison
    user.press("nextLesionButton")
    second = comparison.current
    user.press("previousLesionButton")
    assert comparison.current != second
    a_comparison.choose_row(1)
    assert comparison.current == second


def test_keys_of_the_review_do_nothing_that_is_not_seen(a_comparison):
    user = a_comparison.user
    before = dict(user.workspace.state.lesions)
    for key in (KEYS.Key_A, KEYS.Key_D, KEYS.Key_E, KEYS.Key_N, KEYS.Key_P, KEYS.Key_M):
        a_comparison.key(key)
    assert dict(user.workspace.state.lesions) == before
    assert not user.find("placeButton").isChecked()


def test_lesions_are_edited_and_compared_again(a_comparison, registrations):
    user = a_comparison.user
    assert not user.can("compareAgainButton")
    user.press("editLesionsButton")
    assert user.find("workFrame").isVisible()
    assert a_comparison.window.arrangement == COMPARISON, "both scans stay side by side"
    user.workspace.commands.delete(next(iter(user.workspace.state.lesions)))
    user.wait()
    assert user.find("changeButton").text() == "Comparison"
    user.press("changeButton")
    assert user.find("compareFrame").isVisible()
    assert "changed since" in user.hint
    gone = len(user.workspace.comparison.result.missing)

    user.press("compareAgainButton")
    user.wait()

    assert len(user.workspace.comparison.result.missing) == gone + 1
    assert not user.can("compareAgainButton")
    assert len(registrations) == 1


def test_how_well_outlines_agree_tells_how_sure_changes_are(
    a_comparison, registrations, dialogs, tmp_path
):
    from mois_core.followup.outline_uncertainty import READERS_DICE

    user, comparison = a_comparison.user, a_comparison.user.workspace.comparison
    box = user.find("agreementBox")
    assert box.value() == comparison.result.dice == READERS_DICE
    wide = {row.lesion: row.percent_high for row in comparison.result.changes}
    user.press("changeButton")
    box.setValue(0.9)
    user.turn()
    assert user.widget.parameters.agreement == 0.9
    user.press("changeButton")
    user.press("compareAgainButton")
    user.wait()

    assert not user.can("compareAgainButton")
    narrow = {row.lesion: row.percent_high for row in comparison.result.changes}
    told = [n for n, percent in wide.items() if percent is not None]
    assert told and all(narrow[n] < wide[n] for n in told)
    assert len(registrations) == 1
    assert "Dice of 0.9" in comparison.table().GetDescription()
    dialogs.path = str(tmp_path / "change.json")
    user.save("table")
    user.wait()
    assert json.loads((tmp_path / "change.json").read_text("utf-8"))["outlines"]["dice"] == 0.9


def test_missing_lesions_are_proposed_for_a_yes_or_no(a_comparison):
    user = a_comparison.user
    user.press("proposeButton")
    user.wait()

    assert user.find("workFrame").isVisible()
    assert "proposed" in user.message
    statuses = [status for _, status, *_ in user.rows()]
    assert "? To check" in statuses
    chosen = user.panel.table.chosen
    assert user.workspace.state.lesions[chosen[0]].status.value == "found"
    assert a_comparison.window.arrangement == COMPARISON
    while user.can("nextButton"):
        user.press("acceptButton")
        user.wait()
    user.press("changeButton")
    user.press("compareAgainButton")
    user.wait()
    assert user.workspace.comparison.is_current


def test_the_end_brings_the_readers_views_back(a_comparison):
    user = a_comparison.user
    user.press("endComparisonButton")
    assert a_comparison.window.arrangement == SCAN
    assert user.find("workFrame").isVisible()
    assert user.find("changeButton").text() == "Change..."
    assert user.workspace.comparison.result is None
    assert a_comparison.segments.GetDisplayNode().GetVisibility()


def test_leaving_the_page_for_the_choices_and_back(a_comparison):
    user = a_comparison.user
    user.press("changeButton")
    assert user.find("setupFrame").isVisible()
    user.press("changeButton")
    assert user.find("compareFrame").isVisible()


# ---- results -----------------------------------------------------------------------------------


def test_the_table_is_shown_below_both_scans_and_goes_again(a_comparison):
    user = a_comparison.user
    user.press("reportButton")
    assert a_comparison.window.arrangement == COMPARISON_AND_TABLE
    (table,) = slicer.util.getNodesByClass("vtkMRMLTableNode")
    assert table.GetNumberOfRows() == len(a_comparison.rows())
    user.press("reportButton")
    assert a_comparison.window.arrangement == COMPARISON
    user.press("reportButton")
    user.press("endComparisonButton")
    assert a_comparison.window.arrangement == SCAN
    assert user.find("reportButton").text() == "Show table"


@pytest.mark.parametrize("ending", ["csv", "json", "png"])
def test_the_comparison_is_saved(a_comparison, dialogs, tmp_path, ending):
    path = tmp_path / f"change.{ending}"
    dialogs.path = str(path)
    a_comparison.user.save("table")
    a_comparison.user.wait()
    assert "saved" in a_comparison.user.message
    assert path.stat().st_size > 500
    if ending == "csv":
        with open(path, encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == len(a_comparison.rows())


@pytest.mark.parametrize("agrees", [True, False])
def test_a_picture_asks_for_the_package_that_draws_it(
    a_comparison, dialogs, tmp_path, monkeypatch, agrees
):
    from MOISSAM2SegmentLib.setup import install

    there: list[str] = []
    monkeypatch.setattr(install, "_is_there", lambda requirement: bool(there))
    monkeypatch.setattr(
        install, "_install_rest", lambda missing, report: there.extend(r.package for r in missing)
    )
    dialogs.path, dialogs.yes = str(tmp_path / "change.png"), agrees
    a_comparison.user.save("table")
    a_comparison.user.wait()
    assert "matplotlib" in dialogs.asked[-1]
    assert (tmp_path / "change.png").exists() is agrees
    assert there == (["matplotlib"] if agrees else [])
    said = "The comparison was saved" if agrees else "no picture was saved"
    assert said in a_comparison.user.message


# ---- what goes wrong ---------------------------------------------------------------------------


def test_scans_that_do_not_fit_are_refused_with_a_way_on(a_reader, monkeypatch):
    from mois_core.followup.registration_quality import RegistrationQuality

    monkeypatch.setattr(RegistrationQuality, "why_not", "they do not agree at all.")
    user = a_reader.user
    a_reader.choose()
    assert not user.find("uncheckedButton").isVisible()
    user.press("compareButton")
    user.wait()
    assert "do not agree at all" in user.message
    assert user.find("setupFrame").isVisible()
    user.press("uncheckedButton")
    user.wait()
    assert user.find("compareFrame").isVisible()
    assert not user.find("uncheckedButton").isVisible()


def test_the_same_scan_twice_is_said(a_reader):
    user = a_reader.user
    a_reader.choose()
    user.find("earlierScanBox").setCurrentNode(a_reader.scan)
    user.press("compareButton")
    assert "scan that you work on" in user.message
    assert user.find("setupFrame").isVisible()


def test_a_registration_can_be_cancelled(a_slicer, a_panel, monkeypatch):
    from mois_core.followup import registration

    reader = ComparingUser(a_panel, a_slicer.views.window)
    user = reader.user

    def endless(earlier, later, progress, cancel):
        while True:
            progress(1, 3, "Registering: size")
            cancel.check()

    monkeypatch.setattr(registration, "register", endless)
    reader.choose()
    user.press("compareButton")
    while not user.find("cancelButton").isVisible() or not user.find("progressLabel").text():
        user.turn()
    assert "Registering" in user.find("progressLabel").text()
    user.press("cancelButton")
    user.wait()
    assert "Stopped" in user.message
    assert user.find("setupFrame").isVisible()
    assert user.workspace.comparison.result is None


def test_a_removed_earlier_scan_leads_back_to_the_lesions(a_comparison):
    user = a_comparison.user
    user.scene.RemoveNode(a_comparison.earlier)
    user.wait()
    assert user.find("workFrame").isVisible()
    assert "comparison ended" in user.message
    assert a_comparison.window.arrangement == SCAN


def test_the_end_of_the_work_and_a_closed_scene_end_the_comparison(a_comparison, errors):
    user = a_comparison.user
    user.scene.Clear(0)
    user.wait()
    assert user.find("setupFrame").isVisible()
    assert not user.find("compareFrame").isVisible()


def test_a_reload_gives_everything_back(a_comparison, errors):
    a_comparison.user.close()
    assert a_comparison.earlier.GetTransformNodeID() is None
    assert a_comparison.segments.GetDisplayNode().GetVisibility()
    assert a_comparison.window.arrangement not in (COMPARISON, SCAN)
