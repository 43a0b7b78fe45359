"""Matrices: numbers, names, order and colour scale are those that were given."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dcd_utils import plots

SMALL = np.array([[0.25, -1.5], [-0.001, 3.0]])
LARGE = np.corrcoef(np.random.default_rng(0).normal(size=(12, 30)))
CLASSES = [f"class {i}" for i in range(12)]
MANY = [f"class {i}" for i in range(100)]


def written(ax):
    return [text.get_text() for text in ax.texts]


def row_names(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def limits(ax):
    return tuple(round(float(end), 6) for end in ax.images[0].get_clim())


def bars(figure):
    return [ax.get_ylabel() for ax in figure.axes if ax.get_label() == "<colorbar>"]


def test_a_small_matrix_has_its_numbers_and_names_written():
    (ax,) = plots.matrix(SMALL, ["cat", "dog"], rows="student of", columns="teacher of", title="scores").axes
    assert written(ax) == ["0.25", "-1.50", "0.00", "3.00"]  # a rounded zero has no sign
    assert ax.get_title(loc="left") == "scores"
    assert row_names(ax) == [tick.get_text() for tick in ax.get_xticklabels()] == ["cat", "dog"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("student of", "teacher of")
    (ax,) = plots.matrix([[np.nan, -0.01, 2.0]], ["pair"], column_names="abc", digits=1).axes
    assert written(ax) == ["n/a", "0.0", "2.0"] and row_names(ax) == ["pair"]
    assert written(plots.matrix(LARGE, CLASSES).axes[0]) == []
    assert len(written(plots.matrix(LARGE, CLASSES, digits=1).axes[0])) == 144


def test_a_missing_value_does_not_look_like_zero():
    values = np.linspace(-1, 1, 144).reshape(12, 12)
    values[0, :2] = np.nan, 0.0
    figure = plots.matrix(values, CLASSES)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels, (left, top) = np.asarray(canvas.buffer_rgba()), figure.axes[0].transData.transform((-0.5, -0.5))
    side = (figure.axes[0].transData.transform((0.5, -0.5)) - (left, top))[0]
    rows = slice(int(len(pixels) - top + 3), int(len(pixels) - top + side - 3))
    missing, zero = (pixels[rows, int(left + k * side + 3) : int(left + (k + 1) * side - 3)] for k in (0, 1))
    assert [np.ptp(cell[:, :, :3].astype(int), axis=(0, 1)).max() > 20 for cell in (missing, zero)] == [True, False]


def test_the_colour_scale_is_symmetric_if_a_value_is_negative():
    assert limits(plots.matrix(SMALL, "ab").axes[0]) == (-3, 3)
    assert limits(plots.matrix(np.abs(SMALL), "ab").axes[0]) == (0, 3)
    assert limits(plots.matrix(SMALL, "ab", limits=(-9, 9)).axes[0]) == (-9, 9)
    low, high = plots.matrix(np.zeros((2, 2)), "ab").axes[0].images[0].get_clim()
    assert low == 0 < high


def test_classes_are_ordered_and_bordered_by_superclass():
    kinds = (1, 0) * 6
    (ax,) = plots.matrix(LARGE, CLASSES, kinds, ("first", "second")).axes
    order = [*range(1, 12, 2), *range(0, 12, 2)]
    np.testing.assert_array_equal(ax.images[0].get_array(), LARGE[np.ix_(order, order)])
    assert row_names(ax) == [CLASSES[i] for i in order]
    assert [line.get_ydata()[0] for line in ax.lines[::2]] == [5.5]
    borders = plots.matrix(LARGE, CLASSES, borders=(2, 7)).axes[0].lines
    assert [line.get_ydata()[0] for line in borders[::2]] == [1.5, 6.5]
    assert [line.get_xdata()[0] for line in borders[1::2]] == [1.5, 6.5]


def test_many_names_are_thinned():
    kinds, names = [i % 20 for i in range(100)], [f"group {i}" for i in range(20)]
    (ax,) = plots.matrix(np.eye(100), MANY, kinds, names, rows="class").axes
    assert row_names(ax) == names and ax.get_ylabel() == "class (grouped by superclass)"
    assert row_names(plots.matrix(np.eye(100), MANY, kinds).axes[0])[0] == "superclass 0"
    assert row_names(plots.matrix(np.eye(100), MANY).axes[0]) == MANY[::10]
    (ax,) = plots.matrix(np.eye(40), ["cat"] * 10 + ["dog"] * 30).axes
    assert row_names(ax) == ["cat", "dog"] and list(ax.get_yticks()) == [4.5, 24.5]


def test_panels_share_a_scale_unless_they_have_their_own():
    teacher = {"values": SMALL, "limits": (-9, 9), "bar": "correlation"}
    panels = {"teacher": teacher, "KD": np.full((2, 2), 0.5), "DCD": np.full((2, 2), -0.7)}
    figure = plots.matrices(panels, ["cat", "dog"], bar="difference", title="all", rows="class", columns="class")
    assert [ax.get_title(loc="left") for ax in figure.axes[:3]] == list(panels)
    assert [limits(ax) for ax in figure.axes[:3]] == [(-9, 9), (-0.7, 0.7), (-0.7, 0.7)]
    assert sorted(bars(figure)) == ["correlation", "difference"] and figure.get_suptitle() == "all"
    swapped = {"values": SMALL.T, "rows": "teacher of"}
    figure = plots.matrices({"p": SMALL, "q": swapped}, "ab", limits=(0, 1), rows="student of", digits=3)
    assert bars(figure) == [] and [ax.get_ylabel() for ax in figure.axes] == ["student of", "teacher of"]
    assert written(figure.axes[1])[1] == "-0.001"


def test_large_panels_are_labelled_once_at_the_left_and_below():
    panels = dict.fromkeys("abcde", LARGE)
    figure = plots.matrices(panels, CLASSES, rows="class", columns="and class")
    drawn = figure.axes[:5]
    assert [len(row_names(ax)) for ax in drawn] == [12, 0, 0, 12, 0]
    assert [ax.get_ylabel() for ax in drawn] == ["class", "", "", "class", ""]
    assert [len(ax.get_xticks()) for ax in drawn] == [0, 0, 0, 12, 12]
    assert [ax.get_xlabel() for ax in drawn] == ["", "", "", "and class", "and class"]
    figure = plots.matrices({"a": np.eye(100), "b": np.eye(100)}, MANY)
    assert [len(ax.get_xticks()) and ax.get_xticklabels()[0].get_text() for ax in figure.axes] == ["", ""]
    small = plots.matrices({"a": SMALL, "b": SMALL}, ["cat", "dog"], rows="of").axes
    assert [(row_names(ax), ax.get_ylabel()) for ax in small] == [(["cat", "dog"], "of")] * 2


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.matrix(np.eye(5), CLASSES), r"the matrix is \(5, 5\): expected \[12, 12\]"),
        (lambda: plots.matrix(np.eye(2), ["a"], column_names=["b"]), r"expected \[1, 1\]"),
        (lambda: plots.matrix(LARGE, CLASSES, (0, 1)), "an index for each of 12 classes"),
        (lambda: plots.matrices({}, CLASSES), "no matrix"),
        (lambda: plots.matrices({"a": np.ones((2, 3))}, ["cat", "dog"]), r"expected \[2, 2\]"),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize(("classes", "lines"), [(4, 2), (12, 1)])
def test_the_words_beside_the_colours_are_no_longer_than_a_small_matrix(classes, lines):
    bar = "correlation of logits over the test images"
    figure = plots.matrix(np.eye(classes), list(map(str, range(classes))), bar=bar)
    assert len(figure.axes[-1].get_ylabel().split("\n")) == lines
