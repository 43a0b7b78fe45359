"""Pictures of many methods: drawn without error, what they show, and clear errors for wrong input."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from dcd_utils import plots

IMAGES = np.zeros((3, 3, 16, 16), dtype=np.uint8)
PLACES = {"kd": [("logits", "values")], "dist": [("logits", "values"), ("logits", "batch")], "sp": [("maps", "batch")]}
TABLE = pd.DataFrame({"name": ["kd", "kd", "dcd"], "series": ["alone", "with KD", "alone"], "value": [1.0, 2.0, 30.0]})


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_each_returns_a_figure_that_pyplot_does_not_hold():
    open_before = plt.get_fignums()
    figures = [
        plots.method_map(PLACES, ("logits", "maps"), ("values", "batch"), marked={"sp"}),
        plots.attention_rows(IMAGES, {"teacher": np.ones((3, 4, 4)), "student": np.ones((3, 8, 8))}),
        plots.heatmap(np.eye(3), list("abc"), list("abc"), "title", "cosine", 1.0, borders=(1,)),
        plots.ranges(TABLE, {"student alone": 5.0}, "title", "accuracy"),
        plots.ranges(TABLE, {}, "title", "size", log=True),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        figure.canvas.draw()
    assert plt.get_fignums() == open_before


def test_a_method_stands_in_each_of_its_places():
    assert sorted(texts(plots.method_map(PLACES, ("logits", "maps"), ("values", "batch"), ()))) == [
        "dist", "dist", "kd", "sp"
    ]  # fmt: skip


def test_missing_values_stay_blank_and_zero_has_no_sign():
    figure = plots.heatmap([[np.nan, -0.01, 2.0]], ["pair"], list("abc"), "title", "gain", 2.0)
    assert texts(figure) == ["0.0", "2.0"]


def test_names_come_from_the_top_in_the_tables_order():
    axes = plots.ranges(TABLE, {}, "title", "accuracy").axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["kd", "dcd"]
    assert axes.yaxis_inverted()


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plots.method_map({"x": [("maps", "none")]}, ("maps",), ("values",), ()), '"x" is at'),
        (lambda: plots.attention_rows(IMAGES, {"teacher": np.ones((2, 4, 4))}), r"expected maps \[3, h, w\]"),
        (lambda: plots.heatmap(np.eye(2), ["a"], ["b"], "", "", 1.0), r"expected \[1, 1\]"),
        (lambda: plots.ranges(TABLE.drop(columns="value"), {}, "", ""), "expected name, series, value"),
        (lambda: plots.ranges(TABLE[:0], {}, "", ""), "0 rows"),
    ],
)
def test_wrong_input_is_named(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
