"""Matrices in colour: of a small batch, over classes, over the images of a batch, over methods."""

from collections.abc import Mapping
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots import style
from dcd_utils.plots.style import DIVERGING, INK, PALE, SEQUENTIAL, canvas, heading, label, text, themed

_MOST_NAMES = 25  # beyond that many rows names are too small to read
_MOST_NUMBERS = 8


@themed
def matrix(values, classes, superclasses=None, superclass_names=None, *, column_names=None, rows: str = "",
           columns: str = "", title: str = "", bar: str = "", limits: tuple[float, float] | None = None,
           digits: int | None = None, borders=(), ax=None) -> Figure:
    """Draw a matrix in colour, its numbers written in where it is small.

    Args:
        values: [R, C]; what is not finite is hatched, and reads "n/a" where numbers are written.
        classes: the name of each row, and of each column unless there are `column_names`. Equal names in succession
            are written once, and of more than 25 about ten.
        superclasses, superclass_names: as in an ImageSet. They order rows and columns, with a border between two of
            them, and beyond 25 classes their names replace those of the classes.
        rows, columns, bar: what a row, a column and the colour stand for; without `bar` there is no colour bar.
        limits: ends of the colour scale; None: symmetric about 0 if a value is negative, else from 0.
        digits: after the decimal point of the numbers; None: 2 up to 8 rows and columns, beyond that no numbers.
        borders: a line before these rows, and in a square matrix before these columns.
    """
    values, row_names = np.asarray(values, dtype=float), list(classes)
    column_names = row_names if column_names is None else column_names
    if values.shape != (len(row_names), len(column_names)):
        raise ValueError(f"the matrix is {values.shape}: expected [{len(row_names)}, {len(column_names)}]")
    many = len(row_names) > _MOST_NAMES
    kinds = style.check_superclasses(row_names, superclasses, superclass_names)
    if kinds is not None:
        order = np.argsort(kinds, kind="stable")
        values, kinds = values[np.ix_(order, order)], kinds[order]
        borders = np.flatnonzero(np.diff(kinds)) + 1
        row_names = [row_names[i] for i in order]
        if many:
            row_names = [superclass_names[k] if superclass_names else f"superclass {k}" for k in kinds]
            rows, columns = f"{rows} (grouped by superclass)", f"{columns} (grouped by superclass)"
        column_names = row_names
    digits = _digits(values, digits)
    if ax is None:
        # names of superclasses are long and stand on both sides; the matrix must still be the larger part
        size = _panel_size(values, digits, (7.5, 7.6) if many and kinds is not None else (5.9, 6.0))
        _, (ax,) = canvas(size, margin=(1.1 * bool(bar), 0))
    spec = ax.get_subplotspec()
    crowded = spec is not None and spec.get_gridspec().get_geometry() != (1, 1)
    low, high = limits or _limits([values])
    aspect = "auto" if digits is not None and values.shape[1] > _MOST_NUMBERS else "equal"
    colours = DIVERGING if low < 0 else SEQUENTIAL
    image = ax.imshow(values, cmap=colours, vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    ax.patch.set(hatch="//////", edgecolor=PALE, linewidth=0)  # seen where a value has no colour
    if digits is not None:
        _write(ax, image, values, digits)
    for border in borders:
        for draw in (ax.axhline, ax.axvline) if values.shape[0] == values.shape[1] else (ax.axhline,):
            draw(border - 0.5, color=INK, linewidth=0.4 if many else 0.6)

    nameless = crowded and many  # in small panels the columns have no room for names
    label(ax, title, "columns in the order of the rows" if nameless else columns, rows)
    places, names = _ticks(column_names)
    short = len(names) <= _MOST_NUMBERS and all(len(name) < 7 for name in names)
    ax.set_xticks(places, [] if nameless else names, rotation=0 if short else 90)
    ax.set_yticks(*_ticks(row_names))
    ax.tick_params(length=0, labelsize=9 if short else 7 if crowded else 8)
    ax.spines[:].set_visible(False)
    if bar:
        ax.figure.colorbar(image, ax=ax, shrink=0.8, label=fill(text(bar), 30) if len(values) <= 6 else text(bar))
    return ax.figure


@themed
def matrices(panels: Mapping, classes, *, title: str = "", limits: tuple[float, float] | None = None,
             **shared) -> Figure:
    """Draw matrices side by side on one colour scale; those too large for numbers are labelled at the left and below.

    Args:
        panels: {its title: [R, C]}, or {its title: {"values": [R, C], ...}} with options of `matrix` that hold for
            this panel only; with `limits` of its own it has its own scale (and, named by its `bar`, its own bar).
        title, classes, limits, **shared: of the whole figure; options of `matrix` for all panels.
    """
    if not panels:
        raise ValueError("no matrix was given: pass {title: matrix}")
    panels = {name: panel if isinstance(panel, Mapping) else {"values": panel} for name, panel in panels.items()}
    sharing = [panel["values"] for panel in panels.values() if "limits" not in panel]
    shared |= {"classes": classes, "limits": limits or _limits(sharing)}
    first = next(iter(panels.values()))["values"]
    digits = _digits(first, shared.get("digits"))
    across, margin = 2 if len(panels) == 4 else 3, (1.6 if digits is None else 0, 0)
    figure, axes = canvas(_panel_size(first, digits, (3.3, 3.8)), len(panels), across, margin)
    if len(panels) > 1:
        figure.set_layout_engine("compressed", h_pad=0.08)  # square panels close to each other
    bars = {}
    for place, (ax, (name, panel)) in enumerate(zip(axes, panels.items(), strict=True)):
        options = shared | panel
        bar = options.pop("bar", "")
        matrix(**options, title=name, ax=ax)
        if digits is None and place % across:
            ax.set(yticks=[], ylabel="")
        if digits is None and place // across < (len(panels) - 1) // across:
            ax.set(xticks=[], xlabel="")
        bars[bar, ax.images[0].get_clim()] = ax.images[0]
    for (bar, _), image in reversed(bars.items()):
        if bar:
            figure.colorbar(image, ax=list(axes), shrink=0.8, pad=0.02, aspect=25, label=text(bar))
    heading(figure, title)
    return figure


def _write(ax, image, values, digits):
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = image.cmap(image.norm(value))
        number, colour = "n/a", INK
        if np.isfinite(value):
            number = f"{round(float(value), digits) + 0.0:.{digits}f}"  # adding 0.0 turns a rounded -0.0 into 0.0
            colour = "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"
        ax.text(column, row, number, ha="center", va="center", color=colour, fontsize=10 if len(values) < 6 else 8)


def _digits(values, digits):
    return 2 if digits is None and max(np.shape(values)) <= _MOST_NUMBERS else digits


def _panel_size(values, digits, without_numbers):
    rows, columns = np.shape(values)
    return without_numbers if digits is None else (0.52 * columns + 1.5, 0.36 * rows + 2.0)


def _limits(matrices):
    values = np.concatenate([[0.0], *map(np.ravel, matrices)])
    values = values[np.isfinite(values)]
    high = max(np.abs(values).max(), 1e-12)
    return (-high if values.min() < 0 else 0.0), high


def _ticks(names):
    """Places and texts of names: of equal ones in succession one, in their middle, and of more than 25 about ten."""
    starts = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]]
    places = [(start + end - 1) / 2 for start, end in zip(starts, [*starts[1:], len(names)], strict=True)]
    step = 1 if len(starts) <= _MOST_NAMES else -(-len(starts) // 10)
    return places[::step], [text(names[i]) for i in starts[::step]]
