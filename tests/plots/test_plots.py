"""Every picture: a Figure with labelled axes, drawn from arrays that stay as they are, and clear errors."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from dcd_utils import plots
from dcd_utils.analysis import Embedding
from dcd_utils.plots import style

RNG = np.random.default_rng(0)
CLASSES = [f"{shape} {texture}" for shape in ("circle", "square", "star") for texture in ("plain", "striped")]
KINDS, KIND_NAMES = (0, 0, 1, 1, 2, 2), ("circle", "square", "star")
MANY = [f"class {i}" for i in range(100)]
MANY_KINDS = tuple(int(i) for i in RNG.permutation(np.arange(100) % 20))
LABELS = RNG.integers(0, 6, size=80)
POINTS = Embedding(
    RNG.normal(size=(80, 2)).astype(np.float32), "UMAP", {"seed": 0, "standardised": False, "images": 80, "width": 5}
)
MATRIX = np.corrcoef(RNG.normal(size=(6, 9)))
IMAGES = RNG.integers(0, 256, size=(10, 3, 8, 8), dtype=np.uint8)
EPOCHS = np.arange(1, 6)
HISTORY = pd.DataFrame(
    {
        "epoch": EPOCHS,
        "train_loss": 1 / EPOCHS,
        "test_accuracy": 10.0 * EPOCHS,
        "classification": 1 / EPOCHS,
        "contrast": 4 / EPOCHS,
        "consistency": 0.1 / EPOCHS,
        "scale": np.exp(EPOCHS / 3),
    }
)
ALONE = HISTORY[["epoch", "train_loss", "test_accuracy", "classification"]]
TABLE = pd.DataFrame(
    [
        {"method": m, "seed": s, "accuracy": 50.0 + 3 * i + s}
        for i, m in enumerate(("alone", "KD", "DCD+KD"))
        for s in range(3)
    ]
)

PICTURES = {
    "training curves": lambda: plots.training_curves({"alone": ALONE, "DCD+KD": [HISTORY, HISTORY]}, title="Curves"),
    "loss terms": lambda: plots.loss_terms(HISTORY),
    "learned scale": lambda: plots.learned_scale({"alone": ALONE, "DCD": HISTORY}),
    "accuracy by method": lambda: plots.accuracy_by_method(TABLE, teacher=67.0),
    "embedding": lambda: plots.embedding(POINTS, LABELS, CLASSES, KINDS, KIND_NAMES),
    "embedding, array": lambda: plots.embedding(POINTS.points, LABELS, CLASSES),
    "side by side": lambda: plots.embeddings_side_by_side(
        [POINTS] * 4, ["a", "b", "c", "d"], LABELS, CLASSES, KINDS, KIND_NAMES
    ),
    "class correlation": lambda: plots.class_correlation(MATRIX, CLASSES, KINDS, KIND_NAMES),
    "correlation difference": lambda: plots.correlation_difference(
        MATRIX, {"KD": MATRIX / 2, "DCD": -MATRIX / 4}, CLASSES, KINDS, KIND_NAMES
    ),
    "logit difference": lambda: plots.logit_difference({"KD": MATRIX**2, "DCD": MATRIX**2}, CLASSES),
    "logit difference, one": lambda: plots.logit_difference(MATRIX**2, CLASSES),
    "confusion": lambda: plots.confusion(np.eye(6), CLASSES, KINDS, KIND_NAMES),
    "batch similarity": lambda: plots.batch_similarity(MATRIX, names=CLASSES),
    "per-class accuracy": lambda: plots.per_class_accuracy(
        {"teacher": RNG.uniform(0, 100, 6), "alone": np.zeros(6)}, CLASSES
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_a_figure_with_labelled_axes_that_pyplot_does_not_hold(name, tmp_path):
    before, held = plt.rcParams.copy(), plt.get_fignums()
    figure = PICTURES[name]()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "picture.png", dpi=40)
    drawn = [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]
    assert drawn and all(ax.get_xlabel() and ax.get_ylabel() for ax in drawn)
    assert any(ax.get_title(loc="left") for ax in drawn) or figure.get_suptitle()
    assert plt.get_fignums() == held
    assert dict(plt.rcParams) == dict(before)


@pytest.mark.parametrize(
    "name", ["embedding", "class correlation", "batch similarity", "logit difference", "per-class accuracy"]
)
def test_drawing_leaves_arrays_alone(name):
    before = MATRIX.copy(), POINTS.points.copy(), LABELS.copy()
    PICTURES[name]()
    for array, kept in zip((MATRIX, POINTS.points, LABELS), before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_a_picture_goes_into_the_axes_of_the_caller():
    figure, axes = plt.subplots(1, 2)
    assert plots.training_curves({"alone": HISTORY}, ax=axes) is figure
    assert [ax.get_ylabel() for ax in axes] == ["training loss", "test accuracy, top-1 (%)"]
    other, ax = plt.subplots()
    assert plots.dcd_overview(ax=ax) is other and plots.loss_terms(HISTORY, ax=ax) is other
    with pytest.raises(ValueError, match="1 axes were given, 2 are needed"):
        plots.training_curves({"alone": HISTORY}, ax=ax)
    plt.close("all")


def test_lines_show_the_history():
    (ax,) = plots.training_curves({"alone": ALONE, "KD": HISTORY}, metrics="test_accuracy").axes
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.column_stack([EPOCHS, 10.0 * EPOCHS]))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["alone", "KD"]
    (ax,) = plots.learned_scale({"alone": ALONE, "DCD": HISTORY}).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["DCD"]


def test_a_history_of_one_epoch_is_visible():
    (ax,) = plots.training_curves({"alone": HISTORY[:1]}, metrics="train_loss").axes
    assert ax.lines[0].get_marker() == "o"


def test_accuracy_shows_each_seed_and_the_mean():
    (ax,) = plots.accuracy_by_method(TABLE).axes
    dots = np.concatenate([dots.get_offsets() for dots in ax.collections])
    assert len(dots) == 9
    joined = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 3]
    np.testing.assert_array_equal(joined, [[50 + s, 53 + s, 56 + s] for s in range(3)])
    assert [text.get_text() for text in ax.texts] == ["51.0", "54.0", "57.0"]


def test_matrices_are_ordered_by_superclass_and_share_a_symmetric_scale():
    kinds = (1, 0, 1, 0, 1, 0)
    figure = plots.class_correlation(MATRIX, CLASSES, kinds, ("first", "second"))
    order = [1, 3, 5, 0, 2, 4]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), MATRIX[np.ix_(order, order)])
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == [CLASSES[i] for i in order]
    figure = plots.correlation_difference(MATRIX, {"KD": np.full((6, 6), 0.5), "DCD": np.full((6, 6), -0.7)}, CLASSES)
    assert [ax.images[0].get_clim() for ax in figure.axes[:3]] == [(-1, 1), (-0.7, 0.7), (-0.7, 0.7)]


def test_a_hundred_classes_are_named_by_superclass():
    names = [f"group {i}" for i in range(20)]
    figure = plots.class_correlation(np.eye(100), MANY, MANY_KINDS, names)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == names
    assert len(plots.class_correlation(np.eye(100), MANY).axes[0].get_yticklabels()) == 10
    (ax,) = plots.per_class_accuracy(np.arange(100.0), MANY).axes
    assert len(ax.get_yticks()) == 24


def test_logit_difference_goes_by_its_right_name():
    bars = [ax for ax in plots.logit_difference(MATRIX**2, CLASSES).axes if ax.get_label() == "<colorbar>"]
    assert bars[0].get_ylabel() == "absolute difference of class-mean logits"


def test_groups_never_exceed_twenty_looks():
    few = style.class_groups(CLASSES, KINDS, KIND_NAMES)
    assert len({(group.colour, group.marker) for group in few}) == 6
    assert few[0].colour == few[1].colour != few[2].colour
    many = style.class_groups(MANY, MANY_KINDS)
    assert len(many) == len({(group.colour, group.marker) for group in many}) == 20
    assert sorted(c for group in many for c in group.classes) == list(range(100))
    alone = style.class_groups(MANY)
    assert len(alone) == 20 and alone[0].name == "81 other classes" and len(alone[0].classes) == 81
    with pytest.raises(ValueError, match="an index for each of 6 classes"):
        style.class_groups(CLASSES, (0, 1))
    with pytest.raises(ValueError, match="superclass 2 has no name"):
        style.class_groups(CLASSES, KINDS, ("circle",))


def test_settings_stand_below_the_maps_once_unless_they_differ():
    wider = Embedding(POINTS.points, "UMAP", {**POINTS.settings, "width": 9})
    same = plots.embeddings_side_by_side([POINTS, POINTS], ["a", "b"], LABELS, CLASSES)
    assert same.get_supxlabel() == POINTS.caption
    other = plots.embeddings_side_by_side([POINTS, wider], ["a", "b"], LABELS, CLASSES)
    assert other.get_supxlabel() == f"a: {POINTS.caption}\nb: {wider.caption}"


def test_a_method_has_one_colour_everywhere():
    first, second = style.method_colours(["KD", "DCD", "CRD"]), style.method_colours(["CRD", "kd", "alone", "dcd"])
    assert first["KD"] == second["kd"] and first["DCD"] == second["dcd"] and first["CRD"] == second["CRD"]
    assert len(set(second.values())) == 4


def test_images_and_soft_predictions():
    figure = plots.image_grid(IMAGES, [str(i) for i in range(10)], columns=4, title="Ten")
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == 10 and len(figure.axes) == 12
    np.testing.assert_array_equal(shown[3].images[0].get_array(), IMAGES[3].transpose(1, 2, 0))
    soft = {1: np.array([0.7, 0.2, 0.1, 0, 0, 0]), 4: np.full(6, 1 / 6)}
    figure = plots.soft_predictions(IMAGES[0], soft, CLASSES, label_index=1, top=3)
    assert [bar.get_width() for bar in figure.axes[1].patches] == [0.7, 0.2, 0.1]
    assert all(ax.get_xlabel() == "probability" for ax in figure.axes[1:])


def test_overview_is_drawn(tmp_path):
    plots.dcd_overview().savefig(tmp_path / "overview.png", dpi=40)
    words = " ".join(text.get_text() for text in plots.dcd_overview().axes[0].texts)
    assert all(
        word in words for word in ("teacher, frozen", "student, trained", "contrast", "consistency", "unit sphere")
    )


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.training_curves({"alone": ALONE}, metrics="scale"), 'no history has values of "scale"'),
        (lambda: plots.training_curves({}), "no histories"),
        (lambda: plots.learned_scale({"alone": ALONE}), "given were alone"),
        (lambda: plots.loss_terms(HISTORY[["epoch", "scale"]]), "the history has columns epoch, scale"),
        (lambda: plots.accuracy_by_method(TABLE[["method", "seed"]]), "expected method, seed, accuracy"),
        (lambda: plots.embedding(POINTS.points, LABELS[:5], CLASSES), r"expected \[N, 2\] and \[N\]"),
        (lambda: plots.embeddings_side_by_side([POINTS], [], LABELS, CLASSES), "one title for each map"),
        (lambda: plots.class_correlation(np.eye(5), CLASSES), r"expected \[6, 6\]"),
        (lambda: plots.correlation_difference(MATRIX, {}, CLASSES), "no matrix"),
        (lambda: plots.batch_similarity(np.ones((2, 3))), r"expected \[2, 2\]"),
        (lambda: plots.per_class_accuracy(np.ones(5), CLASSES), r"expected \[6\]"),
        (lambda: plots.image_grid(IMAGES.astype(float)), "expected uint8"),
        (lambda: plots.image_grid(IMAGES, ["one"]), "1 titles were given for 10 images"),
        (lambda: plots.soft_predictions(IMAGES[0], {1: np.ones(5)}, CLASSES), r"expected \[6\]"),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
