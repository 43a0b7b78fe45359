"""Pictures of single images and whole classes: drawn without error, and clear errors for wrong shapes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from dcd_utils.plots import representation

RNG = np.random.default_rng(0)
CLASSES = [f"class {i}" for i in range(6)]
KIND = {"classes": CLASSES, "superclasses": (0, 0, 1, 1, 2, 2), "superclass_names": ("a", "b", "c")}
IMAGES = RNG.integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)


def test_each_returns_a_figure_that_pyplot_does_not_hold():
    open_before = plt.get_fignums()
    flags = np.array([True, True, False, True])
    table = pd.DataFrame({"method": ["KD", "DCD"], "seed": [0, 0], "accuracy": [50.0, 60.0], "gap": [0.1, 0.3]})
    figures = [
        representation.image_rows({"teacher": IMAGES, "student": IMAGES}, {"teacher": flags, "student": flags}),
        representation.moves(RNG.normal(size=(6, 2)), {"KD": RNG.normal(size=(6, 2))}, **KIND),
        representation.class_means({"teacher": RNG.normal(size=(6, 6))}, **KIND),
        representation.batch_similarities({"teacher": np.eye(8), "KD": np.eye(8)}, ["cat"] * 3 + ["dog"] * 5),
        representation.against_accuracy(table, "gap", "difference"),
    ]
    assert all(isinstance(figure, Figure) for figure in figures)
    for figure in figures:
        figure.canvas.draw()
    assert plt.get_fignums() == open_before


def test_a_hundred_classes_are_named_by_superclass():
    classes = [f"class {i}" for i in range(100)]
    names = [f"kind {i}" for i in range(20)]
    kinds = [i % 20 for i in range(100)]
    figure = representation.class_means({"teacher": np.eye(100)}, classes, kinds, names)
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks == names
    figure = representation.moves(np.zeros((100, 2)), {"KD": np.ones((100, 2))}, classes, kinds, names)
    assert len(figure.legends[0].get_texts()) == 20


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: representation.image_rows({"a": IMAGES, "b": IMAGES[:2]}, {"a": [1] * 4, "b": [1] * 2}), "one number"),
        (lambda: representation.image_rows({"a": IMAGES}, {}), "a boolean for each image"),
        (lambda: representation.moves(np.zeros((5, 2)), {"KD": np.zeros((6, 2))}, **KIND), r"expected \[6, 2\]"),
        (lambda: representation.class_means({}, **KIND), "no matrix"),
        (lambda: representation.class_means({"a": np.eye(5)}, **KIND), r"expected \[6, 6\]"),
        (lambda: representation.batch_similarities({"a": np.eye(5)}, CLASSES), r"expected \[6, 6\]"),
        (lambda: representation.against_accuracy(pd.DataFrame({"method": []}), "gap", ""), "accuracy"),
    ],
)
def test_wrong_shapes_are_named(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()
