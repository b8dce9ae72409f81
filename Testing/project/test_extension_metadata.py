"""What the three files say about the extension agrees, and Slicer's Extensions Index takes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from paths import LOGIC, MODULE, ROOT
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
    "dicom_support_rule",
    "enabled",
    "tier",
}
"""From the schema that MOISSAM2.json names; it allows no others."""

LARGEST_EXTENSION = 100 * 2**20
LARGEST_CLONE = 90 * 2**20
"""The Index refuses a clone, with its history, of more than 100 MiB; this leaves time to react."""

IMAGES = {".png": "PNG", ".jpg": "JPEG"}
"""Endings by which a repository's server tells browsers that a file is a picture."""

PAPERS = ("2509.19277", "2505.01854", "2408.00714")
"""MOIS-SAM2, SLM-SAM 2 and SAM 2 on arXiv."""


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
    assert in_json["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert in_json["tier"] in (1, 3, 5)


def test_the_entry_has_the_line_ends_that_the_index_asks_for():
    assert b"\r" not in (ROOT / f"{NAME}.json").read_bytes()


def test_slicer_does_not_suggest_the_extension_for_dicom_files_that_it_reads_itself(in_json):
    """A rule would have Slicer propose the extension to everybody who imports such files."""
    assert "dicom_support_rule" not in in_json


def test_the_icon_is_where_its_address_says(in_cmake, in_json):
    icon = path_in_repository(in_cmake["ICONURL"], in_json["scm_url"])

    with Image.open(icon) as image:
        assert image.format == "PNG"
        assert image.size == ICON_SIZE


def test_the_screenshots_are_where_their_addresses_say(in_cmake, in_json):
    urls = in_cmake["SCREENSHOTURLS"].split()

    assert urls
    for url in urls:
        picture = path_in_repository(url, in_json["scm_url"])
        with Image.open(picture) as image:
            assert image.format == IMAGES[picture.suffix]


def test_the_home_page_tells_what_the_index_asks_for(cmake_lists):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    titles = re.findall(
        r'parent\.title = _\("(.+?)"\)',
        "".join(path.read_text(encoding="utf-8") for path in MODULE.rglob("*MOISSAM2*.py")),
    )

    assert readme.startswith(f"# {NAME}\n")
    assert len(titles) == 2
    for title in titles:
        assert re.search(rf"^- \*\*{title}\*\*.*: \w+", readme, re.MULTILINE), title
    for paper in PAPERS:
        assert f"https://arxiv.org/abs/{paper}" in readme
    assert "[Apache 2.0](LICENSE)" in readme
    assert "<img src=" in readme


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


def test_a_clone_is_small_enough_for_the_index(tmp_path):
    """With its history, which is counted too."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    is_shallow = git("rev-parse", "--is-shallow-repository")
    if is_shallow.returncode:
        pytest.skip("needs the git history; this is a copy of the files")
    if is_shallow.stdout.strip() == "true":
        pytest.skip("needs the whole git history; this clone is shallow")
    # Over the transport of real clones, which packs what is reachable and leaves out the rest.
    git("clone", "--quiet", "--no-local", str(ROOT), str(tmp_path / "clone"), check=True)

    sizes = [path.stat().st_size for path in (tmp_path / "clone").rglob("*") if path.is_file()]
    assert 0 < sum(sizes) < LARGEST_CLONE


def git(*arguments: str, check: bool = False) -> subprocess.CompletedProcess:
    # Hooks of git tell the commands that they run which repository is meant.
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=check,
    )


IMPORT_AS_AT_START_UP = """
import sys, types

class Anything(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {}) if name[:1].isupper() else Anything(name)

    def __call__(self, text, *_):
        return text

for name in ("slicer", "slicer.i18n", "slicer.util", "slicer.ScriptedLoadableModule", "qt", "vtk",
             "SegmentEditorEffects"):
    sys.modules[name] = Anything(name)
before = set(sys.modules)
import MOISSAM2Segment, SegmentEditorMOISSAM2
from SegmentEditorMOISSAM2Lib import SegmentEditorEffect
new = set(sys.modules) - before
print(*sorted(new))
"""


def test_slicer_imports_next_to_nothing_at_its_start():
    """Files of the two modules and the effect are read at every start of Slicer."""
    folders = [MODULE, MODULE / "SegmentEditorMOISSAM2", LOGIC, ROOT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    result = subprocess.run(
        [sys.executable, "-S", "-c", IMPORT_AS_AT_START_UP],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr

    imported = set(result.stdout.split())
    ours = {name for name in imported if "MOISSAM2" in name or name.startswith("mois")}
    assert ours == {
        "MOISSAM2Segment",
        "SegmentEditorMOISSAM2",
        "SegmentEditorMOISSAM2Lib",
        "SegmentEditorMOISSAM2Lib.SegmentEditorEffect",
    }
    roots = {name.split(".")[0] for name in imported - ours}
    assert roots <= set(sys.stdlib_module_names)
