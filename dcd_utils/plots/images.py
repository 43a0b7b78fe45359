"""Images and what a network says about one."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.style import HUES, INK, canvas, label, themed


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
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


@themed
def soft_predictions(
    image, probabilities: dict, classes, label_index: int | None = None, top: int = 8, title=None
) -> Figure:
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
            # Inside a bar that would push its number out of the panel.
            inside = value > 0.78
            text = f"{value:.2f}" if value >= 0.01 else f"{value:.0e}".replace("e-0", "e-")
            ax.annotate(
                text,
                (value, y),
                (-3 if inside else 3, 0),
                textcoords="offset points",
                va="center",
                ha="right" if inside else "left",
                fontsize=8,
                color="white" if inside else INK,
            )
        ax.set_xlim(0, 1)
        ax.invert_yaxis()
        first = ax is axes[1]
        ax.set_yticks(range(len(shown)), [classes[i] for i in shown] if first else [""] * len(shown), fontsize=9)
        label(ax, f"temperature {temperature:g}", "probability", "class" if first else "")
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def _pixels(images) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images are {images.dtype} {images.shape}: expected uint8 [N, 3, H, W] with N of at least 1")
    return images.transpose(0, 2, 3, 1)
