"""Runs: everything trained lies in a folder with its record, and is found again by the hash of its config."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from filelock import FileLock, Timeout
from torch import nn

from dcd_utils import distributed, files, losses, models
from dcd_utils.records import make_record, read_record, write_record
from dcd_utils.training.config import differences, run_name, weights_digest

if TYPE_CHECKING:
    import pandas as pd

RECORD, WEIGHTS, LEARNED = "result.json", "weights.safetensors", "losses.pt"


class RunBusy(RuntimeError):
    """Another process is training this run, and the caller did not want to wait for it."""


class RunFailed(RuntimeError):
    """This very run stopped being finite before; it is not tried again by itself."""


@dataclass
class Run:
    """A finished training run.

    Attributes:
        model: the network with its last-epoch weights, in eval mode.
        record: what was trained and what came of it, as `result.json` keeps it.
        run_dir: the folder where it is kept.
    """

    model: nn.Module
    record: dict[str, Any]
    run_dir: Path
    _objective: losses.Objective | ValueError = field(repr=False)

    @property
    def objective(self) -> losses.Objective:
        """The losses with what they learned (DCD: linear maps, scale, bias); ValueError if that file is damaged."""
        if isinstance(self._objective, ValueError):
            raise self._objective
        return self._objective

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decided the run."""
        return self.record["config"]

    @property
    def rows(self) -> list[dict]:
        """One dict of metrics per epoch; `history` shows them as a table."""
        return self.record["history"]

    @property
    def history(self) -> "pd.DataFrame":
        """One row per epoch: accuracies in %, mean of every loss term, scale, bias, learning rate, seconds."""
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


class RunFolder:
    """Reads and writes one run's files: each is whole or absent, and its SHA-256 stands in the record.

    These are the checkpoint that a run goes on from, and at the end its weights and what the losses learned. Without a
    path, the folder is `data/runs/<name>-<hash of config>`. One that holds another run is refused, and nothing in it is
    touched. `data` is what the record says of the data.
    """

    def __init__(self, path: str | os.PathLike | None, config: dict, data: dict):
        self.config, self.data = config, data
        self.path = Path(path) if path is not None else files.data_dir() / "runs" / run_name(config)
        self._record: dict[str, Any] = {}

    def record(self) -> dict[str, Any] | None:
        """Return what is known of the run, or None.

        Raises:
            ValueError: the folder holds another run (says what differs), something else, or a damaged record.
            RunFailed: the run failed before.
        """
        path = self.path / RECORD
        if not path.exists():
            entries = self.path.iterdir() if self.path.exists() else ()
            names = {entry.name for entry in entries if not entry.name.startswith(".")}
            if any(name not in (WEIGHTS, LEARNED) and not name.startswith("checkpoint-") for name in names):
                raise ValueError(f'"{self.path}" is not empty and not a run: choose another run_dir')
            if names:
                raise ValueError(f'"{path}" is missing: delete the folder "{self.path}" to train this run anew')
            return None
        try:
            record = read_record(path)
        except ValueError as error:
            advice = f'delete the folder "{self.path}" to train this run anew, or choose another run_dir'
            raise ValueError(f"{error}: {advice}") from error
        if record["config"] != self.config:
            what = differences(record["config"], self.config)
            if "recipe.epochs is" in what:
                what += ". No run goes on to another number of epochs: it decides the learning rate of every step"
            raise ValueError(
                f'"{self.path}" holds another run: {what}. Choose another run_dir, or none (each run then finds one of '
                "its own), or delete that folder if you no longer need it"
            )
        if record["state"] == "failed":
            raise RunFailed(f'{record["reason"]} (as before: delete "{self.path}" to try again)')
        return record

    @contextlib.contextmanager
    def claimed(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the run for this process alone: two notebooks that ask for one run train it once. If another
        process holds it, call `on_wait`, which may raise, and wait until that one is done or dead."""
        name = files.sha256(str(self.path.resolve()).encode())[:16]
        folder = files.data_dir() / "runs" / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            held = lock.acquire()
        with held:
            files.remove_partials(self.path)  # of killed processes: nobody else may write here now
            yield

    def begin(self, **how) -> dict | None:
        """Make the folder the run's own, its record with `how` it is computed; return the state to go on from, with its
        history, or None."""
        known = self.record() or {"files": {}, "history": []}
        known = {"files": known["files"], "history": known["history"]}
        self._record = record = make_record(self.config, self.data, "running", **known, **how)
        if not record["files"]:
            write_record(self.path / RECORD, self._record)
            return None
        (name,) = record["files"]
        state = _loaded(self._read(name, f'delete the folder "{self.path}" to train this run from the start'))
        return {"history": record["history"], **state}

    def save_checkpoint(self, state: dict) -> None:
        """Keep all that is needed to go on: "history", and tensors by name. The record is written after the checkpoint
        that it names, and before the last one goes: a kill leaves one whole. Of several processes the first writes."""
        if distributed.rank():
            return
        within = state.get("first_stage") or state
        passed = f"-{len(within['begun']['rows'])}" if within["begun"] else ""  # steps of the epoch under way
        name = f"checkpoint-{'first-' * ('first_stage' in state)}{len(within['history'])}{passed}.pt"
        content = _saved({key: value for key, value in state.items() if key != "history"})
        files.write_whole(self.path / name, content)
        self._record |= {"files": {name: files.sha256(content)}, "history": state["history"]}
        write_record(self.path / RECORD, self._record)
        self._remove_checkpoints(name)

    def finish(self, model: nn.Module, objective: losses.Objective, history: list[dict]) -> dict[str, Any]:
        """Write weights and what the losses learned, then the record that marks the run as finished."""
        models.save_weights(model, self.path / WEIGHTS)
        if learned := objective.state_dict():
            files.write_whole(self.path / LEARNED, _saved(learned))
        self._record |= {
            "state": "finished", "accuracy": history[-1]["test_accuracy"],
            "best_accuracy": max(row["test_accuracy"] for row in history), "final_weights": weights_digest(model),
            "files": {name: files.sha256(self.path / name) for name in (WEIGHTS, *[LEARNED] * bool(learned))},
            "history": history,
        }
        write_record(self.path / RECORD, self._record)
        self._remove_checkpoints()
        return self._record

    def fail(self, reason: str) -> None:
        """Note that the run stopped being finite."""
        write_record(self.path / RECORD, self._record | {"state": "failed", "reason": reason})

    def load(self, record: dict, model: nn.Module, objective: losses.Objective) -> Run:
        """Return a finished run: its weights in `model`, and in `objective` what was learned, if that file is whole."""
        self._record = record
        content = self._read(WEIGHTS, f'delete the folder "{self.path}" to train this run anew')
        model.load_state_dict(safetensors.torch.load(content))
        if LEARNED in record["files"]:
            advice = f'the model is whole; delete the folder "{self.path}" if you need what the losses learned anew'
            try:
                objective.load_state_dict(_loaded(self._read(LEARNED, advice)))
            except ValueError as error:
                objective = error
        return Run(model, record, self.path, objective)

    def _remove_checkpoints(self, but: str = "") -> None:
        for checkpoint in self.path.glob("checkpoint-*.pt"):
            if checkpoint.name != but:
                with contextlib.suppress(PermissionError):  # Windows, while somebody reads it: the next call removes it
                    checkpoint.unlink()

    def _read(self, name: str, advice: str) -> bytes:
        path = self.path / name
        content = distributed.from_first(lambda: path.read_bytes() if path.exists() else None)
        if content is None:
            raise ValueError(f'"{path}" is missing: {advice}')
        if files.sha256(content) != self._record["files"][name]:
            raise ValueError(f'"{path}" is damaged (its SHA-256 is not the one in {RECORD}): {advice}')
        return content


def known_places(config: dict, data: dict, retrain: bool) -> list[RunFolder]:
    """Return where a run without a folder of its own may lie: among those that come with the course, unless one
    retrains, and, last, where it is trained."""
    paths = [None] if retrain else [files.course_dir() / run_name(config), None]
    return [RunFolder(path, config, data) for path in paths]


def _saved(state: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _loaded(content: bytes) -> dict:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)  # tensors only: no code is run
