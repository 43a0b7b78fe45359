"""Drawings of the loss: what they show is what they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from dcd_utils.plots import loss as draw

VALUES = np.array([[0.25, -1.5], [-0.001, 3.0]])


def written(ax):
    return [text.get_text() for text in ax.texts]


def test_a_matrix_writes_its_numbers_and_names():
    figure = draw.matrix(VALUES, title="scores", names=["cat", "dog"])
    ax = figure.axes[0]
    assert written(ax) == ["0.25", "-1.50", "0.00", "3.00"]
    assert ax.get_title(loc="left") == "scores"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["cat", "dog"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("student of", "teacher of")
    assert ax.images[0].get_clim() == (-3.0, 3.0)  # symmetric, because a value is negative
    assert draw.matrix(np.abs(VALUES)).axes[0].images[0].get_clim() == (0.0, 3.0)
    assert draw.matrix(VALUES, limits=(-9, 9), digits=0).axes[0].images[0].get_clim() == (-9, 9)
    assert np.isfinite(draw.matrix(np.zeros((2, 2))).axes[0].images[0].get_clim()).all()


def test_matrices_share_what_is_shared():
    figure = draw.matrices([{"values": VALUES, "title": "a"}, {"values": 2 * VALUES, "title": "b"}], names=["x", "y"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["a", "b"]
    assert written(figure.axes[1])[0] == "0.50"


def test_the_circle_names_every_arrow_twice():
    points = np.array([[1.0, 0.0], [0.6, 0.8]])
    ax = draw.circle(points, points[::-1], ["cat", "dog"]).axes[0]
    assert sorted(written(ax)) == ["cat", "cat", "dog", "dog"] and len(ax.lines) == 4
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["student", "teacher"]


def test_curves_draw_lines_levels_and_bands():
    x = np.arange(3.0)
    figure = draw.curves(
        {"a": (x, x), "b": (x, 2 * x)}, title="t", x="x", y="y", levels={"cap": 1.5}, bands={"a": 0.1}, ylim=(0, 9)
    )
    ax = figure.axes[0]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), 2 * x)
    assert written(ax) == ["cap"] and len(ax.collections) == 1 and ax.get_ylim() == (0, 9)


def test_loss_panels_show_matrices_and_terms():
    terms = {"contrast": 0.5, "consistency": 0.25, "total": 0.625}
    figure = draw.loss_panels(VALUES, abs(VALUES), abs(VALUES), VALUES, terms, ["cat", "dog"])
    assert [ax.get_title(loc="left") for ax in figure.axes[:5]] == [
        "scores s", "row softmax p", "column softmax q", "gradient on s", "terms",
    ]  # fmt: skip
    assert written(figure.axes[4]) == ["0.500", "0.250", "0.625"]
    assert figure.axes[2].get_ylabel() == "teacher of"


def test_given_axes_are_used_and_no_figure_stays_open():
    figure, ax = plt.subplots()
    assert draw.matrix(VALUES, ax) is figure
    plt.close(figure)
    draw.matrices([{"values": VALUES}])
    assert plt.get_fignums() == []
    with pytest.raises(ValueError):
        draw.matrices([])
