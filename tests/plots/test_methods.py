"""Methods and runs stand where their numbers are."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from dcd_utils import plots

TABLE = pd.DataFrame(
    [(m, s, 50.0 + 3 * i + s, 20.0 * i + s) for i, m in enumerate(("alone", "KD", "DCD+KD")) for s in range(3)],
    columns=["method", "seed", "accuracy", "source"],
)
RANGES = pd.DataFrame({"name": ["kd", "kd", "dcd"], "series": ["alone", "with KD", "alone"], "value": [1.0, 2.0, 30.0]})
# in the order of tables; KD has three seeds, "NST, alpha=2" has its partner beside it, AT was run once
GAINS = pd.DataFrame(
    [("KD", "logits", "", 3, 2.0, 1.0, 3.0), ("NST, alpha=2", "maps", "", 3, 8.0, 7.0, 9.0),
     ("NST+KD, alpha=2", "maps", "KD", 2, 9.0, -90.0, 108.0), ("AT", "maps", "", 1, 50.0, np.nan, np.nan)],
    columns=["title", "reads", "beside", "n", "mean", "low", "high"],
)  # fmt: skip
PLACES = {"kd": [("logits", "values")], "dist": [("logits", "values"), ("logits", "batch")], "sp": [("maps", "batch")]}
MANY = [f"class {i}" for i in range(100)]
SCATTER = {"x": "source", "y": "accuracy", "x_label": "home", "y_label": "abroad", "title": "t"}


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_accuracy_shows_each_seed_and_the_mean():
    (ax,) = plots.accuracy_by_method(TABLE, teacher=62.5, guessing=6.25, y="accuracy of the probe").axes
    assert len(np.concatenate([dots.get_offsets() for dots in ax.collections])) == 9
    joined = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 3]
    np.testing.assert_array_equal(joined, [[50 + s, 53 + s, 56 + s] for s in range(3)])
    assert texts(ax) == ["51.0", "54.0", "57.0", "teacher 62.5", "guessing 6.2"]
    assert "3 seeds" in ax.get_xlabel() and ax.get_ylabel() == "accuracy of the probe"


def test_one_run_is_a_hollow_dot_without_a_bar():
    (ax,) = plots.accuracy_by_method(TABLE[1:].query("method != 'alone' or seed == 1"), title="t").axes
    assert [hollow(dots) for dots in ax.collections] == [True, False, False]
    assert len([line for line in ax.lines if line.get_linewidth() > 2]) == 2, "bars"
    weights = {text.get_text(): text.get_weight() for text in ax.texts}
    assert weights == {"51.0": "normal", "54.0": "bold", "57.0": "bold"}
    assert plots.accuracy_by_method(TABLE[::3]).axes[0].get_xlabel() == "method (one seed)"


def bars(ax) -> list[tuple]:
    """Both ends of each line of a collection, along x."""
    lines = [lines for lines in ax.collections if isinstance(lines, LineCollection)]
    return sorted(tuple(part[:, 0].tolist()) for some in lines for part in some.get_segments())


def hollow(dots) -> bool:
    return tuple(dots.get_facecolor()[0][:3]) == (1, 1, 1) != tuple(dots.get_edgecolor()[0][:3])


def test_gains_are_ordered_and_what_was_measured_once_has_no_rank():
    (ax,) = plots.gains(GAINS, "NST leads", {"KD at 1 and 1": 5.0}).axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["NST, alpha=2", "KD", "AT"] and ax.yaxis_inverted()
    markers = [dot for dot in ax.collections if not isinstance(dot, LineCollection)]
    dots = {tuple(dot.get_offsets()[0].round(1).tolist()): dot for dot in markers}
    assert set(dots) == {(2, 0.9), (8, -0.1), (9, 0.1), (50, 1.9)}, "the partner in the row of what it stands beside"
    assert [place for place, dot in dots.items() if hollow(dot)] == [(50, 1.9)]
    colours = {place: to_hex(dot.get_edgecolor()[0] if hollow(dot) else dot.get_facecolor()[0])
               for place, dot in dots.items()}  # fmt: skip
    assert colours[8, -0.1] == colours[9, 0.1] == colours[50, 1.9] != colours[2, 0.9], "by what is read"
    assert bars(ax) == [(-90, 108), (1, 3), (7, 9)]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "reads logits", "reads maps", "on its own", "with KD", "one seed", "KD at 1 and 1",
    ]  # fmt: skip
    assert "2 or 3 seeds" in ax.get_xlabel() and ax.get_xlim()[0] > -90, "two seeds do not blow up the picture"


def test_gains_of_one_seed_keep_the_order_of_tables():
    table = GAINS.assign(n=1, low=np.nan, high=np.nan)
    (ax,) = plots.gains(table, "t").axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["KD", "NST, alpha=2", "AT"]
    assert "one seed" in ax.get_xlabel()


def test_scatter_draws_each_run_where_it_belongs():
    (ax,) = plots.scatter(TABLE, **SCATTER).axes
    dots = {collection.get_label(): collection.get_offsets() for collection in ax.collections}
    np.testing.assert_array_equal(dots["KD"], [[20, 53], [21, 54], [22, 55]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["alone", "KD", "DCD+KD"] and not texts(ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("home", "abroad")
    (ax,) = plots.scatter(TABLE[::3], **SCATTER, names="method").axes
    assert texts(ax) == ["alone", "KD", "DCD+KD"] and ax.get_legend() is None


def test_ranges_come_from_the_top_in_the_tables_order():
    (ax,) = plots.ranges(RANGES, {"alone": 5.0}, "title", "accuracy").axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["kd", "dcd"] and ax.yaxis_inverted()
    assert texts(ax) == ["alone"]
    assert bars(ax) == [], "single values have no mean"
    twice = pd.concat([RANGES, RANGES.assign(value=5.0)])
    (ax,) = plots.ranges(twice, {}, "title", "accuracy").axes
    assert bars(ax) == [(3.0, 3.0), (3.5, 3.5), (17.5, 17.5)]
    assert plots.ranges(RANGES, {}, "title", "size", log=True).axes[0].get_xscale() == "log"


def test_per_class_accuracy_shows_the_hardest_and_the_easiest_of_many():
    (ax,) = plots.per_class_accuracy(np.arange(100.0)[::-1], MANY).axes
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == [*MANY[:-13:-1], *MANY[11::-1]] and texts(ax) == ["76 more"]
    (ax,) = plots.per_class_accuracy({"teacher": np.ones(100), "alone": np.zeros(100)}, MANY).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["teacher", "alone"]


def test_a_method_stands_in_each_of_its_places():
    (ax,) = plots.method_map(PLACES, ("logits", "maps"), ("values", "batch"), {"sp"}).axes
    assert sorted(texts(ax)) == ["dist", "dist", "kd", "sp"]
    edges = {text.get_text(): text.get_bbox_patch().get_linewidth() for text in ax.texts}
    assert edges["sp"] > edges["kd"] == edges["dist"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.accuracy_by_method(TABLE[["method", "seed"]]), "expected method, seed, accuracy"),
        (lambda: plots.scatter(TABLE.drop(columns="source"), **SCATTER), "expected method, source, accuracy"),
        (lambda: plots.scatter(TABLE[:0], **SCATTER), "0 rows"),
        (lambda: plots.ranges(RANGES.drop(columns="value"), {}, "", ""), "expected name, series, value"),
        (lambda: plots.ranges(RANGES[:0], {}, "", ""), "0 rows"),
        (lambda: plots.gains(GAINS.drop(columns="low"), ""), "expected title, reads, beside, n, mean, low, high"),
        (lambda: plots.per_class_accuracy(np.ones(5), MANY), r"expected \[100\]"),
        (lambda: plots.per_class_accuracy({}, MANY), r"expected \[100\]"),
        (lambda: plots.method_map({"x": [("maps", "none")]}, ("maps",), ("values",), ()), '"x" is at'),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize("count", [4, 40])
def test_classes_without_images_are_left_out_and_counted(count):
    accuracy = np.where(np.arange(count) % 4, 50.0, np.nan)
    (ax,) = plots.per_class_accuracy({"a": accuracy, "b": accuracy + 1}, [f"c{i}" for i in range(count)]).axes
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert len(names) == min(3 * count // 4, 24) and not any(int(name[1:]) % 4 == 0 for name in names)
    assert f"; {count // 4} without images left out" in ax.get_xlabel()
