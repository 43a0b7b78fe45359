"""A grid of runs (pairs x methods x seeds), one log a run; any number of processes may work on the same grid."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import Timeout
from torch import nn

from dcd_utils import losses, models, runtime
from dcd_utils.data import ImageSet
from dcd_utils.training.api import distill, train
from dcd_utils.training.loop import NonFiniteLoss, evaluate, resolve_precision
from dcd_utils.training.recipe import Recipe, recipe_for
from dcd_utils.training.runs import config_hash, run_lock


def reproduce(
    pairs: Iterable[tuple[str, str]],
    methods: Iterable[str],
    seeds: Iterable[int],
    train_set: ImageSet,
    test_set: ImageSet,
    recipe: Recipe,
    results: str | os.PathLike,
    dataset: str,
    teacher_recipe: Recipe | None = None,
    teacher_seed: int = 0,
    teacher_weights: dict[str, str | os.PathLike] | None = None,
    cache: str = "auto",
    plain: bool = False,
) -> Path:
    """Train every (pair, method, seed) that has no log yet, and write one JSON log for each.

    Killed and called again it goes on where it stopped: what has a log is left alone, finished runs are loaded, a
    half-finished one is resumed. Processes that share a data folder share the work: a run that one of them trains is
    left to it, and taken over if that process dies. A method that cannot work with a pair is noted, and a run that
    stops being finite is reported at the end; the others are trained all the same.

    Args:
        pairs: (teacher, student) names of networks.
        methods: "alone", or what `distill` takes; "all" stands for each of them, "all+kd" for each that "+kd" may
            follow. Settings may follow an @: "dcd@alpha=0.25,max_scale=20" (options of the method's loss), or
            "dcd@weight=2" (of its own loss).
        seeds: of the students.
        recipe: of the students; each network has it as `recipe_for` says.
        results: the folder of the logs.
        dataset: the name that the logs carry.
        teacher_recipe: None: `recipe`, which then holds for teachers and students alike.
        teacher_seed: of the one teacher of a pair, which serves all its students.
        teacher_weights: a file or run folder for each teacher that is to be loaded instead of trained.
        cache, plain: as in `distill`.

    Raises:
        ValueError: an unknown network or method, weights that do not fit, or a results folder with a log of another
            config; nothing is then trained, unless only the teacher's weights tell the difference.
        RuntimeError: some students' losses stopped being finite; all others are trained.
    """
    grid = _Grid(train_set, test_set, dataset, Path(results), teacher_weights or {}, cache, plain)
    pairs = list(dict.fromkeys(tuple(pair) for pair in pairs))
    for name in {name for pair in pairs for name in pair} - set(models.names()):
        models.create(name, 2)  # raises with the list of names
    if strangers := set(grid.teacher_weights) - {teacher for teacher, _ in pairs}:
        raise ValueError(f"weights were given for {', '.join(strangers)}, which no pair has as its teacher")
    methods, seeds = _expand(methods), list(seeds)
    wanted = [("teacher", teacher_seed), *((method, seed) for seed in seeds for method in methods)]

    @functools.cache
    def own_recipe(network, base):
        own = recipe_for(base, network)
        built = models.create(network, train_set.num_classes)
        return own.but(precision="fp32" if plain else resolve_precision(own.precision, train_set.device, built))

    tasks = []
    for teacher, student in pairs:
        for method, seed in wanted:
            network, base = (teacher, teacher_recipe or recipe) if method == "teacher" else (student, recipe)
            tasks.append(_Task(teacher, student, method, seed, own_recipe(network, base)))
    grid.run(tasks)
    return grid.results


def _expand(methods: Iterable[str]) -> list[str]:
    """Methods with "all" and "all+..." spelt out, each once; raises ValueError for an unknown one."""
    found = []
    for method in methods:
        first, plus, rest = method.lower().partition("+")
        if first == "all" and plus:
            found += [f"{name}+{rest}" for name in losses.names() if name != rest]
        elif first == "all":
            found += ["alone", *losses.names()]
        else:
            found.append(method.lower())
    for method in set(found) - {"alone"}:
        losses.parse(settings_of(method)[0])
    return list(dict.fromkeys(found))


def settings_of(method: str) -> tuple[str, dict, dict]:
    """(method, options of its loss, weights) of a name with settings: "dcd@alpha=0.25" -> ("dcd", {"alpha": 0.25}, {}).

    Raises:
        ValueError: something behind the @ is not name=value, with a number or true or false as its value.
    """
    name, at, rest = method.partition("@")
    options = {}
    for entry in rest.split(",") if at else ():
        key, _, text = entry.partition("=")
        try:
            options[key.strip()] = json.loads(text)
            if not key.strip() or not isinstance(options[key.strip()], int | float):
                raise ValueError
        except ValueError:
            raise ValueError(
                f'"{entry}" was given in "{method}": write NAME=VALUE with a number, true or false, several parted by '
                "commas, for instance dcd@alpha=0.25,learn_scale=false"
            ) from None
    weights = {name.split("+")[0]: options.pop("weight")} if "weight" in options else {}
    return name, options, weights


@dataclass(frozen=True)
class _Task:
    """One run of the grid; the method of a teacher's own run is "teacher"."""

    teacher: str
    student: str
    method: str
    seed: int
    recipe: Recipe

    @property
    def network(self) -> str:
        return self.teacher if self.method == "teacher" else self.student

    def __str__(self) -> str:
        return f"{self.teacher}-{self.student}-{self.method}-seed{self.seed}"


class _Grid:
    """Works through tasks; holds what they share."""

    def __init__(self, train_set, test_set, dataset, results, teacher_weights, cache, plain):
        self.train_set, self.test_set, self.dataset, self.results = train_set, test_set, dataset, results
        self.teacher_weights, self.cache, self.plain = teacher_weights, cache, plain
        self.teachers: dict[str, nn.Module] = {}
        self.digests: dict[str, str] = {}

    def run(self, tasks: list[_Task]) -> None:
        for name in self.teacher_weights:
            self._load_teacher(name)
        for task in tasks:
            self._check(task)
        impossible = self._impossible(tasks)
        tasks = [task for task in tasks if (task.teacher, task.student, task.method) not in impossible]
        wanted = {task.teacher for task in tasks if task.method not in ("teacher", "alone") and not self._logged(task)}
        # a logged teacher is needed once more where one of its students is missing
        needed = [task.method == "teacher" and task.teacher in wanted for task in tasks]
        todo = [task for task, again in zip(tasks, needed, strict=True) if again or not self._logged(task)]
        before, began, failed = sum(map(self._logged, tasks)), time.monotonic(), []
        print(f"{len(tasks)} runs, {before} of them there already", flush=True)
        while todo:
            waiting = []
            for task in todo:
                if task.method != "teacher" and self._logged(task):  # another process was faster
                    self._check(task)
                    continue
                try:
                    if not self._attempt(task):
                        waiting.append(task)
                        continue
                except NonFiniteLoss as error:
                    if task.method == "teacher":
                        raise
                    failed.append(f"{task}: {error}")
                if task.method == "teacher":
                    for other in tasks:  # students in the logs had this teacher, not one of other weights
                        if other.teacher == task.teacher:
                            self._check(other)
                done = sum(map(self._logged, tasks))
                pace = (time.monotonic() - began) / max(1, done - before)
                left = _duration(pace * (len(tasks) - done)) if before < done < len(tasks) else ""
                print(f"{done} of {len(tasks)} runs done{left} (last: {task})", flush=True)
            if len(waiting) == len(todo):
                time.sleep(1)  # other processes train all that is left
            todo = waiting
        for (teacher, student, method), reason in impossible.items():
            print(f"n/a: {method} for {teacher} to {student}: {reason}")
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(tasks)} runs failed:\n" + "\n".join(failed))

    def _log(self, task: _Task) -> Path:
        return self.results / f"{task}.json"

    def _logged(self, task: _Task) -> bool:
        return self._log(task).exists()

    def _known(self, task: _Task) -> dict:
        """The part of a task's config that is known before it is trained."""
        known = {"network": task.network, "train": self.train_set.digest(), "test": self.test_set.digest()}
        if task.method == "teacher" and task.teacher in self.teacher_weights:
            weights = {"kind": "weights", "weights": self.digests[task.teacher], "precision": task.recipe.precision}
            return weights | known
        method, options, _ = settings_of("alone" if task.method == "teacher" else task.method)
        known |= {"seed": task.seed, "method": method, "recipe": json.loads(json.dumps(asdict(task.recipe)))}
        known["plain"] = self.plain or None  # an entry that only plain runs have
        if options:
            known["options"] = options
        if task.method not in ("teacher", "alone") and task.teacher in self.digests:
            known["teacher"] = self.digests[task.teacher]
        return known

    def _check(self, task: _Task) -> None:
        """Raises ValueError if the task's log is there, but of another config."""
        if self._logged(task):
            stored = json.loads(self._log(task).read_text())["config"]
            if task.method == "teacher" and task.teacher in self.teacher_weights and stored["kind"] == "train":
                return  # it was trained once, and is loaded now: its students' logs hold the digest of its weights
            differing = [key for key, value in self._known(task).items() if stored.get(key) != value]
            if differing:
                raise ValueError(
                    f'"{self._log(task)}" is the log of another config (other {", ".join(differing)}): choose another '
                    "results folder"
                )

    def _impossible(self, tasks: list[_Task]) -> dict[tuple[str, str, str], str]:
        """Why, for the pairs and methods that cannot go together; noted in the results folder, too."""
        found, features = {}, {}
        images = self.train_set.subset(range(len(self.train_set))[:2]).to("cpu")
        for key in dict.fromkeys(
            (task.teacher, task.student, task.method)
            for task in tasks
            if task.method not in ("teacher", "alone") and not self._logged(task)
        ):
            teacher, student, method = key
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                for name in {teacher, student} - set(features):
                    network = models.create(name, images.num_classes, seed=0).eval()
                    features[name] = network.features(images.batch(torch.arange(len(images))))
                try:
                    name, options, weights = settings_of(method)
                    labels = self.train_set.labels.cpu()
                    losses.objective(name, features[student], features[teacher], weights, labels, **options)
                except TypeError as error:  # of an option that the loss does not have
                    raise ValueError(f'"{method}" cannot be built: {error}') from error
                except ValueError as error:
                    found[key] = str(error)
                    note = {"teacher": teacher, "student": student, "method": method, "not_applicable": str(error)}
                    self._write(f"{'-'.join(key)}-not-applicable.json", json.dumps(note, indent=1) + "\n")
        return found

    def _attempt(self, task: _Task) -> bool:
        """Train a task; False if its teacher is missing yet, or another process is at it."""
        if task.method not in ("teacher", "alone") and task.teacher not in self.teachers:
            return False
        with self._claim(task) as mine:
            if mine:
                self._train(task)
            return mine

    @contextlib.contextmanager
    def _claim(self, task: _Task) -> Iterator[bool]:
        """Whether the task's run is this process's own for now."""
        known = self._known(task)
        lock = run_lock(f"{task.network}-{config_hash(known)}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _train(self, task: _Task) -> None:
        sets = (self.train_set, self.test_set)
        if task.method == "teacher" and task.teacher in self.teacher_weights:
            if self._logged(task):
                return
            accuracy, _ = evaluate(self.teachers[task.teacher], self.test_set, precision=task.recipe.precision)
            print(f"{task.teacher}: {accuracy:.2f} % (weights from a file)")
            config = self._known(task) | {"file": Path(self.teacher_weights[task.teacher]).name}
            result = {"accuracy": accuracy, "best_accuracy": accuracy, "history": []}
            result |= {"hardware": runtime.hardware(), "versions": runtime.versions()}
            self._write_log(task, config, result)
            return
        network = models.create(task.network, self.train_set.num_classes, seed=task.seed)
        if task.method in ("teacher", "alone"):
            run = train(network, *sets, task.recipe, task.seed, plain=self.plain)
        else:
            method, options, weights = settings_of(task.method)
            teacher = self.teachers[task.teacher]
            settings = {"weights": weights, "options": options, "cache": self.cache, "plain": self.plain}
            run = distill(network, teacher, *sets, method, task.recipe, task.seed, **settings)
        self._write_log(task, run.config, json.loads((run.run_dir / "result.json").read_text()))
        if task.method == "teacher":
            self._keep(task.teacher, run.model)

    def _load_teacher(self, name: str) -> None:
        network = models.create(name, self.train_set.num_classes, seed=0).to(self.train_set.device)
        network.classes = self.train_set.classes
        self._keep(name, models.load_weights(network, self.teacher_weights[name]).eval())

    def _keep(self, name: str, teacher: nn.Module) -> None:
        self.teachers[name], self.digests[name] = teacher, runtime.digest(teacher.state_dict())

    def _write_log(self, task: _Task, config: dict, result: dict) -> None:
        """Write a run's log; a log of the same config is left as it is, another one's is never overwritten."""
        path = self._log(task)
        if path.exists():
            if json.loads(path.read_text())["config"] != config:
                raise ValueError(f'"{path}" is the log of another config: choose another results folder')
            return
        content = {"dataset": self.dataset, "teacher": task.teacher, "student": task.student, "method": task.method}
        content |= {"seed": task.seed}
        content |= {key: result[key] for key in ("accuracy", "best_accuracy", "hardware", "versions")}
        content |= {"images": [len(self.train_set), len(self.test_set)], "config": config}
        # one epoch a line keeps a log both small and readable
        rows = ",\n  ".join(json.dumps(row) for row in result["history"])
        self._write(path.name, json.dumps(content, indent=1)[:-2] + f',\n "history": [\n  {rows}\n ]\n}}\n')

    def _write(self, name: str, text: str) -> None:
        runtime.write_whole(self.results / name, text)


def _duration(seconds: float) -> str:
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f", about {f'{hours} h ' if hours else ''}{minutes} min left"
