"""dcd_utils/pages.py on notebooks made by hand."""

import base64
import io

import nbformat
from PIL import Image

from dcd_utils import pages


def text(source):
    return nbformat.v4.new_markdown_cell(source)


def code(*outputs):
    return nbformat.v4.new_code_cell(outputs=list(outputs))


def png(image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_alternative_text_falls_back_to_the_text_before():
    cells = [text("# Only a heading"), text("See [the paper](x) for $p_i$.\n\n| a | b |"), code(), code()]
    assert pages.reading(cells, 2) == "Figure. See the paper for p_i."
    assert pages.reading(cells[:1] + cells[2:], 1) == "Figure."


def test_pictures_are_in_the_page_with_their_words(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "notebooks").mkdir()
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>'
    (tmp_path / "docs" / "a.svg").write_bytes(svg)
    figure = nbformat.v4.new_output("display_data", {"image/png": png(Image.new("L", (3, 3)))})
    cells = [text("![the method](../docs/a.svg) ![gone](../docs/b.svg)"), code(figure), text('It "falls" < 3.')]
    page = pages.to_html(nbformat.v4.new_notebook(cells=cells), "name", tmp_path / "notebooks")
    assert f'<img alt="the method" src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"' in page
    assert 'src="../docs/b.svg"' in page
    assert 'Figure. It "falls" &lt; 3.' in page or "Figure. It &quot;falls&quot; &lt; 3." in page
    assert "<title>name</title>" in page and "No description has been" not in page


def test_formulas_are_mathml_or_stay_as_they_are():
    source = "$x_i$ and $$\\frac{1}{2}$$\n\n\\begin{align}a &= b\\end{align}\n\n$\\left( x$"
    page = pages.to_html(nbformat.v4.new_notebook(cells=[text(source)]), "name", ".")
    assert page.count("<math") == 3 and "$\\left( x$" in page
    assert "\\frac" not in page and "\\begin" not in page


def test_figures_are_stored_small_and_never_larger():
    noisy = [Image.effect_noise((300, 300), spread) for spread in (30, 50, 70)]
    colourful = png(Image.merge("RGB", noisy))
    smaller = pages.small_png(colourful)
    assert len(smaller) < len(colourful) / 1.5
    assert Image.open(io.BytesIO(base64.b64decode(smaller))).size == (300, 300)
    assert len(pages.small_png(smaller)) <= len(smaller)
    plain = png(Image.new("RGB", (40, 30), "white"))
    assert len(pages.small_png(plain)) <= len(plain)
