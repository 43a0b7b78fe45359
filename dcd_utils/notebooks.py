"""Floor 4: runs notebooks, one or several at a time, and keeps what they produced (`-m dcd_utils.notebooks --help`).

A reader's run writes executed notebooks and HTML to data/tutorial/; --in-place renews the committed ones, normalised so
that running them on another machine changes results only.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from dcd_utils.files import data_dir

try:
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    from dcd_utils.pages import to_html
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(f"running notebooks needs {missing.name}: pip install -e '.[notebooks]'") from missing

CHECKOUT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
# trains what most others wait for, so it has all cores to itself, and comes first
FIRST = "01_teacher_training"
# take longest, so they are begun before the others: at the end no core waits for one of them
LONGEST = ("03_student_distillation", "04_embeddings", "06_methods")
KEPT_CELL_METADATA = ("tags", "nbgrader", "jupyter", "slideshow")


class NotebookFailure(Exception):
    """A notebook that stopped, or must not be written: the message names the cell and the error's last line."""


def execute(
    path: Path, parameters: dict | None = None, timeout: int | None = None, slot: int = 0, threads: int | None = None
):
    """Run one notebook from top to bottom in a new kernel of this Python, in the notebook's folder.

    Args:
        path: the notebook; it is read, never written.
        parameters: set in a cell of their own behind the one tagged `parameters`, as papermill does it.
        timeout: most seconds a cell may take; None: as long as it needs.
        slot: the line of its progress bar, where several run at a time.
        threads: of its kernel; None: as many as the kernel chooses.

    Returns:
        the executed notebook and None, or the notebook up to the cell that failed and a NotebookFailure.
    """
    # Without this, a kernel "python3" that the reader once installed for another Python would be preferred.
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        _inject(notebook, parameters)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:  # what a failed run never reached must not show the results of an older one
        cell.outputs, cell.execution_count = [], None
    number = 0
    cells = sum(bool(cell.source.strip()) for cell in code)
    with tqdm(total=cells, desc=path.stem, unit="cell", disable=None, leave=False, position=slot) as bar:

        def entered(cell_index, **_):
            nonlocal number
            if not number:
                _stop_at_signals()
            number = cell_index + 1

        client = NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=timeout,
            startup_timeout=300,  # a busy machine may take long to import a kernel
            resources={"metadata": {"path": str(path.resolve().parent)}},
            on_cell_execute=entered,
            on_cell_executed=lambda **_: bar.update(),
            extra_arguments=["--log-level=ERROR"],  # each kernel would warn that it talks over loopback unencrypted
            record_timing=False,
            coalesce_streams=True,
        )
        try:
            client.execute(env=os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {}))
        except CellExecutionError as error:
            value = error.evalue.strip().splitlines()
            return notebook, NotebookFailure(f"{path.name}, cell {number}: {': '.join([error.ename, *value[-1:]])}")
        except Exception as error:  # a time-out, or a kernel that died: the other notebooks still have their turn
            last = [*str(error).strip().splitlines(), ""][0]
            return notebook, NotebookFailure(f"{path.name}, cell {number}: {type(error).__name__}: {last}")
    return notebook, None


def _stop_at_signals() -> None:
    """Ctrl-C and a termination stop everything: left alone, nbclient ends the kernel, and the next notebook begins."""
    if threading.current_thread() is not threading.main_thread():
        return  # nbclient could not take the signals there
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _inject(notebook, parameters: dict) -> None:
    at = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    if not at:
        names = ", ".join(parameters)
        raise NotebookFailure(
            f"no cell is tagged `parameters`, so {names} cannot be set: add the tag, or run it without"
        )
    source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["injected-parameters"]})
    notebook.cells.insert(at[0] + 1, cell)


def replace_widgets(notebook) -> None:
    """Widgets die with their kernel: a control becomes a sentence that says where it lives, a progress bar goes."""
    for cell in notebook.cells:
        if cell.cell_type != "code" or not any(WIDGET in output.get("data", {}) for output in cell.outputs):
            continue
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        if "interactive" in cell.metadata.get("tags", []):
            note = "The controls of this cell need a running kernel: open the notebook with `make lab`.\n"
            cell.outputs.append(nbformat.v4.new_output("stream", name="stdout", text=note))
    notebook.metadata.pop("widgets", None)


def normalise(notebook) -> None:
    """Bring an executed notebook to its committed form.

    No outputs of cells tagged `interactive`, no widgets, no paths of this machine, only metadata that carries meaning.

    Raises:
        NotebookFailure: a cell holds an error.
    """
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, cell in enumerate(notebook.cells, 1):
        kept = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if key in cell.metadata}
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type != "code":
            continue
        if "interactive" in cell.metadata.get("tags", []):
            cell.outputs = []
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.outputs:
            if output.output_type == "error":
                error = f"cell {number} holds an error ({output.ename})"
                raise NotebookFailure(f"{error}, which is never committed: print what it should show")
            if output.output_type == "stream":
                output.text = without_machine_paths(output.text)
            for kind, value in output.get("data", {}).items():
                if isinstance(value, str) and kind.startswith("text/"):
                    output.data[kind] = without_machine_paths(value)
                if kind == "image/png":
                    output.data[kind] = small_png(value)


def small_png(encoded: str) -> str:
    """A PNG in base64 with at most 256 colours, a third of the size for most figures; itself if no smaller."""
    image, smaller = Image.open(io.BytesIO(base64.b64decode(encoded))), io.BytesIO()
    # by coverage: the default lets rare colours go, the end of a colour bar for instance
    image = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(smaller, "PNG", optimize=True)
    shortened = base64.b64encode(smaller.getvalue()).decode()
    return min(encoded, shortened, key=len)


def without_machine_paths(text: str) -> str:
    """The text with this machine's folders cut off, so that a committed output reads the same from any checkout."""
    places = {f"{data_dir()}/": "data/", str(data_dir()): "data"}
    places |= {f"{CHECKOUT}/": "", str(CHECKOUT): ".", f"{sys.prefix}/": ""}
    places[f"{Path.home()}/"] = "~/"
    text = re.sub(re.escape(tempfile.gettempdir()) + r"/ipykernel_\d+/\d+\.py", "<cell>", text)
    for place, short in sorted(places.items(), key=lambda item: -len(item[0])):  # the innermost folder first
        text = text.replace(place, short)
    return text


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def run(paths: list[Path], output: Path, parameters=None, in_place=False, timeout=None, jobs: int = 1) -> int:
    """Execute notebooks, report each in a line, and say at the end where they are.

    Args:
        jobs: how many at a time, begun in the order of `paths` (but see FIRST and LONGEST); they share the processor's
            cores. One that needs a run which another is training waits for it.

    Returns:
        the exit code: 0 if every notebook ran and was written, else 1.
    """
    if not in_place:
        for path in paths:  # an older run's pages must not pass for this one's
            for suffix in (".ipynb", ".html"):
                (output / path.name).with_suffix(suffix).unlink(missing_ok=True)
    failed, start, slots = [], time.perf_counter(), list(range(jobs))
    threads = None if jobs == 1 or "OMP_NUM_THREADS" in os.environ else max(1, _cores() // jobs)

    def one(path: Path, threads: int | None = threads) -> None:
        slot = slots.pop(0)
        began = time.perf_counter()
        failure = _produce(path, output, parameters, in_place, timeout, slot, threads)
        slots.append(slot)
        done.append(path)
        seconds = f"{time.perf_counter() - began:.1f} s"
        tqdm.write(f"[{len(done)}/{len(paths)}] {path.stem}: {'FAILED after ' if failure else ''}{seconds}")
        if failure:
            failed.append(path)
            tqdm.write(f"    {failure}")
        sys.stdout.flush()

    done: list[Path] = []
    if jobs == 1:
        for path in paths:
            one(path)
    else:
        first = [path for path in paths if path.stem == FIRST]
        for path in first:
            one(path, threads=None)
        rest = sorted((path for path in paths if path not in first), key=lambda path: path.stem not in LONGEST)
        _side_by_side(one, rest, jobs)
    where = "in place" if in_place else f"{output.resolve()}{os.sep}*.html and *.ipynb"
    if failed:
        names = ", ".join(path.stem for path in paths if path in failed)
        print(f"{len(failed)} of {len(paths)} notebooks failed: {names}; the others are {where}", flush=True)
        return 1
    print(f"{len(paths)} notebooks executed in {time.perf_counter() - start:.0f} s: {where}", flush=True)
    return 0


def _produce(path: Path, output: Path, parameters, in_place, timeout, slot, threads) -> Exception | None:
    """Execute one notebook and write what came of it; returns what went wrong."""
    try:
        notebook, failure = execute(path, parameters, timeout, slot, threads)
        if in_place and not failure:
            normalise(notebook)
            _write(path, nbformat.writes(notebook) + "\n")
        if not in_place:
            replace_widgets(notebook)
            _write(output / path.name, nbformat.writes(notebook) + "\n")
            if not failure:
                _write((output / path.name).with_suffix(".html"), to_html(notebook, path.stem, path.parent))
    except NotebookFailure as error:
        failure = error
    except Exception as error:  # unreadable, or not writable: the others still have their turn
        failure = NotebookFailure(f"{type(error).__name__}: {error}")
    return failure


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _side_by_side(one: Callable[[Path], None], paths: list[Path], jobs: int) -> None:
    """Call `one` for each path, `jobs` at a time. Ctrl-C ends everything at once."""
    with ThreadPoolExecutor(jobs) as pool:
        turns = [pool.submit(one, path) for path in paths]
        try:
            for turn in turns:
                turn.result()
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C, or a termination
            print("Stopped: finished epochs and pages are kept", flush=True)
            os._exit(130)  # kernels end themselves when this process is gone


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dcd_utils.notebooks", description="Execute the notebooks.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of notebooks/, in their order")
    parser.add_argument("--in-place", action="store_true", help="renew the committed notebooks themselves")
    parser.add_argument("--output", type=Path, default=data_dir() / "tutorial", help="default: data/tutorial")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time, sharing the cores; default: 1")
    parser.add_argument("--timeout", type=int, help="most seconds that one cell may take; default: no limit")
    values = parser.add_argument_group("parameters of the notebooks (default: as written there)")
    values.add_argument("--profile", choices=("quick", "full"))
    values.add_argument("--dataset")
    values.add_argument("--root", type=lambda path: str(Path(path).expanduser().resolve()), help="where the data lies")
    values.add_argument("--epochs", type=int)
    values.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], help="for instance 0,1,2")
    given = parser.parse_args(arguments)
    names = ("profile", "dataset", "root", "epochs", "seeds")
    parameters = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    if given.in_place and parameters:
        names = ", --".join(parameters)
        parser.error(f"committed notebooks keep the parameters written in them: leave out --{names} or --in-place")
    if given.jobs < 1:
        parser.error(f"--jobs {given.jobs}: at least one notebook must run at a time")
    paths = given.notebooks or sorted((CHECKOUT / "notebooks").glob("[0-9]*.ipynb"))
    for path in paths:
        if not path.is_file():
            parser.error(f"there is no notebook {path}")
    if not paths:
        parser.error(f"{CHECKOUT / 'notebooks'} holds no notebook: run this in a checkout of the course, or name some")
    return run(paths, given.output, parameters, given.in_place, given.timeout, min(given.jobs, len(paths)))


if __name__ == "__main__":
    sys.exit(main())
