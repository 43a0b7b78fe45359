"""Images and what a network says about one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.style import HUES, canvas, heading, label, themed


@themed
def image_grid(images, titles=None, columns: int = 8, title: str | None = None) -> Figure:
    """Images uint8 [N, 3, H, W] in rows of `columns`, a short title (its class, a prediction) above each.

    Raises:
        ValueError: another shape or type, no image, or not one title for each image.
    """
    images = _pixels(images)
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles were given for {len(images)} images: pass one for each")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = 1.15 if titles is None else 1.4
    figure, axes = canvas(None, (1.2 * columns, height * rows + (0.4 if title else 0)), rows, columns)
    for i, ax in enumerate(axes):
        ax.set_axis_off()
        if i < len(images):
            ax.imshow(images[i], interpolation="nearest")
            if titles is not None:
                ax.set_title(titles[i], fontsize=8, loc="center", pad=3, fontweight="normal")
    heading(figure, title)
    return figure


@themed
def image_rows(rows: Mapping, title: str, same: Mapping | None = None) -> Figure:
    """Named rows of images that belong together, or of maps in false colours, each map on its own scale.

    Args:
        rows: {row's name: images uint8 [N, 3, H, W] or maps [N, h, w] that are not negative}, N the same for all.
        same: {row's name: N booleans}, whether an image agrees with the first of its row; True: a thick blue frame,
            False: a thin orange one.

    Raises:
        ValueError: another shape or type, no row, rows of several lengths, or not one boolean for each image.
    """
    pictures = {name: row if np.ndim(row) == 3 else _pixels(row) for name, row in rows.items()}
    counts = {len(row) for row in pictures.values()}
    if len(counts) != 1 or same is not None and any(len(same.get(name, ())) not in counts for name in rows):
        raise ValueError(f"the rows hold {sorted(counts)} images: expected one number, and a boolean for each image")
    (count,) = counts
    widths = [1 if same is None else 1.15, *[1] * (count - 1)]  # a gap behind the image that the others belong to
    figure, axes = canvas(None, (1.1 * count + 1.7, 1.1 * len(rows) + 0.4), len(rows), count, width_ratios=widths)
    for (name, row), line in zip(pictures.items(), axes.reshape(len(rows), count), strict=True):
        for i, (ax, picture) in enumerate(zip(line, row, strict=True)):
            ax.imshow(picture, interpolation="nearest", cmap="inferno", vmin=0)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(same is not None and i > 0)
            if same is not None:
                colour, width = (HUES[0], 3.5) if same[name][i] else (HUES[1], 1.2)
                ax.spines[:].set(color=colour, linewidth=width)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
    heading(figure, title)
    return figure


@themed
def soft_predictions(image, probabilities: Mapping, classes, label_index: int | None = None, top: int = 8) -> Figure:
    """One image beside the probabilities that a network gives to its likeliest classes, at several temperatures.

    Args:
        image: uint8 [3, H, W].
        probabilities: {temperature: [C]}. Softening keeps the order of classes, so all panels share theirs.
        classes: C names.
        label_index: the true class; its bar and name are set off.
        top: number of classes shown.

    Raises:
        ValueError: another shape, or no temperature.
    """
    (pixels,) = _pixels(np.asarray(image)[None])
    rows = {temperature: np.asarray(values) for temperature, values in probabilities.items()}
    if not rows or any(values.shape != (len(classes),) for values in rows.values()):
        shapes = [values.shape for values in rows.values()]
        raise ValueError(f"probabilities have shapes {shapes}: expected [{len(classes)}] for each temperature")
    shown = np.argsort(-next(iter(rows.values())), kind="stable")[:top]
    size = (2.6 + 2.7 * len(rows), 0.9 + 0.27 * len(shown))
    figure, axes = canvas(None, size, columns=1 + len(rows), width_ratios=[0.8, *[1] * len(rows)])
    axes[0].imshow(pixels, interpolation="nearest")
    axes[0].set_axis_off()
    if label_index is not None:
        axes[0].set_title(f"label: {classes[label_index]}", fontsize=10, loc="center", fontweight="normal")
    for ax, (temperature, values) in zip(axes[1:], rows.items(), strict=True):
        colours = [HUES[3] if i == label_index else HUES[0] for i in shown]
        ax.barh(range(len(shown)), values[shown], color=colours, height=0.72)
        for y, value in enumerate(values[shown]):
            text = f"{value:.2f}" if value >= 0.01 else f"{value:.0e}".replace("e-0", "e-")
            ax.annotate(text, (value, y), (3, 0), textcoords="offset points", va="center", fontsize=8)
        ax.set(xlim=(0, 1.22), xticks=(0, 0.5, 1))  # room for the number behind a full bar
        ax.invert_yaxis()
        first = ax is axes[1]
        ax.set_yticks(range(len(shown)), [classes[i] for i in shown] if first else [""] * len(shown), fontsize=9)
        label(ax, f"temperature {temperature:g}", "probability", "class" if first else "")
    return figure


def _pixels(images) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images are {images.dtype} {images.shape}: expected uint8 [N, 3, H, W] with N of at least 1")
    return images.transpose(0, 2, 3, 1)
