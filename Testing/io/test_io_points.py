"""Clicks travel as Slicer Markups files."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slicer_skipping import missing

from mois_core.errors import BadInput
from mois_core.io import RasClick, read_points, write_points


def write_markups(path, *points, system="LPS", markup_type="Fiducial"):
    """Write points, each (label, position) or (label, position, status), as Markups."""
    markup = {
        "type": markup_type,
        "coordinateSystem": system,
        "controlPoints": [
            {"label": label, "position": position, "positionStatus": (*status, "defined")[0]}
            for label, position, *status in points
        ],
    }
    if system is None:
        del markup["coordinateSystem"]
    path.write_text(json.dumps({"markups": [markup]}), encoding="utf-8")
    return path


@pytest.fixture
def a_file(tmp_path):
    return tmp_path / "Klicks für später.mrk.json"


def refusal(path) -> str:
    with pytest.raises(BadInput) as caught:
        read_points(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_say_which_lesion_and_whether_positive(a_file):
    write_markups(a_file, ("7+", [1, 2, 3]), ("7-", [4, 5, 6]), (" 012 - ", [7, 8, 9]))
    assert read_points(a_file) == [
        RasClick(7, True, (-1, -2, 3)),
        RasClick(7, False, (-4, -5, 6)),
        RasClick(12, False, (-7, -8, 9)),
    ]


def test_other_labels_are_new_lesions_with_free_numbers_in_file_order(a_file):
    labels = ["F-1", "3-", "F-2", "", "1+", "7", "0+", "+", "Läsion 2+", "7++"]
    write_markups(a_file, *[(label, [0, 0, n]) for n, label in enumerate(labels)])
    clicks = read_points(a_file)
    assert [click.lesion_id for click in clicks] == [2, 3, 4, 5, 1, 6, 7, 8, 9, 10]
    assert [click.positive for click in clicks] == [True, False] + [True] * 8
    assert [click.ras[2] for click in clicks] == list(range(len(labels)))


@pytest.mark.parametrize(
    ("system", "ras"),
    [
        ("LPS", (-1, -2, 3)),
        ("RAS", (1, 2, 3)),
        (None, (-1, -2, 3)),
        (1, (-1, -2, 3)),
        (0, (1, 2, 3)),
        ("1", (-1, -2, 3)),
        ("0", (1, 2, 3)),
    ],
)
def test_the_coordinate_system_is_honoured(a_file, system, ras):
    write_markups(a_file, ("1+", [1, 2, 3]), system=system)
    assert read_points(a_file)[0].ras == ras


def test_points_not_yet_placed_are_skipped_and_take_no_number(a_file):
    write_markups(
        a_file,
        ("F-1", [0, 0, 0], "undefined"),
        ("2+", None, "undefined"),
        ("F-2", [0, 0, 1], "preview"),
        ("F-3", [0, 0, 2], "missing"),
        ("F-4", [0, 0, 4]),
        ("F-5", [0, 0, 5]),
    )
    assert read_points(a_file) == [RasClick(1, True, (0, 0, 4)), RasClick(2, True, (0, 0, 5))]


def test_several_point_lists_in_one_file_are_read_together(a_file):
    write_markups(a_file, ("F-1", [0, 0, 1]))
    document = json.loads(a_file.read_text("utf-8"))
    second = {"type": "Fiducial", "coordinateSystem": "RAS"}
    second["controlPoints"] = [{"label": "1-", "position": [1, 1, 1]}]
    document["markups"].append(second)
    a_file.write_text(json.dumps(document), "utf-8")
    assert read_points(a_file) == [RasClick(2, True, (0, 0, 1)), RasClick(1, False, (1, 1, 1))]


coordinate = st.floats(-1e4, 1e4)
clicks = st.builds(
    RasClick,
    st.integers(1, 65535),
    st.booleans(),
    st.tuples(coordinate, coordinate, coordinate),
)


@given(st.lists(clicks, min_size=1, max_size=8))
def test_written_clicks_are_read_unchanged(tmp_path_factory, some_clicks):
    path = tmp_path_factory.getbasetemp() / "there and back.mrk.json"
    write_points(path, some_clicks)
    assert read_points(path) == some_clicks


def test_written_files_have_what_slicer_looks_for(a_file):
    write_points(a_file, [RasClick(7, False, (1, 2, 3))])
    document = json.loads(a_file.read_text(encoding="utf-8"))
    assert "markups-schema-v1" in document["@schema"]
    (markup,) = document["markups"]
    assert (markup["type"], markup["coordinateSystem"]) == ("Fiducial", "LPS")
    (point,) = markup["controlPoints"]
    assert (point["label"], point["position"]) == ("7-", [-1, -2, 3])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON"),
        (b'{"markups": [', "not valid JSON"),
        (b"\xff\xfe\x00\x01", "not valid JSON"),
        (b"[1, 2]", "no list of markups"),
        (b'{"markups": {}}', "no list of markups"),
        (b'{"markups": [3]}', "no list of markups"),
        (b'{"markups": []}', "no placed points"),
        (b'{"markups": [{"type": "Fiducial"}]}', "no placed points"),
        (b'{"markups": [{"type": "Fiducial", "controlPoints": 4}]}', "damaged"),
        (b'{"markups": [{"type": "Fiducial", "controlPoints": [4]}]}', "damaged"),
    ],
)
def test_what_is_no_point_list_is_refused(a_file, content, says):
    a_file.write_bytes(content)
    assert says in refusal(a_file)


@pytest.mark.parametrize("position", [None, [1, 2], [1, 2, 3, 4], "here", [1, 2, "x"], [1, 2, {}]])
def test_a_point_without_a_position_is_refused(a_file, position):
    write_markups(a_file, ("F-1", position))
    assert "'F-1' has no position" in refusal(a_file)


@pytest.mark.parametrize(
    ("units", "millimetres"),
    [
        ("mm", 1),
        (["mm", "UCUM", "millimeter"], 1),
        (None, 1),
        ("um", 0.001),
        (["cm", "UCUM", "centimeter"], 10),
        ("m", 1000),
        ("[in_i]", 25.4),
    ],
)
def test_units_of_length_are_converted(a_file, units, millimetres):
    write_markups(a_file, ("1+", [1, -2, 3]))
    document = json.loads(a_file.read_text("utf-8"))
    document["markups"][0]["coordinateUnits"] = units
    a_file.write_text(json.dumps(document), "utf-8")
    expected = (-millimetres, 2 * millimetres, 3 * millimetres)
    assert read_points(a_file)[0].ras == pytest.approx(expected)


@pytest.mark.parametrize("units", ["s", "pixel", ["1", "UCUM", "no units"], 3, {"mm": 1}, [["mm"]]])
def test_other_units_are_refused(a_file, units):
    write_markups(a_file, ("1+", [1, -2, 3]))
    document = json.loads(a_file.read_text("utf-8"))
    document["markups"][0]["coordinateUnits"] = units
    a_file.write_text(json.dumps(document), "utf-8")
    assert "no length that can be read" in refusal(a_file)


# ---- .fcsv ----------------------------------------------------------------------------------

COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


def write_table(path, *rows, system="LPS", version="5.8"):
    lines = [f"# Markups fiducial file version = {version}", f"# CoordinateSystem = {system}"]
    path.write_text("\n".join([*lines, COLUMNS, *rows]) + "\n", encoding="utf-8")
    return path


def row(label, position, more=",,,2,0"):
    return f"1,{','.join(map(str, position))},0,0,0,1,1,1,0,{label}{more}"


@pytest.mark.parametrize(
    ("system", "ras"),
    [("LPS", (-1, -2, 3)), ("RAS", (1, 2, 3)), ("0", (1, 2, 3)), ("1", (-1, -2, 3))],
)
def test_the_older_table_is_read_in_its_coordinate_system(tmp_path, system, ras):
    path = write_table(tmp_path / "a.fcsv", row("7+", (1, 2, 3)), system=system)
    assert read_points(path) == [RasClick(7, True, ras)]
    assert read_points(path.rename(tmp_path / "A.FCSV")) == [RasClick(7, True, ras)]
    assert read_points((tmp_path / "A.FCSV").rename(tmp_path / "a.txt"))[0].ras == ras


def test_rows_of_every_version_of_the_table_are_read(tmp_path):
    rows = [
        row("F-1", (1, 2, 3), ",,"),  # 4.10
        row("7-", (4, 5, 6), ",a note,vtkMRMLScalarVolumeNode1,2,0"),
        "",
        row('"rib, ""left"""', (7, 8, 9)),
        row("8+", (0, 0, 0), ",,,0,0"),  # never placed
        row("9\N{MINUS SIGN}", (1, 1, 1)),
        "1,2,3,4",
    ]
    clicks = read_points(write_table(tmp_path / "a.fcsv", *rows, system="RAS"))
    assert [(c.lesion_id, c.positive, c.label) for c in clicks] == [
        (1, True, "F-1"),
        (7, False, "7-"),
        (2, True, 'rib, "left"'),
        (9, False, "9\N{MINUS SIGN}"),
        (3, True, ""),
    ]
    assert clicks[0].ras == (1, 2, 3) and clicks[4].ras == (2, 3, 4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "does not begin as"),
        ("F-1,1,2,3,1,1\n", "does not begin as"),
        (f"# Markups fiducial file version = 4.11\n{COLUMNS}\n", "whether its points are in LPS"),
        ("# Markups fiducial file version = 4.11\n# CoordinateSystem = IJK\n", "'IJK'"),
        ("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n", "no placed points"),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path, content, says):
    path = tmp_path / "a.fcsv"
    path.write_text(content, "utf-8")
    assert says in refusal(path)


@pytest.mark.parametrize("position", [(1, 2, "x"), (1, 2, "nan"), (1, 2, "inf"), (1, 2, "")])
def test_a_row_without_a_position_is_refused(tmp_path, position):
    path = write_table(tmp_path / "a.fcsv", row("7+", (0, 0, 0)), row("8+", position))
    assert "point 2, '8+', has no position" in refusal(path)
    path.write_bytes(path.read_bytes() + b"\xff")
    assert "UTF-8" in refusal(path)


@pytest.mark.skipif(bool(missing(["slicer-core"])), reason="needs slicer-core")
@pytest.mark.parametrize("system", [0, 1])
def test_what_slicer_writes_is_read(tmp_path, system):
    import slicer
    import vtk

    scene, node = slicer.vtkMRMLScene(), slicer.vtkMRMLMarkupsFiducialNode()
    scene.AddNode(node)
    for label, place in (("7+", (1, 2, 3)), ('a, "b"', (4.25, 5, 6)), ("7-", (0, 0, 0))):
        node.AddControlPoint(vtk.vtkVector3d(*place), label)
    node.UnsetNthControlPointPosition(2)
    storage = slicer.vtkMRMLMarkupsFiducialStorageNode()
    scene.AddNode(storage)
    storage.SetCoordinateSystem(system)
    storage.SetFileName(str(tmp_path / "a.fcsv"))
    assert storage.WriteData(node)
    clicks = read_points(tmp_path / "a.fcsv")
    assert clicks == [RasClick(7, True, (1, 2, 3)), RasClick(1, True, (4.25, 5, 6))]
    assert clicks[1].label == 'a, "b"'


def test_other_refusals(a_file):
    assert "cannot be opened" in refusal(a_file)
    write_markups(a_file, ("1+", [0, 0, 0]), markup_type="Line")
    assert "'Line'" in refusal(a_file)
    write_markups(a_file, ("1+", [0, 0, 0]), system="XYZ")
    assert "'XYZ'" in refusal(a_file)
    write_markups(a_file, ("70000+", [0, 0, 0]))
    assert "highest is 65535" in refusal(a_file)
    write_markups(a_file, ("1+", [0, 0, float("nan")]))
    assert "no position" in refusal(a_file)
