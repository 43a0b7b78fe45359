"""Maps of images to wander through: hovering over a point shows its image."""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
from bokeh.layouts import gridplot
from bokeh.models import CDSView, ColumnDataSource, HoverTool, IndexFilter, Legend, LegendItem
from bokeh.plotting import figure
from PIL import Image

from dcd_utils.interactive.bokeh_page import panels, present
from dcd_utils.plots.style import class_groups

_MARKERS = {"o": "circle", "^": "triangle", "s": "square", "D": "diamond"}
_thumbnails: dict[str, list[str]] = {}


def embedding_explorer(
    points,
    labels,
    classes: Sequence[str],
    images,
    title: str = "Hover over a point to see its image",
    superclasses: Sequence[int] | None = None,
    superclass_names: Sequence[str] | None = None,
    predictions=None,
    columns: Mapping | None = None,
    size: int | None = None,
):
    """Scatter plots of images, linked: what is selected in one (box, lasso, tap) is selected in all.

    Hovering shows the image, its class and the predictions; a click on a legend entry hides its points everywhere.

    Args:
        points: an Embedding or [N, 2]; or {title: the same} for several maps side by side (teacher, students).
        labels: true class of each image, [N].
        classes: names. superclasses, superclass_names: as in an ImageSet; beyond 20 classes they give the colours.
        images: uint8 [N, 3, H, W].
        predictions: predicted class numbers [N], or {network's name: [N]}; shown by name, with a mark where right.
        columns: {name: N values} to show besides, as they are.
        size: side of a map in pixels; None: 460 for one, 360 for several, two in a row.

    Returns:
        A Bokeh layout, which a notebook has already shown.

    Raises:
        ValueError: shapes that do not fit.
    """
    maps = panels(points)
    labels, images = np.asarray(labels), np.asarray(images)
    count = len(labels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:2] != (count, 3):
        raise ValueError(
            f"images are {images.dtype} {images.shape}: expected uint8 [{count}, 3, H, W], one for each label"
        )
    for name, xy in maps.items():
        if xy.shape != (count, 2):
            raise ValueError(f'map "{name}" is {xy.shape}: expected [{count}, 2], one point for each label')
    size = size or (460 if len(maps) == 1 else 360)
    groups = class_groups(classes, superclasses, superclass_names)
    names = np.asarray([str(name) for name in classes])

    data = {"image": thumbnails(images), "class": names[labels].tolist()}
    for i, xy in enumerate(maps.values()):
        data[f"x{i}"], data[f"y{i}"] = xy.astype(np.float32).T
    shown = _shown(labels, names, predictions, columns)
    for name, values in shown.items():
        if len(values) != count:
            raise ValueError(f'"{name}" holds {len(values)} values: expected {count}, one for each label')
    data |= {f"shown{i}": values for i, values in enumerate(shown.values())}
    source = ColumnDataSource(data)
    members = {group.name: np.flatnonzero(np.isin(labels, group.classes)) for group in groups}

    figures, drawn = [], {group.name: [] for group in groups}
    for i, name in enumerate(maps):
        plot = figure(
            title=name or title,
            frame_width=size,
            frame_height=size,
            tools="pan,wheel_zoom,box_select,lasso_select,tap,reset",
            active_scroll="wheel_zoom",
            x_axis_label="map dimension 1",
            y_axis_label="map dimension 2",
        )
        plot.axis.ticker = []
        plot.grid.visible = False
        for group in groups:
            look = {"color": group.colour, "marker": _MARKERS[group.marker], "line_color": None}
            renderer = plot.scatter(
                f"x{i}",
                f"y{i}",
                source=source,
                view=CDSView(filter=IndexFilter(members[group.name])),
                size=float(np.clip(300 / np.sqrt(count), 4, 9)),
                alpha=0.75,
                nonselection_alpha=0.06,
                **look,
            )
            drawn[group.name].append(renderer)
        plot.add_tools(HoverTool(tooltips=_tooltip(images.shape, shown), limit=1, point_policy="snap_to_data"))
        figures.append(plot)
    _legend(figures, drawn)
    return present(gridplot(figures, ncols=2, merge_tools=True, toolbar_location="above"))


def thumbnails(images: np.ndarray) -> list[str]:
    """Images uint8 [N, 3, H, W] as base64 PNGs; those of the last few sets of images are kept, not made again."""
    key = hashlib.sha256(str(images.shape).encode() + np.ascontiguousarray(images).tobytes()).hexdigest()
    if key not in _thumbnails:
        while len(_thumbnails) >= 4:
            del _thumbnails[next(iter(_thumbnails))]
        _thumbnails[key] = [_png(image) for image in images.transpose(0, 2, 3, 1)]
    return _thumbnails[key]


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=6)
    return base64.b64encode(file.getvalue()).decode()


def _shown(labels, names, predictions, columns) -> dict[str, list[str]]:
    """What the hover adds below the class: predictions by name with a mark where right, then the caller's columns."""
    if predictions is not None and not isinstance(predictions, Mapping):
        predictions = {"predicted": predictions}
    shown = {}
    for network, predicted in (predictions or {}).items():
        predicted = np.asarray(predicted)
        if predicted.shape != labels.shape:
            raise ValueError(
                f'predictions "{network}" are {predicted.shape}: expected [{len(labels)}], one for each label'
            )
        marks = np.where(predicted == labels, " ✓", " ✗")
        shown[network] = [f"{names[c]}{mark}" for c, mark in zip(predicted, marks, strict=True)]
    return shown | {name: np.asarray(values).tolist() for name, values in (columns or {}).items()}


def _tooltip(shape, shown) -> str:
    """The image enlarged to about 112 pixels without smoothing, and a line of text for each fact."""
    height = 112
    width = round(height * shape[3] / shape[2])
    rows = "".join(f"<div>{html.escape(name)}: <b>@shown{i}</b></div>" for i, name in enumerate(shown))
    look = f"width: {width}px; height: {height}px; image-rendering: pixelated"
    return (
        '<div style="font: 12px sans-serif; white-space: nowrap">'
        f'<img src="data:image/png;base64,@image" alt="" style="{look}">'
        f"<div>class: <b>@class</b></div>{rows}</div>"
    )


def _legend(figures, drawn) -> None:
    """One legend for all maps, at the end of the first row; the points of the other maps follow those of its map."""
    at = min(1, len(figures) - 1)
    items = []
    for name, renderers in drawn.items():
        items.append(LegendItem(label=name, renderers=[renderers[at]]))
        for other in renderers[:at] + renderers[at + 1 :]:
            renderers[at].js_link("visible", other, "visible")
    text = {"label_text_font_size": "10px", "spacing": 0, "padding": 4, "glyph_height": 15, "label_height": 15}
    figures[at].add_layout(Legend(items=items, click_policy="hide", border_line_color=None, **text), "right")
