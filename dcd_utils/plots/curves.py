"""Lines: of anything over anything, and of training over epochs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dcd_utils.plots.style import canvas, heading, label, mark_levels, method_looks, text, themed

_NAMES = {
    "train_loss": "training loss", "train_accuracy": "training accuracy (%)", "kd": "KD",
    "test_accuracy": "test accuracy, top-1 (%)", "test_top5": "test accuracy, top-5 (%)",
    "classification": "classification (cross-entropy)", "dcd": "DCD (contrast + α · consistency)",
    "scale": "scale (inverse temperature)",
}


@themed
def curves(lines: Mapping[str, tuple[Any, Any]], *, title: str, x: str, y: str,
           levels: Mapping[str, float] | None = None, bands: Mapping[str, Any] | None = None, legend: Any = "best",
           size: tuple[float, float] = (5.2, 3.8), ax=None, **settings: Any) -> Figure:
    """Draw lines in one picture, told apart by colour and dashes.

    Args:
        lines: name -> (x values [N], y values [N]), or y values [draws, N]: a line at the mean, a dot for each draw.
        levels, bands: name -> height of a dashed horizontal line; name of a line -> half width of the band around it.
        legend: its place, as Matplotlib names places.
        **settings: of the axes, for instance xscale="log", xticks=[1, 10], xticklabels=["1", "10"].
    """
    figure, (ax,) = canvas(size) if ax is None else (ax.figure, (ax,))
    for name, look in method_looks(lines).items():
        across, draws = np.asarray(lines[name][0]), np.atleast_2d(lines[name][1])
        if draws.shape[1:] != across.shape:
            raise ValueError(f'"{name}" has {across.shape} x values and {draws.shape} y values: expected [N] for each')
        mean = draws.mean(axis=0)
        ax.plot(across, mean, color=look.colour, linestyle=look.dashes, label=text(name))
        if len(draws) > 1:
            dots = {"color": look.colour, "marker": look.marker, "s": 16, "alpha": 0.6, "linewidths": 0}
            ax.scatter(np.tile(across, len(draws)), draws, **dots)
        if name in (bands or {}):
            half = np.asarray(bands[name])
            ax.fill_between(across, mean - half, mean + half, color=look.colour, alpha=0.25, linewidth=0)
    mark_levels(ax, levels)
    ax.set(**settings)
    if "xticks" in settings:
        ax.minorticks_off()
    label(ax, title, x, y)
    if lines:
        ax.legend(loc=legend)
    return figure


@themed
def training_curves(histories: Mapping, metrics=("train_loss", "test_accuracy"), title: str | None = None,
                    levels: Mapping[str, float] | None = None) -> Figure:
    """Draw metrics over epochs, one panel for each metric, one colour for each method, one line for each seed.

    Args:
        histories: {name: DataFrame or list of them} with one row per epoch; those without the metric are left out.
        metrics, levels: columns of the histories, one or several; as in `curves`, in every panel.
    """
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    single = len(metrics) == 1
    figure, axes = canvas((6.0 if single else 5.2, 3.6), len(metrics))
    for ax, metric in zip(axes, metrics, strict=True):
        _over_epochs(ax, histories, metric)
        mark_levels(ax, levels)
        label(ax, title if single else None, "epoch", _NAMES.get(metric, metric.replace("_", " ")))
    axes[-1].legend(loc="best" if len(histories) < 7 else (1.02, 0))
    heading(figure, None if single else title)
    return figure


def _over_epochs(ax, histories, metric):
    drawn = {}
    for name, runs in histories.items():
        runs = runs if isinstance(runs, list | tuple) else [runs]
        drawn[name] = [run for run in runs if metric in run and np.isfinite(run[metric]).any()]
    if not any(drawn.values()):
        names = ", ".join(map(str, histories)) or "no histories"
        raise ValueError(f'no history has values of "{metric}": given were {names}')
    for name, look in method_looks(drawn).items():
        for i, run in enumerate(drawn[name]):
            line = {"color": look.colour, "linestyle": look.dashes, "label": text(name) if i == 0 else None}
            # a single epoch is a point; without a marker it would be an empty picture
            line |= {"marker": "o" if len(run) == 1 else None, "linewidth": 1.8 if len(drawn[name]) == 1 else 1.1}
            ax.plot(run["epoch"], run[metric], **line)
    ax.xaxis.get_major_locator().set_params(integer=True)
