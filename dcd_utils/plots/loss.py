"""Drawings for the loss: annotated matrices of a small batch, embeddings on the unit circle, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dcd_utils.plots.style import DIVERGING, GREY, HUES, PALE, SEQUENTIAL, STUDENT, TEACHER, canvas, label, themed


@themed
def matrix(
    values: Any,
    ax: Axes | None = None,
    *,
    title: str = "",
    names: Sequence[str] = (),
    rows: str = "student of",
    columns: str = "teacher of",
    limits: tuple[float, float] | None = None,
    digits: int = 2,
) -> Figure:
    """A small matrix in colour with its numbers written in.

    Args:
        values: [R, C].
        names: the images of the batch, as tick labels on both axes (or numbers).
        rows, columns: the axes' labels.
        limits: values at the ends of the colour scale; None: symmetric about 0 if any value is negative, else from 0.
    """
    values = np.asarray(values)
    figure, (ax,) = canvas(ax, (3.6, 3.5))
    if limits is None:
        high = max(float(np.abs(values).max()), 1e-12)
        limits = (-high if values.min() < 0 else 0.0, high)
    image = ax.imshow(values, cmap=DIVERGING if limits[0] < 0 else SEQUENTIAL, vmin=limits[0], vmax=limits[1])
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = image.cmap(image.norm(value))
        colour = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
        # adding 0.0 turns a rounded -0.0 into 0.0
        text = f"{round(float(value), digits) + 0.0:.{digits}f}"
        ax.text(column, row, text, ha="center", va="center", color=colour)
    label(ax, title, columns, rows)
    ax.set_xticks(range(values.shape[1]), names or range(values.shape[1]), va="baseline")
    ax.set_yticks(range(values.shape[0]), names or range(values.shape[0]))
    ax.tick_params(length=0)
    ax.tick_params(axis="x", pad=14)
    ax.spines[:].set_visible(False)
    return figure


@themed
def matrices(panels: Sequence[Mapping[str, Any]], **shared: Any) -> Figure:
    """Matrices side by side: each panel is a mapping of `matrix`'s arguments, `shared` holds for all."""
    figure, axes = canvas(None, (3.6 * len(panels), 3.5), columns=len(panels))
    for panel, ax in zip(panels, axes, strict=True):
        matrix(ax=ax, **{**shared, **panel})
    return figure


@themed
def circle(student: Any, teacher: Any, names: Sequence[str], title: str = "", ax: Axes | None = None) -> Figure:
    """Two-dimensional embeddings of unit length as arrows: student [B, 2] drawn through, teacher [B, 2] dashed."""
    figure, (ax,) = canvas(ax, (5.2, 4.8))
    ax.add_patch(plt.Circle((0, 0), 1, fill=False, color=PALE))
    for points, colour, style, name, reach in (
        (student, STUDENT, "-", "student", 1.08),
        (teacher, TEACHER, "--", "teacher", 1.24),
    ):
        for position, (image, (x, y)) in enumerate(zip(names, np.asarray(points), strict=True)):
            ax.plot([0, x], [0, y], style, color=colour, marker="o", markevery=[1], label=None if position else name)
            side = "left" if x > 0.3 else "right" if x < -0.3 else "center"
            ax.text(reach * x, reach * y, image, color=colour, ha=side, va="center")
    ax.set(xlim=(-1.5, 1.5), ylim=(-1.4, 1.4), aspect="equal")
    label(ax, title, "first dimension", "second dimension")
    ax.legend(loc="lower left")
    return figure


@themed
def curves(
    lines: Mapping[str, tuple[Any, Any]],
    ax: Axes | None = None,
    *,
    title: str,
    x: str,
    y: str,
    levels: Mapping[str, float] | None = None,
    bands: Mapping[str, Any] | None = None,
    legend: Any = "best",
    size: tuple[float, float] = (5.2, 3.8),
    **settings: Any,
) -> Figure:
    """Up to six lines in one picture, told apart by colour and by dashes.

    Args:
        lines: label -> (x values, y values).
        x, y: the axes' labels.
        levels: label -> height of a dotted horizontal line.
        bands: label of a line -> half width of the band around it.
        legend: its place, as Matplotlib names places.
        **settings: of the axes, for instance xscale="log".
    """
    figure, (ax,) = canvas(ax, size)
    colours = (HUES[0], HUES[1], HUES[2], HUES[4], HUES[3], GREY)  # neighbours that no one confuses
    for position, (name, (across, up)) in enumerate(lines.items()):
        ax.plot(across, up, ("-", "--", "-.", ":")[position % 4], color=colours[position], label=name)
        if name in (bands or {}):
            low, high = np.asarray(up) - bands[name], np.asarray(up) + bands[name]
            ax.fill_between(across, low, high, color=colours[position], alpha=0.25, linewidth=0)
    for name, height in (levels or {}).items():
        ax.axhline(height, color=GREY, linewidth=1, linestyle=":")
        where = ax.get_yaxis_transform()  # x in parts of the axes, y in data
        ax.text(0.99, height, name, color=GREY, fontsize="small", ha="right", va="bottom", transform=where)
    ax.set(**settings)
    label(ax, title, x, y)
    ax.legend(loc=legend)
    return figure


@themed
def loss_panels(scores: Any, p: Any, q: Any, gradient: Any, terms: Mapping[str, float], names: Sequence[str]) -> Figure:
    """The whole loss of a small batch: scores, both softmaxes, the gradient on the scores, and the terms as bars.

    Args:
        scores, p, q, gradient: [B, B].
        terms: name -> value, for instance contrast, consistency and total.
    """
    figure, axes = canvas(None, (10.8, 7.0), rows=2, columns=3)
    matrix(scores, axes[0], title="scores s", names=names)
    matrix(p, axes[1], title="row softmax p", names=names, limits=(0, 1))
    matrix(q, axes[2], title="column softmax q", names=names, limits=(0, 1), rows="teacher of", columns="student of")
    matrix(gradient, axes[3], title="gradient on s", names=names)
    bars = axes[4].bar(list(terms), list(terms.values()), color=HUES[: len(terms)])
    axes[4].bar_label(bars, fmt="%.3f")
    axes[4].margins(y=0.12)
    label(axes[4], "terms", "", "value")
    axes[5].set_axis_off()
    return figure
