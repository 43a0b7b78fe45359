"""Floor 3: an executed notebook as one HTML page that needs no network, its figures described in words."""

from __future__ import annotations

import html
import re
from pathlib import Path

import latex2mathml.converter
import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# What browsers need to be told about MathML, and the fonts with mathematical glyphs that systems bring along.
STYLE = """<style>
math { font: 1.1em "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math; }
mtd { padding-inline: 0.1em; } mtd[columnalign=left] { text-align: left; } mtd[columnalign=right] { text-align: right; }
[mathvariant^=bold] { font-weight: bold; } img { max-width: 100%; }
</style>"""


class _Renderer(IPythonRenderer):
    """Writes formulas as MathML, which browsers draw themselves: MathJax would have to come from the network."""

    def inline_math(self, body):
        return _mathml(body, "inline") or super().inline_math(body)

    def block_math(self, body):
        return _mathml(body, "block") or super().block_math(body)

    def latex_environment(self, name, body):
        environment = f"\\begin{{{name}}}{body}\\end{{{name}}}"
        return _mathml(environment, "block") or super().latex_environment(name, body)


def _mathml(formula: str, display: str) -> str | None:
    formula = re.sub(r"\{(align|equation)(ed)?\}", r"{\1*}", formula.strip())  # it numbers the one, lacks the other
    try:
        markup = latex2mathml.converter.convert(formula, display=display)
    except Exception:  # its parser raises whatever it stumbles on; the reader then sees the LaTeX source
        return None
    # log p, not logp: the converter leaves out the gap behind a named function
    return re.sub(r"(?<!<ms[ubp]{2}>)(<mi>(?:log|exp)</mi>)(?!<mo)", r'\1<mspace width="0.167em"/>', markup)


class _OfflineExporter(HTMLExporter):
    """nbconvert's page without the scripts that it loads from elsewhere."""

    def __init__(self):
        fetching = ("html_head_js_requirejs", "html_head_js_mathjax", "html_head_js_mermaidjs", "jupyter_widgets")
        empty = "".join(f"{{% block {name} %}}{{% endblock %}}" for name in fetching)
        style = f"{{% block html_head_css %}}{STYLE}{{% endblock %}}"
        super().__init__(raw_template="{% extends 'index.html.j2' %}" + empty + style)

    @pass_context
    def markdown2html(self, context, source):
        attachments = context.get("cell", {}).get("attachments", {})
        path = context.get("resources", {}).get("metadata", {}).get("path", "")
        renderer = _Renderer(escape=False, attachments=attachments, embed_images=True, path=path)
        return MarkdownWithMath(renderer=renderer).render(source)


def to_html(notebook, name: str, folder: Path) -> str:
    """One page that needs no network; each figure's alternative text is the sentence that reads it.

    Args:
        notebook: executed; it is left as it is.
        name: the page's title.  folder: where pictures named in markdown lie.
    """
    notebook = nbformat.from_dict(notebook)
    for position, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).pop("image/png", None)
            if picture:
                alternative = html.escape(reading(notebook.cells, position))
                width = output.metadata.get("image/png", {}).get(
                    "width"
                )  # given if the pixels are finer than the page's
                size = f' width="{width}"' if width else ""
                image = f'<img alt="{alternative}"{size} src="data:image/png;base64,{picture.strip()}"/>'
                output.data["text/html"] = image
    page, _ = _OfflineExporter().from_notebook_node(notebook, {"metadata": {"name": name, "path": str(folder)}})
    return page


def reading(cells, position: int) -> str:
    """What the text says about the figure of the cell at `position`: the course reads each figure right behind it."""
    behind = [cell for cell in cells[position + 1 : position + 2] if cell.cell_type == "markdown"]
    before = [cell for cell in cells[position::-1] if cell.cell_type == "markdown"]
    for cell in behind + before:
        text = re.sub(r"(?m)^\s*(#|\||>|!\[).*$|!?\[([^\]]*)\]\([^)]*\)|[*`$]", r"\2", cell.source)
        sentences = re.split(r"(?<=[.!?])\s+", " ".join(text.split()))
        if sentences[0]:
            return "Figure. " + " ".join(sentences[:2])[:300]
    return "Figure."
