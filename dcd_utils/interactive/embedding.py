"""Maps of images to wander through: hovering over a point shows its image."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from bokeh.models import CDSView, ColumnDataSource, HoverTool, IndexFilter, Legend, LegendItem
from PIL import Image

from dcd_utils.interactive.bokeh_page import arrays, panel, present, tooltip
from dcd_utils.plots.style import class_groups

_MARKERS = {"o": "circle", "^": "triangle", "s": "square", "D": "diamond"}


def embedding_explorer(
    points, labels, classes: Sequence[str], images, superclasses: Sequence[int] | None = None,
    superclass_names: Sequence[str] | None = None, predictions=None,
):
    """Scatter plots of images, linked: what is selected in one (box, lasso, tap) is selected in all.

    Hovering shows the image, its class and the predictions; a click on a legend entry hides its points everywhere.

    Args:
        points: an Embedding or [N, 2]; or {title: the same} for several maps side by side (teacher, students).
        labels: true class of each image, [N]. Shapes that do not fit raise ValueError.
        classes, superclasses, superclass_names: as in an ImageSet; beyond 20 classes superclasses give the colours.
        images: uint8 [N, 3, H, W].
        predictions: predicted class numbers [N], or {network's name: [N]}; shown by name, with a mark where right.
    """
    maps = arrays(points)
    predictions = arrays(predictions, "predicted") if predictions is not None and len(predictions) else {}
    labels, images, names = np.asarray(labels), np.asarray(images), np.asarray([str(name) for name in classes])
    count = len(labels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:2] != (count, 3):
        raise ValueError(
            f"images are {images.dtype} {images.shape}: expected uint8 [{count}, 3, H, W], one for each label"
        )
    data = {"image": [_png(image) for image in images.transpose(0, 2, 3, 1)], "class": names[labels].tolist()}
    facts = {"class": "@class"}
    for i, (name, xy) in enumerate(maps.items()):
        if xy.shape != (count, 2):
            raise ValueError(f'map "{name}" is {xy.shape}: expected [{count}, 2], one point for each label')
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
    axes = {"x_axis_label": "map dimension 1", "y_axis_label": "map dimension 2", "active_scroll": "wheel_zoom"}
    title, size = "Hover over a point to see its image", 460 if len(maps) == 1 else 360
    plots = [panel(name or title, size, "box_select,lasso_select,tap", **axes) for name in maps]
    legend_map, legend_items = min(1, len(maps) - 1), []  # one legend, at the end of the first row
    for group in class_groups(classes, superclasses, superclass_names):
        members = IndexFilter(np.flatnonzero(np.isin(labels, group.classes)))
        look = {"color": group.colour, "marker": _MARKERS[group.marker], **points_look}
        glyphs = [plot.scatter(f"x{i}", f"y{i}", view=CDSView(filter=members), **look) for i, plot in enumerate(plots)]
        shown = glyphs.pop(legend_map)
        legend_items.append(LegendItem(label=group.name, renderers=[shown]))
        for other in glyphs:  # the points of the other maps come and go with those of the legend's
            shown.js_link("visible", other, "visible")
    text = {"label_text_font_size": "10px", "spacing": 0, "padding": 4, "glyph_height": 15, "label_height": 15}
    legend = Legend(items=legend_items, click_policy="hide", border_line_color=None, **text)
    plots[legend_map].add_layout(legend, "right")
    for plot in plots:
        plot.add_tools(HoverTool(tooltips=hover, limit=1, point_policy="snap_to_data"))
    return present(plots)


def _png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=6)
    return base64.b64encode(file.getvalue()).decode()
