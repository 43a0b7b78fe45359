"""The Bokeh explorers: one shared source, images inside, nothing from a network."""

import base64
import gzip
import html
import io
import re
import subprocess
import sys

import bokeh
import numpy as np
import pytest
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.models import (
    ColorBar,
    GlyphRenderer,
    HoverTool,
    Image,
    IndexFilter,
    Legend,
    PlainText,
    Plot,
    WheelZoomTool,
)
from bokeh.resources import INLINE
from PIL import Image as ImageFile

from dcd_utils import interactive
from dcd_utils.analysis import Embedding
from dcd_utils.interactive import bokeh_page

RNG = np.random.default_rng(0)
CLASSES = ["circle", "<b>square</b>", "star"]
LABELS = RNG.integers(0, 3, size=40)
POINTS = RNG.normal(size=(40, 2)).astype(np.float32)
IMAGES = RNG.integers(0, 256, size=(40, 3, 8, 8), dtype=np.uint8)
MATRIX = np.arange(9.0).reshape(3, 3)


ODD = ["a$b_$c", "$$x^2$$", "猫</script><b>", "_bg &amp; \"q\" {0} 100%\\(a\\)\n", "dcd@alpha=0"]


def select(layout, kind):
    return list(layout.select({"type": kind}))


def points_drawn(layout):
    return [renderer for renderer in select(layout, GlyphRenderer) if isinstance(renderer.view.filter, IndexFilter)]


def test_maps_share_one_source_so_that_selections_link():
    maps = {"teacher": Embedding(POINTS, "t-SNE", {}), "student": POINTS[::-1]}
    layout = interactive.embedding_explorer(maps, LABELS, CLASSES, IMAGES)
    renderers = points_drawn(layout)
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
    (toggle,) = legend.js_event_callbacks["legend_item_click"]
    groups = toggle.args["groups"]
    assert [len(group) for group in groups] == [3, 3, 3]
    assert {renderer.id for group in groups for renderer in group} == {renderer.id for renderer in points_drawn(layout)}
    for label, group in enumerate(groups):
        members = np.flatnonzero(label == LABELS)
        assert all(np.array_equal(renderer.view.filter.indices, members) for renderer in group)


def test_a_legend_keeps_its_markers_whatever_is_zoomed_or_selected():
    """BokehJS takes them away when anything changes that a legend's entries refer to, however indirectly."""
    layout = interactive.embedding_explorer({"a": POINTS, "b": POINTS}, LABELS, [*CLASSES, "no image"], IMAGES)
    (legend,), points = select(layout, Legend), points_drawn(layout)
    assert [len(item.renderers) for item in legend.items] == [1, 1, 1, 1]
    for item in legend.items:
        referred = item.references()
        assert not referred & {*points, *(renderer.view for renderer in points), points[0].data_source}


@pytest.mark.parametrize("explorer", ["embedding", "matrix"])
def test_the_wheel_scrolls_the_page_until_its_zoom_is_chosen(explorer):
    if explorer == "embedding":
        layout = interactive.embedding_explorer({"a": POINTS, "b": POINTS}, LABELS, CLASSES, IMAGES)
    else:
        layout = interactive.matrix_explorer({"a": MATRIX, "b": MATRIX}, CLASSES)
    # "auto" would switch it on with the first click into the figure
    assert [plot.toolbar.active_scroll for plot in select(layout, Plot)] == [None, None]
    assert layout.toolbar.active_scroll is None and select(layout, WheelZoomTool)


def test_the_hover_shows_the_image_itself_its_class_and_predictions():
    predictions = {"teacher": np.zeros(40, dtype=int), "student <1>": LABELS}
    layout = interactive.embedding_explorer(POINTS, LABELS, CLASSES, IMAGES, predictions=predictions)
    (hover,), (source,) = select(layout, HoverTool), {renderer.data_source for renderer in points_drawn(layout)}
    assert 'src="@image"' in hover.tooltips and "pixelated" in hover.tooltips
    assert "teacher: <b>@shown0</b>" in hover.tooltips and "student &lt;1&gt;: <b>@shown1</b>" in hover.tooltips
    np.testing.assert_array_equal(decoded(source.data["image"][7], "png"), IMAGES[7].transpose(1, 2, 0))
    assert source.data["class"][7] == CLASSES[LABELS[7]]
    assert source.data["shown0"][7] == "circle " + ("✓" if LABELS[7] == 0 else "✗")
    assert source.data["shown1"] == [f"{CLASSES[label]} ✓" for label in LABELS]


def decoded(address, kind):
    start, encoded = address.split(",")
    assert start == f"data:image/{kind};base64"
    return np.asarray(ImageFile.open(io.BytesIO(base64.b64decode(encoded))))


def test_photographs_are_embedded_as_large_as_they_are_shown_and_grey_images_as_they_are():
    rows = np.linspace(0, 255, 448, dtype=np.uint8)
    images = np.broadcast_to(rows[:, None], (2, 3, 448, 224))
    layout = interactive.embedding_explorer(POINTS[:2], [0, 1], CLASSES, images)
    (source,) = {renderer.data_source for renderer in points_drawn(layout)}
    small = decoded(source.data["image"][0], "jpeg")
    assert small.shape == (112, 56, 3) and np.abs(small[:, 28, 0] - np.linspace(0, 255, 112)).max() < 5
    grey = interactive.embedding_explorer(POINTS[:2], [0, 1], CLASSES, IMAGES[:2, :1])
    (source,) = {renderer.data_source for renderer in points_drawn(grey)}
    np.testing.assert_array_equal(decoded(source.data["image"][1], "png"), IMAGES[1, 0])


def texts(layout):
    """Titles, labels of axes and names of ticks: a plain string would be read as a formula if it looks like one."""
    for plot in select(layout, Plot):
        yield from (plot.title.text, *(axis.axis_label for axis in plot.axis))
        yield from plot.yaxis[0].major_label_overrides.values()


def test_any_name_is_shown_as_it_is():
    networks = {name: LABELS for name in ("dcd@alpha=0", "class", "$x ${y} @{z}{w} <i>")}
    maps = interactive.embedding_explorer(dict.fromkeys(ODD, POINTS), LABELS, ODD, IMAGES, predictions=networks)
    matrix = np.ones((5, 5))
    matrices = interactive.matrix_explorer(
        dict.fromkeys(ODD, matrix), ODD, values={"class": matrix}, rows="class $$C$$", columns="class $$C$$"
    )
    for layout in (maps, matrices):
        assert all(isinstance(text, PlainText) for text in texts(layout))
        assert {text.text for text in texts(layout)} >= set(ODD)
    lines = maps_lines, matrix_lines = [
        re.findall(r"<div>([^<]*): <b>([^<]*)</b></div>", select(layout, HoverTool)[0].tooltips)
        for layout in (maps, matrices)
    ]
    assert not any(re.search(r"[@$]", name) for shown in lines for name, _ in shown)  # Bokeh's signs for columns
    assert [html.unescape(name) for name, _ in maps_lines] == ["class", *networks]
    assert [column for _, column in maps_lines] == ["@class", "@shown0", "@shown1", "@shown2"]
    assert [html.unescape(name) for name, _ in matrix_lines] == ["class $$C$$", "class $$C$$", *ODD, "class"]
    (legend,) = select(maps, Legend)
    assert [item.label.value for item in legend.items] == ODD
    assert "</script><b>" not in bokeh_page.page(maps)


@pytest.mark.parametrize(("classes", "entries"), [(2, 2), (300, 20)])
def test_few_and_many_classes_and_one_without_an_image(classes, entries):
    names, labels = [f"class {i}" for i in range(classes)], np.array([0, 0])
    layout = interactive.embedding_explorer(POINTS[:2], labels, names, IMAGES[:2], predictions=labels + 1)
    (legend,) = select(layout, Legend)
    assert len(legend.items) == entries
    assert sum(len(renderer.view.filter.indices) for renderer in points_drawn(layout)) == 2
    matrix = np.eye(classes)
    matrix[1] = np.nan  # it has no mean
    layout = interactive.matrix_explorer(matrix, names)
    (bar,) = select(layout, ColorBar)
    assert (bar.color_mapper.low, bar.color_mapper.high) == (0, 1)


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
    panels = {plot.title.text.text: plot for plot in select(layout, Plot)}  # Bokeh selects in no certain order
    first, second = panels["teacher"], panels["student"]
    assert first.x_range is second.x_range and first.y_range is second.y_range
    assert [first.y_range.start, first.y_range.end] == [2.5, -0.5]  # rows run from the top
    mappers = [select(plot, ColorBar)[0].color_mapper for plot in (first, second)]
    ranges = [(mapper.low, mapper.high) for mapper in mappers]
    assert ranges == [(0, 8), (0, 16)]
    labelled = [[text.text for text in plot.yaxis[0].major_label_overrides.values()] for plot in (first, second)]
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


def test_every_figure_asks_its_page_for_bokehjs_and_brings_it_along(monkeypatch):
    shown = []
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    monkeypatch.setattr("IPython.display.display", lambda output: shown.append(output.data))
    layouts = [interactive.matrix_explorer(MATRIX, CLASSES) for _ in range(2)]
    for text in shown:
        assert f'if (window.Bokeh?.["{bokeh.__version__}"]) return' in text
        (packed,) = re.findall(r'atob\("([^"]+)"\)', text)
        scripts = gzip.decompress(base64.b64decode(packed)).decode()
        assert f'version="{bokeh.__version__}"' in scripts
        assert len(text) < 550_000  # where Bokeh's own way writes 4 MB, for all figures of a page
        assert text.count("<script>") == text.count("</script>") == 1 and "src=" not in text
    places = {re.search('<div id="([^"]+)"', text)[1] for text in shown}
    assert len(shown) == len(places) == 2
    assert "<title>explorer" in file_html(layouts[0], INLINE, "explorer")  # a layout that was shown can be used again


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r'map "student" is \(39, 2\): expected \[40, 2\]'):
        interactive.embedding_explorer({"teacher": POINTS, "student": POINTS[1:]}, LABELS, CLASSES, IMAGES)
    with pytest.raises(ValueError, match=r"expected uint8 \[40, 3, H, W\]"):
        interactive.embedding_explorer(POINTS, LABELS, CLASSES, IMAGES[:5])
    with pytest.raises(ValueError, match='predictions "predicted"'):
        interactive.embedding_explorer(POINTS, LABELS, CLASSES, IMAGES, predictions=LABELS[:3])
    for wrong in (LABELS - 1, LABELS + 1, LABELS.astype(float)):  # -1 would name the last class
        with pytest.raises(ValueError, match=r"labels are .*: expected integers \[40\] from 0 to 2"):
            interactive.embedding_explorer(POINTS, wrong, CLASSES, IMAGES)
        with pytest.raises(ValueError, match=r'predictions "a" are .*: expected integers \[40\] from 0 to 2'):
            interactive.embedding_explorer(POINTS, LABELS, CLASSES, IMAGES, predictions={"a": wrong})
    with pytest.raises(ValueError, match='matrices and values differ in "teacher"'):
        interactive.matrix_explorer({"teacher": MATRIX}, CLASSES, values={"teacher": MATRIX + 1})
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
