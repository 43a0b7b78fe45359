"""Matrices over classes and over the images of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.style import (
    DIVERGING,
    GREY,
    HUES,
    INK,
    PALE,
    SEQUENTIAL,
    canvas,
    check_superclasses,
    label,
    method_colours,
    themed,
)

_MOST_NAMES = 25  # beyond that many rows, names are too small to read and groups are named instead


@themed
def class_correlation(
    matrix,
    classes,
    superclasses=None,
    superclass_names=None,
    title: str = "Classes the network holds to be alike",
    ax=None,
) -> Figure:
    """Correlation between the logits of every two classes, [C, C], classes ordered by superclass.

    Raises:
        ValueError: the matrix is not [C, C].
    """
    order = _Order(classes, superclasses, superclass_names)
    figure, (ax,) = canvas(ax, order.size)
    mesh = order.draw(ax, matrix, DIVERGING, -1, 1)
    order.name(ax, "class", "class")
    ax.set_title(title)
    figure.colorbar(mesh, ax=ax, shrink=0.8, label="correlation of logits over the test images")
    return figure


@themed
def correlation_difference(
    teacher,
    differences: Mapping,
    classes,
    superclasses=None,
    superclass_names=None,
    title: str = "How far each student's class correlations are from the teacher's",
    limit: float | None = None,
) -> Figure:
    """The teacher's class correlation, then student minus teacher for each student, on one symmetric scale.

    Args:
        teacher: [C, C]. differences: {student's name: [C, C]}.
        limit: end of the students' colour scale; None: the largest difference among them.

    Raises:
        ValueError: a matrix is not [C, C], or there is no student.
    """
    limit = limit or _largest(differences) or 1.0
    figure, axes = _panels(1 + len(differences))
    order = _Order(classes, superclasses, superclass_names)
    mesh = order.draw(axes[0], teacher, DIVERGING, -1, 1)
    order.name(axes[0], "class", "class", small=True)
    axes[0].set_title("teacher")
    shown = list(axes[: 1 + len(differences)])
    for ax, (name, matrix) in zip(shown[1:], differences.items(), strict=True):
        difference = order.draw(ax, matrix, DIVERGING, -limit, limit)
        order.name(ax, "class", "class", small=True)
        ax.set_title(f"{name} − teacher")
    bar = {"ax": shown, "shrink": 0.8, "pad": 0.02, "aspect": 25}
    figure.colorbar(difference, label="difference (student − teacher)", **bar)
    figure.colorbar(mesh, label="correlation (teacher)", **bar)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@themed
def logit_difference(
    matrix,
    classes,
    superclasses=None,
    superclass_names=None,
    title: str = "Where students' class-mean logits leave the teacher's",
    limit: float | None = None,
) -> Figure:
    """Absolute difference of class-mean logits between student and teacher, diagonal zero.

    It is no correlation: see `analysis.logit_difference`.

    Args:
        matrix: [C, C], or {student's name: [C, C]} for a panel each, on one scale.
        limit: end of the colour scale; None: the largest value.

    Raises:
        ValueError: a matrix is not [C, C], or there is none.
    """
    matrices = matrix if isinstance(matrix, Mapping) else {"": matrix}
    limit = limit or _largest(matrices) or 1.0
    order = _Order(classes, superclasses, superclass_names)
    figure, axes = _panels(len(matrices)) if len(matrices) > 1 else canvas(None, order.size)
    for ax, (name, values) in zip(axes, matrices.items(), strict=False):
        mesh = order.draw(ax, values, SEQUENTIAL, 0, limit)
        order.name(ax, "logit of class", "true class", small=len(matrices) > 1)
        ax.set_title(name)
    shown = list(axes[: len(matrices)])
    figure.colorbar(mesh, ax=shown, shrink=0.8, label="absolute difference of class-mean logits")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@themed
def confusion(
    matrix, classes, superclasses=None, superclass_names=None, title: str = "Which classes are taken for which", ax=None
) -> Figure:
    """Confusion matrix [C, C], rows summing to 1, classes ordered by superclass.

    Raises:
        ValueError: the matrix is not [C, C].
    """
    order = _Order(classes, superclasses, superclass_names)
    figure, (ax,) = canvas(ax, order.size)
    mesh = order.draw(ax, matrix, SEQUENTIAL, 0, 1)
    order.name(ax, "predicted class", "true class")
    ax.set_title(title)
    figure.colorbar(mesh, ax=ax, shrink=0.8, label="share of the true class's images")
    return figure


@themed
def batch_similarity(
    matrix,
    title: str = "Every student embedding against every teacher embedding",
    value: str = "score",
    names=None,
    limits: tuple[float, float] | None = None,
    ax=None,
) -> Figure:
    """Scores of a batch, [B, B]: row = student embedding of image i, column = teacher embedding of image j.

    Args:
        value: what the numbers are, for the colour bar.
        names: a short name for each image, B of them. limits: ends of the colour scale.

    Raises:
        ValueError: the matrix is not [B, B].
    """
    matrix = _square(matrix, len(matrix))
    count = len(matrix)
    figure, (ax,) = canvas(ax, (5.4, 4.5))
    low, high = limits or (matrix.min(), matrix.max())
    mesh = ax.imshow(matrix, cmap=SEQUENTIAL, vmin=low, vmax=high, interpolation="nearest")
    if count <= 8:
        middle = (low + high) / 2
        for (i, j), number in np.ndenumerate(matrix):
            colour = "white" if number > middle else INK
            weight = "bold" if i == j else "normal"
            ax.text(j, i, f"{number:.2f}", ha="center", va="center", color=colour, fontsize=9, fontweight=weight)
    step = 1 if count <= _MOST_NAMES else -(-count // 8)
    ticks = range(0, count, step)
    texts = [names[i] for i in ticks] if names is not None else [str(i) for i in ticks]
    ax.set_xticks(ticks, texts, rotation=90 if names is not None else 0, fontsize=9)
    ax.set_yticks(ticks, texts, fontsize=9)
    label(ax, title, "teacher embedding of image j", "student embedding of image i")
    figure.colorbar(mesh, ax=ax, shrink=0.85, label=value)
    return figure


@themed
def per_class_accuracy(accuracy, classes, title: str = "Some classes are much harder than others", ax=None) -> Figure:
    """Accuracy of each class, ordered by the first network given; beyond 25 classes the 12 hardest and 12 easiest.

    Args:
        accuracy: [C] in %, or {network's name: [C]}.

    Raises:
        ValueError: not one number for each class.
    """
    networks = accuracy if isinstance(accuracy, Mapping) else {"": accuracy}
    networks = {name: np.asarray(values, dtype=float) for name, values in networks.items()}
    if not networks or any(values.shape != (len(classes),) for values in networks.values()):
        shapes = [values.shape for values in networks.values()]
        raise ValueError(f"accuracies have shapes {shapes}: expected [{len(classes)}], one a class")
    order = np.argsort(next(iter(networks.values())), kind="stable")
    shown = order if len(order) <= _MOST_NAMES else np.concatenate([order[:12], order[-12:]])
    figure, (ax,) = canvas(ax, (6.6, 1.2 + 0.2 * len(shown)))
    colours = method_colours(networks)
    rows = np.arange(len(shown))
    values = np.stack([values[shown] for values in networks.values()])
    if len(networks) == 1:
        ax.hlines(rows, 0, values[0], color=PALE, linewidth=1.2, zorder=1)
    else:
        ax.hlines(rows, values.min(axis=0), values.max(axis=0), color=PALE, linewidth=2.2, zorder=1)
    for name, line in zip(networks, values, strict=True):
        ax.scatter(line, rows, s=30, color=colours[name] if name else HUES[0], label=name, zorder=2)
    if len(shown) < len(order):
        ax.axhline(11.5, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        look = {"color": GREY, "ha": "right", "fontsize": 8}
        ax.annotate(f"{len(order) - 24} more", (1, 11.5), (0, 2), ("axes fraction", "data"), "offset points", **look)
    ax.set_yticks(rows, [classes[i] for i in shown], fontsize=8)
    ax.set(xlim=(0, 101), ylim=(len(shown) - 0.4, -0.6))
    label(ax, title, "test accuracy of the class (%)", "class")
    if len(networks) > 1:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


class _Order:
    """Rows and columns ordered by superclass, with borders between superclasses and names that can be read."""

    def __init__(self, classes, superclasses, superclass_names):
        self.classes = list(classes)
        kinds = check_superclasses(classes, superclasses, superclass_names)
        self.order = np.arange(len(classes)) if kinds is None else np.argsort(kinds, kind="stable")
        self.spans = []
        if kinds is not None:
            for kind in np.unique(kinds):
                places = np.flatnonzero(kinds[self.order] == kind)
                name = superclass_names[kind] if superclass_names is not None else f"superclass {kind}"
                self.spans.append((name, places[0], places[-1] + 1))
        # Names of superclasses are long and stand on both sides; the matrix must still be the larger part.
        self.size = (8.6, 7.6) if self.spans and len(classes) > _MOST_NAMES else (7.0, 6.0)

    def draw(self, ax, matrix, colours, low, high):
        matrix = _square(matrix, len(self.classes))[np.ix_(self.order, self.order)]
        mesh = ax.imshow(matrix, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        border = 0.6 if len(self.classes) <= _MOST_NAMES else 0.35
        for _, _, end in self.spans[:-1]:
            ax.axhline(end - 0.5, color=GREY, linewidth=border)
            ax.axvline(end - 0.5, color=GREY, linewidth=border)
        ax.spines[:].set_visible(False)
        return mesh

    def name(self, ax, x, y, small=False):
        """Tick and axis labels. Small panels share the names of rows; of columns they have none that would not fit."""
        many = len(self.classes) > _MOST_NAMES
        if not many:
            places, names = range(len(self.classes)), [self.classes[i] for i in self.order]
        elif self.spans:
            places = [(start + end - 1) / 2 for _, start, end in self.spans]
            names = [name for name, _, _ in self.spans]
            x, y = f"{x} (grouped by superclass)", f"{y} (grouped by superclass)"
        else:
            places = range(0, len(self.classes), -(-len(self.classes) // 10))
            names = [self.classes[self.order[i]] for i in places]
        size = 7 if small else 8
        ax.set(xlabel=x, ylabel=y)
        ax.set_xticks(places, [] if small and many else names, rotation=90, fontsize=size)
        ax.set_yticks(places, names, fontsize=size)
        ax.tick_params(length=0)
        if small:
            ax.set_xlabel("columns in the order of the rows" if many else x, fontsize=9)
            ax.set_ylabel(y, fontsize=9)
            if not ax.get_subplotspec().is_first_col():
                ax.set_yticks([])


def _panels(count):
    if count == 1:
        return canvas(None, (7.0, 6.0))
    columns = 2 if count in (2, 4) else 3
    rows = -(-count // columns)
    figure, axes = canvas(None, (3.3 * columns + 1.6, 4.0 * rows), rows, columns)
    figure.set_layout_engine("compressed", h_pad=0.08)  # square panels close to each other
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes


def _largest(matrices: Mapping) -> float:
    if not matrices:
        raise ValueError("no matrix was given: pass {name: matrix}")
    return max(float(np.abs(np.asarray(matrix)).max()) for matrix in matrices.values())


def _square(matrix, count) -> np.ndarray:
    matrix = np.asarray(matrix)
    if matrix.shape != (count, count):
        raise ValueError(f"the matrix is {matrix.shape}: expected [{count}, {count}]")
    return matrix
