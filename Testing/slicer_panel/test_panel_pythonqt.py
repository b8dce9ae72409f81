"""Tests of the stand-in for PythonQt, which has no names but those that Slicer was seen to have."""

from __future__ import annotations

import contextlib
import json
import xml.etree.ElementTree as Tree

import pytest
from paths import DATA, MODULE

UI = MODULE / "Resources" / "UI" / "MOISSAM2Segment.ui"
API = DATA / "qt-api.json"


@pytest.fixture
def qt(a_slicer):
    import qt

    return qt


@pytest.fixture
def refused():
    """The names that were refused, in a test that expects it."""
    import pythonqt

    yield pythonqt.violations
    pythonqt.violations.clear()


def test_properties_are_no_calls_and_methods_are(qt):
    button = qt.QPushButton("press")

    assert button.text == "press"
    assert button.enabled is True
    assert button.isEnabled() is True
    button.text = "again"
    assert button.real.text() == "again"
    with pytest.raises(TypeError):
        button.text()


def test_a_signal_gives_as_much_as_its_signature_says(qt):
    button, calls = qt.QPushButton("press"), []
    button.checkable = True
    button.connect("clicked()", lambda *given: calls.append(given))
    button.connect("clicked(bool)", lambda *given: calls.append(given))

    button.click()

    assert calls == [(), (True,)]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda qt: qt.QPushButton("a").setEnabledAndVisible(True),
        lambda qt: setattr(qt.QPushButton("a"), "caption", "b"),
        lambda qt: setattr(qt.QLabel("a"), "text", 7),
        lambda qt: setattr(qt.QWidget(), "width", 7),
        lambda qt: setattr(qt.QTimer(), "isActive", True),
        lambda qt: qt.QPushButton("a").connect("pressedTwice()", print),
        lambda qt: qt.QPushButton("a").connect("clicked", print),
        lambda qt: qt.QTableWidget().connect("cellChanged(int)", print),
        lambda qt: qt.QTextEdit(),
        lambda qt: qt.QColor.fromNobody(),
        lambda qt: qt.QTableWidgetItem("a").data(0),
    ],
)
def test_what_slicer_does_not_have_is_refused_and_noted(qt, refused, wrong):
    with pytest.raises(AttributeError):
        wrong(qt)


def test_a_refusal_that_is_swallowed_is_noted_nevertheless(qt, refused):
    label = qt.QLabel("a")
    with contextlib.suppress(AttributeError):
        label.caption = "b"

    assert refused == ["QLabel has no attribute named 'caption' that can be set"]


def test_the_ui_file_asks_only_for_what_its_classes_have():
    from pythonqt import offered

    tree = Tree.parse(UI)
    wrong = []
    for widget in tree.iter("widget"):
        names = offered(widget.get("class"))[0]
        wrong += [
            (widget.get("name"), entry.get("name"))
            for entry in widget.findall("property")
            if entry.get("name") not in names and entry.get("stdset") != "0"
        ]
    assert wrong == []


def test_no_widget_of_the_ui_file_is_without_a_tool_tip_or_a_text():
    silent = []
    for widget in Tree.parse(UI).iter("widget"):
        names = {entry.get("name") for entry in widget.findall("property")}
        is_operated = widget.get("class") in {
            "QPushButton", "QCheckBox", "QRadioButton", "QComboBox", "QSpinBox", "QDoubleSpinBox",
            "qMRMLNodeComboBox", "ctkSearchBox", "QTableWidget",
        }  # fmt: skip
        if is_operated and "toolTip" not in names:
            silent.append(widget.get("name"))
    assert silent == []


def test_labels_of_the_advanced_section_lead_to_their_boxes():
    tree = Tree.parse(UI)
    names = {widget.get("name") for widget in tree.iter("widget")}
    buddies = [
        entry.find("cstring").text
        for entry in tree.iter("property")
        if entry.get("name") == "buddy"
    ]

    assert len(buddies) > 8
    assert set(buddies) <= names


def test_classes_that_were_not_observed_are_listed_separately():
    content = json.loads(API.read_text(encoding="utf-8"))

    assert "Slicer 5.12.3" in content["about"]
    assert not set(content["classes"]) & set(content["not observed"]["classes"])
    assert "QTableWidgetItem" in content["not observed"]["classes"]


def test_no_two_widgets_of_a_form_have_one_place():
    for layout in Tree.parse(UI).iter("layout"):
        places = [(item.get("row"), item.get("column")) for item in layout.findall("item")]
        taken = [place for place in places if place[0] is not None]
        assert len(taken) == len(set(taken)), layout.get("name")
