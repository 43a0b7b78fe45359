"""dcd_utils/notebooks.py on notebooks of a few cells, executed for real."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest

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
        kernel = {"display_name": "Python", "language": "python", "name": "python3"}
        nbformat.write(nbformat.v4.new_notebook(cells=list(cells), metadata={"kernelspec": kernel}), path)
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
    page = (output / "00_small.html").read_text(encoding="utf-8")
    assert 'alt="Figure. The line rises from 1 to 2. It is straight."' in page
    assert page.count("<math") == 2 and "\\frac" not in page
    assert not re.findall(r"<(?:script|img)[^>]* src=.?http|<link[^>]*http|No description has been", page)
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("1 notebooks executed in ") and str(output) in last


def test_notebooks_run_side_by_side_and_share_the_cores(course, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DCD_DATA", "here")
    meet = """
        import os, time
        open({mine!r}, "w").close()
        until = time.monotonic() + 100
        while not os.path.exists({other!r}) and time.monotonic() < until:
            time.sleep(0.05)
        print(os.path.exists({other!r}), os.environ["OMP_NUM_THREADS"], os.environ["DCD_DATA"])
    """
    marks = [str(tmp_path / name) for name in ("a", "b")]
    cells = [code(dedent(meet.format(mine=mine, other=other))) for mine, other in (marks, marks[::-1])]
    paths = [course("00_one", cells[0]), course("01_two", cells[1]), course("02_bad", code("1 / 0"))]
    assert notebooks.main([*map(str, paths), "--jobs", "2"]) == 1
    for path in paths[:2]:
        executed = nbformat.read(tmp_path / "here" / "tutorial" / path.name, as_version=4)
        assert executed.cells[0].outputs[0].text == f"True 3 {tmp_path / 'here'}\n"
    printed = capsys.readouterr().out
    assert "02_bad.ipynb, cell 1: ZeroDivisionError: division by zero\n" in printed
    assert re.search(r"^\[[123]/3\] 02_bad: FAILED", printed, re.M), "the order of the ends is open"
    assert printed.splitlines()[-1].startswith("1 of 3 notebooks failed: 02_bad; pages: ")


def test_the_runner_leaves_torch_and_jupyter_to_others():
    """They would hold 300 MB and seconds for nothing."""
    command = "import sys, dcd_utils.notebooks; sys.exit(bool({'torch', 'papermill', 'nbformat'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0


def test_a_failing_cell_is_reported_and_the_others_go_on(course, tmp_path, capsys):
    raising = code("raise ValueError('first\\nlast line')")
    bad = course("01_bad", code("x = 1"), text("t"), raising, code("print('never')"))
    bad_notebook = nbformat.read(bad, as_version=4)
    bad_notebook.cells[3].outputs = [nbformat.v4.new_output("stream", name="stdout", text="stale")]
    nbformat.write(bad_notebook, bad)
    dead = course("02_dead", code("import os; os._exit(1)"))
    torn = course("03_torn", code("1"))
    torn.write_text("{", encoding="utf-8")
    good = course("04_good", code("2 + 2"))
    output = tmp_path / "out"
    output.mkdir()
    (output / "01_bad.html").write_text("an older run's page", encoding="utf-8")
    assert notebooks.run([bad, dead, torn, good], output) == 1
    printed = capsys.readouterr().out
    assert "01_bad.ipynb, cell 3: ValueError: last line" in printed
    assert "02_dead.ipynb, cell 1: DeadKernelError: Kernel died" in printed
    assert "[3/4] 03_torn: FAILED" in printed
    assert printed.splitlines()[-1].startswith("3 of 4 notebooks failed: 01_bad, 02_dead, 03_torn; pages: ")
    written = sorted(file.name for file in output.iterdir())
    assert written == ["01_bad.ipynb", "02_dead.ipynb", "04_good.html", "04_good.ipynb"]
    assert "stale" not in (output / "01_bad.ipynb").read_text(encoding="utf-8")


def test_in_place_normalises(course):
    # the source itself names no place, wherever the checkout lies
    paths = (
        "import sys, warnings\nfrom dcd_utils.notebooks import NOTEBOOKS\n"
        "print(NOTEBOOKS.parent / 'data' / 'x', sys.prefix + '/lib')\nwarnings.warn('w')"
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
    for machine in (str(Path.home()), sys.prefix, "/tmp/", "papermill", pages.WIDGET):
        assert machine not in path.read_text(encoding="utf-8")
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
    assert "07_error.ipynb, cell 1: ZeroDivisionError: division by zero" in printed
    assert "08_failing.ipynb, cell 1: ZeroDivisionError: division by zero" in printed


def test_widgets_leave_a_sentence_in_pages(course, tmp_path):
    path = course("09_widget", code(WIDGETS, "interactive"), code(PROGRESS))
    assert notebooks.main([str(path)]) == 0
    page = (tmp_path / "data" / "tutorial" / "09_widget.html").read_text(encoding="utf-8")
    assert "open the notebook with `make lab`" in page
    assert "IntSlider(" not in page and pages.WIDGET not in page and "0/2" not in page


def test_parameters_need_their_cell_and_never_go_in_place(course, capsys):
    path = course("10_plain", code("1"))
    assert notebooks.main([str(path), "--epochs", "2", "--seeds", "0,1"]) == 0, "one without that cell takes none"
    path = course("10_some", code("epochs = 1", "parameters"), code("print(epochs)"))
    assert notebooks.main([str(path), "--epochs", "2", "--seeds", "0,1"]) == 1
    assert "its cell tagged `parameters` does not set seeds" in capsys.readouterr().out
    for arguments, message in [
        ([str(path), "--in-place", "--epochs", "2"], "leave out --epochs or --in-place"),
        (["nowhere.ipynb"], "there is no notebook nowhere.ipynb"),
        (["--profile", "fast"], "choose from"),
        (["--jobs", "0"], "--jobs 0"),
    ]:
        with pytest.raises(SystemExit) as stopped:
            notebooks.main(arguments)
        assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_what_is_missing_is_named_before_anything_runs(course, monkeypatch, capsys):
    monkeypatch.setattr(notebooks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        notebooks.main([str(course("11_none", code("1")))])
    assert "needs papermill: pip install -e '.[notebooks]'" in capsys.readouterr().err


def test_a_plain_figure_shows_after_a_themed_one(course, tmp_path):
    themed = 'import numpy as np\nfrom dcd_utils import plots\nplots.matrix(np.eye(3), ["a", "b", "c"]);'
    assert notebooks.main([str(course("12_themed", code(themed), code(FIGURE)))]) == 0
    executed = nbformat.read(tmp_path / "data" / "tutorial" / "12_themed.ipynb", as_version=4)
    assert [output for output in executed.cells[1].outputs if "image/png" in output.get("data", {})]


def alive(pid: int) -> bool:
    try:
        return "Z" not in subprocess.check_output(["ps", "-o", "stat=", "-p", str(pid)], encoding="utf-8")
    except subprocess.CalledProcessError:
        return False


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize(
    ("number", "everyone"),
    [("SIGINT", True), ("SIGTERM", False), ("SIGKILL", False)],  # the last is no name on Windows
    ids=["Ctrl-C", "terminated", "killed"],
)
def test_a_signal_ends_everything(course, tmp_path, number, everyone, jobs):
    """Ctrl-C reaches every process of the terminal, the others the runner alone; no kernel outlives it."""
    started = tmp_path / "started"
    number = getattr(signal, number)
    sleep = (
        f"import os, time; open({str(started)!r}, 'a').write(f'{{os.getpid()}} {{os.getppid()}}\\n'); time.sleep(120)"
    )
    paths = [course(name, code(sleep)) for name in ("00_long", "01_other", "02_next")]
    command = [sys.executable, "-m", "dcd_utils.notebooks", *map(str, paths), "--jobs", jobs]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", "start_new_session": True}
    with subprocess.Popen(command, env=environment, **pipes) as runner:
        while not started.exists() or started.read_text(encoding="utf-8").count("\n") < int(jobs):
            assert runner.poll() is None, runner.communicate()
            time.sleep(0.1)
        begun = time.monotonic()
        (os.killpg if everyone else os.kill)(runner.pid, number)
        said, complained = runner.communicate(timeout=60)
    processes = [int(pid) for pid in started.read_text(encoding="utf-8").split()]
    while any(map(alive, processes)):
        assert time.monotonic() < begun + 20, "a kernel, or the process that executes notebooks, is left behind"
        time.sleep(0.1)
    assert not (tmp_path / "data" / "tutorial" / "02_next.ipynb").exists()
    if number == signal.SIGKILL:
        assert runner.returncode == -signal.SIGKILL
    else:
        assert runner.returncode == 128 + number
        assert said == "Stopped: finished notebooks, and the finished epochs of the others, are kept\n"
        assert complained == ""


@pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="signals of POSIX, and make")
def test_make_tutorial_ends_on_a_termination(course, tmp_path):
    started = tmp_path / "started"
    sleep = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(120)"
    path = course("00_long", code(sleep))
    command = ["make", "tutorial", "VENV=none", f"PYTHON={sys.executable}", f"ARGS={path}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", "start_new_session": True}
    with subprocess.Popen(command, cwd=notebooks.NOTEBOOKS.parent, **pipes) as make:
        while not started.exists() or not started.read_text(encoding="utf-8"):
            assert make.poll() is None, make.communicate()
            time.sleep(0.1)
        make.send_signal(signal.SIGTERM)
        said, complained = make.communicate(timeout=60)
    until = time.monotonic() + 20
    while alive(int(started.read_text(encoding="utf-8"))):
        assert time.monotonic() < until, "the kernel is left behind"
        time.sleep(0.1)
    assert make.returncode not in (0, 1)
    assert said.endswith("are kept\n") and "Traceback" not in complained
