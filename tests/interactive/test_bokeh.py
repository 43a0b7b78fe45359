"""The Bokeh explorers: one shared source, images inside, nothing from a network."""

import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.io.state import curstate
from bokeh.models import ColorBar, ColumnDataSource, GlyphRenderer, HoverTool, Image, Legend, Plot
from bokeh.resources import INLINE
from PIL import Image as PngFile

from dcd_utils import interactive
from dcd_utils.analysis import Embedding
from dcd_utils.interactive import bokeh_page

RNG = np.random.default_rng(0)
CLASSES = ["circle", "<b>square</b>", "star"]
LABELS = RNG.integers(0, 3, size=40)
POINTS = RNG.normal(size=(40, 2)).astype(np.float32)
IMAGES = RNG.integers(0, 256, size=(40, 3, 8, 8), dtype=np.uint8)
MATRIX = np.arange(9.0).reshape(3, 3)


def select(layout, kind):
    return list(layout.select({"type": kind}))


def test_maps_share_one_source_so_that_selections_link():
    maps = {"teacher": Embedding(POINTS, "t-SNE", {}), "student": POINTS[::-1]}
    layout = interactive.embedding_explorer(maps, LABELS, CLASSES, IMAGES)
    renderers = select(layout, GlyphRenderer)
    (source,) = {renderer.data_source for renderer in renderers}
    assert len(renderers) == 6
    np.testing.assert_array_equal(source.data["x0"], POINTS[:, 0])
    np.testing.assert_array_equal(source.data["y1"], POINTS[::-1, 1])
    shown = np.sort(np.concatenate([renderer.view.filter.indices for renderer in renderers]))
    np.testing.assert_array_equal(shown, np.repeat(np.arange(40), 2))
    # without a GPU, WebGL is read back at every frame: several times slower than a canvas
    assert all(plot.output_backend == "canvas" for plot in select(layout, Plot))


def test_a_click_on_the_legend_hides_a_class_in_every_map():
    layout = interactive.embedding_explorer({"a": POINTS, "b": POINTS, "c": POINTS}, LABELS, CLASSES, IMAGES)
    (legend,) = select(layout, Legend)
    assert legend.click_policy == "hide" and [item.label.value for item in legend.items] == CLASSES
    for item in legend.items:
        assert len(item.renderers[0].js_property_callbacks["change:visible"]) == 2


def test_the_hover_shows_the_image_itself_its_class_and_predictions():
    predictions = {"teacher": np.zeros(40, dtype=int), "student <1>": LABELS}
    layout = interactive.embedding_explorer(POINTS, LABELS, CLASSES, IMAGES, predictions=predictions)
    (hover,), (source,) = select(layout, HoverTool), select(layout, ColumnDataSource)
    assert 'src="data:image/png;base64,@image"' in hover.tooltips and "pixelated" in hover.tooltips
    assert "teacher: <b>@shown0</b>" in hover.tooltips and "student &lt;1&gt;: <b>@shown1</b>" in hover.tooltips
    pixels = np.asarray(PngFile.open(io.BytesIO(base64.b64decode(source.data["image"][7]))))
    np.testing.assert_array_equal(pixels, IMAGES[7].transpose(1, 2, 0))
    assert source.data["class"][7] == CLASSES[LABELS[7]]
    assert source.data["shown0"][7] == "circle " + ("✓" if LABELS[7] == 0 else "✗")
    assert source.data["shown1"] == [f"{CLASSES[label]} ✓" for label in LABELS]


def test_matrix_cells_carry_both_classes_and_all_values():
    layout = interactive.matrix_explorer(
        {"difference": MATRIX - 4}, CLASSES, values={"teacher": MATRIX, "student": 2 * MATRIX}, superclasses=(1, 0, 0)
    )
    (image,) = [renderer for renderer in select(layout, GlyphRenderer) if isinstance(renderer.glyph, Image)]
    data, order = image.data_source.data, [1, 2, 0]
    np.testing.assert_array_equal(data["value0"][0], (MATRIX - 4)[np.ix_(order, order)])
    np.testing.assert_array_equal(data["value2"][0], 2 * MATRIX[np.ix_(order, order)])
    assert data["row_class"][0][:4] == [CLASSES[1]] * 3 + [CLASSES[2]]
    assert data["column_class"][0][:4] == [CLASSES[i] for i in (1, 2, 0, 1)]
    (hover,) = select(layout, HoverTool)
    assert re.findall(r"<b>@(\w+)", hover.tooltips) == ["row_class", "column_class", "value0", "value1", "value2"]
    mapper = image.glyph.color_mapper
    assert (mapper.low, mapper.high) == (-4, 4)


def test_panels_of_matrices_zoom_together():
    layout = interactive.matrix_explorer({"teacher": MATRIX, "student": 2 * MATRIX}, CLASSES)
    panels = {plot.title.text: plot for plot in select(layout, Plot)}  # Bokeh selects in no certain order
    first, second = panels["teacher"], panels["student"]
    assert first.x_range is second.x_range and first.y_range is second.y_range
    assert [first.y_range.start, first.y_range.end] == [2.5, -0.5]  # rows run from the top
    mappers = [select(plot, ColorBar)[0].color_mapper for plot in (first, second)]
    ranges = [(mapper.low, mapper.high) for mapper in mappers]
    assert ranges == [(0, 8), (0, 16)]
    labelled = [list(plot.yaxis[0].major_label_overrides.values()) for plot in (first, second)]
    assert labelled == [CLASSES, []]


@pytest.mark.parametrize("explorer", ["embedding", "matrix"])
def test_the_page_needs_no_network(explorer):
    if explorer == "embedding":
        layout = interactive.embedding_explorer(POINTS, LABELS, CLASSES, IMAGES)
    else:
        layout = interactive.matrix_explorer(MATRIX, CLASSES)
    Document().add_root(layout)
    page = file_html(layout, INLINE, "explorer")
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="?https?:', page)


def test_bokehjs_goes_into_a_notebook_once(monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setattr(curstate(), "_notebook", False)
    monkeypatch.setattr("bokeh.io.output.run_notebook_hook", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(bokeh_page, "show", lambda layout: calls.append(layout))
    layouts = [interactive.matrix_explorer(MATRIX, CLASSES) for _ in range(2)]
    (kind, action, resources, _, hide_banner, _), *shown = calls
    assert (kind, action, resources, hide_banner) == ("jupyter", "load", INLINE, True) and shown == layouts


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r'map "student" is \(39, 2\): expected \[40, 2\]'):
        interactive.embedding_explorer({"teacher": POINTS, "student": POINTS[1:]}, LABELS, CLASSES, IMAGES)
    with pytest.raises(ValueError, match=r"expected uint8 \[40, 3, H, W\]"):
        interactive.embedding_explorer(POINTS, LABELS, CLASSES, IMAGES[:5])
    with pytest.raises(ValueError, match='predictions "predicted"'):
        interactive.embedding_explorer(POINTS, LABELS, CLASSES, IMAGES, predictions=LABELS[:3])
    with pytest.raises(ValueError, match="empty mapping"):
        interactive.embedding_explorer({}, LABELS, CLASSES, IMAGES)
    with pytest.raises(ValueError, match=r'matrix "student" is \(2, 2\): expected \[3, 3\]'):
        interactive.matrix_explorer(MATRIX, CLASSES, values={"student": np.eye(2)})
    with pytest.raises(AttributeError, match="embedding_explorer, matrix_explorer"):
        interactive.nothing  # noqa: B018


def test_widget_libraries_load_when_first_used():
    code = """if True:
        import sys
        from dcd_utils import interactive
        assert not {"bokeh", "ipywidgets"} & set(sys.modules)
        interactive.loss_explorer
        assert "ipywidgets" in sys.modules and "bokeh" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
