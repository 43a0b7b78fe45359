"""dcd_utils/notebooks.py on notebooks of a few cells."""

import base64
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest
from PIL import Image

from dcd_utils import notebooks, pages

FIGURE = """
import matplotlib.pyplot as plt
plt.plot([1, 2]);
"""
WIDGETS = """
import ipywidgets
from IPython.display import display
display(ipywidgets.IntSlider(value=3))
"""
PROGRESS = """
from tqdm.auto import tqdm
for _ in tqdm(range(2)):
    pass
print("done")
"""


def code(source, *tags):
    return nbformat.v4.new_code_cell(source.strip(), metadata={"tags": list(tags)} if tags else {})


def text(source):
    return nbformat.v4.new_markdown_cell(source)


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A writer of notebooks into a folder of its own: course("name", *cells) -> path."""
    monkeypatch.setenv("DCD_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("TQDM_DISABLE", raising=False)  # the notebooks' own bars are drawn, and taken out again
    (tmp_path / "notebooks").mkdir()

    def write(name, *cells):
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)
        return path

    return write


def test_run_writes_notebooks_and_pages(course, tmp_path, capsys):
    formula = "A title\n\nHere $z_S \\in \\mathbb{R}^{d}$ and\n\n$$\\frac{1}{B}\\sum_i \\log p_{ii}$$"
    path = course(
        "00_small",
        text(formula),
        code("profile = 'quick'", "parameters"),
        code("import os, sys\nprint(profile, os.path.basename(os.getcwd()), sys.executable)"),
        code(FIGURE),
        text("The line rises from **1** to `2`. It is *straight*. A third sentence."),
    )
    before = path.read_bytes()
    assert notebooks.main([str(path), "--profile", "full"]) == 0
    assert path.read_bytes() == before
    output = tmp_path / "data" / "tutorial"
    assert sorted(file.name for file in output.iterdir()) == ["00_small.html", "00_small.ipynb"]
    executed = nbformat.read(output / "00_small.ipynb", as_version=4)
    assert executed.cells[2].metadata.tags == ["injected-parameters"]
    assert executed.cells[3].outputs[0].text == f"full notebooks {sys.executable}\n"
    page = (output / "00_small.html").read_text()
    assert 'alt="Figure. The line rises from 1 to 2. It is straight."' in page
    assert page.count("<math") == 2 and "\\frac" not in page
    assert not re.findall(r"<(?:script|img)[^>]* src=.?http|<link[^>]*http|No description has been", page)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("1 notebooks executed in ") and str(output) in last


def test_notebooks_run_side_by_side_and_share_the_cores(course, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(notebooks, "_cores", lambda: 6)
    meet = """
        import os, time
        open({mine!r}, "w").close()
        until = time.monotonic() + 100
        while not os.path.exists({other!r}) and time.monotonic() < until:
            time.sleep(0.05)
        print(os.path.exists({other!r}), os.environ["OMP_NUM_THREADS"])
    """
    marks = [str(tmp_path / name) for name in ("a", "b")]
    cells = [code(dedent(meet.format(mine=mine, other=other))) for mine, other in (marks, marks[::-1])]
    monkeypatch.setattr(notebooks, "FIRST", "03_first")
    alone = f"import os; print(sorted(os.listdir({str(tmp_path)!r})), os.environ.get('OMP_NUM_THREADS'))"
    paths = [course("00_one", cells[0]), course("01_two", cells[1]), course("02_bad", code("1 / 0"))]
    paths.append(course("03_first", code(alone)))
    assert notebooks.main([*map(str, paths), "--jobs", "2"]) == 1
    output = tmp_path / "data" / "tutorial"
    for path in paths[:2]:
        assert nbformat.read(output / path.name, as_version=4).cells[0].outputs[0].text == "True 3\n"
    printed = capsys.readouterr().out
    said = nbformat.read(output / "03_first.ipynb", as_version=4).cells[0].outputs[0].text
    assert said.endswith("] None\n") and "'a'" not in said, "before the others, with all cores"
    assert "02_bad.ipynb, cell 1: ZeroDivisionError" in printed
    assert re.search(r"^\[[234]/4\] 02_bad: FAILED", printed, re.M), "the order of the ends is open"
    assert printed.splitlines()[-1].startswith("1 of 4 notebooks failed: 02_bad; the others are ")
    with pytest.raises(SystemExit):
        notebooks.main(["--jobs", "0"])
    assert "--jobs 0" in capsys.readouterr().err


def test_the_runner_leaves_torch_to_the_kernels():
    """It would hold 300 MB for nothing."""
    command = "import sys, dcd_utils.notebooks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0


def test_the_longest_are_begun_first(course, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(notebooks, "_side_by_side", lambda one, paths, jobs: begun.extend(path.stem for path in paths))
    monkeypatch.setattr(notebooks, "LONGEST", ("03_c", "02_b"))
    paths = [course(name, code("1")) for name in ("00_a", "02_b", "03_c", "05_d")]
    notebooks.run(paths, tmp_path / "out", jobs=2)
    assert begun == ["02_b", "03_c", "00_a", "05_d"]


def test_names_in_the_runner_are_notebooks():
    there = {path.stem for path in (notebooks.CHECKOUT / "notebooks").glob("*.ipynb")}
    assert {notebooks.FIRST, *notebooks.LONGEST} < there


def test_a_failing_cell_is_reported_and_the_others_go_on(course, tmp_path, capsys):
    raising = code("raise ValueError('first\\nlast line')")
    bad = course("01_bad", code("x = 1"), text("t"), raising, code("print('never')"))
    bad_notebook = nbformat.read(bad, as_version=4)
    bad_notebook.cells[3].outputs = [nbformat.v4.new_output("stream", name="stdout", text="stale")]
    nbformat.write(bad_notebook, bad)
    dead = course("02_dead", code("import os; os._exit(1)"))
    torn = course("03_torn", code("1"))
    torn.write_text("{")
    good = course("04_good", code("2 + 2"))
    output = tmp_path / "out"
    output.mkdir()
    (output / "01_bad.html").write_text("an older run's page")
    assert notebooks.run([bad, dead, torn, good], output) == 1
    printed = capsys.readouterr().out
    assert "01_bad.ipynb, cell 3: ValueError: last line" in printed
    assert "02_dead.ipynb, cell 1: DeadKernelError" in printed
    assert "[3/4] 03_torn: FAILED" in printed
    assert printed.splitlines()[-1].startswith("3 of 4 notebooks failed: 01_bad, 02_dead, 03_torn; the others are ")
    written = sorted(file.name for file in output.iterdir())
    assert written == ["01_bad.ipynb", "02_dead.ipynb", "04_good.html", "04_good.ipynb"]
    assert "stale" not in (output / "01_bad.ipynb").read_text()


def test_a_cell_that_takes_too_long_fails(course, tmp_path, capsys):
    path = course("05_slow", code("import time; time.sleep(30)"))
    assert notebooks.main([str(path), "--timeout", "1"]) == 1
    assert "05_slow.ipynb, cell 1: CellTimeoutError" in capsys.readouterr().out


def test_in_place_normalises(course):
    # the source itself names no place, wherever the checkout lies
    paths = (
        "import sys, warnings\nfrom dcd_utils.notebooks import CHECKOUT\n"
        "print(CHECKOUT / 'data' / 'x', sys.prefix + '/lib')\nwarnings.warn('w')"
    )
    parameters = code("profile = 'quick'", "parameters")
    path = course("06_place", parameters, code(WIDGETS, "interactive"), code(PROGRESS), code(paths), code(FIGURE))
    stale = nbformat.read(path, as_version=4)
    stale.metadata["widgets"] = {"a": 1}
    stale.cells[0].metadata["execution"] = {"iopub.status.busy": "2020"}
    nbformat.write(stale, path)
    assert notebooks.main([str(path), "--in-place"]) == 0
    kept = nbformat.read(path, as_version=4)
    assert set(kept.metadata) == {"kernelspec", "language_info"}
    assert kept.cells[0].metadata == {"tags": ["parameters"]}
    assert [cell.execution_count for cell in kept.cells] == [1, 2, 3, 4, 5]
    assert kept.cells[1].outputs == []
    assert [output.text for output in kept.cells[2].outputs] == ["done\n"]
    printed = "".join(output.text for output in kept.cells[3].outputs)
    assert "data/x lib\n" in printed and "<cell>:4: UserWarning: w" in printed
    assert "image/png" in kept.cells[4].outputs[-1].data
    for machine in (str(Path.home()), sys.prefix, "/tmp/", notebooks.WIDGET):
        assert machine not in path.read_text()
    first = path.read_bytes()
    assert notebooks.main([str(path), "--in-place"]) == 0
    assert path.read_bytes() == first


def test_in_place_never_writes_an_error(course, capsys):
    tolerated = course("07_error", code("1 / 0", "raises-exception"))
    failing = course("08_failing", code("1 / 0"))
    before = tolerated.read_bytes(), failing.read_bytes()
    assert notebooks.main([str(tolerated), str(failing), "--in-place"]) == 1
    assert (tolerated.read_bytes(), failing.read_bytes()) == before
    printed = capsys.readouterr().out
    assert "cell 1 holds an error (ZeroDivisionError)" in printed
    assert "08_failing.ipynb, cell 1: ZeroDivisionError: division by zero" in printed


def test_widgets_leave_a_sentence_in_pages(course, tmp_path):
    path = course("09_widget", code(WIDGETS, "interactive"), code(PROGRESS))
    assert notebooks.main([str(path)]) == 0
    page = (tmp_path / "data" / "tutorial" / "09_widget.html").read_text()
    assert "open the notebook with `make lab`" in page
    assert "IntSlider(" not in page and notebooks.WIDGET not in page and "0/2" not in page


def test_parameters_need_their_cell_and_never_go_in_place(course, capsys):
    path = course("10_plain", code("1"))
    assert notebooks.main([str(path), "--epochs", "2", "--seeds", "0,1"]) == 1
    assert "no cell is tagged `parameters`, so epochs, seeds cannot be set" in capsys.readouterr().out
    for arguments, message in [
        ([str(path), "--in-place", "--epochs", "2"], "leave out --epochs or --in-place"),
        (["nowhere.ipynb"], "there is no notebook nowhere.ipynb"),
        (["--profile", "fast"], "choose from"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            notebooks.main(arguments)
        assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_alternative_text_falls_back_to_the_text_before():
    cells = [text("# Only a heading"), text("See [the paper](x) for $p_i$.\n\n| a | b |"), code(""), code("")]
    assert pages.reading(cells, 2) == "Figure. See the paper for p_i."
    assert pages.reading(cells[:1] + cells[2:], 1) == "Figure."


def test_a_page_keeps_its_notebook():
    picture = base64.b64encode(b"x").decode()
    cell = code("")
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": picture, "text/plain": "<Figure>"})]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    pages.to_html(notebook, "name", Path())
    assert notebook.cells[0].outputs[0].data["image/png"] == picture


def test_figures_are_stored_small_and_never_larger():
    def encoded(image):
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return base64.b64encode(stream.getvalue()).decode()

    noisy = [Image.effect_noise((300, 300), spread) for spread in (30, 50, 70)]
    colourful = encoded(Image.merge("RGB", noisy))
    smaller = notebooks.small_png(colourful)
    assert len(smaller) < len(colourful) / 1.5
    assert Image.open(io.BytesIO(base64.b64decode(smaller))).size == (300, 300)
    assert len(notebooks.small_png(smaller)) <= len(smaller)
    plain = encoded(Image.new("RGB", (40, 30), "white"))
    assert len(notebooks.small_png(plain)) <= len(plain)


def test_a_plain_figure_shows_after_a_themed_one(course):
    themed = 'import numpy as np\nfrom dcd_utils import plots\nplots.matrix(np.eye(3), ["a", "b", "c"]);'
    done, failure = notebooks.execute(course("12_themed", code(themed), code(FIGURE)))
    assert failure is None
    assert [output for output in done.cells[1].outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_runner_not_just_one_notebook(course, tmp_path, number, jobs):
    started = tmp_path / "started"
    paths = [
        course(notebooks.FIRST, code("1")),
        course("00_long", code(f"open({str(started)!r}, 'w').close(); import time; time.sleep(120)")),
        course("00_other", code("import time; time.sleep(120)")),
        course("01_next", code("print('must not run')")),
    ]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "dcd_utils.notebooks", "--output", str(tmp_path / "out"), *map(str, paths)]
    command += ["--jobs", jobs]
    with subprocess.Popen(command, env=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as runner:
        while not started.exists() and runner.poll() is None:
            time.sleep(0.1)
        runner.send_signal(number)
        said, _ = runner.communicate(timeout=60)
    assert runner.returncode not in (0, 1), said
    assert "01_next" not in said and not (tmp_path / "out" / "01_next.ipynb").exists()
