"""The one planner of runs: teachers first, then students; any number of processes may work on the same plan."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dcd_utils import models, runtime
from dcd_utils.data import ImageSet
from dcd_utils.experiments.methods import method_label, settings_of, spelt_out
from dcd_utils.records import make_record, read_record, write_record
from dcd_utils.training import api
from dcd_utils.training.config import config, network_facts, run_name
from dcd_utils.training.loop import NonFiniteLoss, evaluate
from dcd_utils.training.recipe import Recipe, recipe_for, resolve_precision
from dcd_utils.training.runs import RECORD, Run, RunBusy, RunFailed, RunFolder, known_places
from dcd_utils.training.teacher import parse_cache


@dataclass(frozen=True)
class Task:
    """One run that is wanted: a teacher from a file (method "weights"), a network that learns "alone", or a student of
    a teacher (what `distill` takes, with settings behind an @)."""

    network: str
    method: str
    seed: int
    recipe: Recipe
    teacher: Task | None = None

    def __str__(self) -> str:
        teacher = f"{self.teacher.network}-" if self.teacher else ""
        return f"{teacher}{self.network}-{self.method}-seed{self.seed}"


class Plan:
    """Trains tasks on two image sets; holds their settings (of `distill`: cache, retrain, plain, compile), and in
    `facts` the `network_facts` of the teachers that are known."""

    def __init__(self, train: ImageSet, test: ImageSet, cache: str = "auto", retrain: bool = False, **settings: bool):
        parse_cache(cache)
        self.train, self.test, self.cache, self.retrain, self.settings = train, test, cache, retrain, settings
        self.facts: dict[Task, dict] = {}

    def tasks(
        self, pairs: Iterable[tuple[str, str]], methods: Iterable[str], seeds: Iterable[int], recipe: Recipe,
        teacher_recipe: Recipe, teacher_seed: int, from_files: Iterable[str] = (),
    ) -> tuple[list[Task], list[Task]]:
        """Return the teachers and the students of a grid; each network has its recipe as `recipe_for` says.

        Raises:
            ValueError: an unknown network.
        """
        teachers, students = [], []
        for teacher, student in dict.fromkeys(pairs):
            origin = "weights" if teacher in from_files else "alone"
            teacher_task = Task(teacher, origin, teacher_seed, self._recipe(teacher, teacher_recipe))
            student_recipe = self._recipe(student, recipe)
            teachers.append(teacher_task)
            students += [
                Task(student, method, seed, student_recipe, None if method == "alone" else teacher_task)
                for seed in seeds
                for method in methods
            ]
        return list(dict.fromkeys(teachers)), list(dict.fromkeys(students))

    def _recipe(self, network: str, recipe: Recipe) -> Recipe:
        recipe = recipe_for(recipe, network)
        if self.settings.get("plain"):
            return recipe.but(precision="fp32")
        built = models.create(network, self.train.num_classes)
        return recipe.but(precision=resolve_precision(recipe.precision, self.train.device, built))

    def network(self, task: Task) -> nn.Module:
        """Return the network of a task before training."""
        return models.create(task.network, self.train.num_classes, seed=task.seed)

    def config(self, task: Task) -> dict:
        """Return the config of a task; of a student, with the facts of its teacher."""
        if task.teacher is None:
            return config(self.network(task), self.train, self.test, task.recipe, task.seed, **self.settings)
        parts, choices = self._distilling(task, self.network(task.teacher))
        return api.prepare(*parts, **choices, teacher_facts=self.facts.get(task.teacher))[1]

    def run(self, task: Task, teacher: nn.Module | None, wait: bool = True) -> Run:
        """Train or load one task, a student with its teacher."""
        if task.teacher is None:
            parts = (self.network(task), self.train, self.test, task.recipe, task.seed)
            return api.train(*parts, wait=wait, retrain=self.retrain, **self.settings)
        parts, choices = self._distilling(task, teacher)
        return api.distill(*parts, **choices, wait=wait, retrain=self.retrain)

    def _distilling(self, task: Task, teacher: nn.Module) -> tuple[tuple, dict]:
        method, options, weights = settings_of(task.method)
        parts = (self.network(task), teacher, self.train, self.test, method, task.recipe, task.seed)
        return parts, {"weights": weights, "options": options, "cache": self.cache, **self.settings}


def work_through(tasks: Iterable[Task], run: Callable[[Task, bool], Any], done: dict[Task, Any]) -> dict[Task, Any]:
    """Call `run(task, wait)` for each task once its teacher is in `done`, and collect there what comes of it.

    A task that another process trains is put off while there is another to do. That process may go through the same
    tasks in the same order, so the others are then begun from the end.
    """
    left = [task for task in tasks if task not in done]
    while left:
        before, put_off = len(done), []
        while left:
            task = left.pop(0)
            if task.teacher is None or task.teacher in done:
                try:
                    done[task] = run(task, False)
                    continue
                except RunBusy:
                    if not put_off:
                        left.reverse()
            put_off.append(task)
        if len(done) == before:
            task = next(task for task in reversed(put_off) if task.teacher is None or task.teacher in done)
            put_off.remove(task)
            done[task] = run(task, True)
        left = put_off
    return done


def reproduce(
    pairs: Iterable[tuple[str, str]], methods: Iterable[str], seeds: Iterable[int], train: ImageSet, test: ImageSet,
    recipe: Recipe, results: str | os.PathLike, teacher_recipe: Recipe | None = None, teacher_seed: int = 0,
    teacher_weights: dict[str, str | os.PathLike] | None = None, cache: str = "auto", plain: bool = False,
    compile: bool = False, retrain: bool = False,
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
        teacher_weights: a file or run folder for each teacher that is to be loaded instead of trained.
        cache, plain, compile, retrain: as in `distill`.

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
    grid = _Grid(results, weights, train, test, cache, retrain, plain=plain, compile=compile)
    recipes = (recipe, teacher_recipe or recipe)
    grid.work(*grid.tasks(pairs, spelt_out(methods), list(seeds), *recipes, teacher_seed, weights))
    return results


class _Grid(Plan):
    """A plan whose records lie in a folder."""

    def __init__(self, results: Path, weights: dict, *sets_and_cache, **settings: bool):
        super().__init__(*sets_and_cache, **settings)
        self.results, self.weights = results, weights
        self.teachers: dict[Task, nn.Module] = {}
        self.paths: dict[Task, Path] = {}
        self.data = {"name": self.train.name, "train": len(self.train), "test": len(self.test)}
        self.records = {path: read_record(path) for path in sorted(results.glob("*.json"))}

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
                if not isinstance(error, ValueError):
                    self._keep(read_record(RunFolder(None, self.config(task), self.data).path / RECORD))
                if task in teachers:
                    raise
                failures[task] = str(error)
            finished = len({*done, task} | {other for other in tasks if self._is_done(other)})
            pace = (time.monotonic() - began) / max(1, finished - there)
            to_do = len(tasks) - finished
            left = f", about {runtime.duration(pace * to_do)} left" if to_do else ""
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
            for place in known_places(facts, self.data, self.retrain):
                record = record or place.record()
            if record is not None and record["state"] == "finished":
                facts["network"].pop("frozen", None)
                self.facts[teacher] = facts["network"] | {"weights": record["final_weights"]}
            return
        network = self.network(teacher).to(self.train.device)
        network.classes = self.train.classes
        self.teachers[teacher] = models.load_weights(network, self.weights[teacher.network]).eval()
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
        return self.paths[task].exists() and read_record(self.paths[task])["state"] == "finished"

    def _keep(self, record: dict) -> None:
        """Put a record into the folder; a finished one is left as it is."""
        path = self.results / _file_name(record["config"])
        if not path.exists() or read_record(path)["state"] != "finished":
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
                choices = {"method": method, "options": options, "teacher": {"name": task.teacher.network}}
                parts = (self.network(task), images, self.test, task.recipe, task.seed)
                facts = config(*parts, **choices, **self.settings)
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
