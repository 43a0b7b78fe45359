"""Matrices over classes to read cell by cell: hovering names the two classes and every network's value."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
from bokeh.layouts import gridplot
from bokeh.models import ColorBar, ColumnDataSource, CustomJS, FixedTicker, HoverTool, LinearColorMapper, Span
from bokeh.plotting import figure
from matplotlib import colormaps
from matplotlib.colors import to_hex

from dcd_utils.interactive.bokeh_page import panels, present
from dcd_utils.plots.style import DIVERGING, SEQUENTIAL, check_superclasses

# The same cell is framed in every panel while the pointer is over it in one.
_FRAME = """
const [cell] = cb_data.index.image_indices;
if (cell !== undefined) {
    frame.data = {column: [cell.i], row: [cell.j]};
}
"""


def matrix_explorer(
    matrices,
    classes: Sequence[str],
    values: Mapping | None = None,
    title: str = "Hover over a cell to read it",
    superclasses: Sequence[int] | None = None,
    superclass_names: Sequence[str] | None = None,
    rows: str = "row",
    columns: str = "column",
    limit: float | None = None,
    size: int | None = None,
):
    """Matrices [C, C] in colour, classes ordered by superclass; zoom and pan are shared.

    Args:
        matrices: [C, C], or {title: [C, C]} for panels side by side.
        classes: C names. superclasses, superclass_names: as in an ImageSet.
        values: {name: [C, C]} that a hover shows besides, for instance the teacher's and the student's correlation.
        rows, columns: what a row and a column stand for, for instance "true class" and "predicted class".
        limit: end of the colour scale of all panels; None: each panel's own largest absolute value. The scale is
            symmetric about 0 where a matrix has negative values.
        size: side of a panel in pixels; None: 420 for one, 340 for several, two in a row.

    Returns:
        A Bokeh layout, which a notebook has already shown.

    Raises:
        ValueError: a matrix is not [C, C].
    """
    drawn = panels(matrices, "value")
    shown = drawn | panels(values or {}) if values else drawn
    count = len(classes)
    for name, matrix in shown.items():
        if matrix.shape != (count, count):
            raise ValueError(
                f'matrix "{name}" is {matrix.shape}: expected [{count}, {count}], a row and a column for each class'
            )
    size = size or (420 if len(drawn) == 1 else 340)
    kinds = check_superclasses(classes, superclasses, superclass_names)
    order = np.arange(count) if kinds is None else np.argsort(kinds, kind="stable")
    names = np.asarray([str(name) for name in classes])[order]

    # One image of C x C pixels, so that a hundred classes draw at once; a hover looks its cell up in every column.
    data = {"row_class": [np.repeat(names, count).tolist()], "column_class": [np.tile(names, count).tolist()]}
    for i, matrix in enumerate(shown.values()):
        data[f"value{i}"] = [matrix[np.ix_(order, order)].astype(np.float32)]
    cells, frame = ColumnDataSource(data), ColumnDataSource({"column": [], "row": []})

    figures = []
    for i, (name, matrix) in enumerate(drawn.items()):
        shared = {"x_range": figures[0].x_range, "y_range": figures[0].y_range} if figures else {}
        shared = shared or {"x_range": (-0.5, count - 0.5), "y_range": (count - 0.5, -0.5)}
        plot = figure(
            title=name if len(drawn) > 1 else title,
            frame_width=size,
            frame_height=size,
            tools="pan,wheel_zoom,box_zoom,reset",
            x_axis_label=columns,
            y_axis_label=rows,
            **shared,
        )
        signed, top = bool((matrix < 0).any()), limit or float(np.abs(matrix).max()) or 1.0
        mapper = LinearColorMapper(_palette(DIVERGING if signed else SEQUENTIAL), low=-top if signed else 0.0, high=top)
        image = plot.image(f"value{i}", x=-0.5, y=-0.5, dw=count, dh=count, color_mapper=mapper, source=cells)
        plot.rect("column", "row", 1, 1, source=frame, fill_color=None, line_color="black", line_width=2)
        hover = HoverTool(renderers=[image], tooltips=_tooltip(shown, rows, columns))
        hover.callback = CustomJS(args={"frame": frame}, code=_FRAME)
        plot.add_tools(hover)
        plot.add_layout(ColorBar(color_mapper=mapper, width=10, padding=6), "right")
        _axes(plot, names, None if kinds is None else kinds[order], superclass_names, named=len(figures) % 2 == 0)
        figures.append(plot)
    return present(gridplot(figures, ncols=2, merge_tools=True, toolbar_location="above"))


def _palette(name: str) -> list[str]:
    return [to_hex(colour) for colour in colormaps[name](np.linspace(0, 1, 256))]


def _tooltip(shown, rows, columns) -> str:
    facts = {rows: "@row_class", columns: "@column_class"}
    facts |= {name: f"@value{i}{{0.000}}" for i, name in enumerate(shown)}
    lines = "".join(f"<div>{html.escape(name)}: <b>{value}</b></div>" for name, value in facts.items())
    return f'<div style="font: 12px sans-serif">{lines}</div>'


def _axes(plot, names, kinds, superclass_names, named) -> None:
    """Names of classes where they fit, else of superclasses, beside the first panel of a row; lines between those."""
    ticks = {i: name for i, name in enumerate(names)} if len(names) <= 25 else {}
    if kinds is not None:
        starts = np.flatnonzero(np.diff(kinds, prepend=kinds[0] - 1))
        ends = np.append(starts[1:], len(kinds))
        for end in ends[:-1]:
            for dimension in ("width", "height"):
                line = Span(location=end - 0.5, dimension=dimension, line_color="#767676", line_width=0.6)
                plot.add_layout(line)
        if not ticks:
            kind_names = superclass_names or [f"superclass {kind}" for kind in range(kinds.max() + 1)]
            ticks = {float(a + b - 1) / 2: str(kind_names[kinds[a]]) for a, b in zip(starts, ends, strict=True)}
    # No wall of text below: columns are in the order of the rows, and a hover names both.
    plot.xaxis.ticker = []
    plot.yaxis.ticker = FixedTicker(ticks=list(ticks) if named else [])
    plot.yaxis.major_label_overrides = ticks if named else {}
    plot.yaxis.major_label_text_font_size = "9px"
    plot.grid.visible = False
