"""Labels of clicks: one rule for files and the scene, and nothing heavy to import for it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import ROOT

from mois_core.io.click_labels import ClickLabel, read_click_label, write_click_label


@given(st.integers(1, 65535), st.booleans())
def test_a_written_label_is_read_unchanged(lesion_id, positive):
    assert read_click_label(write_click_label(lesion_id, positive)) == (lesion_id, positive)


def test_positive_clicks_have_a_plus_and_negative_ones_a_minus():
    assert (write_click_label(7, True), write_click_label(7, False)) == ("7+", "7-")


@pytest.mark.parametrize("label", ["12-", " 012 - ", "12 -", "0012-", "\t12-\n"])
def test_spaces_and_leading_zeros_change_nothing(label):
    assert read_click_label(label) == ClickLabel(12, False)


MINUS_SIGNS = "-\N{MINUS SIGN}\N{EN DASH}\N{FULLWIDTH HYPHEN-MINUS}\N{SMALL HYPHEN-MINUS}"
PLUS_SIGNS = "+\N{FULLWIDTH PLUS SIGN}\N{SMALL PLUS SIGN}"


@pytest.mark.parametrize("sign", MINUS_SIGNS + PLUS_SIGNS)
@pytest.mark.parametrize("blank", ["", " ", "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}"])
@pytest.mark.parametrize("digits", ["12", "\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT TWO}"])
def test_what_looks_like_a_label_is_one(sign, blank, digits):
    for unseen in ("", "\N{ZERO WIDTH SPACE}", "\N{ZERO WIDTH NO-BREAK SPACE}"):
        label = f"{unseen}{blank}{digits}{blank}{sign}{blank}{unseen}"
        assert read_click_label(label) == ClickLabel(12, sign in PLUS_SIGNS)


@pytest.mark.parametrize(
    "label", ["1\N{SUPERSCRIPT TWO}+", "\N{ROMAN NUMERAL TWO}+", "7\N{PLUS-MINUS SIGN}"]
)
def test_what_only_resembles_a_label_says_nothing(label):
    assert read_click_label(label) is None


@pytest.mark.parametrize("label", ["", "F-1", "7", "+", "0+", "-7", "7++", "7+-", "Läsion 2+"])
def test_any_other_label_says_nothing(label):
    assert read_click_label(label) is None


def test_reading_labels_imports_no_library():
    program = (
        "import sys; import mois_core.io.click_labels; "
        "print(*{'numpy', 'torch', 'SimpleITK', 'scipy'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    assert ran.stdout.split() == []
