"""Several processes on one grid."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch

from dcd_utils import files


def share(work: Callable[[Any], None], options: Any, jobs: int) -> None:
    """Call `work(options)` in so many processes of one thread each, or here if it is one. Fewer than one are a
    ValueError; what was wrong in a process, or that one died, is a RuntimeError."""
    if jobs < 1:
        raise ValueError(f"--jobs {jobs} was given: at least one process must work")
    if jobs == 1:
        return work(options)
    os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of several processes would overwrite each other
    spawn = multiprocessing.get_context("spawn")
    answers, options.command = spawn.SimpleQueue(), None
    # not by reference: a module run as __main__ cannot be imported under that name by a worker
    arguments = ("dcd_utils.__main__", work.__name__, options, answers)
    workers = [spawn.Process(target=_answer, args=arguments, daemon=True) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    said = [answers.get() for worker in workers if not worker.exitcode]
    if errors := {error for error in said if error}:
        raise RuntimeError("\n".join(sorted(errors)))
    if len(said) < len(workers):
        raise RuntimeError("a process died before its work was done: call the same command again to go on")


def _answer(module: str, function: str, options: Any, answers: Any) -> None:
    """Work in one of several processes; answer what is wrong, or None."""
    files.print_anything()
    torch.set_num_threads(1)
    if parent := multiprocessing.parent_process():
        # killed, the parent cannot end its workers, and they would go on unseen
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    try:
        getattr(importlib.import_module(module), function)(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        answers.put(str(error))
    except KeyboardInterrupt:  # Ctrl-C reaches every process of a terminal, and the parent tells of it
        sys.exit(130)
    else:
        answers.put(None)
