"""Scans in a folder, each with the label map that belongs to it, however a data set is laid out."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mois_core.errors import BadInput
from mois_core.io.scan_table import ScanTableRow, read_scan_table

FilePatterns = tuple[str, str]
"""Names of scans and of label maps within a folder. ``{patient}`` stands for the patient, a star
for anything else that differs; the n-th star of the label maps is what that of the scan was."""

_SCAN_NAME = "scan.nii.gz"
_LABEL_NAMES = ("semantic.nii.gz", "labels.nii.gz", "instances.nii.gz")
_STAR, _PATIENT = "*", "{patient}"
_PARTS = re.compile(r"(\*|\{patient\})")


def read_scans(path: Path, patterns: FilePatterns | None = None) -> list[ScanTableRow]:
    """Return the scans of a table or of a folder, in a fixed order.

    Without ``patterns`` a folder holds folders with ``scan.nii.gz`` and a label map, as ``mois
    phantom`` writes them.
    """
    if not path.exists():
        raise BadInput(f"{path} does not exist; give a table (CSV) or a folder of scans")
    if not path.is_dir():
        if patterns:
            raise BadInput(f"{path} is a table, which names its files; patterns are for folders")
        return read_scan_table(path)
    return list(_by_patterns(path, *patterns) if patterns else _one_in_each_folder(path))


def _one_in_each_folder(folder: Path) -> Iterator[ScanTableRow]:
    """Yield every folder with a scan and a label map; the folder above is its set."""
    scans = sorted(folder.rglob(_SCAN_NAME))
    if not scans:
        raise BadInput(
            f"{folder} holds no folder with a {_SCAN_NAME}; if its files are called otherwise, say "
            "how with --scan-files and --label-files"
        )
    for scan in scans:
        home = scan.parent
        labels = next((home / name for name in _LABEL_NAMES if (home / name).is_file()), None)
        if labels is None:
            raise BadInput(f"{home} has a scan but no label map named {' or '.join(_LABEL_NAMES)}")
        inside = home.relative_to(folder).parts
        yield ScanTableRow(
            scan=scan,
            labels=labels,
            scan_text=scan.relative_to(folder).as_posix(),
            name="-".join(inside) or folder.name,
            test_set=inside[-2] if len(inside) > 1 else "",
        )


def _by_patterns(folder: Path, scans: str, labels: str) -> Iterator[ScanTableRow]:
    """Yield every file that the pattern of the scans fits."""
    for pattern in (scans, labels):
        _check_pattern(pattern)
    if labels.count(_STAR) > scans.count(_STAR) or (_PATIENT in labels) > (_PATIENT in scans):
        raise BadInput(f"'{labels}' has parts that differ and that '{scans}' does not have")
    is_called = _regex(scans)
    found = [
        (path, fit)
        for path in sorted(folder.glob(_wildcards(scans)))
        if (fit := is_called.fullmatch(path.relative_to(folder).as_posix()))
    ]
    if not found:
        raise BadInput(f"nothing in {folder} is called '{scans}'")
    pairs = [(path, folder / _filled(labels, fit), fit) for path, fit in found]
    without = [(path, label_map) for path, label_map, _ in pairs if not label_map.exists()]
    if without:
        path, label_map = without[0]
        raise BadInput(
            f"{len(without)} of {len(pairs)} scans have no label map; the first is {path}, whose "
            f"label map would be {label_map}"
        )
    for path, label_map, fit in pairs:
        if path == label_map:
            raise BadInput(f"'{scans}' and '{labels}' name the same file, {path}")
        yield ScanTableRow(
            scan=path,
            labels=label_map,
            scan_text=path.relative_to(folder).as_posix(),
            name="-".join(dict.fromkeys(fit.groups())) or path.name,
            patient=fit.groupdict().get("patient", ""),
        )


def _check_pattern(pattern: str) -> None:
    parts = PurePosixPath(pattern).parts
    if not parts or pattern.startswith("/") or ".." in parts or _STAR * 2 in pattern:
        raise BadInput(
            f"'{pattern}' is no pattern; write the files' names within the folder, with a star for "
            "each part that differs, like '{patient}/*/SUV.nii.gz'"
        )


def _wildcards(pattern: str) -> str:
    """Return a pattern as `Path.glob` takes it."""
    return "".join(_STAR if n % 2 else glob.escape(w) for n, w in enumerate(_PARTS.split(pattern)))


def _regex(pattern: str) -> re.Pattern[str]:
    """Return a pattern that tells what its parts stand for: as little as possible, each of them."""
    words, is_named = [], False
    for n, word in enumerate(_PARTS.split(pattern)):
        if n % 2 == 0:
            words.append(re.escape(word))
        elif word == _STAR:
            words.append("([^/]+?)")
        else:
            words.append("(?P=patient)" if is_named else "(?P<patient>[^/]+?)")
            is_named = True
    return re.compile("".join(words), re.IGNORECASE)


def _filled(pattern: str, fit: re.Match[str]) -> str:
    """Return the name of a label map, with what the parts of the scan's name stood for."""
    patient = fit.re.groupindex.get("patient")
    stars = iter(part for n, part in enumerate(fit.groups(), start=1) if n != patient)
    return _PARTS.sub(lambda part: next(stars) if part[0] == _STAR else fit["patient"], pattern)
