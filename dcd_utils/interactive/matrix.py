"""Matrices over classes to read cell by cell: hovering names the two classes and every network's value."""

from collections.abc import Mapping, Sequence

import numpy as np
from bokeh.models import ColorBar, ColumnDataSource, CustomJS, FixedTicker, HoverTool, LinearColorMapper, PlainText
from matplotlib import colormaps
from matplotlib.colors import to_hex

from dcd_utils.interactive.bokeh_page import arrays, panel, present, tooltip
from dcd_utils.plots.style import DIVERGING, SEQUENTIAL, check_superclasses

# The same cell is framed in every panel while the pointer is over it in one.
_FRAME = """const [cell] = cb_data.index.image_indices
if (cell !== undefined) frame.data = {column: [cell.i], row: [cell.j]}"""


def matrix_explorer(matrices, classes: Sequence[str], values: Mapping | None = None,
                    superclasses: Sequence[int] | None = None, superclass_names: Sequence[str] | None = None,
                    rows: str = "row", columns: str = "column"):
    """Matrices [C, C] in colour, classes ordered by superclass (as in an ImageSet); zoom and pan are shared. A panel's
    colours end at its largest absolute value, and are symmetric about 0 where it has negative values.

    Args:
        matrices: [C, C], or {title: [C, C]} for panels side by side; other shapes raise ValueError.
        values: {name: [C, C]} that a hover shows besides, for instance the teacher's and the student's correlation.
        rows, columns: what a row and a column stand for, for instance "true class" and "predicted class".
    """
    drawn = arrays(matrices, "value")
    shown = drawn | (arrays(values) if values else {})
    count = len(classes)
    for name, matrix in shown.items():
        if matrix.shape != (count, count):
            expected = f"[{count}, {count}], a row and a column for each class"
            raise ValueError(f'matrix "{name}" is {matrix.shape}: expected {expected}')
    if twice := [name for name, matrix in drawn.items() if not np.array_equal(matrix, shown[name], equal_nan=True)]:
        raise ValueError(f'matrices and values differ in "{twice[0]}": give one of the two another name')
    kinds = check_superclasses(classes, superclasses, superclass_names)
    order = np.arange(count) if kinds is None else np.argsort(kinds, kind="stable")
    names = np.asarray([str(name) for name in classes])[order]

    # One image of C x C pixels, so that a hundred classes draw at once; a hover looks its cell up in every column.
    data = {"row_class": [np.repeat(names, count).tolist()], "column_class": [np.tile(names, count).tolist()]}
    facts = [(rows, "@row_class"), (columns, "@column_class")]
    for i, (name, matrix) in enumerate(shown.items()):
        data[f"value{i}"] = [matrix[np.ix_(order, order)].astype(np.float32)]
        facts.append((name, f"@value{i}{{0.000}}"))
    cells, frame = ColumnDataSource(data), ColumnDataSource({"column": [], "row": []})
    figures = []
    options = {"x_range": (-0.5, count - 0.5), "y_range": (count - 0.5, -0.5)}
    for i, (name, matrix) in enumerate(drawn.items()):
        title, size = ("Hover over a cell to read it", 420) if len(drawn) == 1 else (name, 340)
        plot = panel(title, columns, rows, size, "box_zoom", **options)
        options |= {"x_range": plot.x_range, "y_range": plot.y_range}
        top = float(np.abs(matrix).max(where=np.isfinite(matrix), initial=0)) or 1.0
        colours, low = (DIVERGING, -top) if (matrix < 0).any() else (SEQUENTIAL, 0.0)
        palette = [to_hex(colour) for colour in colormaps[colours](np.linspace(0, 1, 256))]
        mapper = LinearColorMapper(palette, low=low, high=top)
        image = plot.image(f"value{i}", x=-0.5, y=-0.5, dw=count, dh=count, color_mapper=mapper, source=cells)
        plot.rect("column", "row", 1, 1, source=frame, fill_color=None, line_color="black", line_width=2)
        frame_cell = CustomJS(args={"frame": frame}, code=_FRAME)
        plot.add_tools(HoverTool(renderers=[image], tooltips=tooltip(facts), callback=frame_cell))
        plot.add_layout(ColorBar(color_mapper=mapper, width=10, padding=6), "right")
        _mark_classes(plot, names, None if kinds is None else kinds[order], superclass_names, named=i % 2 == 0)
        figures.append(plot)
    return present(figures)


def _mark_classes(plot, names, kinds, superclass_names, named) -> None:
    """Names of classes where they fit, else of superclasses, beside the first panel of a row; lines between those."""
    ticks = dict(enumerate(names)) if len(names) <= 25 else {}
    if kinds is not None:
        starts = np.flatnonzero(np.diff(kinds, prepend=-1))
        ends = np.append(starts[1:], len(kinds))
        between, line = ends[:-1] - 0.5, {"line_color": "#767676", "line_width": 0.6}
        plot.vspan(x=between, **line)
        plot.hspan(y=between, **line)
        if not ticks:
            kind_names = superclass_names or [f"superclass {kind}" for kind in range(kinds.max() + 1)]
            ticks = {float(a + b - 1) / 2: str(kind_names[kinds[a]]) for a, b in zip(starts, ends, strict=True)}
    if named:
        plot.yaxis.ticker = FixedTicker(ticks=list(ticks))
        plot.yaxis.major_label_overrides = {place: PlainText(text=name) for place, name in ticks.items()}
        plot.yaxis.major_label_text_font_size = "9px"
