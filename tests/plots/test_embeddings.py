"""Maps of a representation: points, legend and settings are those that were given."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.markers import MarkerStyle

from dcd_utils import plots
from dcd_utils.analysis import Embedding
from dcd_utils.plots.style import class_groups

RNG = np.random.default_rng(0)
CLASSES = [f"class {i}" for i in range(6)]
KIND = {"classes": CLASSES, "superclasses": (0, 0, 1, 1, 2, 2), "superclass_names": ("a", "b", "c")}
LABELS = RNG.integers(0, 6, size=80)
SETTINGS = {"seed": 0, "standardised": False, "images": 80, "width": 5}
POINTS = Embedding(RNG.normal(size=(80, 2)).astype(np.float32), "UMAP", SETTINGS)


def test_each_map_shows_every_image_under_one_legend():
    figure = plots.embeddings({"a": POINTS, "b": POINTS.points, "c": POINTS, "d": POINTS}, LABELS, **KIND)
    assert [(ax.get_title(loc="left"), ax.get_xlabel()) for ax in figure.axes[:2]] == [
        ("a", "UMAP 1"), ("b", "map dimension 1")
    ]  # fmt: skip
    for ax in figure.axes:
        assert len(dots(ax)[0]) == 80
    assert [text.get_text() for text in figure.legends[0].get_texts()] == CLASSES
    kinds, names = [i % 20 for i in range(100)], [f"kind {i}" for i in range(20)]
    figure = plots.embeddings({"a": POINTS}, LABELS, [str(i) for i in range(100)], kinds, names)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_settings_stand_below_the_maps_once_unless_they_differ():
    wider = Embedding(POINTS.points, "UMAP", {**SETTINGS, "width": 9})
    assert plots.embeddings({"a": POINTS, "b": POINTS}, LABELS, CLASSES).get_supxlabel() == POINTS.caption
    other = plots.embeddings({"a": POINTS, "b": wider}, LABELS, CLASSES)
    assert other.get_supxlabel() == f"a: {POINTS.caption}\nb: {wider.caption}"


def dots(ax):
    """The coloured dots of a panel, in drawing order: (places [N, 2], colours [N, 4], paths)."""
    (collection,) = [one for one in ax.collections if len(one.get_paths()) > 1]
    return collection.get_offsets(), collection.get_facecolors(), collection.get_paths()


def test_every_dot_has_the_look_of_its_class_and_none_lies_on_top_throughout():
    places, colours, paths = dots(plots.embeddings({"a": POINTS}, LABELS, **KIND).axes[0])
    shown = [int(np.flatnonzero((POINTS.points == place).all(axis=1))[0]) for place in places]
    assert sorted(shown) == list(range(80)) and shown != sorted(shown)
    for place, colour, path in zip(shown, colours, paths, strict=True):
        group = class_groups(**KIND)[LABELS[place]]
        assert to_rgba(group.colour, 0.75) == pytest.approx(colour)
        marker = MarkerStyle(group.marker)
        np.testing.assert_array_equal(path.vertices, marker.get_path().transformed(marker.get_transform()).vertices)
    runs = 1 + np.count_nonzero(np.diff(LABELS[shown]))  # drawn class by class there would be 6
    assert runs > 40


def test_a_part_of_the_images_is_coloured_in_each_column():
    parts = {"first": np.arange(80) < 30, "rest": np.arange(80) >= 30}
    moved = Embedding(POINTS.points + 3, "UMAP", SETTINGS)
    figure = plots.embeddings({"teacher": POINTS, "KD": moved}, LABELS, **KIND, parts=parts)
    heads = ["teacher, first", "teacher, rest", "KD, first", "KD, rest"]
    assert [ax.get_title(loc="left") for ax in figure.axes] == heads
    for ax, points, part in zip(figure.axes, [POINTS, POINTS, moved, moved], [*parts.values()] * 2, strict=True):
        assert {*map(tuple, dots(ax)[0])} == {*map(tuple, points.points[part])}
        assert len(ax.collections[0].get_offsets()) == 80  # all images, in pale
    assert len({ax.get_xlim() for ax in figure.axes}) == 1


def test_the_circle_names_every_arrow_twice():
    points = np.array([[1.0, 0.0], [0.6, 0.8]])
    (ax,) = plots.circle(points, points[::-1], ["cat", "dog"]).axes
    assert sorted(text.get_text() for text in ax.texts) == ["cat", "cat", "dog", "dog"] and len(ax.lines) == 4
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["student", "teacher"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.embeddings({"a": POINTS.points}, LABELS[:5], CLASSES), r"expected \[N, 2\] and \[N\]"),
        (lambda: plots.embeddings({"a": POINTS.points[:, :1]}, LABELS, CLASSES), r"expected \[N, 2\]"),
        (lambda: plots.embeddings({}, LABELS, CLASSES), "no map"),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
