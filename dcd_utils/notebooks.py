"""Execute the course's notebooks, each in a kernel of its own: `python -m dcd_utils.notebooks --help`."""

import argparse
import importlib.util
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from dcd_utils.files import data_dir, print_anything, write_whole

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def run(paths: list[Path], output: Path, parameters: dict | None = None, in_place=False, jobs: int = 1) -> int:
    """Execute notebooks in the order of `paths`, `jobs` at a time, and report each. Return the exit code."""
    start = time.perf_counter()
    for path in paths:  # an older run's pages must not pass for this one's
        (output / path.name).unlink(missing_ok=True), (output / f"{path.stem}.html").unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    environment = {"DCD_DATA": str(data_dir()), "JUPYTER_PREFER_ENV_PATH": "1"}  # not another Python's "python3"
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment["OMP_NUM_THREADS"] = str(max(1, cores // jobs))
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start_worker, (environment,)) as pool:
        try:
            turns = {pool.submit(execute, path, output, parameters, in_place, jobs == 1): path for path in paths}
            for number, turn in enumerate(as_completed(turns), 1):
                path, (seconds, failure) = turns[turn], turn.result()
                outcome = f"FAILED after {seconds:.1f} s\n    {failure}" if failure else f"{seconds:.1f} s"
                print(f"[{number}/{len(paths)}] {path.stem}: {outcome}", flush=True)
        except BaseException:  # Ctrl-C, a termination, or a worker that was killed
            for worker in multiprocessing.active_children():
                worker.kill()  # its kernel ends itself within seconds
            print("Stopped: finished notebooks, and the finished epochs of the others, are kept", flush=True)
            raise
    summary = f"{len(paths)} notebooks executed in {time.perf_counter() - start:.0f} s"
    if failed := [path.stem for turn, path in turns.items() if turn.result()[1]]:
        summary = f"{len(failed)} of {len(paths)} notebooks failed: {', '.join(failed)}"
    print(f"{summary}; pages: {output.resolve()}{os.sep}*.html", flush=True)
    return 1 if failed else 0


def _start_worker(environment: dict[str, str]) -> None:
    """Set what kernels inherit, leave Ctrl-C to the runner, and end when the runner is gone."""
    os.environ.update(environment)
    if hasattr(os, "setsid"):
        os.setsid()
    tqdm.set_lock(threading.RLock())  # its own lock, for several processes, makes a killed worker leave a warning
    threading.Thread(target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True).start()


def execute(path: Path, output: Path, parameters: dict | None, in_place: bool, bar: bool) -> tuple[float, str | None]:
    """Execute one notebook, with `parameters` behind the cell tagged so, if there is one; write it and its page into
    `output`; if `in_place`, renew itself as well. Return the seconds it took, and None or what went wrong."""
    import papermill  # here and not above: it takes seconds, and only the workers need it

    from dcd_utils import pages

    start, reached, failure = time.perf_counter(), [], None
    try:
        known = papermill.inspect_notebook(path)  # none: the notebook takes no parameters
        if known and (unknown := sorted(set(parameters or ()) - set(known))):
            raise ValueError(f"its cell tagged `parameters` does not set {', '.join(unknown)}: leave the option out")
        notebook = papermill.execute_notebook(
            path, output / path.name, parameters if known else None, kernel_name="python3", cwd=path.parent,
            progress_bar=bar and {"desc": path.stem, "leave": False, "disable": None}, coalesce_streams=True,
            on_cell_execute=lambda cell_index, **_: reached.append(cell_index),
            start_timeout=300,  # a busy machine may take long to import a kernel
            extra_arguments=["--log-level=CRITICAL"],  # else kernels warn of loopback, and tell of their own end
        )
        pages.write_notebook(notebook, output / path.name)
        write_whole(output / f"{path.stem}.html", pages.to_html(notebook, path.stem, path.parent))
        if in_place:
            pages.write_notebook(notebook, path, committed=True)
    except Exception as error:  # of a cell, a dead kernel, an unreadable file: the others still have their turn
        cell = f", cell {getattr(error, 'cell_index', reached[-1]) + 1}" if reached else ""
        name, text = getattr(error, "ename", type(error).__name__), str(getattr(error, "evalue", error))
        failure = f"{path.name}{cell}: {': '.join([name, *text.strip().splitlines()[-1:]])}"
    return time.perf_counter() - start, failure


def main(arguments: list[str] | None = None) -> int:
    print_anything()
    parser = argparse.ArgumentParser(prog="python -m dcd_utils.notebooks", description="Execute the notebooks.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of notebooks/, in their order")
    parser.add_argument("--in-place", action="store_true", help="renew the committed notebooks as well")
    parser.add_argument("--output", type=Path, default=data_dir() / "tutorial", help="default: data/tutorial")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time, sharing the cores; default: 1")
    group = parser.add_argument_group("parameters of the notebooks (default: as written there)")
    group.add_argument("--profile", choices=("quick", "full"))
    group.add_argument("--dataset")
    group.add_argument("--root", type=lambda path: str(Path(path).expanduser().absolute()), help="where the data lies")
    group.add_argument("--epochs", type=int)
    group.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], help="such as 0,1,2")
    aside = "train everything anew instead of loading the trained networks that come with the course"
    group.add_argument("--retrain", action="store_const", const=True, help=aside)
    options = vars(parser.parse_args(arguments))
    paths, in_place, output, jobs = (options.pop(name) for name in ("notebooks", "in_place", "output", "jobs"))
    parameters = {name: value for name, value in options.items() if value is not None}
    paths = paths or sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    absent = [str(path) for path in paths or [NOTEBOOKS] if not path.is_file()]
    if not importlib.util.find_spec("papermill"):
        parser.error("running notebooks needs papermill: pip install -e '.[notebooks]'")
    if in_place and parameters:
        advice = f"leave out --{', --'.join(parameters)} or --in-place"
        parser.error(f"committed notebooks keep the parameters written in them: {advice}")
    if jobs < 1:
        parser.error(f"--jobs {jobs}: at least one notebook must run at a time")
    if absent:
        parser.error(f"there is no notebook {', '.join(absent)}")
    return run(paths, output, parameters, in_place, min(jobs, len(paths)))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    sys.exit(main())
