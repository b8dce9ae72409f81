"""Scans to evaluate on: a table, a folder, or phantoms that exist only while they are used.

A case is a few words that travel to another process; the voxels are read, or made, there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from mois_core.errors import BadInput
from mois_core.evaluation.simulated_annotators import annotate
from mois_core.geometry import SliceStack, Volume, same_grid
from mois_core.io import read_labels, read_scan
from mois_core.io.scan_folder import FilePatterns, read_scans
from mois_core.io.scan_table import ScanTableRow
from mois_core.phantom import cohort_settings, make_phantom
from mois_core.training.label_values import check_values, of_values
from mois_core.weights import sha256_of

_ONLY_SET = "all"


@dataclass(frozen=True)
class PhantomSource:
    """Cohort and seed of a phantom that is made when it is needed."""

    cohort: str
    seed: int
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class EvaluationCase:
    """One scan to evaluate on, its truth, and the set, patient and fold that it belongs to."""

    name: str
    test_set: str
    patient: str = ""
    fold: str = ""
    """Fold in which the scan was left out of training; empty if every model may be tested on it."""
    scan: str = ""
    labels: str = ""
    phantom: PhantomSource | None = None
    readers: tuple[tuple[str, str], ...] = ()
    """Name of a further reader, and the label map that reader drew."""
    lesion_values: tuple[int, ...] = ()
    """Values of the label maps that are lesions, one class of them; if none, all but 0 are."""
    annotators: tuple[str, ...] = ()
    """Of `simulated_annotators`, who draw on a phantom besides."""


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case with its voxels. Arrays are in the volume's own order [k, j, i]."""

    case: EvaluationCase
    volume: Volume
    labels: np.ndarray
    """The truth as it was drawn: one value, or one for each lesion."""
    readers: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What each further reader drew, by the reader's name."""


def load_case(case: EvaluationCase) -> LoadedCase:
    """Read or make the voxels of a case; refuse a truth that does not fit its scan."""
    if case.phantom is not None:
        return _make_phantom_case(case, case.phantom)
    volume = read_scan(case.scan)
    readers = {name: _labels_on(volume, case, path) for name, path in case.readers}
    return LoadedCase(case, volume, _labels_on(volume, case, case.labels), readers)


def _make_phantom_case(case: EvaluationCase, source: PhantomSource) -> LoadedCase:
    changes = {} if source.size is None else {"size": source.size}
    phantom = make_phantom(source.seed, cohort_settings(source.cohort, source.seed, **changes))
    volume = Volume(phantom.scan, phantom.ijk_to_ras)
    targets = np.where(phantom.semantic > 0, phantom.instances, 0)
    stack = SliceStack(volume)
    spacing = (stack.slice_spacing, *stack.pixel_spacing)
    kinds = (targets, phantom.instances - targets)
    lesions, others = (stack.from_volume(kind) for kind in kinds)
    readers = {
        f"{name} (simulated)": stack.to_volume(annotate(name, case.name, lesions, others, spacing))
        for name in case.annotators
    }
    return LoadedCase(case, volume, targets, readers)


def _labels_on(volume: Volume, case: EvaluationCase, path: str) -> np.ndarray:
    labels = read_labels(path, volume)
    if not same_grid(volume, labels):
        raise BadInput(f"{path} does not lie on the voxel grid of {case.scan}")
    return of_values(labels.array, case.lesion_values) if case.lesion_values else labels.array


def read_cohort(
    path: Path, patterns: FilePatterns | None = None, lesion_values: Sequence[int] = ()
) -> list[EvaluationCase]:
    """Return the cases of a table or of a folder, in a fixed order."""
    cases = [_from_row(row, tuple(lesion_values)) for row in read_scans(path, patterns)]
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"{path} names two scans '{twice[0]}'; give each a name of its own")
    check_values(lesion_values, _values_there(cases, set(lesion_values)))
    return cases


def _values_there(cases: Sequence[EvaluationCase], wanted: set[int]) -> set[int]:
    """Return the values that label maps have, read until all that are wanted have been found."""
    there: set[int] = set()
    for case in cases:
        if wanted <= there:
            break
        # One that cannot be read is told of when its scan's turn comes.
        with suppress(BadInput):
            there |= set(np.unique(read_labels(case.labels).array).tolist()) - {0}
    return there


def _from_row(row: ScanTableRow, lesion_values: tuple[int, ...]) -> EvaluationCase:
    return EvaluationCase(
        name=row.name,
        test_set=row.test_set or _ONLY_SET,
        patient=row.patient,
        fold=row.fold,
        scan=str(row.scan),
        labels=str(row.labels),
        readers=tuple((reader, str(path)) for reader, path in row.readers),
        lesion_values=lesion_values,
    )


def chosen_sets(cases: Sequence[EvaluationCase], names: Sequence[str]) -> list[EvaluationCase]:
    """Return the cases of the named test sets, or all of them if no set is named."""
    known = dict.fromkeys(case.test_set for case in cases)
    for name in names:
        if name not in known:
            raise BadInput(f"there is no test set '{name}'; there are: {', '.join(known)}")
    return [case for case in cases if not names or case.test_set in names]


def describe_case(case: EvaluationCase) -> dict[str, object]:
    """Return a case as plans keep it.

    Results move between machines and name no patients, so checksums stand for its files.
    """
    readers = {f"reader {name}": path for name, path in case.readers}
    files = {"scan": case.scan, "labels": case.labels, **readers}
    sums = {name: sha256_of(path) for name, path in files.items() if path and Path(path).exists()}
    nameless = tuple((name, "") for name, _ in case.readers)
    told = asdict(replace(case, scan="", labels="", readers=nameless))
    return told | ({"sha256": sums} if sums else {})


def without_file_names(text: str, case: EvaluationCase) -> str:
    """Return what was said of a case with words in place of its files, for the same reason."""
    readers = {path: f"the label map of reader {name}" for name, path in case.readers}
    files = {case.scan: "the scan", case.labels: "the label map", **readers}
    forms = {
        form: words
        for path, words in files.items()
        if path
        for form in (path, str(Path(path).absolute()), str(Path(path).resolve()))
    }
    # The longest first: within a whole path the relative one would leave folders behind.
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, forms[form])
    return text
