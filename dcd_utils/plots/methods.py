"""Many methods side by side: what each compares, where its gradient points, what it gains."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from dcd_utils.plots.images import _pixels
from dcd_utils.plots.style import DIVERGING, GREY, HUES, INK, PALE, canvas, label, themed


@themed
def method_map(
    places: Mapping[str, Sequence[tuple[str, str]]],
    columns: Sequence[str],
    rows: Sequence[str],
    marked: Collection[str],
    title: str = "What a method reads, and what it compares",
) -> Figure:
    """Methods as chips in a grid, two side by side in a box; a marked one has a thick edge.

    Args:
        places: {method: its (column, row) places}. Raises ValueError for a place that is in no column or row.
    """
    chips = {(column, row): [] for row in rows for column in columns}
    for name, found in places.items():
        if not set(found) <= set(chips):
            raise ValueError(f'"{name}" is at {list(found)}: expected columns {list(columns)} and rows {list(rows)}')
        for place in found:
            chips[place].append(name)
    tops = np.cumsum([0, *(max(1, *(-(-len(chips[column, row]) // 2) for column in columns)) for row in rows)])
    figure, (ax,) = canvas(None, (2.6 * len(columns) + 2.2, 0.6 * tops[-1] + 1.4))
    for j, i in np.ndindex(len(rows), len(columns)):
        names = chips[columns[i], rows[j]]
        # few chips stand in the middle of their box
        start = (tops[j] + tops[j + 1] - -(-len(names) // 2)) / 2 + 0.5
        for k, name in enumerate(names):
            alone = k == len(names) - 1 and k % 2 == 0
            x, y = i + (0.5 if alone else 0.27 + 0.46 * (k % 2)), start + k // 2
            style = {"boxstyle": "round,pad=0,rounding_size=0.06", "linewidth": 3.2 if name in marked else 1}
            ax.add_patch(FancyBboxPatch((x - 0.19, y - 0.31), 0.38, 0.62, fc="white", ec=HUES[i], **style))
            ax.text(x, y, name, ha="center", va="center", fontsize=11)
    ax.set(xlim=(0, len(columns)), ylim=(tops[-1], 0))
    ax.hlines(tops, 0, len(columns), color=PALE, linewidth=1, clip_on=False)
    ax.vlines(range(len(columns) + 1), 0, tops[-1], color=PALE, linewidth=1, clip_on=False)
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=11)
    ax.set_yticks((tops[1:] + tops[:-1]) / 2, rows, fontsize=11)
    ax.tick_params(length=0)
    label(ax, title, "what it reads (thick edge: it trains layers of its own)", "what it compares")
    ax.spines[:].set_visible(False)
    return figure


@themed
def attention_rows(images, maps: Mapping[str, np.ndarray], title: str = "Where each network is active") -> Figure:
    """Images in the first row; below, a row of maps for each name, in false colours, each map on its own scale.

    Args:
        images: uint8 [N, 3, H, W]. maps: {row's name: [N, h, w]}, not negative. Raises ValueError for other shapes.
    """
    rows = {"image": _pixels(images), **{name: np.asarray(found) for name, found in maps.items()}}
    count = len(rows["image"])
    if any(found.ndim != 3 or len(found) != count for name, found in rows.items() if name != "image"):
        raise ValueError(f"the rows are {[found.shape for found in rows.values()]}: expected maps [{count}, h, w]")
    figure, axes = canvas(None, (1.2 * count + 1.6, 1.2 * len(rows) + 0.4), len(rows), count)
    for place, ax in enumerate(axes):
        name, column = list(rows)[place // count], place % count
        ax.imshow(rows[name][column], cmap="inferno", vmin=None if name == "image" else 0)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if not column:
            ax.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=6)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@themed
def heatmap(values, rows, columns, title: str, bar: str, limit: float, borders=(), labels=("method", "")) -> Figure:
    """Numbers in colour, red above and blue below 0, missing ones blank.

    Args:
        values: [R, C]. rows, columns: their names. bar: what the numbers are. limit: both ends of the colour scale.
        borders: a line before these rows, and in a square also before these columns. labels: of both axes.

    Raises:
        ValueError: the values are not [R, C].
    """
    values = np.asarray(values, dtype=float)
    if values.shape != (len(rows), len(columns)):
        raise ValueError(f"the values are {values.shape}: expected [{len(rows)}, {len(columns)}]")
    figure, (ax,) = canvas(None, (0.52 * len(columns) + 2.6, 0.36 * len(rows) + 2.0))
    mesh = ax.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    for i, j in np.argwhere(np.isfinite(values)):
        look = {"fontsize": 8, "color": "white" if abs(values[i, j]) > 0.75 * limit else INK}
        # adding 0.0 turns a rounded -0.0 into 0.0
        ax.text(j, i, f"{values[i, j].round(1) + 0.0:.1f}", ha="center", va="center", **look)
    for border in borders:
        ax.axhline(border - 0.5, color=INK, linewidth=0.8)
        if len(rows) == len(columns):
            ax.axvline(border - 0.5, color=INK, linewidth=0.8)
    ax.set_xticks(range(len(columns)), columns, rotation=90, fontsize=9)
    ax.set_yticks(range(len(rows)), rows, fontsize=9)
    ax.tick_params(length=0)
    label(ax, title, *labels)
    ax.spines[:].set_visible(False)
    figure.colorbar(mesh, ax=ax, shrink=0.8, label=bar)
    return figure


@themed
def ranges(table, levels: Mapping[str, float], title: str, x: str, y: str = "method", log: bool = False) -> Figure:
    """A row for each name, a dot for each value, a bar at the mean; a series has its own colour and marker.

    Args:
        table: DataFrame with columns name, series (at most three) and value; rows in its order, from the top.
        levels: {what a vertical line is called: its place}.
        log: a logarithmic axis; a name's values are then joined, and no mean is drawn.

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    if not {"name", "series", "value"} <= set(table.columns) or not len(table):
        raise ValueError(f"the table has {len(table)} rows of {list(table.columns)}: expected name, series, value")
    names, series = list(dict.fromkeys(table["name"])), list(dict.fromkeys(table["series"]))
    figure, (ax,) = canvas(None, (7.8, 0.36 * len(names) + 1.6))
    for k, kind in enumerate(series):
        offset = 0 if log else 0.36 * ((k + 0.5) / len(series) - 0.5)
        rows = table[table["series"] == kind]
        look = {"color": HUES[k], "marker": "o^s"[k], "label": kind}
        look |= {"s": 70 - 42 * k if log else 28, "linewidths": 0}  # equal values: both can be seen
        ax.scatter(rows["value"], rows["name"].map(names.index) + offset, alpha=0.8, **look)
        for name, values in [] if log else rows.groupby("name")["value"]:
            ax.vlines(values.mean(), *(names.index(name) + offset + np.array([-0.17, 0.17])), color=INK, linewidth=1.8)
    for name, values in table.groupby("name")["value"] if log else []:
        ax.hlines(names.index(name), values.min(), values.max(), color=PALE, linewidth=2, zorder=0)
    for name, place in levels.items():
        ax.axvline(place, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
        ax.annotate(name, (place, 1), (3, 3), ("data", "axes fraction"), "offset points", color=GREY, fontsize=9)
    ax.set(ylim=(len(names) - 0.4, -0.6), xscale="log" if log else "linear")
    ax.set_yticks(range(len(names)), names)
    ax.grid(axis="y", color=PALE, linewidth=0.4)
    label(ax, None, x, y)
    ax.set_title(title, pad=20)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
