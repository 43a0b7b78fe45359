"""Maps of a representation: one dot for each image, coloured by what it shows."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import IdentityTransform

from dcd_utils.plots.style import GREY, PALE, STUDENT, TEACHER, canvas, class_groups, heading, label, text, themed


@themed
def embeddings(maps: Mapping, labels, classes, superclasses=None, superclass_names=None,
               title: str = "The same test images, seen by each network", parts: Mapping | None = None) -> Figure:
    """Draw maps of the same images, with one legend; dots lie on each other in random order, so that no class hides
    another.

    Args:
        maps: {its title: an Embedding of dcd_utils.analysis (its settings are then printed below), or [N, 2]}.
        labels: true class of each image, [N].
        classes: names. superclasses, superclass_names: as in an ImageSet; beyond 20 classes they give the colours.
        parts: {name: which images, bool [N]}: one row for each map and one column for each part, whose images are drawn
            over all others in pale; for aligned maps, since the panels share their axes.
    """
    if not maps:
        raise ValueError("no map was given: pass {title: points}")
    scale = 1.7 if len(maps) == 1 else 1.0
    layout = {"columns": 2 if len(maps) == 4 else 3, "margin": (1.8, 0.4 * scale)}
    panels, size = [(name, name, slice(None)) for name in maps], (3.3 * scale, 3.2 * scale)
    if parts is not None:
        panels = [(f"{name}, {part}", name, members) for name in maps for part, members in parts.items()]
        size, layout = (2.2, 2.4), {"columns": len(parts), "margin": (1.8, 0.4), "sharex": True, "sharey": True}
    figure, axes = canvas(size, len(panels), **layout)
    groups = class_groups(classes, superclasses, superclass_names)
    for ax, (heads, name, members) in zip(axes, panels, strict=True):
        _scatter(ax, maps[name], labels, groups, members)
        method = getattr(maps[name], "method", "map dimension")
        label(ax, heads, f"{method} 1", f"{method} 2")
    for group in groups:
        ax.scatter([], [], s=26, linewidths=0, color=group.colour, marker=group.marker, label=text(group.name))
    figure.legend(loc="outside right center", fontsize=8, labelspacing=0.35, handletextpad=0.2)
    heading(figure, title)
    _caption(figure, maps)
    return figure


@themed
def circle(student, teacher, names: Sequence[str], title: str = "") -> Figure:
    """Draw embeddings of unit length as arrows: student [B, 2] drawn through, teacher [B, 2] dashed."""
    figure, (ax,) = canvas((5.2, 4.8))
    ax.add_patch(plt.Circle((0, 0), 1, fill=False, color=PALE))
    looks = {"student": (student, STUDENT, "-", 1.08), "teacher": (teacher, TEACHER, "--", 1.24)}
    for network, (points, colour, dashes, reach) in looks.items():
        for i, (name, (x, y)) in enumerate(zip(names, np.asarray(points), strict=True)):
            line = {"color": colour, "linestyle": dashes, "label": None if i else network}
            ax.plot([0, x], [0, y], marker="o", markevery=[1], **line)
            side = "left" if x > 0.3 else "right" if x < -0.3 else "center"
            ax.text(reach * x, reach * y, text(name), color=colour, ha=side, va="center")
    ax.set(xlim=(-1.5, 1.5), ylim=(-1.4, 1.4), aspect="equal")
    label(ax, title, "first dimension", "second dimension")
    ax.legend(loc="lower left")
    return figure


def _scatter(ax, points, labels, groups, members):
    points, labels = np.asarray(getattr(points, "points", points)), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(f"points are {points.shape} and labels {labels.shape}: expected [N, 2] and [N]")
    size = float(np.clip(22_000 / max(len(points), 1), 3, 26))
    ax.scatter(*points.T, s=size / 2, color=PALE, linewidths=0, rasterized=True)  # also sets the limits of the axes
    order = np.random.default_rng(0).permutation(np.arange(len(points))[members])
    looks = {kind: group for group in groups for kind in group.classes}
    shown = [looks[kind] for kind in labels[order]]
    # a scatter has one marker; a collection takes a path for each dot, and so any order
    markers = [MarkerStyle(group.marker) for group in shown]
    paths = [marker.get_path().transformed(marker.get_transform()) for marker in markers]
    dots = PathCollection(
        paths, [size], facecolors=[group.colour for group in shown], linewidths=0, alpha=0.75, offsets=points[order],
        offset_transform=ax.transData, rasterized=len(points) > 2000, transform=IdentityTransform())
    ax.add_collection(dots)
    ax.set(xticks=[], yticks=[])  # the axes of such a map have no unit; their numbers would only be noise


def _caption(figure, maps):
    """Write the settings below the maps: once if they are the same for all, else for each."""
    captions = {name: getattr(points, "caption", "") for name, points in maps.items()}
    if len(set(captions.values())) > 1:
        captions = {name: f"{name}: {caption}" for name, caption in captions.items() if caption}
    width = int(14 * figure.get_figwidth())
    lines = [textwrap.fill(caption, width) for caption in dict.fromkeys(captions.values())]
    if any(lines):
        figure.supxlabel(text("\n".join(lines)), x=0.01, ha="left", fontsize=8, color=GREY)
