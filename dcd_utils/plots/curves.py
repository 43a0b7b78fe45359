"""Training over epochs."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.style import GREY, HUES, canvas, label, method_colours, themed

_NAMES = {
    "train_loss": "training loss",
    "train_accuracy": "training accuracy (%)",
    "test_accuracy": "test accuracy, top-1 (%)",
    "test_top5": "test accuracy, top-5 (%)",
    "learning_rate": "learning rate",
    "seconds": "seconds an epoch",
    "images_per_second": "images a second",
    "classification": "classification (cross-entropy)",
    "kd": "KD",
    "dcd": "DCD (contrast + α · consistency)",
}
_TERMS = ("classification", "kd", "dcd", "contrast", "consistency")


@themed
def training_curves(
    histories: dict, metrics=("train_loss", "test_accuracy"), title: str | None = None, ax=None
) -> Figure:
    """Metrics over epochs, a panel for each metric, a colour for each method.

    Args:
        histories: {name: history}, a history being a DataFrame with a row an epoch; a list of histories draws a line
            for each seed.
        metrics: columns of the histories, one or several.
        ax: as many Axes as metrics.

    Raises:
        ValueError: no history, or a metric that none of them has.
    """
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    figure, axes = canvas(ax, (5.2 * len(metrics), 3.6), columns=len(metrics))
    for panel, metric in zip(axes, metrics, strict=True):
        _lines(panel, histories, metric)
        label(panel, None, "epoch", _NAMES.get(metric, metric.replace("_", " ")))
    axes[-1].legend(loc="best" if len(histories) < 7 else (1.02, 0))
    _head(figure, axes, title)
    return figure


@themed
def loss_terms(history, title: str = "Every term of the loss over training", ax=None) -> Figure:
    """Every term that a history recorded, before its weight, on a logarithmic axis: they differ by orders of magnitude.

    Raises:
        ValueError: the history holds none of the terms.
    """
    terms = [term for term in _TERMS if term in history and np.isfinite(history[term]).any()]
    if not terms:
        raise ValueError(f"the history has columns {', '.join(history.columns)}: expected one of {', '.join(_TERMS)}")
    figure, (ax,) = canvas(ax, (6.4, 3.8))
    for term in terms:
        ax.plot(history["epoch"], history[term], color=HUES[_TERMS.index(term)], label=_NAMES.get(term, term))
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.xaxis.get_major_locator().set_params(integer=True)
    label(ax, title, "epoch", "loss term (unweighted, log scale)")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@themed
def learned_scale(
    histories: dict,
    cap: float = 10.0,
    start: float = float(np.e),
    title: str = "The scale that each run learned",
    ax=None,
) -> Figure:
    """The loss's scale (inverse temperature) over epochs, between where it starts and where it is capped.

    Args:
        histories: {name: history or list of histories}; those without a scale are left out.

    Raises:
        ValueError: no history has a scale.
    """
    figure, (ax,) = canvas(ax, (6.0, 3.6))
    for value, text in ((cap, f"cap {cap:g}"), (start, f"start {start:.3g}")):
        ax.axhline(value, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        ax.annotate(
            text, (1.0, value), (-2, 3), ("axes fraction", "data"), "offset points", color=GREY, fontsize=9, ha="right"
        )
    _lines(ax, histories, "scale")
    ax.set_ylim(0, 1.12 * cap)
    label(ax, title, "epoch", "scale (inverse temperature)")
    ax.legend(loc="lower right")
    return figure


def _lines(ax, histories, metric):
    drawn = {}
    for name, runs in histories.items():
        runs = runs if isinstance(runs, list | tuple) else [runs]
        runs = [run for run in runs if metric in run and np.isfinite(run[metric]).any()]
        if runs:
            drawn[name] = runs
    if not drawn:
        raise ValueError(
            f'no history has values of "{metric}": given were {", ".join(map(str, histories)) or "no histories"}'
        )
    colours = method_colours(drawn)
    for name, runs in drawn.items():
        for i, run in enumerate(runs):
            # A single epoch is a point; without a marker it would be an empty picture.
            ax.plot(
                run["epoch"],
                run[metric],
                color=colours[name],
                marker="o" if len(run) == 1 else None,
                linewidth=1.8 if len(runs) == 1 else 1.1,
                label=name if i == 0 else None,
            )
    ax.xaxis.get_major_locator().set_params(integer=True)


def _head(figure, axes, title):
    if title and len(axes) > 1:
        figure.suptitle(title, x=0.01, ha="left")
    elif title:
        axes[0].set_title(title)
