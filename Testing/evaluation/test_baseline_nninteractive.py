"""nnInteractive behind its pipes, with a stand-in for its package that is as strict as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine_fixtures import FIRST, SECOND, scan_of, volume_of
from evaluation_fixtures import truth_of
from stand_in_nninteractive import write_environment, write_model, write_python

from mois_core.errors import BadInput
from mois_core.evaluation.baselines import nninteractive
from mois_core.evaluation.baselines.nninteractive import NnInteractive
from mois_core.evaluation.protocols import Protocol, run_protocol
from mois_core.evaluation.segmenters import Missing
from mois_core.geometry import SliceStack, Volume

STACK = SliceStack(volume_of(scan_of(FIRST, SECOND)))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ä nninteractive")
    write_environment(folder / "env")
    write_model(folder / "model")
    yield folder
    for process in list(nninteractive._running.values()):
        process.end()


def made(place: Path) -> NnInteractive:
    python = next((place / "env").glob("python*"))
    return NnInteractive(str(place / "model"), str(python))


def opened(place: Path, volume: Volume = STACK.volume) -> NnInteractive:
    segmenter = made(place)
    segmenter.open(volume)
    return segmenter


def predictions(place: Path) -> str:
    path = place / "env" / "packages" / "nnInteractive" / "inference" / "predictions"
    told = path.read_text("utf-8") if path.is_file() else ""
    path.unlink(missing_ok=True)
    return told


def ras_of(voxel: tuple[int, int, int]) -> tuple[float, float, float]:
    z, y, x = (np.asarray(index) for index in voxel)
    return tuple(STACK.point_to_ras(z, x, y).tolist())


def test_it_heeds_clicks_of_either_kind_and_keeps_lesions_apart(place):
    segmenter = opened(place)
    first, second = segmenter.click(ras_of(FIRST.middle)), segmenter.click(ras_of(SECOND.middle))
    expected = truth_of(FIRST, SECOND)
    assert np.array_equal(segmenter.lesion(first), expected == 1)
    assert np.array_equal(segmenter.lesion(second), expected == 2)
    assert np.array_equal(segmenter.result(), expected)
    segmenter.click(ras_of(SECOND.middle), False, second)
    assert not segmenter.lesion(second)[SECOND.middle]
    assert np.array_equal(segmenter.lesion(first), expected == 1)
    only_negative = segmenter.click(ras_of(FIRST.middle), False)
    assert not segmenter.lesion(only_negative).any()


def test_a_further_click_goes_on_and_another_lesion_begins_anew(place):
    segmenter = opened(place)
    predictions(place)
    first = segmenter.click(ras_of(FIRST.middle))
    segmenter.lesion(first)
    segmenter.click(ras_of(SECOND.middle), False, first)
    segmenter.lesion(first)
    assert predictions(place) == "12"
    second = segmenter.click(ras_of(SECOND.middle))
    segmenter.lesion(second)
    segmenter.click(ras_of(SECOND.middle), False, first)
    segmenter.lesion(first)
    assert predictions(place) == "1123"


def test_one_process_serves_all_scans_and_never_mixes_them(place):
    brighter = Volume(STACK.volume.array[::-1] + 7, STACK.volume.ijk_to_ras)
    one, two = opened(place), opened(place, brighter)
    assert one.process is two.process
    masks = []
    for segmenter in (one, two, one):
        lesion = segmenter.click(ras_of(FIRST.middle))
        masks.append(segmenter.lesion(lesion))
    assert np.array_equal(masks[0], truth_of(FIRST) > 0)
    assert not np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks[0], masks[2])


def test_the_protocol_of_the_paper_runs_with_it(place):
    labels = truth_of(FIRST, SECOND)
    protocol = Protocol(lesions=2, clicks=2, stop_at=0.99)
    *_, last = run_protocol(protocol, made(place), STACK.volume, labels, "scan")
    assert last.prompted_dice == (1, 1)
    assert last.clicks == 2


def test_what_it_cannot_do_is_told_and_the_process_goes_on(place):
    with pytest.raises(BadInput, match="could not 'image': ValueError: Input image is entirely"):
        empty = opened(place, volume_of(np.zeros((4, 8, 8), np.int16)))
        empty.click(tuple(empty.stack.point_to_ras(*map(np.asarray, (1, 2, 2))).tolist()))
        empty.result()
    assert opened(place).click(ras_of(FIRST.middle)) == 1


def test_a_process_that_dies_is_told_and_the_next_scan_gets_another(place):
    fatal = Volume(np.where(STACK.volume.array == 180, 600, 20), STACK.volume.ijk_to_ras)
    segmenter = opened(place, fatal)
    lesion = segmenter.click(ras_of(FIRST.middle))
    with pytest.raises(BadInput, match="ended while it was to 'clicks'; the last .* center"):
        segmenter.lesion(lesion)
    again = opened(place)
    assert again.lesion(again.click(ras_of(FIRST.middle))).any()


def test_a_model_that_it_cannot_read_is_told(place, tmp_path):
    model = write_model(tmp_path / "model")
    (model / "fold_0" / "checkpoint_final.pth").write_text("something else", "utf-8")
    segmenter = NnInteractive(str(model), str(made(place).python))
    before = opened(place).process
    with pytest.raises(BadInput, match="could not 'load': AssertionError: cannot be loaded"):
        segmenter.open(STACK.volume)
    assert before.process.poll() is not None, "two models at a time do not fit into every memory"
    assert not nninteractive._running


@pytest.mark.parametrize(
    "lacking", ["dataset.json", "plans.json", "inference_info.json", "fold_0/checkpoint_final.pth"]
)
def test_a_folder_that_is_no_model_is_refused(place, tmp_path, lacking):
    model = write_model(tmp_path / "model")
    (model / lacking).unlink()
    with pytest.raises(BadInput, match=f"no model of nnInteractive: .*{lacking[-8:]} is missing"):
        NnInteractive(str(model), str(made(place).python)).require()


def test_what_is_missing_is_said_with_what_to_get(place, tmp_path):
    python, model = str(made(place).python), str(place / "model")
    with pytest.raises(Missing, match="pip install nninteractive"):
        NnInteractive(model).require()
    with pytest.raises(Missing, match="no Python at"):
        NnInteractive(model, str(tmp_path / "none")).require()
    with pytest.raises(Missing, match="not installed for"):
        NnInteractive(model, str(write_python(tmp_path / "bare", ""))).require()
    for path in ("", str(tmp_path / "none")):
        with pytest.raises(Missing, match="MIC-DKFZ/nnInteractive") as told:
            NnInteractive(path, python).require()
        assert str(tmp_path) not in str(told.value)
