"""A grid of runs: every pair, method and seed, with a record of each in a folder of results."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from torch import nn

from dcd_utils import runtime
from dcd_utils.data import ImageSet
from dcd_utils.distributed import from_first, rank
from dcd_utils.experiments.methods import method_label, settings_of, spelt_out
from dcd_utils.experiments.plan import Plan, Task, begin_teacher, work_through
from dcd_utils.records import make_record, read_record, write_record
from dcd_utils.training import api
from dcd_utils.training.config import config, data_facts, network_facts, run_name
from dcd_utils.training.loop import NonFiniteLoss, evaluate
from dcd_utils.training.recipe import USUAL, Execution, Recipe
from dcd_utils.training.runs import RECORD, RunFailed, RunFolder, known_places


def reproduce(
    pairs: Iterable[tuple[str, str]], methods: Iterable[str], seeds: Iterable[int], train: ImageSet, test: ImageSet,
    recipe: Recipe, results: str | os.PathLike, teacher_recipe: Recipe | None = None, teacher_seed: int = 0,
    teacher_weights: dict[str, str | os.PathLike] | None = None, cache: str = "auto", retrain: bool = False,
    execution: Execution = USUAL,
) -> Path:
    """Train every (pair, method, seed) that has no record yet, and put the record of each into a folder of results.

    Killed and called again it goes on where it stopped, and processes that share a data folder share the work. A method
    that cannot work with a pair is recorded as not applicable, a run that stops being finite as failed (it is not tried
    again); the others are trained all the same. Records of other configs may lie in the same folder.

    Args:
        pairs: (teacher, student) names of networks.
        methods: "alone", or what `distill` takes; "all" stands for each of them, "all+kd" for each that "+kd" may
            follow. Behind an @ may follow options of the loss, "dcd@alpha=0.25,max_scale=20", or its "weight".
        seeds, recipe: of the students; each network has the recipe as `recipe_for` says.
        train, test: image sets; their name stands in the tables.
        teacher_recipe, teacher_seed: of the one teacher of a pair, which serves all its students; None: `recipe`.
        teacher_weights: where a teacher starts: a file, a run folder, or "pretrained" (its library's weights). With one
            output per class it is used as it is; else it is fine-tuned first, at a tenth of the rate.
        cache, retrain, execution: as in `distill`.

    Raises:
        ValueError: an unknown network or method, settings that a method cannot have, weights that do not fit, or a
            damaged record in the folder; nothing is then trained.
        RuntimeError: some students could not be trained; all others are.
    """
    results, pairs, weights = Path(results), [tuple(pair) for pair in pairs], teacher_weights or {}
    if results.exists() and not results.is_dir():
        raise ValueError(f'"{results}" is a file: name a folder for the records')
    if strangers := set(weights) - {teacher for teacher, _ in pairs}:
        raise ValueError(f"weights were given for {', '.join(strangers)}, which no pair has as its teacher")
    grid = _Grid(results, train, test, cache, retrain, execution)
    for name, start in weights.items():
        network, knows = begin_teacher(name, train.num_classes, teacher_seed, start)
        grid.begun[name] = network, "weights" if knows else "tuned"
    grid.work(*grid.tasks(pairs, spelt_out(methods), list(seeds), recipe, teacher_recipe or recipe, teacher_seed))
    return results


class _Grid(Plan):
    """A plan whose records lie in a folder."""

    def __init__(self, results: Path, *sets_and_choices):
        super().__init__(*sets_and_choices)
        self.results = results
        self.teachers: dict[Task, nn.Module] = {}
        self.paths: dict[Task, Path] = {}
        self.data = data_facts(self.train, self.test)
        self.records = from_first(lambda: {path: read_record(path) for path in sorted(results.glob("*.json"))})

    def work(self, teachers: list[Task], students: list[Task]) -> None:
        for task in teachers:
            self._find(task)
        impossible = self._impossible(students)
        tasks = [task for task in dict.fromkeys([*teachers, *students]) if _key(task) not in impossible]
        recorded = [task for task in tasks if self._is_done(task)]
        # a recorded teacher is loaded where one of its students is missing
        needed = {task.teacher for task in tasks if task not in recorded} - {*self.teachers}
        done: dict[Task, None] = dict.fromkeys(task for task in recorded if task not in needed)
        there, began, failures = len(recorded), time.monotonic(), {}
        print(f"{len(tasks)} runs, {there} of them there already", flush=True)

        def attempt(task: Task, wait: bool) -> None:
            try:
                if task in teachers or not self._is_done(task):  # else another process was faster
                    run = self.run(task, self.teachers.get(task.teacher), wait)
                    self._keep(run.record)
                    if task in teachers:
                        self.teachers[task] = run.model
                        self.facts[task] = network_facts(run.model, self.train.num_classes)
            except (NonFiniteLoss, RunFailed, ValueError) as error:
                if not isinstance(error, ValueError) and rank() == 0:
                    self._keep(read_record(RunFolder(None, self.config(task), self.data).path / RECORD))
                if task in teachers:
                    raise
                failures[task] = str(error)
            finished = len({*done, task} | {other for other in tasks if self._is_done(other)})
            to_do = (time.monotonic() - began) / max(1, finished - there) * (len(tasks) - finished)
            left = f", about {runtime.duration(to_do)} left" if finished < len(tasks) else ""
            print(f"{finished} of {len(tasks)} runs done{left} (last: {task})", flush=True)

        work_through(tasks, attempt, done)
        for (teacher, student, method), reason in impossible.items():
            print(f"n/a: {method} for {teacher} to {student}: {reason}")
        if failures:
            reasons = "\n".join(f"{task}: {reason}" for task, reason in failures.items())
            raise RuntimeError(f"{len(failures)} of {len(tasks)} runs failed:\n{reasons}")

    def _find(self, teacher: Task) -> None:
        """Load a teacher from its file and record what it reaches, or find what is known of one trained before."""
        facts = self.config(teacher)
        if teacher.method != "weights":
            record = self.records.get(self.results / _file_name(facts))
            for place in known_places(facts, self.data, self.ways["retrain"]):
                record = record or from_first(place.record)
            if record is not None and record["state"] == "finished":
                facts["network"].pop("frozen", None)
                self.facts[teacher] = facts["network"] | {"weights": record["final_weights"]}
            return
        network = self.teachers[teacher] = self.network(teacher).to(self.train.device).eval()
        network.classes = self.train.classes
        self.facts[teacher] = network_facts(network, self.train.num_classes)
        digest = self.facts[teacher]["weights"]
        if not any(record.get("final_weights") == digest for record in self.records.values()):
            accuracy, _ = evaluate(network, self.test, precision=teacher.recipe.precision)
            print(f"{teacher.network}: {accuracy:.2f} % (weights from a file)")
            facts |= {"kind": "weights", "network": self.facts[teacher]}
            facts["recipe"] = {"precision": teacher.recipe.precision}
            results = {"accuracy": accuracy, "best_accuracy": accuracy, "final_weights": digest, "history": []}
            self._keep(make_record(facts, self.data, **results))

    def _is_done(self, task: Task) -> bool:
        """Whether a finished record of the task lies in the folder."""
        if task.method == "weights":
            return True
        if task.teacher is not None and task.teacher not in self.facts:
            return False
        if task not in self.paths:
            try:
                self.paths[task] = self.results / _file_name(self.config(task))
            except ValueError:  # it cannot be trained; `_impossible`, or the attempt, says why
                return False
        return from_first(lambda: self._holds_finished(self.paths[task]))

    def _holds_finished(self, path: Path) -> bool:
        return path.exists() and read_record(path)["state"] == "finished"

    def _keep(self, record: dict) -> None:
        """Put a record into the folder; a finished one is left as it is."""
        path = self.results / _file_name(record["config"])
        if rank() == 0 and not self._holds_finished(path):
            write_record(path, record)

    def _impossible(self, students: list[Task]) -> dict[tuple, str]:
        """Return why, for the pairs and methods that cannot go together, and record it; settings that cannot be had are
        an error instead."""
        students = [task for task in students if task.teacher is not None and not self._is_done(task)]
        images, reasons = self.train.to("cpu"), {}
        for key, task in {_key(task): task for task in students}.items():
            method, options, weights = settings_of(task.method)
            parts = (self.network(task), self.network(task.teacher), images, method, task.recipe.batch_size)
            try:
                api.check_method(*parts)
            except ValueError as error:
                reasons[key] = str(error)
            else:
                api.check_method(*parts, weights, options)
        for task in students:
            if reason := reasons.get(_key(task)):
                method, options, _ = settings_of(task.method)
                parts = (self.network(task), images, self.test, task.recipe, task.seed)
                facts = config(*parts, method=method, options=options, teacher={"name": task.teacher.network})
                self._keep(make_record(facts, self.data, "not_applicable", reason=reason))
        possible = {_key(task) for task in students} - set(reasons)
        for path, record in self.records.items():  # of an earlier version of the method
            if record["state"] == "not_applicable":
                facts = record["config"]
                if (facts["teacher"]["name"], facts["network"]["name"], method_label(facts)) in possible:
                    path.unlink(missing_ok=True)
        return reasons


def _key(task: Task) -> tuple[str | None, str, str]:
    return task.teacher and task.teacher.network, task.network, task.method


def _file_name(facts: dict) -> str:
    return f"{run_name(facts, method_label(facts))}.json"
