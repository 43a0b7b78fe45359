"""One look for all pictures: theme, colours, and what a class looks like in a scatter plot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import wraps
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

INK, GREY, PALE = "#222222", "#767676", "#d0d0d0"
TEACHER, STUDENT, ALONE = "#3b4a8c", "#d55e00", "#949494"
HUES = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#56b4e9", "#8c564b", "#4b2e83", "#94c94f", "#4d4d4d")
MARKERS = ("o", "^", "s", "D")
MOST_GROUPS = 20
SEQUENTIAL, DIVERGING = "mako_r", "vlag"
# Methods beside the course's own share six hues; marker and dashes tell apart those of one hue, and what has KD added.
_OTHER_METHODS = (
    *("crd", "rkd", "sp", "fitnet", "vid", "at"),
    *("rrd", "pkt", "cc", "ft", "ab", "nst"),
    *("dist", "dkd", "lskd", "fsp"),
)
_OTHER_HUES = tuple(HUES[i] for i in (1, 4, 5, 6, 7, 8))
_OTHER_MARKERS = ("o", "D", "^", "v", "s", "P")
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1.2, 1.5)), (0, (1.2, 1.2)), (0, (9, 2)), (0, (6, 1.5, 1.2, 1.5, 1.2, 1.5)))

_THEME = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("notebook", font_scale=0.85),
    "font.family": ["sans-serif"],
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "figure.facecolor": "white",
    "figure.titleweight": "bold",
    "figure.titlesize": 12,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 150,
}


def themed(draw):
    """Draw under the course's theme and leave Matplotlib's global settings as they were."""

    @wraps(draw)
    def drawn(*args, **options):
        # pyplot turns interactive when its first figure is made; inside the context that would be undone at its end,
        # and a notebook would not show plain pyplot figures from then on
        plt.install_repl_displayhook()
        with plt.rc_context(_THEME):
            return draw(*args, **options)

    return drawn


def canvas(ax, size: tuple[float, float], rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """The figure and its axes, flat: the caller's, or a new figure that pyplot does not hold on to.

    Were a new figure left open, a notebook would show it twice: once as pyplot's, once as the cell's value.
    """
    if ax is not None:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(axes) != rows * columns:
            raise ValueError(f"{len(axes)} axes were given, {rows * columns} are needed: one for each panel")
        return axes[0].figure, axes
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **options)
    plt.close(figure)
    return figure, axes.ravel()


def label(ax, title: str | None, x: str, y: str) -> None:
    """Title and axis labels, and no frame above or to the right of the axes."""
    if title:
        ax.set_title(title)
    ax.set(xlabel=x, ylabel=y)
    ax.spines[["top", "right"]].set_visible(False)


def mark_levels(ax, heights: Mapping[str, float]) -> None:
    """A dashed horizontal line with its name for each height."""
    for name, height in heights.items():
        ax.axhline(height, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        place = ax.get_yaxis_transform()  # x in parts of the axes, y in data
        ax.text(0.99, height, name, color=GREY, fontsize="small", ha="right", va="bottom", transform=place)


def heading(figure: Figure, title: str | None) -> None:
    """The title of the whole figure, at its left."""
    if title:
        figure.suptitle(title, x=0.01, ha="left")


class Look(NamedTuple):
    """What tells a method apart: in a line its colour and dashes, in a scatter its colour and marker."""

    colour: str
    marker: str = "o"
    dashes: str | tuple = "-"


def _method_looks() -> dict[str, Look]:
    looks = {"teacher": Look(INK), "alone": Look(ALONE), "student alone": Look(ALONE)}
    looks |= {"kd": Look(HUES[0]), "dcd": Look(HUES[2]), "dcd+kd": Look(HUES[3])}
    for place, method in enumerate(_OTHER_METHODS):
        for with_kd, name in enumerate((method, f"{method}+kd")):
            rank = 2 * (place // len(_OTHER_HUES)) + with_kd
            looks[name] = Look(_OTHER_HUES[place % len(_OTHER_HUES)], _OTHER_MARKERS[rank], DASHES[rank])
    return looks


_METHOD_LOOKS = _method_looks()


def method_looks(names: Iterable[str]) -> dict[str, Look]:
    """What each line looks like: a method the same in every figure; any other name takes a free hue, in order."""
    names = list(dict.fromkeys(names))
    looks = {name: _METHOD_LOOKS[name.lower()] for name in names if name.lower() in _METHOD_LOOKS}
    taken = {look.colour for look in looks.values()}
    hues = _OTHER_HUES if looks else (*HUES[:3], HUES[4], HUES[3], *HUES[5:])  # beside methods none that looks like KD
    free = [hue for hue in hues if hue not in taken] or hues
    others = [name for name in names if name not in looks]
    for i, name in enumerate(others):
        looks[name] = Look(free[i % len(free)], MARKERS[i // len(free) % len(MARKERS)], DASHES[i % 4])
    return {name: looks[name] for name in names}


class Group(NamedTuple):
    """Classes drawn alike: a class, a superclass, or the rest."""

    name: str
    classes: tuple[int, ...]
    colour: str
    marker: str


def class_groups(
    classes: Sequence[str], superclasses: Sequence[int] | None = None, superclass_names: Sequence[str] | None = None
) -> list[Group]:
    """What each class looks like, in at most 20 groups.

    Up to 20 classes: each its own; its colour is its superclass's where superclasses are few, so that kinship shows.
    More: a group for each superclass, or, without superclasses, the first 19 classes and one pale group for the rest.

    Raises:
        ValueError: superclasses that do not fit the classes or their names.
    """
    kinds = check_superclasses(classes, superclasses, superclass_names)
    if len(classes) <= MOST_GROUPS:
        if kinds is not None and kinds.max() < len(HUES) and np.bincount(kinds).max() <= len(MARKERS):
            seen = [int((kinds[:i] == kind).sum()) for i, kind in enumerate(kinds)]
            looks = [(HUES[kind], MARKERS[rank]) for kind, rank in zip(kinds, seen, strict=True)]
        else:
            looks = [_look(i) for i in range(len(classes))]
        return [Group(str(name), (i,), *looks[i]) for i, name in enumerate(classes)]
    if kinds is not None and kinds.max() < MOST_GROUPS:
        names = superclass_names or [f"superclass {kind}" for kind in range(kinds.max() + 1)]
        return [
            Group(str(name), tuple(np.flatnonzero(kinds == kind).tolist()), *_look(kind))
            for kind, name in enumerate(names)
        ]
    rest = tuple(range(MOST_GROUPS - 1, len(classes)))
    shown = [Group(str(classes[i]), (i,), *_look(i)) for i in range(MOST_GROUPS - 1)]
    return [Group(f"{len(rest)} other classes", rest, PALE, "o"), *shown]


def check_superclasses(classes, superclasses, superclass_names) -> np.ndarray | None:
    """Superclasses as an integer array [C], or None. Raises ValueError unless they fit the classes and their names."""
    if superclasses is None:
        return None
    kinds = np.asarray(superclasses)
    if kinds.shape != (len(classes),) or kinds.dtype.kind not in "iu" or kinds.min() < 0:
        raise ValueError(
            f"superclasses: got {kinds.dtype} {kinds.shape}, expected an index for each of {len(classes)} classes"
        )
    if superclass_names is not None and kinds.max() >= len(superclass_names):
        raise ValueError(f"superclass {kinds.max()} has no name: {len(superclass_names)} names were given")
    return kinds


def _look(i: int) -> tuple[str, str]:
    return HUES[i % len(HUES)], MARKERS[i // len(HUES)]
