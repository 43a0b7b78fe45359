"""Lines show the values that were given."""

import numpy as np
import pandas as pd
import pytest

from dcd_utils import plots

EPOCHS = np.arange(1, 6)
ALONE = pd.DataFrame({"epoch": EPOCHS, "train_loss": 1 / EPOCHS, "test_accuracy": 10.0 * EPOCHS})
HISTORY = ALONE.assign(scale=np.exp(EPOCHS / 3))
LABELS = {"title": "t", "x": "x", "y": "y"}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_curves_draw_lines_levels_and_bands():
    x = np.arange(3.0)
    lines = {"a": (x, x), "b": (x, 2 * x)}
    (ax,) = plots.curves(lines, **LABELS, levels={"cap": 1.5}, bands={"a": 0.1}, ylim=(0, 9)).axes
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), 2 * x)
    assert [text.get_text() for text in ax.texts] == ["cap"] and len(ax.collections) == 1 and ax.get_ylim() == (0, 9)
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == ("t", "x", "y")
    assert len(plots.curves({str(i): (x, x) for i in range(15)}, **LABELS).axes[0].lines) == 15


def test_curves_draw_the_mean_of_several_draws_and_each_of_them():
    counts, draws = [5, 10, 125], [[30, 33, 42], [28, 35, 42]]
    lines = {"teacher": (counts, [40, 50, 60]), "alone": (counts, draws)}
    (ax,) = plots.curves(lines, **LABELS, xscale="log", xticks=counts, xticklabels=counts).axes
    assert legend(ax) == ["teacher", "alone"]
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [29, 34, 42])
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets()[:, 1], np.ravel(draws))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["5", "10", "125"] and ax.get_xscale() == "log"


def test_training_curves_show_the_histories_that_have_the_metric():
    (ax,) = plots.training_curves({"alone": ALONE, "KD": [HISTORY, HISTORY]}, metrics="test_accuracy").axes
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.column_stack([EPOCHS, 10.0 * EPOCHS]))
    assert len(ax.lines) == 3 and legend(ax) == ["alone", "KD"]
    (ax,) = plots.training_curves({"alone": ALONE, "DCD": HISTORY}, "scale", "Title", {"cap 10": 10}).axes
    assert legend(ax) == ["DCD"] and ax.get_ylabel() == "scale (inverse temperature)"
    assert [text.get_text() for text in ax.texts] == ["cap 10"] and ax.get_title(loc="left") == "Title"


def test_a_history_of_one_epoch_is_visible():
    (ax,) = plots.training_curves({"alone": HISTORY[:1]}, metrics="train_loss").axes
    assert ax.lines[0].get_marker() == "o"


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.training_curves({"alone": ALONE}, metrics="scale"), 'no history has values of "scale".*alone'),
        (lambda: plots.training_curves({}), "no histories"),
        (lambda: plots.curves({"alone": ([1, 2, 3], [[1, 2]])}, **LABELS), '"alone" has'),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
