"""Every picture: a Figure with labelled axes, drawn from arrays that stay as they are; a method has one look in all."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from dcd_utils import plots

RNG = np.random.default_rng(0)
CLASSES = [f"{shape} {texture}" for shape in ("circle", "square", "star") for texture in ("plain", "striped")]
KIND = {"classes": CLASSES, "superclasses": (0, 0, 1, 1, 2, 2), "superclass_names": ("circle", "square", "star")}
LABELS = RNG.integers(0, 6, size=80)
POINTS = RNG.normal(size=(80, 2))
MATRIX = np.corrcoef(RNG.normal(size=(6, 9)))
HISTORY = pd.DataFrame({"epoch": range(1, 6), "train_loss": np.ones(5), "test_accuracy": np.arange(5.0)})
TABLE = pd.DataFrame(
    [(method, seed, 50.0 + seed) for method in ("alone", "crd", "DCD+KD") for seed in range(3)],
    columns=["method", "seed", "accuracy"],
)
RANGES = TABLE.rename(columns={"method": "name", "seed": "series", "accuracy": "value"})
GAINS = pd.DataFrame({"title": ["KD", "AT+KD"], "reads": ["logits", "maps"], "beside": ["", "KD"], "n": [3, 1]})
GAINS = GAINS.assign(mean=[1.0, -2.0], low=[0.5, np.nan], high=[1.5, np.nan])
AXES = {"rows": "row", "columns": "column"}

PICTURES = {
    "training curves": lambda: plots.training_curves({"alone": HISTORY, "DCD+KD": [HISTORY, HISTORY]}, title="Title"),
    "curves": lambda: plots.curves({"DCD": (range(3), np.ones((2, 3)))}, title="Title", x="x", y="y", bands={"DCD": 1}),
    "accuracy by method": lambda: plots.accuracy_by_method(TABLE, teacher=67.0, guessing=5.0),
    "scatter": lambda: plots.scatter(TABLE, "seed", "accuracy", "x", "y", "Title", names="seed"),
    "ranges": lambda: plots.ranges(RANGES, {"alone": 50.0}, "Title", "accuracy"),
    "gains": lambda: plots.gains(GAINS, "Title", {"KD at 1 and 1": 1.0}),
    "ranges, log": lambda: plots.ranges(RANGES, {}, "Title", "size", log=True),
    "method map": lambda: plots.method_map({"kd": [("logits", "values")]}, ("logits", "maps"), ("values",), {"kd"}),
    "per-class accuracy": lambda: plots.per_class_accuracy({"teacher": MATRIX[0], "alone": MATRIX[1]}, CLASSES),
    "embeddings": lambda: plots.embeddings({"a": POINTS, "b": POINTS}, LABELS, **KIND),
    "embeddings, in parts": lambda: plots.embeddings({"a": POINTS}, LABELS, **KIND, parts={"even": LABELS % 2 == 0}),
    "circle": lambda: plots.circle(np.eye(2), np.eye(2), ["cat", "dog"], title="Title"),
    "matrix": lambda: plots.matrix(MATRIX, **KIND, **AXES, bar="value", title="Title"),
    "matrices": lambda: plots.matrices({"a": MATRIX, "b": {"values": MATRIX, "bar": "b"}}, **KIND, **AXES, bar="a"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_a_figure_with_labelled_axes_that_pyplot_does_not_hold(name, tmp_path):
    settings, held, arrays = plt.rcParams.copy(), plt.get_fignums(), (MATRIX.copy(), POINTS.copy(), LABELS.copy())
    figure = PICTURES[name]()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "picture.png", dpi=40)
    drawn = [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]
    assert drawn and all(ax.get_xlabel() and ax.get_ylabel() for ax in drawn)
    assert any(ax.get_title(loc="left") for ax in drawn) or figure.get_suptitle()
    assert plt.get_fignums() == held
    assert dict(plt.rcParams) == dict(settings)
    for array, before in zip((MATRIX, POINTS, LABELS), arrays, strict=True):
        np.testing.assert_array_equal(array, before)


def test_the_text_form_of_a_picture_has_what_is_written_in_it():
    panels = {"first": [[0.25, 1]], "second": [[np.nan, -0.5]]}
    figure = plots.matrices(panels, ["row"], column_names=["a", "b"], title="Two panels")
    assert repr(figure) == "<Figure: Two panels | first | 0.25 | 1.00 | second | n/a | -0.50>"
    assert repr(plots.curves({"a": ([0, 1], [2, 3])}, title="", x="x", y="y", levels={"2.5: mean": 2.5})) == (
        "<Figure: 2.5: mean>"
    )


def test_a_picture_goes_into_the_axes_of_the_caller():
    figure, (left, right) = plt.subplots(1, 2)
    assert plots.matrix(MATRIX, CLASSES, ax=left, title="matrix") is figure
    assert plots.curves({"a": ([0], [0])}, title="curves", x="", y="", ax=right) is figure
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["matrix", "curves"]
    plt.close(figure)


@pytest.mark.parametrize("method", ["teacher", "alone", "kd", "dcd", "dcd+kd", "crd", "crd+kd", "dist"])
def test_a_method_has_one_colour_whoever_draws_it_and_whatever_is_beside_it(method):
    line = (range(3), range(3))
    beside = ["rrd", "something else", method]
    table = pd.concat([TABLE.assign(method=name) for name in beside])
    (lines,) = plots.curves({name: line for name in beside}, title="", x="", y="").axes
    (history,) = plots.training_curves({method: HISTORY, "kd": HISTORY}, "train_loss").axes
    (alone,) = plots.curves({method.upper(): line}, title="", x="", y="").axes
    (dots,) = plots.scatter(table, "seed", "accuracy", "", "", "").axes
    (bars,) = plots.accuracy_by_method(table[table.method == method]).axes
    (classes,) = plots.per_class_accuracy({"sp": MATRIX[0], method: MATRIX[1]}, CLASSES).axes
    colours = {to_hex(ax.lines[at].get_color()) for ax, at in ((lines, 2), (history, 0), (alone, 0))}
    colours |= {to_hex(ax.collections[-1].get_facecolor()[0]) for ax in (dots, bars, classes)}
    assert len(colours) == 1
