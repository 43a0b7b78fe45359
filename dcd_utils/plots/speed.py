"""How fast training is, and how its cost grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dcd_utils.plots.style import ALONE, GREY, HUES, canvas, heading, label, themed

WAYS = {
    "plain": ("plain way", HUES[6]),
    "live": ("ours, live teacher", HUES[1]),
    "cached": ("ours, cached teacher", HUES[2]),
    "student_alone": ("student alone", ALONE),
}


@themed
def speed(results: Sequence[Mapping], title: str = "A stored teacher costs almost nothing", ax=None) -> Figure:
    """Images per second of each way to train, a group of bars for each pair; beside a bar, how often the plain way.

    Args:
        results: what a benchmark returned, one for each pair.

    Raises:
        ValueError: no result.
    """
    if not results:
        raise ValueError("no result was given: pass what a benchmark returned, one for each pair")
    figure, (ax,) = canvas(ax, (7.0, 0.8 + 1.15 * len(results)))
    width = 0.2
    for i, result in enumerate(results):
        rates = result["images_per_second"]
        for k, (way, (name, colour)) in enumerate(WAYS.items()):
            y = i + (k - 1.5) * width
            ax.barh(y, rates[way], width * 0.92, color=colour, label=name if not i else None)
            times = f" ({rates[way] / rates['plain']:.1f} x)" if way in ("live", "cached") else ""
            text = f"{rates[way]:,.0f}{times}"
            ax.annotate(text, (rates[way], y), (4, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set_yticks(range(len(results)), [f"{result['teacher']}\nto {result['student']}" for result in results])
    ax.invert_yaxis()
    ax.margins(x=0.16)
    label(ax, title, f"images per second, batch {results[0]['batch_size']}", "")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=4, fontsize=8)
    return figure


@themed
def cost(panels: Mapping[str, Mapping], title: str, ax=None) -> Figure:
    """How the cost of an experiment grows with each of its dimensions, the others held.

    Args:
        panels: label of the horizontal axis -> {way: (x, y)}, ways among `WAYS`, y in hours (drawn in minutes if none
            is above two). Another entry "at" marks the x that the other panels hold; where y is something else,
            "label" says what.
        title: of the whole figure.

    Raises:
        ValueError: no panel.
    """
    if not panels:
        raise ValueError("no panel was given: pass at least one dimension that grows")
    figure, axes = canvas(ax, (2.6 * len(panels), 3.1), columns=len(panels))
    timed = [panel for panel in panels.values() if "label" not in panel]
    longest = max((max(panel[way][1]) for panel in timed for way in WAYS if way in panel), default=0)
    unit, factor = ("minutes", 60) if longest < 2 else ("hours", 1)
    for axis, (name, panel) in zip(axes, panels.items(), strict=True):
        for way, (text, colour) in WAYS.items():
            if way in panel:
                x, y = map(np.asarray, panel[way])
                y = y if "label" in panel else factor * y
                axis.plot(x, y, color=colour, label=text, marker="o" if len(x) < 8 else None, markersize=4)
        if "at" in panel:
            axis.axvline(panel["at"], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        axis.set_ylim(bottom=0)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}")
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        label(axis, None, name, panel.get("label", unit))
    heading(figure, title)
    handles = {text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower left", ncols=4, fontsize=8)
    return figure
