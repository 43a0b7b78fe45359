"""Pictures of what a representation does with single images and whole classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.images import _pixels
from dcd_utils.plots.matrices import _largest, _Order, _panels, _square
from dcd_utils.plots.style import DIVERGING, GREY, HUES, INK, canvas, class_groups, label, method_colours, themed


@themed
def image_rows(rows: Mapping, same: Mapping, title: str = "An image (left) and its nearest") -> Figure:
    """Rows of images that belong together; all but the first of a row are framed by whether they agree with it.

    Args:
        rows: {row's name: images uint8 [N, 3, H, W]}, N the same for all.
        same: {row's name: N booleans}; True: a thick blue frame, False: a thin orange one.

    Raises:
        ValueError: another shape or type, no row, or not one boolean for each image.
    """
    pixels = {name: _pixels(images) for name, images in rows.items()}
    counts = {len(images) for images in pixels.values()}
    if len(counts) != 1 or any(len(same.get(name, ())) not in counts for name in pixels):
        raise ValueError(f"the rows hold {sorted(counts)} images: expected one number, and a boolean for each image")
    (count,) = counts
    ratios = {"width_ratios": [1.15, *[1] * (count - 1)]}
    size = (2.0 + 0.95 * count, 1.0 * len(rows) + 0.4)
    figure, axes = canvas(None, size, len(rows), count, gridspec_kw=ratios)
    for (name, images), line in zip(pixels.items(), axes.reshape(len(rows), count), strict=True):
        for i, (ax, image) in enumerate(zip(line, images, strict=True)):
            ax.imshow(image, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            colour, width = (HUES[0], 3.5) if same[name][i] else (HUES[1], 1.2)
            ax.spines[:].set(visible=i > 0, color=colour, linewidth=width)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@themed
def moves(
    start,
    ends: Mapping,
    classes,
    superclasses=None,
    superclass_names=None,
    title: str = "From the teacher's place (dot) to the student's (arrow head)",
) -> Figure:
    """Where the centre of each class goes from one map to others that are aligned with it.

    Args:
        start: [C, 2]. ends: {name: [C, 2]}.
        classes, superclasses, superclass_names: of these C classes, as in an ImageSet.

    Raises:
        ValueError: shapes that do not fit.
    """
    start = np.asarray(start)
    ends = {name: np.asarray(points) for name, points in ends.items()}
    if start.shape != (len(classes), 2) or any(points.shape != start.shape for points in ends.values()):
        shapes = [start.shape, *(points.shape for points in ends.values())]
        raise ValueError(f"the maps have shapes {shapes}: expected [{len(classes)}, 2] for each")
    figure, axes = canvas(None, (3.0 * len(ends) + 1.8, 3.5), columns=len(ends), sharex=True, sharey=True)
    groups = class_groups(classes, superclasses, superclass_names)
    for ax, (name, points) in zip(axes, ends.items(), strict=True):
        handles = []
        for group in groups:
            mine = list(group.classes)
            look = {"color": group.colour, "marker": group.marker, "label": group.name}
            handles.append(ax.scatter(*start[mine].T, s=22, linewidths=0, **look))
            for one, other in zip(start[mine], points[mine], strict=True):
                arrow = {"arrowstyle": "-|>", "color": group.colour, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.3}
                ax.annotate("", other, one, arrowprops=arrow)
        ax.update_datalim(points)  # arrows alone would not widen the axes
        ax.autoscale_view()
        ax.set(xticks=[], yticks=[])
        label(ax, name, "aligned map 1", "aligned map 2" if ax is axes[0] else "")
    figure.legend(handles=handles, loc="outside right center", fontsize=8, labelspacing=0.35, handletextpad=0.2)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@themed
def class_means(
    matrices: Mapping, classes, superclasses=None, superclass_names=None, title: str = "Mean logits of each class"
) -> Figure:
    """Class-mean logits, row = true class, column = logit, a panel for each network on one scale symmetric about 0.

    Args:
        matrices: {network's name: [C, C]}.

    Raises:
        ValueError: a matrix is not [C, C], or there is none.
    """
    limit = _largest(matrices) or 1.0
    figure, axes = _panels(len(matrices))
    order = _Order(classes, superclasses, superclass_names)
    for ax, (name, values) in zip(axes, matrices.items(), strict=False):
        mesh = order.draw(ax, values, DIVERGING, -limit, limit)
        order.name(ax, "logit of class", "true class", small=len(matrices) > 1)
        ax.set_title(name)
    figure.colorbar(mesh, ax=list(axes[: len(matrices)]), shrink=0.8, label="mean logit")
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@themed
def against_accuracy(
    table, value: str, x_label: str, title: str = "Is the better student nearer to the teacher?", ax=None
) -> Figure:
    """A dot for each run: a measure of structure against accuracy, a colour for each method.

    Args:
        table: DataFrame with columns method, seed, accuracy (%) and `value`.

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    missing = {"method", "seed", "accuracy", value} - set(table.columns)
    if missing or not len(table):
        raise ValueError(f"the table has {len(table)} rows and lacks columns {sorted(missing)}: expected one row a run")
    figure, (ax,) = canvas(ax, (6.0, 4.0))
    colours = method_colours(dict.fromkeys(table["method"]))
    for method, rows in table.groupby("method", sort=False):
        ax.scatter(rows[value], rows["accuracy"], s=44, color=colours[method] or INK, label=method, zorder=2)
        for x, y, seed in zip(rows[value], rows["accuracy"], rows["seed"], strict=True):
            ax.annotate(f"seed {seed}", (x, y), (5, 4), textcoords="offset points", fontsize=7, color=GREY)
    label(ax, title, x_label, "test accuracy, last epoch (%)")
    ax.legend(loc="best")
    return figure


@themed
def batch_similarities(matrices: Mapping, names, title: str = "Similarity of a batch within each network") -> Figure:
    """Similarity of every two images of a batch within each network, on one scale symmetric about 0.

    Args:
        matrices: {network's name: [B, B]}, images in one order.
        names: each image's class, B of them; images of one class that lie together share a name.

    Raises:
        ValueError: a matrix is not [B, B], or there is none.
    """
    limit = _largest(matrices)
    names = list(names)
    figure, axes = _panels(len(matrices))
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    starts = starts[:: -(-len(starts) // 16)]
    for ax, (name, matrix) in zip(axes, matrices.items(), strict=False):
        mesh = ax.imshow(_square(matrix, len(names)), cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set_xticks(starts, [names[i] for i in starts], rotation=90, fontsize=7)
        ax.set_yticks(starts, [names[i] for i in starts], fontsize=7)
        label(ax, name, "image of class", "image of class")
    figure.colorbar(mesh, ax=list(axes[: len(matrices)]), shrink=0.8, label="cosine of centred features")
    figure.suptitle(title, x=0.01, ha="left")
    return figure
