"""``mois segment`` goes on with a saved session, and begins with lesions that are outlined."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import SimpleITK
import slicerio
from command_line import STUB_INFO, labels_on_slices, mois, use_stub, write_clicks, write_scene
from engine_fixtures import FIRST, SCENE, SECOND, THIRD, Block, painted, scan_of, volume_of
from stub_network import StubNetwork

from mois_core import weights
from mois_core.cli import model_choice
from mois_core.geometry import SliceStack, Volume, same_grid
from mois_core.io import read_labels, read_points, read_scan, write_image, write_segmentation
from mois_core.network.model_info import ModelInfo
from mois_core.session import Session
from mois_core.session.session_file import restore, save
from mois_core.session.state import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

INNER = Block((4, 7), (8, 11), (7, 10))
"""The middle of the first lesion: a search marks more in contact with it."""


@pytest.fixture(autouse=True)
def the_stub(monkeypatch):
    return use_stub(monkeypatch)


@pytest.fixture
def a_case(tmp_path):
    folder = tmp_path / "case"
    scan = write_scene(folder)
    clicks = [(1, True, FIRST.middle), (7, True, SECOND.middle)]
    write_clicks(folder / "clicks.mrk.json", read_scan(scan), clicks)
    return folder


def segment(case, *more, out="labels.nii.gz"):
    return mois("segment", case / "scan.nii.gz", "--model", "stub", "--out", case / out, *more)


def clicks_on(case, *clicks, name="more.mrk.json"):
    """Write clicks; a lesion of None has no number in the file."""
    volume = read_scan(case / "scan.nii.gz")
    path = write_clicks(case / name, volume, [(n or 9999, *rest) for n, *rest in clicks])
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"9999+"', '"F-1"'), encoding="utf-8")
    return "--points", path


def labels(case, name="labels.nii.gz"):
    return labels_on_slices(case / name)


def names_in(path) -> list[str]:
    image = SimpleITK.ReadImage(str(path))
    keys = [f"Segment{n}_Name" for n in range(9) if image.HasMetaDataKey(f"Segment{n}_Name")]
    return [image.GetMetaData(key) for key in keys]


def refused(case, capsys, *more) -> str:
    before = sorted(case.iterdir())
    assert segment(case, *more) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("mois segment: ")
    assert sorted(case.iterdir()) == before
    return said


# ---- going on ---------------------------------------------------------------------------------


@pytest.fixture
def saved(a_case):
    """The case with a session of its first click and a search."""
    first = clicks_on(a_case, (1, True, FIRST.middle))
    how = ("--no-search", "--save-session", a_case / "work.mois")
    assert segment(a_case, *first, *how) == 0
    return a_case, ("--session", a_case / "work.mois")


def test_a_session_goes_on_with_more_clicks_and_another_search(saved, capsys):
    case, session = saved
    again = ("--save-session", case / "work.mois")
    assert segment(case, *session, *clicks_on(case, (7, True, SECOND.middle)), *again) == 0
    assert "2 clicked and 1 found" in capsys.readouterr().out
    assert np.array_equal(labels(case) == 1, painted(FIRST))
    assert np.array_equal(labels(case) == 7, painted(SECOND))
    assert np.array_equal(labels(case) == 8, painted(THIRD))

    assert segment(case, *session, "--no-search", out="again.nii.gz") == 0
    assert np.array_equal(labels(case, "again.nii.gz"), labels(case))


def test_the_result_is_that_of_one_run(saved, the_stub):
    case, session = saved
    both = ("--points", case / "clicks.mrk.json")
    assert segment(case, *both, "--save-session", case / "one.mois", out="one.nii.gz") == 0
    assert segment(case, *session, *both) == 0
    assert np.array_equal(labels(case), labels(case, "one.nii.gz"))


def test_clicks_that_the_session_has_are_passed_over_and_new_lesions_get_free_numbers(
    saved, capsys
):
    case, session = saved
    points = clicks_on(case, (1, True, FIRST.middle), (None, True, SECOND.middle))
    assert segment(case, *session, *points, "--no-search", "--save-session", case / "b.mois") == 0
    assert "Of the 2 clicks the session has 1 already" in capsys.readouterr().err
    assert np.array_equal(labels(case) == 2, painted(SECOND))

    # The same list once more, in which no point has a number.
    points = clicks_on(case, (None, True, FIRST.middle), (None, True, SECOND.middle))
    assert segment(case, "--session", case / "b.mois", *points, "--no-search") == 0
    assert "has 2 already" in capsys.readouterr().err
    assert set(np.unique(labels(case))) == {0, 1, 2}


def test_a_negative_click_may_stand_alone_where_the_lesion_is_known(saved, capsys):
    case, session = saved
    n, row, column = FIRST.middle
    taken = clicks_on(case, (1, False, (n, row + 3, column + 3)))
    assert segment(case, *session, *taken, "--no-search") == 0
    assert (labels(case)[n] == 1).any() and labels(case)[n, row + 3, column + 3] == 0
    other = clicks_on(case, (2, False, (n, row, column)))
    assert "lesion 2 has no positive click" in refused(case, capsys, *session, *other)


def test_without_a_search_nothing_but_other_results_are_written(saved, the_stub):
    case, session = saved
    before = dict(the_stub.calls)
    report = ("--report", case / "table.csv")
    assert segment(case, *session, "--no-search", *report, out="again.seg.nrrd") == 0
    assert the_stub.calls == before
    with open(case / "table.csv", encoding="utf-8", newline="") as file:
        assert [row["lesion"] for row in csv.DictReader(file)] == ["1"]


def test_settings_that_may_change_are_given_anew_and_others_must_agree(saved, capsys):
    case, session = saved
    report = ("--report", case / "table.json")
    how = ("--propagation-mm", 8, "--smallest", 0.2, "--axis", "coronal")
    more = clicks_on(case, (1, True, (FIRST.middle[0], 7, 7)))
    assert segment(case, *session, *how, *more, *report, "--no-search") == 0
    assert len(set(np.nonzero(labels(case) == 1)[0])) == 3
    parameters = json.loads((case / "table.json").read_text(encoding="utf-8"))["parameters"]
    assert (parameters["propagation_mm"], parameters["smallest_cm3"]) == (8, 0.2)
    assert parameters["session"] and not parameters["thicken"]

    for option, word in (
        (("--axis", "axial"), "begun with --axis coronal"),
        (("--findings", "reprompted"), "begun with --findings components"),
        (("--min-confidence", 0.9), "begun with --min-confidence"),
        (("--reference",), "begun without --reference"),
        (("--thicken",), "begun without --thicken"),
        (("--smallest", -1), "smallest volume cannot be negative"),
    ):
        assert word in refused(case, capsys, *session, *option)


def test_a_distance_takes_the_place_of_a_number_of_slices_that_was_saved(a_case):
    points = ("--points", a_case / "clicks.mrk.json", "--no-search")
    saved = a_case / "work.mois"
    assert segment(a_case, *points, "--propagation-slices", 0, "--save-session", saved) == 0
    more = clicks_on(a_case, (1, True, (FIRST.middle[0], 7, 7)))
    assert segment(a_case, "--session", saved, *more, "--propagation-mm", 24, "--no-search") == 0
    assert np.array_equal(labels(a_case) == 1, painted(FIRST))


def test_a_session_of_the_published_flow_goes_on_in_it(a_case):
    points = ("--points", a_case / "clicks.mrk.json")
    saved, report = ("--save-session", a_case / "work.mois"), ("--report", a_case / "t.json")
    assert segment(a_case, *points, "--reference", *saved) == 0
    assert segment(a_case, "--session", a_case / "work.mois", *report, out="b.nii.gz") == 0
    assert np.array_equal(labels(a_case), labels(a_case, "b.nii.gz"))
    assert json.loads((a_case / "t.json").read_text(encoding="utf-8"))["parameters"]["reference"]


def test_what_is_no_session_of_this_scan_and_model_is_refused(saved, capsys, monkeypatch):
    case, session = saved
    assert "cannot be read" in refused(case, capsys, "--session", case / "missing.mois")
    assert "damaged" in refused(case, capsys, "--session", case / "scan.nii.gz")
    (case / "cut.mois").write_bytes((case / "work.mois").read_bytes()[:-300])
    assert "damaged" in refused(case, capsys, "--session", case / "cut.mois")

    other = weights.OpenedModel(StubNetwork(), ModelInfo("stub", "other.pt", "1" * 64))
    monkeypatch.setattr(model_choice, "choose_model", lambda args: other)
    assert "another network (stub, checksum 000000" in refused(case, capsys, *session)

    def load(args):
        raise AssertionError("the network is loaded")

    monkeypatch.setattr(model_choice, "choose_model", load)
    write_image(case / "scan.nii.gz", volume_of(scan_of(FIRST)))
    assert "another scan" in refused(case, capsys, *session)


def test_the_file_of_the_session_is_the_only_input_that_may_be_written_again(saved, capsys):
    case, _ = saved
    file = (case / "work.mois").rename(case / "work.csv")
    session = ("--session", file)
    assert "is also an input" in refused(case, capsys, *session, "--report", file)
    same = ("--save-session", file, "--report", file)
    assert "is also --report" in refused(case, capsys, *session, *same)


def test_a_run_that_fails_leaves_the_session_as_it_was(saved, capsys, monkeypatch):
    case, session = saved
    before = (case / "work.mois").read_bytes()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "find_similar", interrupted)
    assert segment(case, *session, "--save-session", case / "work.mois") == 130
    assert (case / "work.mois").read_bytes() == before


def test_a_session_that_no_command_line_wrote_goes_on_too(a_case, the_stub):
    session = Session(the_stub, read_scan(a_case / "scan.nii.gz"), Settings(), False, STUB_INFO)
    session.click(session.stack.point_to_ras(FIRST.middle[0], FIRST.middle[2], FIRST.middle[1]))
    session.rename(1, "Läsion A")
    save(session, a_case / "own.mois")
    assert segment(a_case, "--session", a_case / "own.mois", out="a.seg.nrrd") == 0
    assert names_in(a_case / "a.seg.nrrd")[0] == "Läsion A"


def test_averaged_slices_are_remembered_in_the_session(a_case, the_stub):
    thick = scan_of(*SCENE)
    thin = Volume(
        np.repeat(thick, 6, axis=0), volume_of(thick).ijk_to_ras @ np.diag([1, 1, 1 / 6, 1])
    )
    write_image(a_case / "scan.nii.gz", thin)
    n, row, column = FIRST.middle
    first = clicks_on(a_case, (1, True, (6 * n + 2, row, column)))
    saved, report = a_case / "work.mois", ("--report", a_case / "t.json")
    assert segment(a_case, *first, "--thicken", "--save-session", saved) == 0
    n, row, column = SECOND.middle
    more = clicks_on(a_case, (7, True, (6 * n + 2, row, column)))
    assert segment(a_case, "--session", saved, *more, *report, "--save-session", saved) == 0
    assert np.array_equal(labels(a_case) == 1, np.repeat(painted(FIRST), 6, axis=0))
    assert np.array_equal(labels(a_case) == 7, np.repeat(painted(SECOND), 6, axis=0))
    assert same_grid(read_labels(a_case / "labels.nii.gz"), thin)
    assert json.loads((a_case / "t.json").read_text(encoding="utf-8"))["parameters"]["thicken"]
    assert segment(a_case, "--session", saved, "--thicken", "--no-search") == 0


# ---- lesions that are outlined ------------------------------------------------------------------


@pytest.fixture
def outlined(a_case):
    """The case with outlines: one that is too small, as lesion 3, and lesion 5."""
    volume = read_scan(a_case / "scan.nii.gz")
    stack = painted(INNER) * 3 + painted(SECOND) * 5
    values = SliceStack(volume).to_volume(stack.astype(np.uint8))
    segments = [(3, "Läsion A", (0.25, 0.5, 1.0)), (5, "arm", (1.0, 0.0, 0.0))]
    write_segmentation(a_case / "before.seg.nrrd", volume, values, segments)
    write_image(a_case / "before.nii.gz", Volume(values, volume.ijk_to_ras))
    return a_case, ("--lesions", a_case / "before.seg.nrrd")


def test_outlined_lesions_stay_as_they_are_and_are_searched_for(outlined, capsys):
    case, lesions = outlined
    assert segment(case, *lesions) == 0
    assert "2 given, 0 clicked and 2 found" in capsys.readouterr().out
    assert np.array_equal(labels(case) == 3, painted(INNER))
    assert np.array_equal(labels(case) == 5, painted(SECOND))
    # Most of what is marked around lesion 3 is not in its outline.
    assert np.array_equal(labels(case) == 6, painted(FIRST) & ~painted(INNER))
    assert np.array_equal(labels(case) == 7, painted(THIRD))


def test_a_plain_label_map_does_as_well(outlined):
    case, lesions = outlined
    assert segment(case, *lesions) == 0
    assert segment(case, "--lesions", case / "before.nii.gz", out="b.nii.gz") == 0
    assert np.array_equal(labels(case), labels(case, "b.nii.gz"))


def test_names_and_colours_are_kept_also_through_a_session(outlined):
    case, lesions = outlined
    saved = ("--save-session", case / "work.mois")
    assert segment(case, *lesions, *saved, out="a.seg.nrrd") == 0
    assert segment(case, "--session", case / "work.mois", "--no-search", out="b.seg.nrrd") == 0
    for name in ("a.seg.nrrd", "b.seg.nrrd"):
        segments = slicerio.read_segmentation(str(case / name))["segments"]
        assert names_in(case / name) == ["Läsion A", "arm", "Lesion 6", "Lesion 7"]
        assert [s["labelValue"] for s in segments] == [3, 5, 6, 7]
        assert list(segments[0]["color"]) == [0.25, 0.5, 1.0]
        assert list(segments[1]["color"]) == [1.0, 0.0, 0.0]
    assert (case / "a.seg.nrrd").read_bytes() == (case / "b.seg.nrrd").read_bytes()


def test_without_a_search_outlines_become_results(outlined):
    case, lesions = outlined
    assert segment(case, *lesions, "--no-search", "--report", case / "table.csv") == 0
    assert np.array_equal(labels(case), painted(INNER) * 3 + painted(SECOND) * 5)
    with open(case / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["voxels"]) for row in rows] == [INNER.voxels, SECOND.voxels]


def test_clicks_correct_outlined_lesions_or_begin_others(outlined):
    case, lesions = outlined
    more = clicks_on(case, (3, True, FIRST.middle), (None, True, THIRD.middle))
    assert segment(case, *lesions, *more, "--no-search") == 0
    middle = FIRST.middle[0]
    assert np.array_equal(labels(case)[middle] == 3, painted(FIRST)[middle])
    others = [n for n in range(*INNER.slices) if n != middle]
    assert np.array_equal(labels(case)[others] == 3, painted(INNER)[others])
    assert np.array_equal(labels(case) == 5, painted(SECOND))
    assert np.array_equal(labels(case) == 6, painted(THIRD))
    assert [click.lesion_id for click in read_points(more[1])] == [3, 1]


def test_exemplars_alone_become_no_lesions(outlined):
    case, _ = outlined
    assert segment(case, "--exemplar-labels", case / "before.nii.gz") == 0
    assert np.array_equal(labels(case) == 1, painted(FIRST))
    assert set(np.unique(labels(case))) == {0, 1, 2, 3}


def test_outlines_that_leave_no_numbers_for_findings_are_refused(a_case, capsys):
    volume = read_scan(a_case / "scan.nii.gz")
    values = SliceStack(volume).to_volume(painted(INNER).astype(np.uint16) * 65000)
    write_image(a_case / "high.nii.gz", Volume(values, volume.ijk_to_ras))
    high = ("--lesions", a_case / "high.nii.gz")
    assert "65000 leaves too few numbers" in refused(a_case, capsys, *high)
    assert segment(a_case, *high, "--no-search") == 0


def test_results_never_take_the_place_of_the_outlines(outlined, capsys):
    case, lesions = outlined
    assert segment(case, *lesions, out="before.seg.nrrd") == 2
    assert "is also an input" in capsys.readouterr().err


def test_the_session_of_a_run_that_began_with_outlines_can_be_restored(outlined, the_stub):
    case, lesions = outlined
    assert segment(case, *lesions, "--save-session", case / "work.mois") == 0
    session = restore(case / "work.mois", the_stub, read_scan(case / "scan.nii.gz"))
    assert [le.is_as_given for le in session.lesions] == [True, True, False, False]
