"""What the Bokeh explorers share: named panels, the text of a hover, and how a layout reaches the page."""

import html
import sys
from collections.abc import Mapping

import numpy as np
from bokeh.io import output_notebook, show
from bokeh.io.state import curstate
from bokeh.layouts import gridplot
from bokeh.plotting import figure
from bokeh.resources import INLINE


def arrays(values, name: str = "") -> dict[str, np.ndarray]:
    """{title: array} from one array or Embedding, or from a mapping of them."""
    values = values if isinstance(values, Mapping) else {name: values}
    if not values:
        raise ValueError("an empty mapping was given: pass at least one array")
    return {str(title): np.asarray(getattr(value, "points", value)) for title, value in values.items()}


def panel(title: str, size: int, tools: str, **options):
    """An empty square plot without grid and ticks."""
    tools = f"pan,wheel_zoom,{tools},reset"
    plot = figure(title=title, frame_width=size, frame_height=size, tools=tools, **options)
    plot.axis.ticker = []
    plot.grid.visible = False
    return plot


def tooltip(facts: Mapping[str, str], above: str = "") -> str:
    """One line of text for each fact {name: Bokeh's "@column"}, below what is given."""
    lines = "".join(f"<div>{html.escape(name)}: <b>{value}</b></div>" for name, value in facts.items())
    return f'<div style="font: 12px sans-serif; white-space: nowrap">{above}{lines}</div>'


def present(figures):
    """Return a layout of two plots per row; a Jupyter kernel also shows it, with BokehJS inline, once per page."""
    layout = gridplot(figures, ncols=2, merge_tools=True, toolbar_location="above")
    if "ipykernel" in sys.modules:
        if not curstate().notebook:
            output_notebook(resources=INLINE, hide_banner=True)
        show(layout)
    return layout
