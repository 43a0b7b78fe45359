"""The one planner of runs: teachers first, then students; any number of processes may work on the same plan."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dcd_utils import models
from dcd_utils.data import ImageSet
from dcd_utils.experiments.methods import method_label, settings_of, spelt_out
from dcd_utils.experiments.profiles import Profile
from dcd_utils.records import make_record, read_record, write_record
from dcd_utils.training import api
from dcd_utils.training.config import config, network_facts, run_name, weights_digest
from dcd_utils.training.loop import NonFiniteLoss, evaluate
from dcd_utils.training.recipe import Recipe, recipe_for, resolve_precision
from dcd_utils.training.runs import RECORD, Run, RunBusy, RunFailed, RunFolder
from dcd_utils.training.teacher import parse_cache


@dataclass(frozen=True)
class Task:
    """One run that is wanted: a teacher or a student alone (both without a teacher), or a student of a teacher.

    The method is "alone", what `distill` takes, with settings behind an @, or "weights": a teacher from a file.
    """

    network: str
    method: str
    seed: int
    recipe: Recipe
    teacher: Task | None = None

    def __str__(self) -> str:
        teacher = f"{self.teacher.network}-" if self.teacher else ""
        return f"{teacher}{self.network}-{self.method}-seed{self.seed}"


class Plan:
    """Trains tasks on two image sets; holds their settings (of `distill`: cache, plain, compile), and in `teachers` the
    network of each teacher's task that is done."""

    def __init__(self, train: ImageSet, test: ImageSet, cache: str = "auto", **settings: bool):
        parse_cache(cache)
        self.train, self.test, self.cache, self.settings = train, test, cache, settings
        self.teachers: dict[Task, nn.Module] = {}

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

    def config(self, task: Task, teacher_facts: dict | None = None) -> dict:
        """Return the config of a task; `teacher_facts` are those of its teacher."""
        network = self.network(task)
        if task.teacher is None:
            return config(network, self.train, self.test, task.recipe, task.seed, **self.settings)
        method, options, weights = settings_of(task.method)
        shape_of_teacher = self.network(task.teacher)
        parts = (network, shape_of_teacher, self.train, self.test, method, task.recipe, task.seed)
        choices = {"weights": weights, "options": options, "cache": self.cache, **self.settings}
        return api.prepare(*parts, **choices, teacher_facts=teacher_facts)[1]

    def run(self, task: Task, wait: bool = True) -> Run:
        """Train or load one task, whose teacher is done."""
        sets = (self.train, self.test)
        if task.teacher is None:
            return api.train(self.network(task), *sets, task.recipe, task.seed, wait=wait, **self.settings)
        method, options, weights = settings_of(task.method)
        choices = {"weights": weights, "options": options, "cache": self.cache, "wait": wait, **self.settings}
        teacher = self.teachers[task.teacher]
        return api.distill(self.network(task), teacher, *sets, method, task.recipe, task.seed, **choices)


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
            if task.teacher is not None and task.teacher not in done:
                put_off.append(task)
                continue
            try:
                done[task] = run(task, False)
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


def course_runs(
    profile: Profile, methods: Iterable[str] = ("alone", "kd", "dcd", "dcd+kd"), train: ImageSet | None = None,
    test: ImageSet | None = None,
) -> tuple[Run, dict[tuple[str, int], Run]]:
    """Return the teacher of a profile, and a student for every method and seed; a run that exists is loaded.

    A run that another process is training (two notebooks executed side by side) is left to it and loaded at the end.
    Under one seed every student starts from the same weights and sees the same batches and views, so methods can be
    compared pair by pair.

    Args:
        profile: `experiments.profile(...)`; one teacher serves all its students.
        methods: as `distill` takes them; "alone" learns from the labels only.
        train, test: the profile's image sets if they are loaded already.

    Returns:
        (the teacher's run, {(method, seed): the student's run}).

    Raises:
        ValueError: an unknown method; train without test.
    """
    if (train is None) != (test is None):
        raise ValueError("only one of train and test was given: pass both, or neither to load the profile's own")
    methods = spelt_out(methods)  # a misspelt method fails here, not after the teacher's training
    if train is None:
        train, test = profile.load()
    plan, pair = Plan(train, test), (profile.teacher, profile.student)
    recipes = (profile.recipe, profile.teacher_recipe)
    (teacher,), students = plan.tasks([pair], methods, profile.seeds, *recipes, profile.teacher_seed)

    def run(task: Task, wait: bool) -> Run:
        result = plan.run(task, wait)
        if task == teacher:
            plan.teachers[task] = result.model
        return result

    runs = work_through([teacher, *students], run, {})
    return runs[teacher], {(task.method, task.seed): runs[task] for task in students}


def reproduce(
    pairs: Iterable[tuple[str, str]], methods: Iterable[str], seeds: Iterable[int], train: ImageSet, test: ImageSet,
    recipe: Recipe, results: str | os.PathLike, teacher_recipe: Recipe | None = None, teacher_seed: int = 0,
    teacher_weights: dict[str, str | os.PathLike] | None = None, cache: str = "auto", plain: bool = False,
    compile: bool = False,
) -> Path:
    """Train every (pair, method, seed) that has no record yet, and put the record of each into a folder of results.

    Killed and called again it goes on where it stopped: what has a finished record is left alone, finished runs are
    loaded, a half-finished one is resumed. Processes that share a data folder share the work. A method that cannot
    work with a pair is recorded as not applicable, a run that stops being finite as failed (it is not tried again); the
    others are trained all the same. Records of other configs may lie in the same folder: a table keeps them apart.

    Args:
        pairs: (teacher, student) names of networks.
        methods: "alone", or what `distill` takes; "all" stands for each of them, "all+kd" for each that "+kd" may
            follow. Settings may follow an @: "dcd@alpha=0.25,max_scale=20" (options of the method's loss), or
            "dcd@weight=2" (of its own loss).
        seeds, recipe: of the students; each network has the recipe as `recipe_for` says.
        train, test: image sets; their name stands in the tables.
        results: the folder of the records.
        teacher_recipe, teacher_seed: of the one teacher of a pair, which serves all its students; None: `recipe`.
        teacher_weights: a file or run folder for each teacher that is to be loaded instead of trained.
        cache, plain, compile: as in `distill`.

    Raises:
        ValueError: an unknown network or method, settings that a method cannot have, weights that do not fit, or a
            damaged record in the folder; nothing is then trained.
        RuntimeError: some students could not be trained, or their losses stopped being finite; all others are trained.
    """
    results = Path(results)
    if results.exists() and not results.is_dir():
        raise ValueError(f'"{results}" is a file: name a folder for the records')
    pairs = [tuple(pair) for pair in pairs]
    weights = teacher_weights or {}
    if strangers := set(weights) - {teacher for teacher, _ in pairs}:
        raise ValueError(f"weights were given for {', '.join(strangers)}, which no pair has as its teacher")
    plan = Plan(train, test, cache, plain=plain, compile=compile)
    tasks = plan.tasks(pairs, spelt_out(methods), list(seeds), recipe, teacher_recipe or recipe, teacher_seed, weights)
    return _Reproduction(plan, *tasks, results, weights).run()


class _Reproduction:
    """Works through the tasks of a grid, and puts their records into a folder."""

    def __init__(self, plan: Plan, teachers: list[Task], students: list[Task], results: Path, weights: dict):
        self.plan, self.teachers, self.results, self.weights = plan, teachers, results, weights
        self.tasks = list(dict.fromkeys([*teachers, *students]))
        self.facts: dict[Task, dict] = {}  # of the teachers that are known
        self.paths: dict[Task, Path] = {}  # of the records
        self.data = {"name": plan.train.name, "train": len(plan.train), "test": len(plan.test)}
        self.records = {path: read_record(path) for path in sorted(results.glob("*.json"))}

    def run(self) -> Path:
        for task in self.teachers:
            if task.method == "weights":
                self._load(task)
            else:
                self._look_up(task)
        impossible = self._impossible()
        tasks = [task for task in self.tasks if _key(task) not in impossible]
        done = {task: None for task in tasks if self._is_done(task)}
        for task in self.teachers:  # a finished teacher is needed once more where one of its students is missing
            if task not in self.plan.teachers and any(other.teacher == task and other not in done for other in tasks):
                done.pop(task, None)
        failures: dict[Task, str] = {}
        there, began = sum(map(self._is_done, tasks)), time.monotonic()
        print(f"{len(tasks)} runs, {there} of them there already", flush=True)

        def attempt(task: Task, wait: bool) -> None:
            try:
                self._attempt(task, wait)
            except (NonFiniteLoss, RunFailed, ValueError) as error:
                if task in self.teachers:
                    raise
                failures[task] = str(error)
            finished = len({*done, task} | {other for other in tasks if self._is_done(other)})
            pace = (time.monotonic() - began) / max(1, finished - there)
            left = _duration(pace * (len(tasks) - finished)) if finished < len(tasks) else ""
            print(f"{finished} of {len(tasks)} runs done{left} (last: {task})", flush=True)

        work_through(tasks, attempt, done)
        for (teacher, student, method), reason in impossible.items():
            print(f"n/a: {method} for {teacher} to {student}: {reason}")
        if failures:
            reasons = "\n".join(f"{task}: {reason}" for task, reason in failures.items())
            raise RuntimeError(f"{len(failures)} of {len(tasks)} runs failed:\n{reasons}")
        return self.results

    def _load(self, task: Task) -> None:
        """Take a teacher from a file, and record what it reaches."""
        network = self.plan.network(task).to(self.plan.train.device)
        network.classes = self.plan.train.classes
        self.plan.teachers[task] = models.load_weights(network, self.weights[task.network]).eval()
        self.facts[task] = network_facts(network, self.plan.train.num_classes)
        digest = weights_digest(network)
        if not any(record.get("final_weights") == digest for record in self.records.values()):
            accuracy, _ = evaluate(network, self.plan.test, precision=task.recipe.precision)
            print(f"{task.network}: {accuracy:.2f} % (weights from a file)")
            facts = self.plan.config(task) | {"kind": "weights", "network": self.facts[task]}
            facts["recipe"] = {"precision": task.recipe.precision}
            results = {"accuracy": accuracy, "best_accuracy": accuracy, "final_weights": digest, "history": []}
            self._keep(make_record(facts, self.data, **results))

    def _look_up(self, task: Task) -> None:
        """Find what is known of a teacher that was trained before, without its weights."""
        facts = self.plan.config(task)
        record = self.records.get(self.results / _file_name(facts)) or RunFolder(None, facts, self.data).record()
        if record is not None and record["state"] == "finished":
            known = {key: value for key, value in facts["network"].items() if key != "frozen"}
            self.facts[task] = known | {"weights": record["final_weights"]}

    def _is_done(self, task: Task) -> bool:
        """Whether a finished record of the task lies in the folder of results."""
        if task.method == "weights":
            return True
        if task.teacher is not None and task.teacher not in self.facts:
            return False
        if task not in self.paths:
            try:
                self.paths[task] = self.results / _file_name(self.plan.config(task, self.facts.get(task.teacher)))
            except ValueError:  # it cannot be trained; `_impossible`, or the attempt, says why
                return False
        return self.paths[task].exists() and read_record(self.paths[task])["state"] == "finished"

    def _attempt(self, task: Task, wait: bool) -> None:
        if self._is_done(task) and task not in self.teachers:  # another process was faster
            return
        try:
            run = self.plan.run(task, wait)
        except (NonFiniteLoss, RunFailed):
            facts = self.plan.config(task, self.facts.get(task.teacher))
            self._keep(read_record(RunFolder(None, facts, self.data).path / RECORD))
            raise
        self._keep(run.record)
        if task in self.teachers:
            self.plan.teachers[task] = run.model
            self.facts[task] = network_facts(run.model, self.plan.train.num_classes)

    def _keep(self, record: dict) -> None:
        """Put a record into the folder of results; a finished one is left as it is."""
        path = self.results / _file_name(record["config"])
        if not path.exists() or read_record(path)["state"] != "finished":
            write_record(path, record)

    def _impossible(self) -> dict[tuple[str, str, str], str]:
        """Return why, for the pairs and methods that cannot go together, and record it.

        Raises:
            ValueError: a method could work with the pair, but not with the settings that it was given.
        """
        reasons: dict[tuple[str, str, str], str] = {}
        images = self.plan.train.to("cpu")
        students = [task for task in self.tasks if task.teacher is not None and not self._is_done(task)]
        for key, task in {_key(task): task for task in students}.items():
            pair, size = (self.plan.network(task), self.plan.network(task.teacher)), task.recipe.batch_size
            name, options, weights = settings_of(task.method)
            try:
                api.check_method(*pair, images, name, size)
            except ValueError as error:
                reasons[key] = str(error)
            else:
                api.check_method(*pair, images, name, size, weights, options)
        for task in students:
            if reason := reasons.get(_key(task)):
                name, options, _ = settings_of(task.method)
                parts = (self.plan.network(task), images, self.plan.test, task.recipe, task.seed)
                choices = {"method": name, "options": options, "teacher": {"name": task.teacher.network}}
                facts = config(*parts, **choices, **self.plan.settings)
                self._keep(make_record(facts, self.data, "not_applicable", reason=reason))
        possible = {_key(task) for task in students} - set(reasons)
        for path, record in self.records.items():  # of an earlier version of the method
            facts = record["config"]
            if record["state"] == "not_applicable" and possible & {
                (facts["teacher"]["name"], facts["network"]["name"], method_label(facts))
            }:
                path.unlink(missing_ok=True)
        return reasons


def _key(task: Task) -> tuple[str | None, str, str]:
    return task.teacher.network if task.teacher else None, task.network, task.method


def _file_name(facts: dict) -> str:
    return f"{run_name(facts, method_label(facts))}.json"


def _duration(seconds: float) -> str:
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f", about {f'{hours} h ' if hours else ''}{minutes} min left"
