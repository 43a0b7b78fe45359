"""Maps of images to wander through: hovering over a point shows its image."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from bokeh.models import CDSView, ColumnDataSource, HoverTool, IndexFilter, Legend, LegendItem
from PIL import Image

from dcd_utils.interactive.bokeh_page import arrays, panel, present, tooltip
from dcd_utils.plots.style import class_groups

_MARKERS = {"o": "circle", "^": "triangle", "s": "square", "D": "diamond"}


def embedding_explorer(
    points, labels, classes: Sequence[str], images, superclasses: Sequence[int] | None = None,
    superclass_names: Sequence[str] | None = None, predictions=None, title: str = "Hover over a point to see its image",
):
    """Scatter plots of images, linked: what is selected in one (box, lasso, tap) is selected in all.

    Hovering shows the image, its class and the predictions; a click on a legend entry hides its points everywhere.

    Args:
        points: an Embedding or [N, 2]; or {title: the same} for several maps side by side (teacher, students).
        labels: true class of each image, [N].
        classes: names. superclasses, superclass_names: as in an ImageSet; beyond 20 classes they give the colours.
        images: uint8 [N, 3, H, W].
        predictions: predicted class numbers [N], or {network's name: [N]}; shown by name, with a mark where right.
        title: of a single map.

    Returns:
        A Bokeh layout, which a notebook has already shown.

    Raises:
        ValueError: shapes that do not fit.
    """
    maps = arrays(points)
    predictions = arrays(predictions, "predicted") if predictions is not None and len(predictions) else {}
    labels, images, names = np.asarray(labels), np.asarray(images), np.asarray([str(name) for name in classes])
    count = len(labels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:2] != (count, 3):
        raise ValueError(
            f"images are {images.dtype} {images.shape}: expected uint8 [{count}, 3, H, W], one for each label"
        )
    for name, xy in maps.items():
        if xy.shape != (count, 2):
            raise ValueError(f'map "{name}" is {xy.shape}: expected [{count}, 2], one point for each label')

    data = {"image": [_png(image) for image in images.transpose(0, 2, 3, 1)], "class": names[labels].tolist()}
    facts = {"class": "@class"}
    for i, xy in enumerate(maps.values()):
        data[f"x{i}"], data[f"y{i}"] = xy.astype(np.float32).T
    for i, (network, predicted) in enumerate(predictions.items()):
        if predicted.shape != (count,):
            raise ValueError(f'predictions "{network}" are {predicted.shape}: expected [{count}], one for each label')
        marks = np.where(predicted == labels, " ✓", " ✗")
        data[f"shown{i}"] = [f"{name}{mark}" for name, mark in zip(names[predicted], marks, strict=True)]
        facts[network] = f"@shown{i}"
    source = ColumnDataSource(data)
    height, width = images.shape[2:]
    size = f"width: {round(112 * width / height)}px; height: 112px; image-rendering: pixelated"
    hover = tooltip(facts, above=f'<img src="data:image/png;base64,@image" alt="" style="{size}">')

    diameter = float(np.clip(300 / np.sqrt(count), 4, 9))
    points_look = {"size": diameter, "line_color": None, "alpha": 0.75, "nonselection_alpha": 0.06, "source": source}
    groups = class_groups(classes, superclasses, superclass_names)
    figures, drawn = [], {group.name: [] for group in groups}
    for i, name in enumerate(maps):
        labelled = {"x_axis_label": "map dimension 1", "y_axis_label": "map dimension 2", "active_scroll": "wheel_zoom"}
        plot = panel(name or title, 460 if len(maps) == 1 else 360, "box_select,lasso_select,tap", **labelled)
        for group in groups:
            members = np.flatnonzero(np.isin(labels, group.classes))
            look = {"color": group.colour, "marker": _MARKERS[group.marker], **points_look}
            drawn[group.name].append(plot.scatter(f"x{i}", f"y{i}", view=CDSView(filter=IndexFilter(members)), **look))
        plot.add_tools(HoverTool(tooltips=hover, limit=1, point_policy="snap_to_data"))
        figures.append(plot)
    _legend(figures, drawn)
    return present(figures)


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=6)
    return base64.b64encode(file.getvalue()).decode()


def _legend(figures, drawn: Mapping[str, list]) -> None:
    """One legend for all maps, at the end of the first row; the points of the other maps follow those of its map."""
    at = min(1, len(figures) - 1)
    items = []
    for name, renderers in drawn.items():
        items.append(LegendItem(label=name, renderers=[renderers[at]]))
        for other in renderers[:at] + renderers[at + 1 :]:
            renderers[at].js_link("visible", other, "visible")
    text = {"label_text_font_size": "10px", "spacing": 0, "padding": 4, "glyph_height": 15, "label_height": 15}
    figures[at].add_layout(Legend(items=items, click_policy="hide", border_line_color=None, **text), "right")
