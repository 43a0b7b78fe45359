"""How fast training is, and how its cost grows."""

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
def speed(results: Sequence[Mapping], title: str = "A stored teacher costs almost nothing") -> Figure:
    """Draw the images per second of each way to train, and how often ours take the plain way's.

    Args:
        results: what a benchmark returned, one for each pair; a pair is a group of bars.
    """
    if not results:
        raise ValueError("no result was given: pass what a benchmark returned, one for each pair")
    figure, (ax,) = canvas((7.0, 0.8 + 1.15 * len(results)))
    rates = {way: np.array([result["images_per_second"][way] for result in results]) for way in WAYS}
    for k, (way, (name, colour)) in enumerate(WAYS.items()):
        places = np.arange(len(results)) + 0.2 * (k - 1.5)
        bars = ax.barh(places, rates[way], 0.184, color=colour, label=name)
        times = [f" ({ratio:.1f} x)" if way in ("live", "cached") else "" for ratio in rates[way] / rates["plain"]]
        texts = [f"{rate:,.0f}{ratio}" for rate, ratio in zip(rates[way], times, strict=True)]
        ax.bar_label(bars, texts, padding=4, fontsize=8)
    ax.set_yticks(range(len(results)), [f"{result['teacher']}\nto {result['student']}" for result in results])
    ax.invert_yaxis()
    ax.margins(x=0.16)
    label(ax, title, f"images per second, batch {results[0]['batch_size']}", "")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=4, fontsize=8)
    return figure


@themed
def cost(panels: Mapping[str, Mapping], title: str) -> Figure:
    """Draw how the cost of an experiment grows with each of its dimensions, the others held.

    Args:
        panels: label of the horizontal axis -> {way: (x, y)}, ways among `WAYS`, y in hours (drawn in minutes if none
            is above two). Another entry "at" marks the x that the other panels hold; where y is something else,
            "label" says what.
    """
    if not panels:
        raise ValueError("no panel was given: pass at least one dimension that grows")
    figure, axes = canvas((2.6, 3.1), len(panels))
    timed = [panel for panel in panels.values() if "label" not in panel]
    longest = max((max(panel[way][1]) for panel in timed for way in WAYS if way in panel), default=0)
    unit, factor = ("minutes", 60) if longest < 2 else ("hours", 1)
    handles = {}
    for ax, (name, panel) in zip(axes, panels.items(), strict=True):
        for way, (text, colour) in WAYS.items():
            if way in panel:
                x, y = map(np.asarray, panel[way])
                look = {"color": colour, "marker": "o" if len(x) < 8 else None, "markersize": 4}
                (handles[text],) = ax.plot(x, y if "label" in panel else factor * y, **look)
        if "at" in panel:
            ax.axvline(panel["at"], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        ax.set_ylim(bottom=0)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        label(ax, None, name, panel.get("label", unit))
    heading(figure, title)
    figure.legend(handles.values(), handles, loc="outside lower left", ncols=4, fontsize=8)
    return figure
