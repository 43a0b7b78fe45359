"""The one planner of runs: teachers first, then students; any number of processes may work on the same plan."""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from dcd_utils import models
from dcd_utils.data import ImageSet
from dcd_utils.experiments.methods import settings_of
from dcd_utils.training import api
from dcd_utils.training.config import config
from dcd_utils.training.recipe import USUAL, Execution, Recipe, recipe_for, resolve_precision
from dcd_utils.training.runs import Run, RunBusy
from dcd_utils.training.teacher import check_cache


@dataclass(frozen=True)
class Task:
    """One run that is wanted: a teacher from a file (method "weights") or fine-tuned from one ("tuned"), a network that
    learns "alone", or a student of a teacher (what `distill` takes, with settings behind an @)."""

    network: str
    method: str
    seed: int
    recipe: Recipe
    teacher: Task | None = None

    def __str__(self) -> str:
        teacher = f"{self.teacher.network}-" if self.teacher else ""
        return f"{teacher}{self.network}-{self.method}-seed{self.seed}"


class Plan:
    """Trains tasks on two image sets; `cache`, `retrain` and `execution` are `distill`'s, and `facts` holds the
    `network_facts` of the teachers that are known."""

    def __init__(
        self, train: ImageSet, test: ImageSet, cache: str = "auto", retrain: bool = False, execution: Execution = USUAL
    ):
        check_cache(cache)
        self.train, self.test, self.cache = train, test, cache
        self.ways = {"retrain": retrain, "execution": execution}
        self.facts: dict[Task, dict] = {}
        self.begun: dict[str, tuple[nn.Module, str]] = {}  # teachers that start from weights: "weights" or "tuned"

    def tasks(
        self, pairs: Iterable[tuple[str, str]], methods: Iterable[str], seeds: Iterable[int], recipe: Recipe,
        teacher_recipe: Recipe, teacher_seed: int,
    ) -> tuple[list[Task], list[Task]]:
        """Return the teachers and the students of a grid; each network has its recipe as `recipe_for` says.

        Raises:
            ValueError: an unknown network.
        """
        teachers, students = {}, {}  # each once, in order
        for teacher, student in pairs:
            origin, learning = self.begun.get(teacher, (None, "alone"))[1], self._recipe(teacher, teacher_recipe)
            learning = fine_tuning(learning) if origin == "tuned" else learning
            teachers[task := Task(teacher, origin, teacher_seed, learning)] = None
            learning = self._recipe(student, recipe)
            for seed, method in itertools.product(seeds, methods):
                students[Task(student, method, seed, learning, None if method == "alone" else task)] = None
        return [*teachers], [*students]

    def _recipe(self, network: str, recipe: Recipe) -> Recipe:
        recipe = recipe_for(recipe, network)
        built = models.create(network, self.train.num_classes)
        return recipe.but(precision=resolve_precision(recipe.precision, self.train.device, built))

    def network(self, task: Task) -> nn.Module:
        """Return the network of a task before training."""
        if task.method in ("weights", "tuned"):
            return copy.deepcopy(self.begun[task.network][0])
        return models.create(task.network, self.train.num_classes, seed=task.seed)

    def config(self, task: Task) -> dict:
        """Return the config of a task; of a student, with the facts of its teacher."""
        if task.teacher is None:
            return config(self.network(task), self.train, self.test, task.recipe, task.seed)
        parts, choices = self._distilling(task, self.network(task.teacher))
        return api.prepare(*parts, **choices, teacher_facts=self.facts.get(task.teacher))[1]

    def run(self, task: Task, teacher: nn.Module | None, wait: bool = True) -> Run:
        """Train or load one task, a student with its teacher."""
        if task.teacher is None:
            parts = (self.network(task), self.train, self.test, task.recipe, task.seed)
            return api.train(*parts, wait=wait, **self.ways)
        parts, choices = self._distilling(task, teacher)
        return api.distill(*parts, **choices, cache=self.cache, wait=wait, **self.ways)

    def _distilling(self, task: Task, teacher: nn.Module) -> tuple[tuple, dict]:
        method, options, weights = settings_of(task.method)
        parts = (self.network(task), teacher, self.train, self.test, method, task.recipe, task.seed)
        return parts, {"weights": weights, "options": options}


def begin_teacher(
    name: str, num_classes: int, seed: int, weights: str | os.PathLike | None
) -> tuple[models.Network, bool]:
    """Return a teacher with weights of a file, of a run or of its library ("pretrained"), and whether it knows these
    classes; if not, its classifier is fresh, and it has to be fine-tuned. None: all of it is fresh, and to be trained.

    Raises:
        ValueError, FileNotFoundError: as `models.create` and `models.load_weights` do.
    """
    pretrained = weights == "pretrained"  # for the 1000 classes of ImageNet
    network, knows = models.create(name, num_classes, seed, pretrained), not pretrained or num_classes == 1000
    if weights is None:
        return network, False
    if not pretrained:
        try:
            models.load_weights(network, weights)
        except ValueError:
            models.load_weights(network, weights, replace_head=True)
            knows = False
    if not knows:
        print(f"{name}: its classifier is fresh, so it is fine-tuned first", flush=True)
    return network, knows


def fine_tuning(recipe: Recipe) -> Recipe:
    """The recipe for weights that were learned elsewhere: a tenth of the rate, so that they last."""
    return recipe.but(learning_rate=recipe.learning_rate / 10)


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
