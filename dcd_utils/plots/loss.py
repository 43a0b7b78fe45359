"""Drawings for the loss: annotated matrices of a small batch, embeddings on the unit circle, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_STUDENT, _TEACHER = sns.color_palette("colorblind")[1], sns.color_palette("colorblind")[0]
_TERMS = {"contrast": 0, "consistency": 1, "total": 2}


def matrix(
    values: Any,
    axes: Axes | None = None,
    *,
    title: str = "",
    names: Sequence[str] = (),
    rows: str = "student",
    columns: str = "teacher",
    limits: tuple[float, float] | None = None,
    digits: int = 2,
) -> Figure:
    """A small matrix in colour with its numbers written in.

    Args:
        values: [R, C].
        names: the images of the batch, as tick labels on both axes (or numbers).
        rows, columns: what a row and a column belong to ("student" or "teacher").
        limits: values of the two ends of the colour scale; symmetric about 0 if any value is negative.
    """
    values = np.asarray(values)
    figure, (axes,) = _panels(axes, 1, (3.6, 3.4))
    if limits is None:
        high = max(float(np.abs(values).max()), 1e-12)
        limits = (-high if values.min() < 0 else 0.0, high)
    image = axes.imshow(values, cmap="RdBu_r" if limits[0] < 0 else "Blues", vmin=limits[0], vmax=limits[1])
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = image.cmap(image.norm(value))
        colour = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.55 else "white"
        # adding 0.0 turns a rounded -0.0 into 0.0
        text = f"{round(float(value), digits) + 0.0:.{digits}f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    axes.set_title(title, fontsize=10)
    axes.set(ylabel=f"{rows} of", xlabel=f"{columns} of")
    axes.set_xticks(range(values.shape[1]), names or range(values.shape[1]), va="baseline")
    axes.set_yticks(range(values.shape[0]), names or range(values.shape[0]))
    axes.tick_params(length=0, labelsize=9)
    axes.tick_params(axis="x", pad=14)
    axes.spines[:].set_visible(False)
    return figure


def matrices(panels: Sequence[Mapping[str, Any]], **shared: Any) -> Figure:
    """Matrices side by side: each panel is a mapping of `matrix`'s arguments, `shared` holds for all."""
    figure, axes = _panels(None, len(panels), (3.6, 3.4))
    for panel, one in zip(panels, axes, strict=True):
        matrix(axes=one, **{**shared, **panel})
    return figure


def circle(student: Any, teacher: Any, names: Sequence[str], axes: Axes | None = None, title: str = "") -> Figure:
    """Two-dimensional embeddings of unit length as arrows: student [B, 2] drawn through, teacher [B, 2] dashed."""
    figure, (axes,) = _panels(axes, 1, (5.2, 4.6))
    axes.add_patch(plt.Circle((0, 0), 1, fill=False, color="0.8"))
    for points, colour, style, label, reach in (
        (student, _STUDENT, "-", "student", 1.08),
        (teacher, _TEACHER, "--", "teacher", 1.24),
    ):
        for position, (name, (x, y)) in enumerate(zip(names, np.asarray(points), strict=True)):
            axes.plot([0, x], [0, y], style, color=colour, marker="o", markevery=[1], label=None if position else label)
            side = "left" if x > 0.3 else "right" if x < -0.3 else "center"
            axes.text(reach * x, reach * y, name, color=colour, ha=side, va="center", fontsize=9)
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.4, 1.4), aspect="equal", xlabel="first dimension", ylabel="second dimension")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="lower left", fontsize=9)
    sns.despine(ax=axes)
    return figure


def curves(
    lines: Mapping[str, tuple[Any, Any]],
    axes: Axes | None = None,
    *,
    title: str,
    x: str,
    y: str,
    levels: Mapping[str, float] | None = None,
    bands: Mapping[str, Any] | None = None,
    legend: Any = "best",
    size: tuple[float, float] = (5.0, 3.6),
    **settings: Any,
) -> Figure:
    """Up to six lines in one picture, told apart by colour and by dashes.

    Args:
        lines: label -> (x values, y values).
        x, y: the axes' labels.
        levels: label -> height of a dotted horizontal line.
        bands: label of a line -> half width of the band around it.
        legend: its place, as matplotlib names places.
        **settings: of the axes, for instance xscale="log".
    """
    figure, (axes,) = _panels(axes, 1, size)
    palette = sns.color_palette("colorblind")
    colours = [palette[i] for i in (0, 1, 2, 4, 3, 7)]  # neighbours in the palette's own order look alike
    for position, (label, (across, up)) in enumerate(lines.items()):
        axes.plot(across, up, ("-", "--", "-.", ":")[position % 4], color=colours[position], label=label)
        if label in (bands or {}):
            low, high = np.asarray(up) - bands[label], np.asarray(up) + bands[label]
            axes.fill_between(across, low, high, color=colours[position], alpha=0.25, linewidth=0)
    for label, height in (levels or {}).items():
        axes.axhline(height, color="0.45", linewidth=1, linestyle=":")
        where = axes.get_yaxis_transform()  # x in parts of the axes, y in data
        axes.text(0.99, height, label, color="0.3", fontsize=8, ha="right", va="bottom", transform=where)
    axes.set(xlabel=x, ylabel=y, **settings)
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=9, loc=legend)
    sns.despine(ax=axes)
    return figure


def loss_panels(
    scores: Any, p: Any, q: Any, gradient: Any, terms: Mapping[str, float], names: Sequence[str]
) -> Figure:
    """The whole loss of a small batch: scores, both softmaxes, the gradient on the scores, and the terms as bars.

    Args:
        scores, p, q, gradient: [B, B].
        terms: name -> value, for instance contrast, consistency and total.
    """
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 6.8), layout="constrained")
    plt.close(figure)
    matrix(scores, axes[0, 0], title="scores s", names=names)
    matrix(p, axes[0, 1], title="row softmax p", names=names, limits=(0, 1))
    matrix(q, axes[0, 2], title="column softmax q", names=names, limits=(0, 1), rows="teacher", columns="student")
    matrix(gradient, axes[1, 0], title="gradient on s", names=names)
    bars = axes[1, 1].bar(list(terms), list(terms.values()), color=sns.color_palette("colorblind")[: len(terms)])
    axes[1, 1].bar_label(bars, fmt="%.3f", fontsize=9)
    axes[1, 1].margins(y=0.12)
    axes[1, 1].set_title("terms", fontsize=10)
    axes[1, 2].set_axis_off()
    sns.despine(ax=axes[1, 1])
    return figure


def _panels(axes: Axes | None, count: int, size: tuple[float, float]) -> tuple[Figure, Sequence[Axes]]:
    """The given axes, or new ones in a figure that pyplot forgets: a notebook then shows it once, as a cell's value."""
    if axes is not None:
        return axes.figure, [axes]
    figure, created = plt.subplots(1, count, figsize=(size[0] * count, size[1]), layout="constrained", squeeze=False)
    plt.close(figure)
    return figure, created[0]
