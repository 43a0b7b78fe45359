"""How fast training is, and how its cost grows."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.style import ALONE, HUES, canvas, label, text, themed

WAYS = {"plain": ("plain way", HUES[6]), "live": ("ours, live teacher", HUES[1]),
        "cached": ("ours, cached teacher", HUES[2]), "student_alone": ("student alone", ALONE)}


@themed
def speed(results: Sequence[Mapping], title: str = "A stored teacher costs almost nothing") -> Figure:
    """Draw the images per second of each way to train, and how often ours take the plain way's: a group of bars for
    each of the results, what a benchmark of a pair returned."""
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
    ax.set_yticks(range(len(results)), [text(f"{result['teacher']}\nto {result['student']}") for result in results])
    ax.invert_yaxis()
    ax.margins(x=0.16)
    label(ax, title, f"images per second, batch {results[0]['batch_size']}", "")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=4, fontsize=8)
    return figure
