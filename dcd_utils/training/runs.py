"""Runs: everything trained lies in a folder with its config, and is found again by the hash of that config."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from dcd_utils import models, runtime
from dcd_utils.models.weights import reason

if TYPE_CHECKING:
    import pandas as pd

    from dcd_utils.losses import Objective

# part of every config: raise it when the same config would train to other weights than before
FORMAT = 1


@dataclass
class Run:
    """A finished training run.

    Attributes:
        model: the network with its last-epoch weights, in eval mode.
        objective: the losses with what they learned (for DCD: linear maps, scale and bias).
        rows: one dict of metrics an epoch; `history` shows them as a table.
        config: everything that determined the run.
        run_dir: the folder where it is kept.
    """

    model: nn.Module
    objective: Objective
    rows: list[dict]
    config: dict[str, Any]
    run_dir: Path

    @property
    def history(self) -> pd.DataFrame:
        """A row an epoch: accuracies in %, every loss term (mean over the epoch), scale, bias, learning rate,
        seconds."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def accuracy(self) -> float:
        """Top-1 accuracy in % on the test images after the last epoch: the headline figure."""
        return self.rows[-1]["test_accuracy"]

    @property
    def best_accuracy(self) -> float:
        """Highest top-1 accuracy in % of any epoch: chosen on the test images, so it flatters; not to be reported."""
        return max(row["test_accuracy"] for row in self.rows)

    @property
    def seconds(self) -> float:
        """Training time, evaluation not included."""
        return sum(row["seconds"] for row in self.rows)


def config_hash(config: dict) -> str:
    """Twelve hexadecimal digits that stand for exactly this config."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def run_lock(name: str) -> FileLock:
    """A lock between processes that share a data folder; that of a process that dies is free again."""
    folder = runtime.data_dir() / "runs" / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{file_stem(name)}.lock")


def file_stem(name: str) -> str:
    """A name as part of a file's: networks of a library carry a slash."""
    return name.replace("/", ".")


def read_log(path: Path) -> dict:
    """A log of a results folder.

    Raises:
        ValueError: it is damaged, or a JSON file of something else.
    """
    try:
        log = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f'"{path}" is damaged ({error}): delete it, and call what wrote it again') from error
    if not isinstance(log, dict) or not {"config", "not_applicable"} & set(log):
        raise ValueError(f'"{path}" is no log of this project: take it out of the results folder')
    return log


class RunBusy(RuntimeError):
    """Another process is training this run, and the caller did not want to wait for it."""


class RunFolder:
    """Reads and writes one run's files, each whole or absent.

    config.json (first), checkpoint.pt (after every epoch), weights.safetensors and history.csv (at the end),
    result.json
    (last: a folder with it is a finished run).

    Args:
        path: the folder, or None: `data/runs/<label>-<hash of config>`.
        config: what the run is; a folder that holds another config is refused, and nothing in it is touched.
        label: a readable start of the folder's name.

    Raises:
        ValueError: the folder belongs to another config; the message names the entries that differ.
    """

    def __init__(self, path: str | os.PathLike | None, config: dict, label: str):
        self.config = json.loads(json.dumps(config))
        self.path = (
            Path(path)
            if path is not None
            else runtime.data_dir() / "runs" / file_stem(f"{label}-{config_hash(self.config)}")
        )
        known = self._read_json("config.json")
        if known is not None and known != self.config:
            raise ValueError(
                f'"{self.path}" holds another run: {differences(known, self.config)}. '
                "Choose another run_dir, or delete that folder if you no longer need it"
            )
        if known is None and self.path.exists() and any(self.path.iterdir()):
            raise ValueError(f'"{self.path}" is not empty and not a run: choose another run_dir')

    @contextlib.contextmanager
    def claimed(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the run for this process alone: two notebooks that ask for one run train it once.

        Args:
            on_wait: called once if another process holds it, before waiting until that one is done or dead; may raise.
        """
        lock = run_lock(f"run-{hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:16]}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def begin(self) -> None:
        """Make the folder the run's own by writing its config."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write("config.json", json.dumps(self.config, indent=1).encode())

    def finished(self) -> list[dict] | None:
        """The history of a finished run, or None."""
        result = self._read_json("result.json")
        return result["history"] if result else None

    def checkpoint(self) -> dict | None:
        """The state after the last whole epoch, or None. Tensors only: no code in the file is run.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for damaged files
            raise ValueError(
                f'"{path}" is damaged ({reason(error)}): delete it to train this run from the start'
            ) from error

    def save_checkpoint(self, state: dict) -> None:
        with self._partial("checkpoint.pt") as partial:
            torch.save(state, partial)

    def finish(self, model: nn.Module, rows: list[dict]) -> None:
        """Write weights and history, then the result, which marks the run as finished."""
        import pandas as pd

        models.save_weights(model, self.path / "weights.safetensors")
        self._write("history.csv", pd.DataFrame(rows).to_csv(index=False).encode())
        result = {
            "accuracy": rows[-1]["test_accuracy"],
            "best_accuracy": max(row["test_accuracy"] for row in rows),
            "hardware": runtime.hardware(),
            "versions": runtime.versions(),
            "history": rows,
        }
        self._write("result.json", json.dumps(result, indent=1).encode())

    def _read_json(self, name: str) -> dict | None:
        path = self.path / name
        try:
            return json.loads(path.read_text()) if path.exists() else None
        except json.JSONDecodeError as error:
            raise ValueError(
                f'"{path}" is damaged ({error}): delete the folder "{self.path}" to train this run anew'
            ) from error

    def _write(self, name: str, content: bytes) -> None:
        with self._partial(name) as partial:
            partial.write_bytes(content)

    @contextlib.contextmanager
    def _partial(self, name: str):
        partial = self.path / f".{name}.{os.getpid()}.partial"
        try:
            yield partial
            os.replace(partial, self.path / name)
        finally:
            partial.unlink(missing_ok=True)


def differences(known: Any, given: Any, prefix: str = "") -> str:
    """What tells one config from another, in words."""
    if isinstance(known, dict) and isinstance(given, dict):
        keys = [key for key in {**known, **given} if known.get(key) != given.get(key)]
        return "; ".join(
            differences(known.get(key), given.get(key), f"{prefix}.{key}".lstrip(".")) for key in keys[:6]
        )
    return f"{prefix} is {known!r} there and {given!r} here"
