"""Maps of images to wander through: hovering over a point shows its image."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from bokeh.events import LegendItemClick
from bokeh.models import CDSView, ColumnDataSource, CustomJS, HoverTool, IndexFilter, Legend, LegendItem
from PIL import Image

from dcd_utils.interactive.bokeh_page import arrays, panel, present, tooltip
from dcd_utils.plots.style import class_groups

_MARKERS = {"o": "circle", "^": "triangle", "s": "square", "D": "diamond"}
_TOGGLE = "for (const points of groups[cb_obj.origin.items.indexOf(cb_obj.item)]) points.visible = !points.visible"


def embedding_explorer(points, labels, classes: Sequence[str], images, superclasses: Sequence[int] | None = None,
                       superclass_names: Sequence[str] | None = None, predictions=None):
    """Scatter plots of images, linked: what is selected in one (box, lasso, tap) is selected in all.

    Hovering shows the image, its class and the predictions; a click on a legend entry hides its points everywhere.

    Args:
        points: an Embedding or [N, 2]; or {title: the same} for several maps side by side (teacher, students).
        labels: true class of each image, [N]. Shapes that do not fit raise ValueError, and so do other class numbers.
        classes, superclasses, superclass_names: as in an ImageSet; beyond 20 classes superclasses give the colours.
        images: uint8 [N, 3, H, W], or [N, 1, H, W] for grey ones.
        predictions: predicted class numbers [N], or {network's name: [N]}; shown by name, with a mark where right.
    """
    maps = arrays(points)
    predictions = arrays(predictions, "predicted") if predictions is not None and len(predictions) else {}
    labels, images, names = np.asarray(labels), np.asarray(images), np.asarray([str(name) for name in classes])
    count = len(labels)
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != count or images.shape[1] not in (1, 3):
        expected = f"uint8 [{count}, 3, H, W], or 1 for the 3: one for each label"
        raise ValueError(f"images are {images.dtype} {images.shape}: expected {expected}")
    numbers = {"labels": labels} | {f'predictions "{name}"': predicted for name, predicted in predictions.items()}
    for what, array in numbers.items():
        if array.shape != (count,) or array.dtype.kind not in "iu" or not ((array >= 0) & (array < len(names))).all():
            expected = f"integers [{count}] from 0 to {len(names) - 1}, a class for each label"
            raise ValueError(f"{what} are {array.dtype} {array.shape}, or no class numbers: expected {expected}")
    data = {"image": [_address(image) for image in images.transpose(0, 2, 3, 1)], "class": names[labels].tolist()}
    for i, (name, xy) in enumerate(maps.items()):
        if xy.shape != (count, 2):
            raise ValueError(f'map "{name}" is {xy.shape}: expected [{count}, 2], one point for each label')
        data[f"x{i}"], data[f"y{i}"] = xy.astype(np.float32).T
    for i, predicted in enumerate(predictions.values()):
        marks = np.where(predicted == labels, " ✓", " ✗")
        data[f"shown{i}"] = [f"{name}{mark}" for name, mark in zip(names[predicted], marks, strict=True)]
    facts = [("class", "@class"), *((network, f"@shown{i}") for i, network in enumerate(predictions))]
    source = ColumnDataSource(data)
    height, width = images.shape[2:]
    size = f"width: {round(112 * width / height)}px; height: 112px; image-rendering: pixelated"
    hover = tooltip(facts, above=f'<img src="@image" alt="" style="{size}">')

    diameter = float(np.clip(300 / np.sqrt(count), 4, 9))
    points_look = {"size": diameter, "line_color": None, "alpha": 0.75, "nonselection_alpha": 0.06, "source": source}
    axes = ("map dimension 1", "map dimension 2", 460 if len(maps) == 1 else 360, "box_select,lasso_select,tap")
    plots = [panel(name or "Hover over a point to see its image", *axes) for name in maps]
    home = plots[min(1, len(maps) - 1)]  # one legend, at the end of the first row
    legend_items, groups, unseen = [], [], ColumnDataSource({"nowhere": [np.nan]})
    for group in class_groups(classes, superclasses, superclass_names):
        members = IndexFilter(np.flatnonzero(np.isin(labels, group.classes)))
        look = {"color": group.colour, "marker": _MARKERS[group.marker], **points_look}
        points = [plot.scatter(f"x{i}", f"y{i}", view=CDSView(filter=members), **look) for i, plot in enumerate(plots)]
        groups.append(points)
        # a legend's marker goes with points zoomed out of sight, and lacks where are none: it stands for one never seen
        sample = home.scatter("nowhere", "nowhere", **look | {"source": unseen})
        legend_items.append(LegendItem(label=group.name, renderers=[sample]))
    text = {"label_text_font_size": "10px", "spacing": 0, "padding": 4, "glyph_height": 15, "label_height": 15}
    legend = Legend(items=legend_items, click_policy="hide", border_line_color=None, **text)
    legend.js_on_event(LegendItemClick, CustomJS(args={"groups": groups}, code=_TOGGLE))
    home.add_layout(legend, "right")
    for plot in plots:
        plot.add_tools(HoverTool(tooltips=hover, limit=1, point_policy="snap_to_data"))
    return present(plots)


def _address(pixels: np.ndarray) -> str:
    """The image [H, W, 1 or 3] as a data address, no larger than it is shown; small ones keep every pixel."""
    file, picture = io.BytesIO(), Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    kind = "PNG" if picture.height <= 64 else "JPEG"
    picture.thumbnail((1024, 112))
    picture.save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
