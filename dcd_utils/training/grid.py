"""A grid of runs (pairs x methods x seeds), one log a run; any number of processes may work on the same grid."""

from __future__ import annotations

import contextlib
import functools
import glob
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import Timeout
from torch import nn

from dcd_utils import losses, models, runtime
from dcd_utils.data import ImageSet
from dcd_utils.training.api import check_method, distill, train
from dcd_utils.training.cache import parse
from dcd_utils.training.loop import NonFiniteLoss, evaluate, resolve_precision
from dcd_utils.training.recipe import Recipe, recipe_for
from dcd_utils.training.runs import FORMAT, config_hash, differences, file_stem, read_log, run_lock


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
    left to it, and taken over if that process dies. A method that cannot work with a pair is noted, and so is a run
    that stops being finite, which is not tried again; the others are trained all the same.

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
        ValueError: an unknown network or method, settings that a method cannot have, weights that do not fit, or a
            results folder with a log of another config; nothing is then trained, unless only the teacher's weights
            tell the difference.
        RuntimeError: some students could not be trained, or their losses stopped being finite; all others are trained.
    """
    parse(cache)
    if Path(results).exists() and not Path(results).is_dir():
        raise ValueError(f'"{results}" is a file: name a folder for the logs')
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
    for method in dict.fromkeys(found):
        if method != "alone":
            losses.parse(settings_of(method)[0])
    return list(dict.fromkeys(map(_spelt, found)))


def _spelt(method: str) -> str:
    """The one spelling of a method with settings: "dcd@alpha=0.50" is "dcd@alpha=0.5"."""
    name, at, _ = method.partition("@")
    _, options, weights = settings_of(method)
    values = [*options.items(), *(("weight", weight) for weight in weights.values())]
    whole = {key: int(value) for key, value in values if not isinstance(value, bool) and value == int(value)}
    return name + at + ",".join(f"{key}={json.dumps(whole.get(key, value))}" for key, value in values)


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
    if any(weight < 0 for weight in weights.values()):
        raise ValueError(f'"{method}" was given: a weight is not negative')
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

    @property
    def key(self) -> tuple[str, str, str]:
        return self.teacher, self.student, self.method


class _CannotTrain(RuntimeError):
    """One run of a grid cannot be trained; the others can."""


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
        self._check_teachers(tasks)
        impossible = self._impossible(tasks)
        tasks = [task for task in tasks if task.key not in impossible]
        failed = {task: reason for task in tasks if (reason := self._failure(task))}
        left = [task for task in tasks if task not in failed and not self._logged(task)]
        wanted = {task.teacher for task in left if task.method not in ("teacher", "alone")}
        # a logged teacher is needed once more where one of its students is missing
        todo = [task for task in tasks if task in left or (task.method == "teacher" and task.teacher in wanted)]
        before, began = sum(map(self._logged, tasks)), time.monotonic()
        print(f"{len(tasks)} runs, {before} of them there already", flush=True)
        while todo:
            waiting = []
            for task in todo:
                if task.method != "teacher" and self._logged(task):  # another process was faster
                    self._check(task)
                    continue
                if reason := self._failure(task):
                    failed[task] = reason
                    continue
                try:
                    if not self._attempt(task):
                        waiting.append(task)
                        continue
                except (NonFiniteLoss, _CannotTrain) as error:
                    if task.method == "teacher":
                        raise
                    failed[task] = str(error)
                    if isinstance(error, NonFiniteLoss):
                        self._note_failure(task, str(error))
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
            reasons = "\n".join(f"{task}: {reason}" for task, reason in failed.items())
            raise RuntimeError(f"{len(failed)} of {len(tasks)} runs failed:\n{reasons}")

    def _log(self, task: _Task) -> Path:
        return self.results / f"{file_stem(str(task))}.json"

    def _note(self, task: _Task) -> Path:
        return self.results / f"{file_stem(str(task))}-failed.json"

    def _failure(self, task: _Task) -> str | None:
        """Why a task of this very config failed before; None: it did not, or is to be tried again."""
        if not self._note(task).exists() or self._logged(task):
            return None
        note = read_log(self._note(task))
        if differing := self._differing(task, note["config"]):
            raise ValueError(
                f'"{self._note(task)}" is of another config ({differing}): choose another results folder, or delete it'
            )
        return f"{note['failed']} (as before: delete {self._note(task)} to try again)"

    def _note_failure(self, task: _Task, reason: str) -> None:
        note = {"teacher": task.teacher, "student": task.student, "method": task.method, "seed": task.seed}
        note |= {"failed": reason, "config": self._known(task)}
        self._write(self._note(task).name, json.dumps(note, indent=1) + "\n")

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
        known["format"] = FORMAT
        maps = method != "alone" and any(losses.METHODS[part].reads == "maps" for part in losses.parse(method))
        stored = None if task.method in ("teacher", "alone") or maps or self.plain else parse(self.cache)[1]
        known["stored_answers"] = stored  # an entry that only such runs have
        known["plain"] = self.plain or None  # an entry that only plain runs have
        if options:
            known["options"] = options
        if task.method not in ("teacher", "alone") and task.teacher in self.digests:
            known["teacher"] = self.digests[task.teacher]
        return known

    def _check(self, task: _Task) -> None:
        """Raises ValueError if the task's log is there, but of another config."""
        if self._logged(task):
            stored = read_log(self._log(task))["config"]
            if task.method == "teacher" and task.teacher in self.teacher_weights and stored["kind"] == "train":
                return  # it was trained once, and is loaded now: its students' logs hold the digest of its weights
            if differing := self._differing(task, stored):
                raise ValueError(
                    f'"{self._log(task)}" is the log of another config ({differing}): choose another results folder'
                )

    def _check_teachers(self, tasks: list[_Task]) -> None:
        """Raises ValueError if a teacher is to be trained for students that lie beside another one's."""
        taught = {(task.teacher, task.student) for task in tasks if task.method not in ("teacher", "alone")}
        for task in tasks:
            if task.method == "teacher" and (task.teacher, task.student) in taught and not self._logged(task):
                start = glob.escape(file_stem(f"{task.teacher}-{task.student}-"))
                names = [path.name.removeprefix(start) for path in self.results.glob(f"{start}*-seed*.json")]
                if any(name.startswith("teacher-") for name in names) and not all(
                    name.startswith(("teacher-", "alone-")) for name in names
                ):
                    raise ValueError(
                        f'"{self.results}" holds students of a teacher of another seed than {task.seed}: choose '
                        "another results folder"
                    )

    def _differing(self, task: _Task, stored: dict) -> str:
        """In what a stored config is not the task's, in words; empty: in nothing."""
        known = self._known(task)
        stored = {key: stored.get(key) for key in known}
        return differences(stored, known) if stored != known else ""

    def _impossible(self, tasks: list[_Task]) -> dict[tuple[str, str, str], str]:
        """Why, for the pairs and methods that cannot go together; noted in the results folder, too.

        Raises:
            ValueError: a method could work with the pair, but not with the settings that it was given.
        """
        found, networks = {}, {}
        images = self.train_set.to("cpu")
        for task in {
            task.key: task for task in tasks if task.method not in ("teacher", "alone") and not self._logged(task)
        }.values():
            for name in {task.teacher, task.student} - set(networks):
                networks[name] = models.create(name, images.num_classes, seed=0)
            name, options, weights = settings_of(task.method)
            pair, size = (networks[task.student], networks[task.teacher]), task.recipe.batch_size
            note = self.results / f"{file_stem('-'.join(task.key))}-not-applicable.json"
            try:
                check_method(*pair, images, name, size)
            except ValueError as error:
                found[task.key] = str(error)
                content = dict(zip(("teacher", "student", "method"), task.key, strict=True))
                self._write(note.name, json.dumps(content | {"not_applicable": str(error)}, indent=1) + "\n")
                continue
            note.unlink(missing_ok=True)  # of an earlier version of the method
            if options:
                check_method(*pair, images, name, size, weights, options)
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
            try:
                run = distill(network, teacher, *sets, method, task.recipe, task.seed, **settings)
            except ValueError as error:
                raise _CannotTrain(str(error)) from error
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
            if (stored := read_log(path)["config"]) != config:
                raise ValueError(
                    f'"{path}" is the log of another config ({differences(stored, config)}): choose another results '
                    "folder"
                )
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
