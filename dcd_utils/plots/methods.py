"""Methods, networks and runs against each other."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from dcd_utils.plots.style import DASHES, GREY, HUES, INK, PALE, canvas, label, mark_levels, method_looks, text, themed

_MOST_CLASSES = 25
_READS = {"logits": HUES[0], "pooled": HUES[2], "maps": HUES[1], "": GREY}


@themed
def accuracy_by_method(table, teacher: float | None = None,
                       title: str = "Seed by seed, methods are compared on the same batches",
                       guessing: float | None = None, y: str = "test accuracy, last epoch (%)") -> Figure:
    """Draw a dot for each run, seeds joined by a line across methods, a bar and a number at the mean; a method with one
    run is a hollow dot without a bar. The table has columns method, seed and accuracy (%, of which `y` says what it
    is); methods appear in its order. The accuracies `teacher` and `guessing` are drawn as lines."""
    _check(table, "method", "seed", "accuracy")
    methods = list(dict.fromkeys(table["method"]))
    table = table.assign(place=table["method"].map(methods.index)).sort_values("place", kind="stable")
    figure, (ax,) = canvas((max(4.5, 1.25 * len(methods) + 1.5), 4.0))
    for _, runs in table.groupby("seed"):
        ax.plot(runs["place"], runs["accuracy"], color=PALE, linewidth=1, zorder=1)
    for x, (method, look) in enumerate(method_looks(methods).items()):
        values = table.loc[table["method"] == method, "accuracy"]
        mean, several = values.mean(), len(values) > 1
        ax.scatter([x] * len(values), values, s=34, marker=look.marker, zorder=3, **_fill(look.colour, several))
        if several:
            ax.plot([x - 0.2, x + 0.2], [mean, mean], color=INK, linewidth=2.2, solid_capstyle="butt", zorder=2)
        number = ax.annotate(f"{mean:.1f}", (x + (0.2 if several else 0.08), mean), (3, 0), textcoords="offset points")
        number.set(va="center", weight="bold" if several else "normal", zorder=4)
        number.set_path_effects([withStroke(linewidth=3, foreground="white")])  # lines of seeds pass behind it
    levels = {"teacher": teacher, "guessing": guessing}
    mark_levels(ax, {f"{name} {value:.1f}": value for name, value in levels.items() if value is not None})
    ax.margins(y=0.12)
    ax.set_xlim(-0.5, len(methods) - 0.3)
    ax.set_xticks(range(len(methods)), map(text, methods))
    runs = table["seed"].nunique()
    label(ax, title, f"method (dot: one of {runs} seeds, bar: mean)" if runs > 1 else "method (one seed)", y)
    return figure


@themed
def gains(table, title: str, levels: Mapping[str, float] | None = None,
          x: str = "points above the student alone, last epoch") -> Figure:
    """Draw a row for each method, best first: its mean gain and 95 % interval, coloured by what it reads.

    What was measured once is hollow, has no interval and no rank: its row stands below the others. What has another
    method beside it ("dcd+kd") is a triangle in the first one's row. The table has columns title, reads, beside, n,
    mean, low and high, as `experiments.gains` returns it; levels are {name: gain}, drawn as vertical lines."""
    _check(table, "title", "reads", "beside", "n", "mean", "low", "high")
    names = [title.replace(f"+{beside}", "", 1) for title, beside in zip(table["title"], table["beside"], strict=True)]
    table = table.assign(name=names, single=table["n"] < 2, order=-table["mean"].where(table["n"] > 1))
    order = table.sort_values(["beside", "order"], kind="stable").drop_duplicates("name")
    names = list(order.sort_values(["single", "order"], kind="stable")["name"])
    figure, (ax,) = canvas((7.6, 0.34 * len(names) + 1.6))
    kinds = list(dict.fromkeys(sorted(table["beside"])))
    for k, kind in enumerate(kinds):
        offset = 0.3 * ((k + 0.5) / len(kinds) - 0.5)
        for row in table[table["beside"] == kind].itertuples():
            place, colour = names.index(row.name) + offset, _READS[row.reads]
            if not row.single:
                ax.hlines(place, row.low, row.high, color=colour, linewidth=1.6, alpha=0.65, zorder=2)
            ax.scatter(row.mean, place, s=44, marker="o^sD"[k], zorder=3, **_fill(colour, not row.single))
    ax.axvline(0, color=INK, linewidth=1, zorder=1)
    dashes = dict(zip(levels or {}, DASHES[1:], strict=False))
    for name, place in (levels or {}).items():
        ax.axvline(place, color=GREY, linestyle=dashes[name], linewidth=1.2, zorder=1)
    # the interval of two seeds is twelve errors wide: it may leave the picture, so that the others can be seen
    ends = {name: table[name].where(table["n"] > 2, table["mean"]) for name in ("low", "high")}
    inner = np.array([min(0, ends["low"].min()), max(0, ends["high"].max())])
    reach, span = [table["low"].min(), table["high"].max()], max(np.ptp(inner), 1e-9)
    low, high = np.fmin(inner, reach)[0], np.fmax(inner, reach)[1]
    ax.set_xlim(max(low, inner[0] - 0.6 * span) - 0.04 * span, min(high, inner[1] + 0.6 * span) + 0.04 * span)
    ax.set(ylim=(len(names) - 0.4, -0.6))
    ax.set_yticks(range(len(names)), map(text, names))
    ax.grid(axis="y", color=PALE, linewidth=0.4)
    ranked = len(names) - int(order["single"].sum())
    if 0 < ranked < len(names):
        ax.axhline(ranked - 0.5, color=GREY, linewidth=0.8, linestyle=DASHES[3])
    seeds = sorted({*table["n"]} - {1})
    bars = f" (bars: 95 % intervals, {' or '.join(map(str, seeds))} seeds)" if seeds else " (one seed)"
    label(ax, title, x + bars, "method")
    dot = {"color": GREY, "linestyle": "", "markersize": 6.5}
    shown = [reads for reads in _READS if reads and reads in set(table["reads"])]
    looks = {f"reads {name}" + " features" * (name == "pooled"): dot | {"marker": "s", "color": _READS[name]}
             for name in shown}
    if len(kinds) > 1:
        looks |= {kind and f"with {kind}" or "on its own": dot | {"marker": "o^sD"[k]} for k, kind in enumerate(kinds)}
    if seeds and table["single"].any():
        looks["one seed"] = dot | {"marker": "o", "markerfacecolor": "white"}
    looks |= {text(name): {"color": GREY, "linestyle": look, "linewidth": 1.2} for name, look in dashes.items()}
    handles = [Line2D([], [], label=name, **look) for name, look in looks.items()]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _fill(colour: str, several: bool) -> dict:
    """The colours of a marker: full, or hollow where only one run stands behind it."""
    edge = {"edgecolor": "white", "linewidth": 0.7} if several else {"edgecolor": colour, "linewidth": 1.4}
    return {"facecolor": colour if several else "white", **edge}


@themed
def scatter(table, x: str, y: str, x_label: str, y_label: str, title: str, names: str | None = None) -> Figure:
    """Draw a dot for each run or network, at two of its numbers (columns `x` and `y`), coloured by its method. `names`
    is a column whose text is written beside each dot; "method" then also replaces the legend."""
    _check(table, "method", x, y, *([names] if names else []))
    figure, (ax,) = canvas((6.4, 4.2))
    for method, look in method_looks(table["method"]).items():
        rows = table[table["method"] == method]
        dots = {"s": 46, "color": look.colour, "marker": look.marker, "label": text(method)}
        ax.scatter(rows[x], rows[y], zorder=2, linewidths=0, **dots)
        for name, *place in rows[[names, x, y]].itertuples(index=False) if names else ():
            ax.annotate(text(name), place, (5, 4), textcoords="offset points", fontsize=8, color=GREY)
    ax.margins(0.1)
    label(ax, title, x_label, y_label)
    if names != "method":
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@themed
def ranges(table, levels: Mapping[str, float], title: str, x: str, y: str = "method", log: bool = False) -> Figure:
    """Draw a row for each name, a dot for each value, a bar at the mean; each series has its own colour and marker. A
    single value is a hollow dot without a bar. The table has columns name, series (at most three) and value; rows in
    its order, from the top. Levels are {name: place of a vertical line}. With `log`, the axis is logarithmic, the
    values of a name are joined, no mean is drawn."""
    _check(table, "name", "series", "value")
    names, series = list(dict.fromkeys(table["name"])), list(dict.fromkeys(table["series"]))
    figure, (ax,) = canvas((7.8, 0.36 * len(names) + 1.6))
    for k, kind in enumerate(series):
        offset = 0 if log else 0.36 * ((k + 0.5) / len(series) - 0.5)
        rows = table[table["series"] == kind]
        several = rows.groupby("name")["value"].transform("size").gt(1) | log
        dots = {"marker": "o^s"[k], "alpha": 0.8, "edgecolors": HUES[k], "linewidths": np.where(several, 0, 1.2)}
        dots["facecolors"] = [HUES[k] if full else "white" for full in several]
        size = 70 - 25 * k if log else 28  # equal values: both can be seen
        ax.scatter(rows["value"], rows["name"].map(names.index) + offset, s=size, **dots)
        ax.scatter([], [], s=size, color=HUES[k], marker="o^s"[k], label=text(kind))
        for name, values in [] if log else rows[several].groupby("name")["value"]:
            ax.vlines(values.mean(), *(names.index(name) + offset + np.array([-0.17, 0.17])), color=INK, linewidth=1.8)
    for name, values in table.groupby("name")["value"] if log else []:
        ax.hlines(names.index(name), values.min(), values.max(), color=PALE, linewidth=2, zorder=0)
    for name, place in levels.items():
        ax.axvline(place, color=GREY, linestyle=(0, (4, 3)), linewidth=1, zorder=0)
        ax.annotate(text(name), (place, 1), (3, 3), ("data", "axes fraction"), "offset points", color=GREY, fontsize=9)
    ax.set(ylim=(len(names) - 0.4, -0.6), xscale="log" if log else "linear")
    ax.set_yticks(range(len(names)), map(text, names))
    ax.grid(axis="y", color=PALE, linewidth=0.4)
    label(ax, None, x, y)
    ax.set_title(text(title), pad=20)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


@themed
def per_class_accuracy(accuracy, classes, title: str = "Some classes are much harder than others") -> Figure:
    """Draw the accuracy of each class, ordered by the first network's; beyond 25 the 12 hardest and 12 easiest. Classes
    without an accuracy (NaN: no images) are left out and counted. `accuracy` is [C] in %, or {network's name: [C]}."""
    networks = accuracy if isinstance(accuracy, Mapping) else {"": accuracy}
    shapes = [np.shape(values) for values in networks.values()]
    if set(shapes) != {(len(classes),)}:
        raise ValueError(f"accuracies have shapes {shapes}: expected [{len(classes)}], one for each class")
    values = np.stack([np.asarray(values, dtype=float) for values in networks.values()])
    order = np.argsort(values[0], kind="stable")[: np.isfinite(values[0]).sum()]
    without = f"; {len(classes) - len(order)} without images left out" if len(order) < len(classes) else ""
    shown = order if len(order) <= _MOST_CLASSES else np.concatenate([order[:12], order[-12:]])
    values, rows = values[:, shown], np.arange(len(shown))
    figure, (ax,) = canvas((6.6, 1.2 + 0.2 * len(shown)))
    start = values.min(axis=0) if len(networks) > 1 else 0
    ax.hlines(rows, start, values.max(axis=0), color=PALE, linewidth=1.8, zorder=1)
    for (name, look), line in zip(method_looks(networks).items(), values, strict=True):
        ax.scatter(line, rows, s=30, color=look.colour, marker=look.marker, label=text(name), zorder=2)
    if len(shown) < len(order):
        ax.axhline(11.5, color=GREY, linewidth=0.8, linestyle=DASHES[1])
        look = {"color": GREY, "ha": "right", "fontsize": 8}
        ax.annotate(f"{len(order) - 24} more", (1, 11.5), (0, 2), ("axes fraction", "data"), "offset points", **look)
    ax.set_yticks(rows, [text(classes[i]) for i in shown], fontsize=8)
    ax.set(xlim=(0, 101), ylim=(len(shown) - 0.4, -0.6))
    label(ax, title, f"test accuracy of the class (%){without}", "class")
    if len(networks) > 1:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@themed
def method_map(places: Mapping[str, Sequence[tuple[str, str]]], columns: Sequence[str], rows: Sequence[str],
               marked: Collection[str], title: str = "What a method reads, and what it compares") -> Figure:
    """Draw methods as chips in a grid, at {method: its (column, row) places}, two side by side in a box; a marked one
    has a thick edge."""
    chips = {(column, row): [] for row in rows for column in columns}
    for name, boxes in places.items():
        if not set(boxes) <= set(chips):
            raise ValueError(f'"{name}" is at {list(boxes)}: expected columns {list(columns)} and rows {list(rows)}')
        for box in boxes:
            chips[box].append(name)
    lines = [max(1, *(-(-len(chips[column, row]) // 2) for column in columns)) for row in rows]
    tops = np.cumsum([0, *lines])
    figure, (ax,) = canvas((2.6 * len(columns) + 2.2, 0.6 * tops[-1] + 1.4))
    looks = method_looks(places)
    for j, i in np.ndindex(len(rows), len(columns)):
        names = chips[columns[i], rows[j]]
        for k, name in enumerate(names):
            alone = k == len(names) - 1 and k % 2 == 0
            x, y = i + (0.5 if alone else 0.27 + 0.46 * (k % 2)), tops[j] + k // 2 + 0.5
            box = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": looks[name].colour}
            box["linewidth"] = 3.2 if name in marked else 1
            ax.text(x, y, text(name), ha="center", va="center", fontsize=11, bbox=box)
    ax.set(xlim=(0, len(columns)), ylim=(tops[-1], 0))
    ax.hlines(tops, 0, len(columns), color=PALE, linewidth=1, clip_on=False)
    ax.vlines(range(len(columns) + 1), 0, tops[-1], color=PALE, linewidth=1, clip_on=False)
    ax.set_xticks(np.arange(len(columns)) + 0.5, map(text, columns), fontsize=11)
    ax.set_yticks((tops[1:] + tops[:-1]) / 2, map(text, rows), fontsize=11)
    ax.tick_params(length=0)
    label(ax, title, "what it reads (thick edge: it trains layers of its own)", "what it compares")
    ax.spines[:].set_visible(False)
    return figure


def _check(table, *columns):
    if not set(columns) <= set(table.columns) or not len(table):
        found = f"{len(table)} rows and columns {list(table.columns)}"
        raise ValueError(f"the table has {found}: expected {', '.join(columns)}")
