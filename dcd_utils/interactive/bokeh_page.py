"""What the Bokeh explorers share: named panels, the text of a hover, and how a layout reaches the page."""

import base64
import gzip
import html
import json
import re
import sys
import uuid
from collections.abc import Iterable, Mapping

import bokeh
import numpy as np
from bokeh.embed import json_item
from bokeh.layouts import gridplot
from bokeh.models import PlainText, Title
from bokeh.plotting import figure
from bokeh.resources import Resources

# A kernel cannot know what a page holds: a reload forgets all. So every figure carries BokehJS, packed to half a
# megabyte, and the page unpacks it if it has none of this version. The figures of a page take turns at that.
_BOKEHJS = "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
_PACKED = base64.b64encode(gzip.compress(_BOKEHJS.encode(), mtime=0)).decode()
_SHOWN = """<div id="@place">This figure needs scripts: run its cell, or trust the notebook.</div><script>{
const place = document.querySelector("#@place:not([drawn])")
place.setAttribute("drawn", "")
const load = async () => {
    if (window.Bokeh?.["@version"]) return
    const packed = new Blob([Uint8Array.from(atob("@packed"), letter => letter.charCodeAt(0))]).stream()
    const text = await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).text()
    document.head.append(Object.assign(document.createElement("script"), {text}))
}
const draw = () => (place.textContent = "", Bokeh["@version"].embed.embed_item(@item, place))
window.loadBokeh = (window.loadBokeh ?? Promise.resolve()).then(load, load)
window.loadBokeh.then(draw).catch(error => { place.textContent = `This figure cannot be drawn here: ${error}` })
}</script>"""


def arrays(values, name: str = "") -> dict[str, np.ndarray]:
    """{title: array} from one array or Embedding, or from a mapping of them."""
    values = values if isinstance(values, Mapping) else {name: values}
    if not values:
        raise ValueError("an empty mapping was given: pass at least one array")
    return {str(title): np.asarray(getattr(value, "points", value)) for title, value in values.items()}


def panel(title: str, x: str, y: str, size: int, tools: str, **options):
    """An empty square plot without grid and ticks. The wheel scrolls the page until its zoom is chosen above."""
    title, x, y = (PlainText(text=text) for text in (title, x, y))  # a string might be read as a formula
    options |= {"title": Title(text=title), "x_axis_label": x, "y_axis_label": y, "active_scroll": None}
    plot = figure(frame_width=size, frame_height=size, tools=f"pan,wheel_zoom,{tools},reset", **options)
    plot.axis.ticker = []
    plot.grid.visible = False
    return plot


def tooltip(facts: Iterable[tuple[str, str]], above: str = "") -> str:
    """One line of text for each fact (name, Bokeh's "@column"), below what is given."""
    shown = [(re.sub("[@$]", lambda sign: f"&#{ord(sign[0])};", html.escape(name)), value) for name, value in facts]
    lines = "".join(f"<div>{name}: <b>{value}</b></div>" for name, value in shown)
    return f'<div style="font: 12px sans-serif; white-space: nowrap">{above}{lines}</div>'


def page(layout) -> str:
    """The layout as a piece of HTML that needs nothing else."""
    item = json.dumps(json_item(layout)).replace("<", "\\u003c")  # no name may end the script
    parts = {"place": f"figure-{uuid.uuid4()}", "version": bokeh.__version__, "packed": _PACKED, "item": item}
    return re.sub(r"@(\w+)", lambda found: parts[found[1]], _SHOWN)


def present(figures):
    """Return a layout of two plots per row; a Jupyter kernel also shows it."""
    layout = gridplot(figures, ncols=2, merge_tools=True, toolbar_location="above")
    if "ipykernel" in sys.modules:
        from IPython.display import HTML, display

        display(HTML(page(layout)))
    return layout
