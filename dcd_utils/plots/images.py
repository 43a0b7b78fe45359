"""Images and what a network says about one."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.style import HUES, canvas, heading, label, text, themed


@themed
def image_grid(images, titles, columns: int = 8, title: str | None = None) -> Figure:
    """Draw images uint8 [N, 3, H, W] in rows of `columns`, a short title (its class, a prediction) above each."""
    images = _pixels(images)
    if len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles were given for {len(images)} images: pass one for each")
    figure, axes = canvas((1.2, 1.4), len(images), columns, margin=(0, 0.4 if title else 0))
    for ax, image, words in zip(axes, images, titles, strict=True):
        ax.imshow(image, interpolation="nearest")
        ax.set_title(text(words), fontsize=8, loc="center", pad=3, fontweight="normal")
        ax.set_axis_off()
    heading(figure, title)
    return figure


@themed
def image_rows(rows: Mapping, title: str, same: Mapping | None = None) -> Figure:
    """Draw named rows of images that belong together, or of maps in false colours, each map on its own scale. `rows`
    are {row's name: images uint8 [N, 3, H, W], or maps [N, h, w] that are not negative}, N the same for all. By `same`,
    {row's name: N booleans}, an image that agrees with its row's first has a thick blue frame, another a thin orange
    one."""
    pictures = {name: row if np.ndim(row) == 3 else _pixels(row) for name, row in rows.items()}
    counts = {len(row) for row in pictures.values()}
    if len(counts) != 1 or same is not None and any(len(same.get(name, ())) not in counts for name in rows):
        raise ValueError(f"the rows hold {sorted(counts)} images: expected one number, and a boolean for each image")
    (count,) = counts
    widths = [1 if same is None else 1.15, *[1] * (count - 1)]  # a gap behind the image that the others belong to
    figure, axes = canvas((1.1, 1.1), len(rows) * count, count, margin=(1.7, 0.4), width_ratios=widths)
    for (name, row), line in zip(pictures.items(), axes.reshape(len(rows), count), strict=True):
        for i, (ax, picture) in enumerate(zip(line, row, strict=True)):
            ax.imshow(picture, interpolation="nearest", cmap="inferno", vmin=0)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(same is not None and i > 0)
            if same is not None:
                colour, width = (HUES[0], 3.5) if same[name][i] else (HUES[1], 1.2)
                ax.spines[:].set(color=colour, linewidth=width)
        line[0].set_ylabel(text(name), rotation=0, ha="right", va="center", labelpad=6)
    heading(figure, title)
    return figure


@themed
def soft_predictions(image, probabilities: Mapping, classes, label_index: int, top: int = 8) -> Figure:
    """Draw one image beside the probabilities that a network gives to its likeliest classes, at several temperatures.

    Args:
        image: uint8 [3, H, W]; the bar and name of its true class, `label_index`, are set off.
        probabilities: {temperature: [C]}. Softening keeps the order of classes, so all panels share theirs.
        classes: C names, of which `top` are shown.
    """
    (pixels,) = _pixels(np.asarray(image)[None])
    rows = {temperature: np.asarray(values) for temperature, values in probabilities.items()}
    if not rows or any(values.shape != (len(classes),) for values in rows.values()):
        shapes = [values.shape for values in rows.values()]
        raise ValueError(f"probabilities have shapes {shapes}: expected [{len(classes)}] for each temperature")
    shown = np.argsort(-next(iter(rows.values())), kind="stable")[:top]
    figure, axes = canvas((2.7, 0.9 + 0.27 * len(shown)), 1 + len(rows), width_ratios=[0.8, *[1] * len(rows)])
    axes[0].imshow(pixels, interpolation="nearest")
    axes[0].set_axis_off()
    axes[0].set_title(text(f"label: {classes[label_index]}"), fontsize=10, loc="center", fontweight="normal")
    colours = [HUES[3] if i == label_index else HUES[0] for i in shown]
    for ax, (temperature, values) in zip(axes[1:], rows.items(), strict=True):
        bars = ax.barh(range(len(shown)), values[shown], color=colours, height=0.72)
        numbers = [f"{value:.2f}" if value >= 0.01 else f"{value:.0e}".replace("e-0", "e-") for value in values[shown]]
        ax.bar_label(bars, numbers, padding=3, fontsize=8)
        ax.set(xlim=(0, 1.22), xticks=(0, 0.5, 1))  # room for the number behind a full bar
        ax.invert_yaxis()
        first = ax is axes[1]
        ax.set_yticks(range(len(shown)), [text(classes[i]) if first else "" for i in shown], fontsize=9)
        label(ax, f"temperature {temperature:g}", "probability", "class" if first else "")
    return figure


def _pixels(images) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images are {images.dtype} {images.shape}: expected uint8 [N, 3, H, W] with N of at least 1")
    return images.transpose(0, 2, 3, 1)
