"""What frozen features are worth on another data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.comparison import accuracy_by_method
from dcd_utils.plots.style import GREY, canvas, label, method_colours, themed

_PROBE = "accuracy of the linear probe (%)"


@themed
def probe_accuracy(table, chance: float, teacher: float | None = None, title="Linear probes", ax=None) -> Figure:
    """Accuracy of each probe, as `accuracy_by_method` draws (and checks) that of runs, and a line where guessing is.

    Args:
        table: DataFrame with columns method, seed and accuracy (of the probe, %).
        chance, teacher: accuracy of guessing, and of the teacher's probe, in %.
    """
    figure = accuracy_by_method(table, teacher, title, ax)
    ax = figure.axes[0] if ax is None else ax
    _guessing(ax, chance)
    label(ax, title, ax.get_xlabel(), _PROBE)
    return figure


@themed
def source_and_target(table, source: str, target: str, title: str, named: bool = False, ax=None) -> Figure:
    """A dot for each network: its accuracy on the data that it learned from, against its probe's on other data.

    Args:
        table: DataFrame with columns method, source_accuracy and accuracy, both in %.
        source, target: labels of the axes. named: write each dot's method beside it, instead of a legend.

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    if (missing := {"method", "source_accuracy", "accuracy"} - set(table.columns)) or not len(table):
        raise ValueError(f"{len(table)} rows that lack columns {sorted(missing)} were given: expected a row a network")
    figure, (ax,) = canvas(ax, (6.4, 4.2))
    for method, colour in method_colours(dict.fromkeys(table["method"])).items():
        rows = table[table["method"] == method]
        ax.scatter(rows["source_accuracy"], rows["accuracy"], s=48, color=colour, label=method, zorder=2)
        for place in rows[["source_accuracy", "accuracy"]].to_numpy() if named else ():
            ax.annotate(method, place, (6, 4), textcoords="offset points", fontsize=9)
    ax.margins(0.1)
    label(ax, title, source, target)
    if not named:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@themed
def few_shot(counts: Sequence[int], accuracy: Mapping, chance: float, title="How many are needed?", ax=None) -> Figure:
    """Accuracy over the number of training images of a class, on a logarithmic axis: a dot a draw, a line at the mean.

    Args:
        counts: numbers of images of a class, rising; the last stands for all there are.
        accuracy: {network's name: [draws, len(counts)], in %}. chance: accuracy of guessing, in %.

    Raises:
        ValueError: not one accuracy for each count.
    """
    values = {name: np.asarray(rows, dtype=float) for name, rows in accuracy.items()}
    if not values or any(rows.ndim != 2 or rows.shape[1] != len(counts) for rows in values.values()):
        shapes = {name: rows.shape for name, rows in values.items()}
        raise ValueError(f"accuracies have shapes {shapes}: expected [draws, {len(counts)}] for each network")
    figure, (ax,) = canvas(ax, (6.6, 4.2))
    for name, colour in method_colours(values).items():
        ax.plot(counts, values[name].mean(axis=0), color=colour, label=name)
        ax.scatter(np.tile(counts, len(values[name])), values[name], s=16, color=colour, alpha=0.6, linewidths=0)
    _guessing(ax, chance)
    ax.set(xscale="log", ylim=(0, None))
    ax.set_xticks(counts, [*counts[:-1], f"all ({counts[-1]})"])
    ax.minorticks_off()
    label(ax, title, "training images of each class (log scale)", _PROBE)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _guessing(ax, chance):
    ax.axhline(chance, color=GREY, linestyle=(0, (1, 2)), linewidth=1)
    place = ax.get_yaxis_transform()  # x in parts of the axes, y in data
    ax.text(0.99, chance, f"guessing {chance:.1f}", color=GREY, ha="right", va="bottom", transform=place)
