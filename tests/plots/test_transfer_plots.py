"""Pictures of probes: what is drawn is what was given, and clear errors for what cannot be drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from dcd_utils import plots
from dcd_utils.plots.style import method_colours

TABLE = pd.DataFrame(
    {
        "method": ["alone", "KD", "alone", "KD"],
        "seed": [0, 0, 1, 1],
        "accuracy": [40.0, 45.0, 42.0, 50.0],
        "source_accuracy": [55.0, 58.0, 56.0, 60.0],
    }
)
COUNTS = [5, 10, 125]
CURVES = {"teacher": [[40, 50, 60]], "alone": [[30, 33, 42], [28, 35, 42]]}


def words(ax):
    return [text.get_text() for text in ax.texts]


def test_probe_accuracy_has_a_line_where_guessing_is():
    (ax,) = plots.probe_accuracy(TABLE, 6.25, teacher=62.5).axes
    assert {"41.0", "47.5", "teacher 62.5", "guessing 6.2"} == set(words(ax))
    assert "linear probe" in ax.get_ylabel() and "2 seeds" in ax.get_xlabel()
    figure, ax = plt.subplots(1, 2)
    assert plots.probe_accuracy(TABLE, 6.25, ax=ax[1]) is figure
    assert words(ax[1]) and not words(ax[0])
    plt.close(figure)


def test_source_and_target_draws_each_network_where_it_belongs():
    (ax,) = plots.source_and_target(TABLE, "home", "abroad", "title").axes
    dots = {each.get_label(): each for each in ax.collections}
    np.testing.assert_array_equal(dots["KD"].get_offsets(), [[58, 45], [60, 50]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["alone", "KD"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("home", "abroad")
    (ax,) = plots.source_and_target(TABLE[:2], "home", "abroad", "title", named=True).axes
    assert words(ax) == ["alone", "KD"] and ax.get_legend() is None


def test_few_shot_draws_means_and_draws():
    (ax,) = plots.few_shot(COUNTS, CURVES, 6.25).axes
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["alone"].get_ydata(), [29, 34, 42])
    assert lines["alone"].get_color() == method_colours(["alone"])["alone"]
    assert [len(dots.get_offsets()) for dots in ax.collections] == [3, 6]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["5", "10", "all (125)"]
    assert ax.get_xscale() == "log" and ax.get_ylim()[0] == 0


def test_figures_are_closed_and_settings_stay():
    before, held = plt.rcParams.copy(), plt.get_fignums()
    figures = [
        plots.probe_accuracy(TABLE, 6.25),
        plots.source_and_target(TABLE, "a", "b", "t"),
        plots.few_shot(COUNTS, CURVES, 5),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        figure.canvas.draw()
    assert plt.get_fignums() == held and dict(plt.rcParams) == dict(before)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.probe_accuracy(TABLE[["method"]], 5), "expected method, seed, accuracy"),
        (lambda: plots.source_and_target(TABLE.drop(columns="source_accuracy"), "", "", ""), "source_accuracy"),
        (lambda: plots.source_and_target(TABLE[:0], "", "", ""), "0 rows"),
        (lambda: plots.few_shot(COUNTS, {"alone": [[1, 2]]}, 5), r"expected \[draws, 3\]"),
        (lambda: plots.few_shot(COUNTS, {}, 5), r"expected \[draws, 3\]"),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
