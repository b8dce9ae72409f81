"""The project keeps to its own rules, and its files agree with each other."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from paths import ROOT

CODE = [
    path
    for folder in ("mois_core", "MOISSAM2Segment", "Testing", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
ENGINE = [path for path in CODE if "mois_core" in path.relative_to(ROOT).parts]
LONGEST_FILE = 600
"""A smoke alarm. The rule is one responsibility a file, and its length is only a hint of that."""

FIRST_ARGUMENTS = {"self", "cls"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def locked_versions() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normalised(name): version for name, version in pairs}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_no_file_is_so_long_that_it_must_have_two_responsibilities(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_public_functions_have_type_hints(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    without = [
        f"{function.name} (line {function.lineno})"
        for scope in scopes
        for function in scope.body
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and not function.name.startswith("_")
        and not has_type_hints(function)
    ]
    assert not without


def has_type_hints(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return function.returns is not None and all(
        argument.annotation is not None or argument.arg in FIRST_ARGUMENTS
        for argument in arguments
        if argument is not None
    )


def test_locked_versions_are_plain():
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line


def test_everything_the_project_asks_for_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = {normalised(re.split(r"[<>=~!\[; ]", line)[0]) for group in groups for line in group}

    assert asked | {"sam2", "setuptools", "wheel"} <= locked_versions().keys()


def test_hooks_use_the_locked_ruff():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")

    assert set(re.findall(r"ruff==([\w.]+)", hooks)) == {locked_versions()["ruff"]}


def test_instructions_without_make_name_the_locked_torch():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    assert set(re.findall(r"torch==([\w.]+)", text)) == {locked_versions()["torch"]}
