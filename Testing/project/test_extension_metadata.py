"""What the three files say about the extension agrees, and Slicer's Extensions Index takes it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from paths import ROOT
from PIL import Image

from tools.extension_package import lay_out

NAME = "MOISSAM2"
ICON_SIZE = (128, 128)
REQUIRED_KEYS = {"$schema", "category", "scm_url"}
KNOWN_KEYS = REQUIRED_KEYS | {
    "scm_revision",
    "scm_type",
    "build_dependencies",
    "build_subdirectory",
    "enabled",
    "tier",
}
"""From the schema that MOISSAM2.json names; it allows no others."""

LARGEST_EXTENSION = 100 * 2**20


@pytest.fixture
def cmake_lists() -> str:
    return (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


@pytest.fixture
def in_cmake(cmake_lists) -> dict[str, str]:
    """The EXTENSION_* values, read as the Extensions Index reads them: as text."""
    return dict(re.findall(r'set\(EXTENSION_(\w+)\s+"([^"]*)"\)', cmake_lists))


@pytest.fixture
def in_json() -> dict:
    return json.loads((ROOT / f"{NAME}.json").read_text(encoding="utf-8"))


@pytest.fixture
def in_s4ext() -> dict[str, str]:
    lines = (ROOT / f"{NAME}.s4ext").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ") for line in lines if line.strip() and not line.startswith("#"))
    return {keyword: value for keyword, _, value in pairs}


def path_in_repository(url: str, repository: str) -> Path:
    """Where a file shown at an address of our repository lies in this tree."""
    start = f"{repository}/raw/main/"
    assert url.startswith(start)
    return ROOT / url.removeprefix(start)


def test_the_project_has_the_extensions_name(cmake_lists):
    assert re.findall(r"project\s*\(\s*([^\s)]+)", cmake_lists) == [NAME]
    assert "slicer" not in NAME.lower()


def test_the_address_is_the_same_everywhere(in_cmake, in_json, in_s4ext):
    address = in_json["scm_url"]

    assert urlsplit(address).scheme == "https"
    assert urlsplit(address).path.split("/")[-1] == f"Slicer{NAME}"
    assert in_s4ext["scmurl"] == in_s4ext["homepage"] == in_cmake["HOMEPAGE"] == address


def test_category_and_dependencies_are_the_same_everywhere(in_cmake, in_json, in_s4ext):
    assert in_json["category"] == in_s4ext["category"] == in_cmake["CATEGORY"] == "Segmentation"
    dependencies = in_json["build_dependencies"]
    assert in_s4ext["depends"].split() == in_cmake["DEPENDS"].split() == dependencies == ["PyTorch"]


def test_the_older_form_repeats_what_cmake_says(in_cmake, in_s4ext):
    for keyword in ("homepage", "contributors", "category", "iconurl", "description"):
        assert in_s4ext[keyword] == in_cmake[keyword.upper()], keyword
    assert in_s4ext["screenshoturls"] == in_cmake["SCREENSHOTURLS"]


def test_the_older_form_repeats_what_the_entry_says(in_json, in_s4ext):
    assert in_s4ext["scm"] == "git"
    assert in_s4ext["scmrevision"] == in_json["scm_revision"]
    assert in_s4ext["build_subdirectory"] == in_json["build_subdirectory"]
    assert in_s4ext["enabled"] == "1"


def test_the_entry_keeps_to_its_schema(in_json):
    assert in_json.keys() >= REQUIRED_KEYS
    assert in_json.keys() <= KNOWN_KEYS
    assert in_json["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert in_json["tier"] in (1, 3, 5)


def test_the_icon_is_where_its_address_says(in_cmake, in_json):
    icon = path_in_repository(in_cmake["ICONURL"], in_json["scm_url"])

    with Image.open(icon) as image:
        assert image.format == "PNG"
        assert image.size == ICON_SIZE


def test_the_screenshots_are_where_their_addresses_say(in_cmake, in_json):
    for url in in_cmake["SCREENSHOTURLS"].split():
        assert path_in_repository(url, in_json["scm_url"]).is_file()


def test_the_description_fits_on_a_card_and_names_the_limits(in_cmake):
    assert len(in_cmake["DESCRIPTION"]) <= 200
    assert "research" in in_cmake["DESCRIPTION"]


def test_the_licence_is_where_the_index_looks_for_it():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_the_package_is_small_enough_for_the_index(tmp_path):
    installed = lay_out(tmp_path)

    sizes = [path.stat().st_size for path in installed.rglob("*") if path.is_file()]
    assert 0 < sum(sizes) < LARGEST_EXTENSION
