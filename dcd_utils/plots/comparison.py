"""Methods against each other."""

from __future__ import annotations

from matplotlib.figure import Figure

from dcd_utils.plots.style import GREY, INK, PALE, canvas, label, method_colours, themed


@themed
def accuracy_by_method(
    table, teacher: float | None = None, title: str = "Seed by seed, methods are compared on the same batches", ax=None
) -> Figure:
    """Accuracy of each run: a dot for each seed, seeds joined by a line across methods, a bar and a number at the mean.

    Args:
        table: DataFrame with columns method, seed and accuracy (last epoch, top-1 %); methods appear in its order.
        teacher: the teacher's accuracy, drawn as a line.

    Raises:
        ValueError: a column is missing, or there is no row.
    """
    missing = {"method", "seed", "accuracy"} - set(table.columns)
    if missing or not len(table):
        raise ValueError(
            f"the table has columns {list(table.columns)} and {len(table)} rows: expected method, seed, accuracy"
        )
    methods = list(dict.fromkeys(table["method"]))
    place = {method: i for i, method in enumerate(methods)}
    colours = method_colours(methods)
    figure, (ax,) = canvas(ax, (max(4.5, 1.2 * len(methods) + 1.5), 4.0))
    for _, seed in table.groupby("seed"):
        seed = seed.assign(place=seed["method"].map(place)).sort_values("place")
        ax.plot(seed["place"], seed["accuracy"], color=PALE, linewidth=1, zorder=1)
    for method, rows in table.groupby("method", sort=False):
        x, mean = place[method], rows["accuracy"].mean()
        ax.scatter(
            [x] * len(rows), rows["accuracy"], s=34, color=colours[method], edgecolor="white", linewidth=0.7, zorder=3
        )
        ax.plot([x - 0.22, x + 0.22], [mean, mean], color=INK, linewidth=2.2, solid_capstyle="butt", zorder=2)
        ax.annotate(f"{mean:.1f}", (x + 0.22, mean), (4, 0), textcoords="offset points", va="center", fontweight="bold")
    if teacher is not None:
        ax.axhline(teacher, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
        ax.annotate(
            f"teacher {teacher:.1f}", (0, teacher), (6, 3), ("axes fraction", "data"), "offset points", color=GREY
        )
    ax.margins(y=0.12)
    ax.set_xlim(-0.5, len(methods) - 0.3)
    ax.set_xticks(range(len(methods)), methods)
    seeds = table["seed"].nunique()
    label(ax, title, f"method (dot: one of {seeds} seeds, bar: mean)", "test accuracy, last epoch (%)")
    return figure
