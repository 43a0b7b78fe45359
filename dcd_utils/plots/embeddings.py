"""Maps of a representation: one dot an image, coloured by what it shows."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.style import GREY, canvas, class_groups, label, themed


@themed
def embedding(
    points,
    labels,
    classes,
    superclasses=None,
    superclass_names=None,
    title: str = "Where each test image lies",
    ax=None,
) -> Figure:
    """A map: a dot for each image.

    Args:
        points: an Embedding of dcd_utils.analysis (its settings are then printed below), or an array [N, 2].
        labels: true class of each image, [N].
        classes: names. superclasses, superclass_names: as in an ImageSet; beyond 20 classes they give the colours.

    Raises:
        ValueError: shapes that do not fit.
    """
    figure, (ax,) = canvas(ax, (7.4, 5.2))
    groups = class_groups(classes, superclasses, superclass_names)
    handles = _scatter(ax, points, labels, groups)
    label(ax, title, f"{_method(points)} 1", f"{_method(points)} 2")
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), **_legend(groups))
    _caption(figure, {title: points})
    return figure


@themed
def embeddings_side_by_side(
    points_list,
    titles,
    labels,
    classes,
    superclasses=None,
    superclass_names=None,
    title: str = "The same test images, seen by each network",
    columns: int = 3,
) -> Figure:
    """Several maps of the same images with one legend: arguments as for `embedding`, one title for each map.

    Raises:
        ValueError: shapes that do not fit, or not one title for each map.
    """
    if len(titles) != len(points_list) or not len(points_list):
        raise ValueError(f"{len(points_list)} maps and {len(titles)} titles were given: pass one title for each map")
    columns = min(columns, len(points_list)) if len(points_list) != 4 else 2
    rows = -(-len(points_list) // columns)
    figure, axes = canvas(None, (3.3 * columns + 1.8, 3.2 * rows + 0.8), rows, columns)
    groups = class_groups(classes, superclasses, superclass_names)
    for ax, points, name in zip(axes, points_list, titles, strict=False):
        handles = _scatter(ax, points, labels, groups)
        label(ax, name, f"{_method(points)} 1", f"{_method(points)} 2")
    for ax in axes[len(points_list) :]:
        ax.set_axis_off()
    figure.legend(handles=handles, loc="outside right center", **_legend(groups))
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    _caption(figure, dict(zip(titles, points_list, strict=True)))
    return figure


def _scatter(ax, points, labels, groups):
    xy, labels = np.asarray(getattr(points, "points", points)), np.asarray(labels)
    if xy.ndim != 2 or xy.shape[1] != 2 or labels.shape != xy.shape[:1]:
        raise ValueError(f"points are {xy.shape} and labels {labels.shape}: expected [N, 2] and [N]")
    size = float(np.clip(22_000 / max(len(xy), 1), 3, 26))
    handles = []
    for group in groups:
        mine = xy[np.isin(labels, group.classes)]
        look = {"color": group.colour, "marker": group.marker, "label": group.name}
        ax.scatter(*mine.T, s=size, alpha=0.75, linewidths=0, rasterized=len(xy) > 2000, **look)
        handles.append(ax.scatter([], [], s=26, linewidths=0, **look))
    # The axes of such a map have no unit; their numbers would only be noise.
    ax.set(xticks=[], yticks=[])
    return handles


def _method(points) -> str:
    return getattr(points, "method", "map dimension")


def _legend(groups) -> dict:
    return {"fontsize": 8, "labelspacing": 0.35, "handletextpad": 0.2, "ncols": 1 if len(groups) <= 20 else 2}


def _caption(figure, maps: dict) -> None:
    """Settings below the maps: one line for all if they are the same, else one for each."""
    captions = {name: getattr(points, "caption", "") for name, points in maps.items()}
    if len(set(captions.values())) > 1:
        captions = {name: f"{name}: {caption}" for name, caption in captions.items() if caption}
    width = int(14 * figure.get_figwidth())
    text = "\n".join(textwrap.fill(caption, width) for caption in dict.fromkeys(captions.values()))
    if text:
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=GREY)
