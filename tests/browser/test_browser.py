"""A real browser: in JupyterLab, 02 and 04 run all cells, 02's sliders move its figure, 04 shows an image on hover.

And a plain page, as a notebook's export is, with an explorer of each kind.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from dcd_utils.runtime import data_dir

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]  # it stays on this machine
RUN_ALL_SECONDS = 900  # the notebooks train what `make tutorial` has not trained before
WIDGET = "application/vnd.jupyter.widget-view+json"
BOKEH = "text/html"
# The notebook as JupyterLab knows it: cells outside the window are not in the page.
CELLS = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = [...panel.content.model.cells].map(cell => cell.toJSON());
    return JSON.stringify({status: panel.sessionContext.session?.kernel?.status, cells});
}"""
SHOW_CELL = """async index => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    await notebook.scrollToItem(index, 'start');
}"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(2 * RUN_ALL_SECONDS),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed (Debian: apt-get install chromium)"),
]


@contextlib.contextmanager
def jupyterlab(root: Path, settings: Path):
    """JupyterLab on `root`, on a free port of this machine, untouched by the user's settings: address and token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = os.urandom(16).hex()
    folders = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    environment = os.environ | {f"JUPYTER_{name}": str(settings / name.lower()) for name in folders}
    environment |= {f"JUPYTERLAB_{name}_DIR": str(settings / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "DCD_DATA": str(data_dir().resolve())}
    options = {
        "ServerApp.root_dir": root,
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    log = settings / "jupyterlab.log"
    with log.open("w", encoding="utf-8") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/api?token={token}", timeout=5):
                break
            assert server.poll() is None and time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield address, token
    finally:
        server.send_signal(signal.SIGTERM)  # it ends its kernels before it goes
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def open_notebook(page, address: str) -> None:
    page.goto(address, timeout=120_000)
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=120_000)
    page.wait_for_function(f'({CELLS})().includes(\'"status":"idle"\')', timeout=120_000)


def run_all_cells(page, address: str, token: str, name: str) -> list[dict]:
    """Open a notebook, click Run > Run All Cells, wait until the kernel rests; its cells, as a file holds them."""
    open_notebook(page, f"{address}/lab/tree/{name}?token={token}&reset")
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
    deadline = time.monotonic() + RUN_ALL_SECONDS
    while time.monotonic() < deadline:
        state = json.loads(page.evaluate(CELLS))
        outputs = [output for cell in state["cells"] for output in cell.get("outputs", [])]
        errors = [f"{output['ename']}: {output['evalue']}" for output in outputs if output["output_type"] == "error"]
        assert not errors, f"{name}: {errors[0]}"
        code = [cell for cell in state["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
        if state["status"] == "idle" and all(cell["execution_count"] for cell in code):
            return state["cells"]
        page.wait_for_timeout(500)
    pytest.fail(f"{name} had not run after {RUN_ALL_SECONDS} s")


def show_output(page, cells: list[dict], kind: str):
    """Scroll to the first cell tagged `interactive` that shows an output of this kind. Returns its output area."""
    for index, cell in enumerate(cells):
        shown = any(kind in output.get("data", {}) for output in cell.get("outputs", []))
        if shown and "interactive" in cell["metadata"].get("tags", []):
            page.evaluate(SHOW_CELL, index)
            return page.locator(".jp-mod-active .jp-Cell-outputArea").first
    pytest.fail(f"no cell tagged `interactive` shows {kind}")


def pictures(area) -> list[str]:
    """The pictures and tables that an output shows at this moment: a picture's address holds its pixels."""
    return area.evaluate("area => [...area.querySelectorAll('img, table')].map(one => one.src || one.outerHTML)")


def slider_moves_figure(page, cells: list[dict]) -> None:
    area = show_output(page, cells, WIDGET)
    handle = area.locator("[role=slider]").first
    handle.wait_for(timeout=60_000)
    area.locator("img, table").first.wait_for(timeout=60_000)
    before, value = pictures(area), handle.get_attribute("aria-valuenow")
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    deadline = time.monotonic() + 60
    while handle.get_attribute("aria-valuenow") == value or pictures(area) in ([], before):  # [] while it is redrawn
        assert time.monotonic() < deadline, "the slider's handle was moved, but the figure stayed as it was"
        page.wait_for_timeout(200)


def hover_shows_image_also_after_a_reload(page, cells: list[dict]) -> None:
    hover_shows_image(page, show_output(page, cells, BOKEH))
    (explorer,) = (index for index, cell in enumerate(cells) if "interactive" in cell["metadata"].get("tags", []))
    open_notebook(page, page.url)  # the kernel lives on; the page has lost all that was drawn and loaded
    page.evaluate(SHOW_CELL, explorer)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")
    hover_shows_image(page, page.locator(".jp-mod-active .jp-Cell-outputArea").first)


def hover_shows_image(page, area) -> None:
    figure = area.locator(".bk-Figure").first
    figure.wait_for(timeout=60_000)
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    image = page.locator(".bk-Tooltip img").first
    deadline = time.monotonic() + 180
    # coarse steps first: they find one of many points soon, the fine ones find one of few
    for step in (40, 16, 6):
        for down, right in product(range(30, int(box["height"]) - 30, step), range(30, int(box["width"]) - 30, step)):
            if time.monotonic() > deadline:
                break
            page.mouse.move(box["x"] + right, box["y"] + down)
            if image.is_visible() and image.evaluate("picture => picture.naturalWidth") > 0:
                return
    pytest.fail("the mouse swept over the figure, and no image appeared beside it")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on a copy of the course's notebooks: running them must not touch the committed ones."""
    folder = tmp_path_factory.mktemp("browser")
    shutil.copytree(NOTEBOOKS, folder / "notebooks")
    with jupyterlab(folder / "notebooks", folder) as served:
        yield served


@pytest.fixture
def page():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra `test`)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


@pytest.mark.parametrize(
    ("name", "reacts"),
    [("02_dcd_loss.ipynb", slider_moves_figure), ("04_embeddings.ipynb", hover_shows_image_also_after_a_reload)],
)
def test_notebook_runs_and_reacts(lab, page, name, reacts):
    reacts(page, run_all_cells(page, *lab, name))


@pytest.fixture
def explorers(page, tmp_path):
    """A tall page with a map and a matrix, whose names are full of what Bokeh, HTML and TeX read as theirs."""
    from dcd_utils.interactive import bokeh_page, embedding_explorer, matrix_explorer

    names, labels = ["a$b_$c", "$$x^2$$", "<b>@class</b>"], np.arange(60) % 3
    points = np.random.default_rng(0).normal(size=(60, 2)) + 4 * labels[:, None]
    maps = {"dcd@alpha=0": points, "$$x$$": points}
    images = np.zeros((60, 3, 8, 8), np.uint8)
    figures = [
        embedding_explorer(maps, labels, names, images, predictions={"dcd@alpha=0": labels}),
        matrix_explorer(np.eye(3), names, values={"dcd@alpha=0": np.eye(3)}),
    ]
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    text = "".join(map(bokeh_page.page, figures))
    (tmp_path / "page.html").write_text(f"<!doctype html><body style='height: 3000px'>{text}", encoding="utf-8")
    page.goto((tmp_path / "page.html").as_uri())
    page.locator(".bk-Figure").nth(2).wait_for(timeout=60_000)
    page.wait_for_function("() => document.fonts.ready && window.Bokeh.documents.every(one => one.is_idle)")
    assert [address for address in requested if not address.startswith("file:")] == []
    return page


def hover_over(page, figure: int, text: str):
    """Move the mouse over the figure until a hover shows this text."""
    box = page.locator(".bk-Figure").nth(figure).bounding_box()
    for down, right in product(range(40, 340, 12), repeat=2):
        page.mouse.move(box["x"] + right, box["y"] + down)
        if page.get_by_text(text, exact=True).first.is_visible():
            return
    pytest.fail(f"no hover over the figure shows {text}")


def at_rest(page, maps) -> list[str]:
    """The pixels of the maps once two looks at them agree: what a mouse's move changes is painted a moment later."""
    before, now = None, []
    while now != before:
        page.wait_for_timeout(200)
        before, now = now, maps.evaluate_all("all => all.map(one => one.toDataURL())")
    return now


def test_explorers_on_a_plain_page(explorers):
    """Names are shown as they are; the wheel scrolls until its zoom is chosen; the legend hides classes, and stays."""
    maps, legend = explorers.locator(".bk-Figure canvas.bk-layer"), explorers.locator(".bk-Legend canvas")
    pixels = "all => all.map(one => one.toDataURL())"
    box = explorers.locator(".bk-Figure").first.bounding_box()
    hover_over(explorers, 0, "dcd@alpha=0: <b>@class</b> ✓")
    hover_over(explorers, 2, "dcd@alpha=0: 1.000")

    explorers.mouse.click(box["x"] + 330, box["y"] + 350)  # into the map: must not switch the wheel's zoom on
    before, markers = at_rest(explorers, maps), legend.evaluate_all(pixels)
    explorers.mouse.wheel(0, 400)
    explorers.wait_for_function("window.scrollY == 400")
    explorers.evaluate("window.scrollTo(0, 0)")
    assert at_rest(explorers, maps) == before and len(set(markers)) == 3

    for shown in (False, True):
        explorers.locator(".bk-Legend").get_by_text("a$b_$c").click()
        explorers.wait_for_function(
            """shown => [...Bokeh.documents[0]._all_models.values()].filter(one => one.type == "GlyphRenderer")
                .filter(one => one.visible == shown).length == (shown ? 9 : 3)""", arg=shown,  # two maps and the legend
        )

    explorers.locator("[title='Wheel Zoom']").first.click()
    explorers.mouse.move(box["x"] + 200, box["y"] + 200)
    for _ in range(5):
        explorers.mouse.wheel(0, -200)
        explorers.wait_for_timeout(100)
    assert explorers.evaluate("window.scrollY") == 0 and maps.evaluate_all(pixels) != before
    assert legend.evaluate_all(pixels) == markers
