"""One look for all pictures: theme, colours, and what methods and classes look like."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, wraps
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

INK, GREY, PALE = "#222222", "#767676", "#d0d0d0"
TEACHER, STUDENT, ALONE = "#3b4a8c", "#d55e00", "#949494"
HUES = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#56b4e9", "#8c564b", "#4b2e83", "#94c94f", "#4d4d4d")
MARKERS = ("o", "^", "s", "D")
SEQUENTIAL, DIVERGING = "mako_r", "vlag"
_CLASS_LOOKS = [(hue, marker) for marker in MARKERS[:2] for hue in HUES]
# Methods beside the course's own share six hues; marker and dashes tell apart those of one hue, and what has KD added.
_OTHER_METHODS = ("crd", "rkd", "sp", "fitnet", "vid", "at", "rrd", "pkt", "cc", "ft", "ab", "nst", "dist", "dkd",
                  "lskd", "fsp")
_OTHER_HUES = tuple(HUES[i] for i in (1, 4, 5, 6, 7, 8))
_OTHER_MARKERS = ("o", "D", "^", "v", "s", "P")
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1.2, 1.5)), (0, (1.2, 1.2)), (0, (9, 2)), (0, (6, 1.5, 1.2, 1.5, 1.2, 1.5)))

_THEME = {
    **sns.axes_style("ticks"), **sns.plotting_context("notebook", font_scale=0.85),
    "font.family": ["sans-serif"], "lines.linewidth": 1.8, "legend.frameon": False, "savefig.dpi": 150,
    "figure.facecolor": "white", "figure.titleweight": "bold", "figure.titlesize": 12,
    "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.titlepad": 10.0,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#555555",
    "axes.labelcolor": INK, "axes.linewidth": 0.8,
    "xtick.color": "#555555", "xtick.labelcolor": INK, "xtick.major.width": 0.8,
    "ytick.color": "#555555", "ytick.labelcolor": INK, "ytick.major.width": 0.8,
}


def themed(draw):
    """Draw under the course's theme, in the fonts that its user has set, if any, and leave Matplotlib's global settings
    as they were."""

    @wraps(draw)
    def drawn(*args, **options):
        # pyplot turns interactive when its first figure is made; inside the context that would be undone at its end,
        # and a notebook would not show plain pyplot figures from then on
        plt.install_repl_displayhook()
        keys = [key for key in ("font.family", "font.sans-serif") if plt.rcParams[key] != plt.rcParamsDefault[key]]
        with plt.rc_context(_THEME | {key: [*plt.rcParams[key], *_THEME[key]] for key in keys}):
            _complete_fonts(figure := draw(*args, **options))
        return figure

    return drawn


def _complete_fonts(figure):
    """Let other installed fonts draw what a text's own fonts lack."""
    for written in figure.findobj(Text):
        own, letters = written.get_fontfamily(), sorted({*written.get_text()})
        more = [_holder(letter, *own) for letter in letters if not letter.isspace()]
        written.set_fontfamily(list(dict.fromkeys([*own, *filter(None, more)])))


@cache
def _holder(letter, *families):
    """The first of these fonts, or else of all installed ones, that has a letter; None, and a warning, if none has."""
    fonts = [(family, findfont(FontProperties(family=[family]))) for family in families]
    fonts += [(font.name, font.fname) for font in fontManager.ttflist if "Resort" not in font.name]  # it has but boxes
    for family, path in fonts:
        with suppress(OSError, RuntimeError):  # no file any more, or no font
            if get_font(path).get_char_index(ord(letter)):
                return family
    warnings.warn(f'no installed font can draw "{letter}": install one, for instance Noto Sans CJK', stacklevel=2)


def text(name) -> str:
    """Return what Matplotlib draws as `name`, letter by letter: between two dollar signs it would read a formula, and a
    name that begins with "_" it would leave out of a legend, if no space without width stood before it."""
    return ("\u200b" if str(name).startswith("_") else "") + str(name).replace("$", r"\$")


class _Readable(Figure):
    """A figure whose text form, which notebooks keep beside the picture, has the words and numbers written in it."""

    def __repr__(self):
        written = [self.get_suptitle()]
        for ax in self.axes:
            written += [ax.get_title(loc="left"), *(words.get_text() for words in ax.texts)]
        return f"<Figure: {' | '.join(' '.join(words.split()) for words in written if words)}>".replace(r"\$", "$")


def canvas(panel, count=1, columns: int | None = None, margin=(0.0, 0.0), **options) -> tuple[Figure, np.ndarray]:
    """Return a new figure and the axes of its panels, [count], with `columns` (None: all) in a row; spare places in the
    last row stay empty. Panel and margin are width and height in inches, of each panel and of all that stands beside
    them; options those of `plt.subplots`."""
    columns = min(columns or count, count)
    rows = -(-count // columns)
    options |= {"figsize": np.multiply(panel, (columns, rows)) + margin, "layout": "constrained", "squeeze": False}
    figure, axes = plt.subplots(rows, columns, FigureClass=_Readable, **options)
    plt.close(figure)  # a notebook would show an open figure twice: once as pyplot's, once as the cell's value
    for spare in axes.flat[count:]:
        spare.set_axis_off()
    return figure, axes.flat[:count]


def label(ax, title: str | None, x: str, y: str) -> None:
    """Write title and axis labels, and take away the frame above and to the right of the axes."""
    if title:
        ax.set_title(text(title))
    ax.set(xlabel=text(x), ylabel=text(y))
    ax.spines[["top", "right"]].set_visible(False)


def mark_levels(ax, heights: Mapping[str, float] | None) -> None:
    """Draw a dashed horizontal line with its name at each height."""
    for name, height in (heights or {}).items():
        ax.axhline(height, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        place = ax.get_yaxis_transform()  # x in parts of the axes, y in data
        ax.text(0.99, height, text(name), color=GREY, fontsize="small", ha="right", va="bottom", transform=place)


def heading(figure: Figure, title: str | None) -> None:
    """Write the title of the whole figure, at its left."""
    if title:
        figure.suptitle(text(title), x=0.01, ha="left")


class Look(NamedTuple):
    """What tells a method apart: in a line its colour and dashes, in a scatter its colour and marker."""

    colour: str
    marker: str = "o"
    dashes: str | tuple = "-"


_METHOD_LOOKS = {"teacher": Look(INK), "alone": Look(ALONE), "student alone": Look(ALONE)}
_METHOD_LOOKS |= {"kd": Look(HUES[0]), "dcd": Look(HUES[2]), "dcd+kd": Look(HUES[3])}
# KD with the weights that it has behind a plus, under its title and as grids spell it
_METHOD_LOOKS |= dict.fromkeys(("kd at 1 and 1", "kd@classification=1,weight=1"), Look(HUES[0], "D", DASHES[1]))
for _place, _method in enumerate(_OTHER_METHODS):
    _rank, _hue = 2 * (_place // len(_OTHER_HUES)), _OTHER_HUES[_place % len(_OTHER_HUES)]
    _METHOD_LOOKS[_method] = Look(_hue, _OTHER_MARKERS[_rank], DASHES[_rank])
    _METHOD_LOOKS[f"{_method}+kd"] = Look(_hue, _OTHER_MARKERS[_rank + 1], DASHES[_rank + 1])


def method_looks(names: Iterable[str]) -> dict[str, Look]:
    """Return what each line looks like: a method always the same; any other name takes a free hue, in order."""
    names = list(dict.fromkeys(names))
    looks = {name: _METHOD_LOOKS[name.lower()] for name in names if name.lower() in _METHOD_LOOKS}
    hues = _OTHER_HUES if looks else (*HUES[:3], HUES[4], HUES[3], *HUES[5:])  # beside methods none that looks like KD
    free = [hue for hue in hues if hue not in {look.colour for look in looks.values()}] or hues
    for i, name in enumerate(name for name in names if name not in looks):
        looks[name] = Look(free[i % len(free)], MARKERS[i // len(free) % len(MARKERS)], DASHES[i % 4])
    return {name: looks[name] for name in names}


class Group(NamedTuple):
    """Classes drawn alike: a class, a superclass, or the rest."""

    name: str
    classes: tuple[int, ...]
    colour: str
    marker: str


def class_groups(classes: Sequence[str], superclasses: Sequence[int] | None = None,
                 superclass_names: Sequence[str] | None = None) -> list[Group]:
    """Return what each class looks like, in at most 20 groups. Up to 20 classes: each its own; its colour is its
    superclass's where superclasses are few, so that kinship shows. More: a group for each superclass, or, without
    superclasses, the first 19 classes and one pale group for the rest."""
    kinds = check_superclasses(classes, superclasses, superclass_names)
    most, looks = len(_CLASS_LOOKS), _CLASS_LOOKS
    if len(classes) > most and kinds is not None and kinds.max() < most:
        names = superclass_names or [f"superclass {kind}" for kind in range(kinds.max() + 1)]
        members = [tuple(np.flatnonzero(kinds == kind).tolist()) for kind in range(len(names))]
        return [Group(str(name), group, *look) for name, group, look in zip(names, members, looks, strict=False)]
    if len(classes) <= most and kinds is not None and kinds.max() < len(HUES):
        ranks = [int((kinds[:i] == kind).sum()) for i, kind in enumerate(kinds)]  # among the classes of its superclass
        if max(ranks) < len(MARKERS):
            looks = [(HUES[kind], MARKERS[rank]) for kind, rank in zip(kinds, ranks, strict=True)]
    shown = len(classes) if len(classes) <= most else most - 1
    groups = [Group(str(classes[i]), (i,), *looks[i]) for i in range(shown)]
    rest = tuple(range(shown, len(classes)))
    return [Group(f"{len(rest)} other classes", rest, PALE, "o"), *groups] if rest else groups


def check_superclasses(classes, superclasses, superclass_names) -> np.ndarray | None:
    """Return superclasses as integers [C], or None; refuse what does not fit the classes or has no name."""
    if superclasses is None:
        return None
    kinds = np.asarray(superclasses)
    if kinds.shape != (len(classes),) or kinds.dtype.kind not in "iu" or kinds.min() < 0:
        expected = f"an index for each of {len(classes)} classes"
        raise ValueError(f"superclasses: got {kinds.dtype} {kinds.shape}, expected {expected}")
    if superclass_names is not None and kinds.max() >= len(superclass_names):
        raise ValueError(f"superclass {kinds.max()} has no name: {len(superclass_names)} names were given")
    return kinds
