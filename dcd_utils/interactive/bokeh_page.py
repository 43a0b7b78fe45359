"""What the Bokeh explorers share: how they reach the page, and how arguments become named panels."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

_loaded = False


def present(layout):
    """Show the layout if a Jupyter kernel runs this code, and return it.

    BokehJS goes inline into the page, once, so that nothing is fetched from a network.
    """
    global _loaded
    if "ipykernel" in sys.modules:
        from bokeh.io import output_notebook, show
        from bokeh.resources import INLINE

        if not _loaded:
            output_notebook(resources=INLINE, hide_banner=True)
            _loaded = True
        show(layout)
    return layout


def panels(values, name: str = "") -> dict[str, np.ndarray]:
    """{title: array} from one array or Embedding, or from a mapping of them; an empty title for a single one."""
    values = values if isinstance(values, Mapping) else {name: values}
    if not values:
        raise ValueError("an empty mapping was given: pass at least one array")
    return {str(title): np.asarray(getattr(one, "points", one)) for title, one in values.items()}
