"""The picture shows every lesion that counts, true to size, and the colours tell them apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

from mois_core.errors import BadInput
from mois_core.geometry import SliceStack, Volume
from mois_core.results.colours import lesion_colour
from mois_core.results.picture import busiest_slices, draw_picture, picture
from mois_core.session.lesion import Click, Lesion, Status
from mois_core.session.masks import Mask

# Coronal slices 8 mm apart with pixels twice as high as wide.
AFFINE = np.array([[-1.0, 0, 0, 0], [0, 0, 8.0, 0], [0, -2.0, 0, 0], [0, 0, 0, 1]])


@pytest.fixture
def a_stack() -> SliceStack:
    array = np.random.default_rng(0).integers(0, 900, (6, 80, 60)).astype(np.int16)
    return SliceStack(Volume(array, AFFINE))


def a_lesion(lesion_id, slices, row=20, column=20, status=Status.PROMPTED, size=6) -> Lesion:
    image = np.zeros((6, 80, 60), dtype=bool)
    image[list(slices), row : row + size, column : column + size] = True
    click = Click(lesion_id, min(slices), column + 2.0, row + 2.0, True)
    clicks = (click,) if status is Status.PROMPTED else ()
    return Lesion(lesion_id, status, Mask.from_stack(image), clicks=clicks)


def texts(figure) -> list[str]:
    inside = [text.get_text() for axes in figure.axes for text in axes.texts]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    titles = [axes.get_title() for axes in figure.axes]
    return [*inside, *legend, *titles, *(text.get_text() for text in figure.texts)]


def test_a_picture_is_a_png_of_a_printable_size(a_stack, tmp_path):
    path = tmp_path / "Übersicht 1.png"
    draw_picture(path, a_stack, [a_lesion(1, [2])], "A title")
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 1000
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_pixels_keep_their_shape(a_stack):
    figure = picture(a_stack, [a_lesion(1, [2])])
    page = figure.get_size_inches()
    for axes in figure.axes:
        box = axes.get_position()
        width, height = box.width * page[0], box.height * page[1]
        assert height / width == pytest.approx(80 * 2.0 / (60 * 1.0))


def test_every_lesion_that_counts_has_its_id_in_the_projection(a_stack):
    lesions = [
        a_lesion(1, [1]),
        a_lesion(2, [2], row=40, status=Status.FOUND),
        a_lesion(30, [3], row=60, status=Status.ACCEPTED),
        a_lesion(4, [4], row=5, status=Status.REJECTED),
    ]
    figure = picture(a_stack, lesions)
    drawn = [text.get_text() for text in figure.axes[0].texts]
    assert {"1", "2", "30"} <= set(drawn)
    assert "4" not in drawn
    everything = " | ".join(texts(figure))
    assert "Rejected and not drawn: 1 lesion." in everything
    assert "prompted: 1 lesion" in everything and "3 lesions" in everything


def test_a_lesion_hidden_by_another_is_in_neither_picture_nor_count(a_stack):
    lesions = [a_lesion(1, [2], size=6), a_lesion(2, [2], size=4, status=Status.FOUND)]
    everything = " | ".join(texts(picture(a_stack, lesions)))
    assert "Maximum projection, 1 lesion" in everything and "1 lesion, " in everything


def test_statuses_are_told_apart_by_the_line(a_stack):
    statuses = (Status.PROMPTED, Status.ACCEPTED, Status.FOUND)
    lesions = [a_lesion(n, [2], row=25 * n - 20, status=s) for n, s in enumerate(statuses, 1)]
    drawn = picture(a_stack, lesions).axes[0].collections
    styles = [str(c.get_linestyle()) for c in drawn if isinstance(c, LineCollection)]
    assert len(set(styles)) == 3


def test_ids_never_cover_each_other(a_stack):
    crowd = [a_lesion(n, [2], row=20 + n % 5, column=20 + n // 5, size=3) for n in range(1, 40)]
    figure = picture(a_stack, crowd)
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [t.get_window_extent() for t in axes.texts if t.get_text().isdigit()]
    assert 3 < len(boxes) < len(crowd)
    # Without the outline around the letters, which may touch.
    shrunk = [box.shrunk(0.8, 0.6) for box in boxes]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(shrunk, 2))


def test_orientation_letters_follow_the_view(a_stack):
    for axis, letters in (("coronal", "RL"), ("axial", "RL"), ("sagittal", "AP")):
        stack = SliceStack(a_stack.volume, axis)
        figure = picture(stack, [])
        assert [t.get_text() for t in figure.axes[0].texts][:2] == list(letters)


def test_the_busiest_slices_show_as_many_lesions_as_possible():
    lesions = [a_lesion(n, [2, 3]) for n in range(1, 4)] + [a_lesion(4, [0]), a_lesion(5, [5])]
    assert busiest_slices(lesions, 2) == [0, 2]
    assert busiest_slices(lesions, 5) == [0, 2, 5]
    assert busiest_slices([], 5) == []


def test_scans_without_lesions_or_with_one_slice_have_a_picture(a_stack, tmp_path):
    draw_picture(tmp_path / "none.png", a_stack, [])
    single = SliceStack(Volume(a_stack.volume.array[:1], AFFINE))
    one = Lesion(1, Status.FOUND, Mask.from_stack(np.ones((1, 80, 60), dtype=bool)))
    figure = picture(single, [one])
    assert len(figure.axes) == 1
    black = SliceStack(Volume(np.zeros((2, 80, 60), dtype=np.int16), AFFINE))
    draw_picture(tmp_path / "black.png", black, [])


def test_a_picture_that_cannot_be_written_is_said_in_one_line(a_stack, tmp_path):
    with pytest.raises(BadInput, match="folder does not exist"):
        draw_picture(tmp_path / "no" / "a.png", a_stack, [])


def test_lesions_that_came_with_a_colour_keep_it(a_stack):
    lesions = [a_lesion(1, [2]), a_lesion(2, [2], row=50)]
    figure = picture(a_stack, lesions, colours={2: (0.9, 0.1, 0.2)})
    for axes in figure.axes:
        labels = {text.get_text(): text.get_color() for text in axes.texts}
        assert labels["1"] == lesion_colour(1) and labels["2"] == (0.9, 0.1, 0.2)
        outlines = [line for line in axes.collections if isinstance(line, LineCollection)]
        drawn = {tuple(rgb[:3]) for line in outlines for rgb in line.get_colors().round(6)}
        assert drawn == {tuple(np.round(lesion_colour(1), 6)), (0.9, 0.1, 0.2)}


def test_colours_are_stable_and_neighbours_differ():
    assert lesion_colour(1) == lesion_colour(1)
    colours = np.array([lesion_colour(n) for n in range(1, 401)])
    assert (colours >= 0).all() and (colours <= 1).all()
    assert len(np.unique(colours.round(3), axis=0)) == 400
    first = colours[:12]
    apart = np.linalg.norm(first[:, None] - first[None], axis=2) + np.eye(12)
    assert apart.min() > 0.15
    brightness = colours @ (0.2126, 0.7152, 0.0722)
    assert brightness.min() > 0.3 and brightness.max() < 0.9
