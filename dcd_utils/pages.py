"""Write an executed notebook: tidied, in its committed form, and as one HTML page that needs no network."""

import base64
import io
import os
import re
import sys
from pathlib import Path

import latex2mathml.converter
import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image

from dcd_utils.files import data_dir, write_whole

CHECKOUT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
NO_CONTROLS = "The controls of this cell need a running kernel: open the notebook with `make lab`.\n"
# Figures with words, no scripts from elsewhere, and what browsers need to be told about MathML.
PAGE = """{% extends 'index.html.j2' %}
{% block html_head_js_requirejs %}{% endblock %}{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}{% block html_head_css %}<style>
math { font: 1.1em "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math; }
mtd { padding-inline: 0.1em; } mtd[columnalign=left] { text-align: left; } mtd[columnalign=right] { text-align: right; }
[mathvariant^=bold] { font-weight: bold; } img { max-width: 100%; }
</style>{% endblock %}
{% block data_png scoped %}<img alt="{{ cell | get_metadata('alt') | escape_html }}"
src="data:image/png;base64,{{ output.data['image/png'] | trim }}">{% endblock %}"""


def write_notebook(notebook, path: Path, committed: bool = False) -> None:
    """Write without widgets, which die with their kernel, and without metadata that says nothing. The committed form
    has small figures, no path of this machine, and no output of cells tagged `interactive`."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {key: cell.metadata[key] for key in ("tags", "nbgrader") if cell.metadata.get(key)}
        if cell.cell_type != "code":
            continue
        outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        if "interactive" in cell.metadata.get("tags", []):
            if len(outputs) < len(cell.outputs):
                outputs.append(nbformat.v4.new_output("stream", text=NO_CONTROLS))
            outputs = [] if committed else outputs
        cell.outputs = outputs
        for output in outputs if committed else []:
            if output.output_type == "stream":
                output.text = without_machine_paths(output.text)
            for kind, value in output.get("data", {}).items():
                if kind == "image/png" or kind.startswith("text/"):
                    output.data[kind] = (small_png if kind == "image/png" else without_machine_paths)(value)
    write_whole(path, nbformat.writes(notebook) + "\n")


def small_png(encoded: str) -> str:
    """Return a PNG in base64 with at most 256 colours, a third of the size for most figures; itself if no smaller."""
    image, smaller = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"), io.BytesIO()
    # by coverage: the default lets rare colours go, the end of a colour bar for instance
    image.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(smaller, "PNG", optimize=True)
    return min(encoded, base64.b64encode(smaller.getvalue()).decode(), key=len)


def without_machine_paths(text: str) -> str:
    """Return the text with this machine's folders cut off, so that an output reads the same from any checkout."""
    text = re.sub(r"[^\s\"']*[/\\]ipykernel_\d+[/\\]\d+\.py", "<cell>", text)
    places = {str(data_dir()): "data", str(CHECKOUT): "."}
    for end in ("/", os.sep):
        places |= {f"{data_dir()}{end}": "data/", f"{CHECKOUT}{end}": "", f"{sys.prefix}{end}": ""}
        places[f"{Path.home()}{end}"] = "~/"
    for place in sorted(places, key=len, reverse=True):  # the innermost folder first
        text = text.replace(place, places[place])
    return text


class _Renderer(IPythonRenderer):
    """Embeds pictures, and writes formulas as MathML, which browsers draw themselves: MathJax would be a download."""

    def inline_math(self, body):
        return _mathml(body, "inline") or super().inline_math(body)

    def block_math(self, body):
        return _mathml(body, "block") or super().block_math(body)

    def latex_environment(self, name, body):
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

    def _src_to_base64(self, src):  # nbconvert embeds nothing from beside the notebook's folder, such as docs/
        folder, name = os.path.split(os.path.join(self.path, src))
        return IPythonRenderer(path=folder)._src_to_base64(name)


def _mathml(formula: str, display: str) -> str | None:
    formula = re.sub(r"\{(align|equation)(ed)?\}", r"{\1*}", formula.strip())  # it numbers the one, lacks the other
    try:
        markup = latex2mathml.converter.convert(formula, display=display)
    except Exception:  # its parser raises whatever it stumbles on; the reader then sees the LaTeX source
        return None
    # log p, not logp: the converter leaves out the gap behind a named function
    return re.sub(r"(?<!<ms[ubp]{2}>)(<mi>(?:log|exp)</mi>)(?!<mo)", r'\1<mspace width="0.167em"/>', markup)


def to_html(notebook, name: str, folder: Path) -> str:
    """Return an executed notebook as one page titled `name`; pictures in its markdown are looked for from `folder`."""

    @pass_context
    def markdown(context, source):
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Renderer(escape=False, attachments=attachments, embed_images=True, path=str(folder))
        return MarkdownWithMath(renderer=renderer).render(source)

    for position, cell in enumerate(notebook.cells):
        cell.metadata["alt"] = reading(notebook.cells, position)
    exporter = HTMLExporter(raw_template=PAGE, filters={"markdown2html": markdown})
    return exporter.from_notebook_node(notebook, {"metadata": {"name": name}})[0]


def reading(cells, position: int) -> str:
    """Return what the text says about the figure of a cell: the course reads each figure right behind it."""
    nearest = cells[position + 1 : position + 2] + cells[position::-1]
    for cell in [cell for cell in nearest if cell.cell_type == "markdown"]:
        text = re.sub(r"(?m)^\s*(#|\||>|!\[).*$|!?\[([^\]]*)\]\([^)]*\)|[*`$]", r"\2", cell.source)
        sentences = re.split(r"(?<=[.!?])\s+", " ".join(text.split()))
        if sentences[0]:
            return "Figure. " + " ".join(sentences[:2])[:300]
    return "Figure."
