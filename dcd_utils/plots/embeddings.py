"""Maps of a representation: one dot for each image, coloured by what it shows."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.style import GREY, PALE, STUDENT, TEACHER, canvas, class_groups, heading, label, themed


@themed
def embeddings(
    maps: Mapping, labels, classes, superclasses=None, superclass_names=None,
    title: str = "The same test images, seen by each network", start=None,
) -> Figure:
    """Draw maps of the same images, with one legend.

    Args:
        maps: {its title: an Embedding of dcd_utils.analysis (its settings are then printed below), or [N, 2]}.
        labels: true class of each image, [N].
        classes: names. superclasses, superclass_names: as in an ImageSet; beyond 20 classes they give the colours.
        start: [N, 2], where the points were in a map that is aligned with these; each is then drawn as an arrow from
            a dot there.
    """
    if not maps:
        raise ValueError("no map was given: pass {title: points}")
    scale = 1.7 if len(maps) == 1 else 1.0
    layout = {"columns": 2 if len(maps) == 4 else 3, "margin": (1.8, 0.4 * scale)}
    aligned = start is not None
    figure, axes = canvas((3.3 * scale, 3.2 * scale), len(maps), **layout, sharex=aligned, sharey=aligned)
    groups = class_groups(classes, superclasses, superclass_names)
    for ax, (name, points) in zip(axes, maps.items(), strict=True):
        handles = _scatter(ax, points, labels, groups, start)
        method = getattr(points, "method", "map dimension")
        label(ax, name, f"{method} 1", f"{method} 2")
    figure.legend(handles=handles, loc="outside right center", fontsize=8, labelspacing=0.35, handletextpad=0.2)
    heading(figure, title)
    _caption(figure, maps)
    return figure


@themed
def circle(student, teacher, names: Sequence[str], title: str = "") -> Figure:
    """Draw embeddings of unit length as arrows: student [B, 2] drawn through, teacher [B, 2] dashed."""
    figure, (ax,) = canvas((5.2, 4.8))
    ax.add_patch(plt.Circle((0, 0), 1, fill=False, color=PALE))
    for network, points, look, reach in (
        ("student", student, {"color": STUDENT, "linestyle": "-"}, 1.08),
        ("teacher", teacher, {"color": TEACHER, "linestyle": "--"}, 1.24),
    ):
        for i, (name, (x, y)) in enumerate(zip(names, np.asarray(points), strict=True)):
            ax.plot([0, x], [0, y], marker="o", markevery=[1], label=None if i else network, **look)
            side = "left" if x > 0.3 else "right" if x < -0.3 else "center"
            ax.text(reach * x, reach * y, name, color=look["color"], ha=side, va="center")
    ax.set(xlim=(-1.5, 1.5), ylim=(-1.4, 1.4), aspect="equal")
    label(ax, title, "first dimension", "second dimension")
    ax.legend(loc="lower left")
    return figure


def _scatter(ax, points, labels, groups, start):
    ends, labels = np.asarray(getattr(points, "points", points)), np.asarray(labels)
    dots = ends if start is None else np.asarray(start)
    if ends.ndim != 2 or ends.shape[1] != 2 or labels.shape != ends.shape[:1] or dots.shape != ends.shape:
        raise ValueError(f"points are {ends.shape} and labels {labels.shape}: expected [N, 2] and [N]")
    size = float(np.clip(22_000 / max(len(ends), 1), 3, 26))
    handles = []
    for group in groups:
        members = np.flatnonzero(np.isin(labels, group.classes))
        look = {"color": group.colour, "marker": group.marker, "label": group.name, "linewidths": 0}
        ax.scatter(*dots[members].T, s=size, alpha=0.75, rasterized=len(ends) > 2000, **look)
        handles.append(ax.scatter([], [], s=26, **look))
        arrow = {"arrowstyle": "-|>", "color": group.colour, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.3}
        for i in members if start is not None else ():
            ax.annotate("", ends[i], dots[i], arrowprops=arrow)
    ax.update_datalim(ends)  # arrows alone would not widen the axes
    ax.autoscale_view()
    ax.set(xticks=[], yticks=[])  # the axes of such a map have no unit; their numbers would only be noise
    return handles


def _caption(figure, maps):
    """Write the settings below the maps: once if they are the same for all, else for each."""
    captions = {name: getattr(points, "caption", "") for name, points in maps.items()}
    if len(set(captions.values())) > 1:
        captions = {name: f"{name}: {caption}" for name, caption in captions.items() if caption}
    width = int(14 * figure.get_figwidth())
    text = "\n".join(textwrap.fill(caption, width) for caption in dict.fromkeys(captions.values()))
    if text:
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=GREY)
