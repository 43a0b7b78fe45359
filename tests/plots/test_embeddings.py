"""Maps of a representation: points, legend and settings are those that were given."""

import numpy as np
import pytest

from dcd_utils import plots
from dcd_utils.analysis import Embedding

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
        assert sum(len(dots.get_offsets()) for dots in ax.collections) == 80
    assert [text.get_text() for text in figure.legends[0].get_texts()] == CLASSES
    kinds, names = [i % 20 for i in range(100)], [f"kind {i}" for i in range(20)]
    figure = plots.embeddings({"a": POINTS}, LABELS, [str(i) for i in range(100)], kinds, names)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_settings_stand_below_the_maps_once_unless_they_differ():
    wider = Embedding(POINTS.points, "UMAP", {**SETTINGS, "width": 9})
    assert plots.embeddings({"a": POINTS, "b": POINTS}, LABELS, CLASSES).get_supxlabel() == POINTS.caption
    other = plots.embeddings({"a": POINTS, "b": wider}, LABELS, CLASSES)
    assert other.get_supxlabel() == f"a: {POINTS.caption}\nb: {wider.caption}"


def test_points_that_moved_are_arrows_from_where_they_were():
    start, end = np.zeros((6, 2)), np.arange(12.0).reshape(6, 2)
    (ax,) = plots.embeddings({"KD": end}, range(6), **KIND, start=start).axes
    assert sorted(arrow.xy for arrow in ax.texts) == sorted(map(tuple, end))
    assert all(arrow.xyann == (0, 0) for arrow in ax.texts)
    assert ax.get_xlim()[1] > 10 and ax.get_ylim()[1] > 11


def test_the_circle_names_every_arrow_twice():
    points = np.array([[1.0, 0.0], [0.6, 0.8]])
    (ax,) = plots.circle(points, points[::-1], ["cat", "dog"]).axes
    assert sorted(text.get_text() for text in ax.texts) == ["cat", "cat", "dog", "dog"] and len(ax.lines) == 4
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["student", "teacher"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.embeddings({"a": POINTS.points}, LABELS[:5], CLASSES), r"expected \[N, 2\] and \[N\]"),
        (lambda: plots.embeddings({"a": POINTS}, LABELS, CLASSES, start=np.zeros((5, 2))), r"expected \[N, 2\]"),
        (lambda: plots.embeddings({}, LABELS, CLASSES), "no map"),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
