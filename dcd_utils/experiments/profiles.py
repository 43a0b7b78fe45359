"""The profiles: quick (embedded images, minutes on a CPU); full and imagenet (the paper's recipes)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dcd_utils import data
from dcd_utils.data import ImageSet
from dcd_utils.experiments.methods import spelt_out
from dcd_utils.experiments.plan import Plan, Task, work_through
from dcd_utils.training import IMAGENET, PAPER, QUICK, QUICK_TEACHER, Execution, Recipe
from dcd_utils.training.recipe import USUAL
from dcd_utils.training.runs import Run


@dataclass(frozen=True)
class Profile:
    """What a notebook trains: `data.load`'s arguments, two networks by name, a recipe and a seed for the one teacher, a
    recipe and seeds for its students, how many test images (points) a t-SNE or UMAP picture shows, and whether the
    runs that come with the course are left aside (retrain), and how all is computed."""

    name: str
    dataset: str
    root: str | os.PathLike | None
    teacher: str
    student: str
    teacher_recipe: Recipe
    recipe: Recipe
    teacher_seed: int
    seeds: tuple[int, ...]
    points: int
    retrain: bool = False
    execution: Execution = USUAL

    def load(self, **options) -> tuple[ImageSet, ImageSet]:
        """Return (train, test) of the profile's data set; options as in `data.load`."""
        return data.load(self.dataset, self.root, **options)


# the quick settings were chosen on other images, with seeds of 100 and more
_PROFILES = {
    "quick": Profile("quick", "shapes", None, "resnet20", "resnet8", QUICK_TEACHER, QUICK, 0, (2, 3, 4, 5, 6), 1000),
    "full": Profile("full", "cifar100", None, "wrn_40_2", "wrn_16_2", PAPER, PAPER, 0, (0, 1, 2), 5000),
    "imagenet": Profile("imagenet", "imagenet", None, "torchvision/resnet34", "torchvision/resnet18", IMAGENET,
                        IMAGENET, 0, (0,), 5000),
}


def profile(
    name: str = "quick", dataset: str | None = None, root: str | os.PathLike | None = None, teacher: str | None = None,
    student: str | None = None, epochs: int | None = None, seeds: tuple[int, ...] | None = None, retrain: bool = False,
) -> Profile:
    """Return the named profile with some of its choices replaced; None leaves a choice as it is.

    Other epochs than the profile's hold for teacher and students alike, along a single cycle (of the quick recipe, or
    of ImageNet's batch and decay): the milestones of "steps" would lie elsewhere.

    Raises:
        ValueError: no profile of that name.
    """
    if name not in _PROFILES:
        raise ValueError(f'profile "{name}" does not exist: choose one of {", ".join(_PROFILES)}')
    chosen = _PROFILES[name]
    changes = {"dataset": dataset, "root": root, "teacher": teacher, "student": student, "retrain": retrain}
    changes["seeds"] = tuple(seeds) if seeds is not None else None
    if epochs is not None and not epochs == chosen.recipe.epochs == chosen.teacher_recipe.epochs:
        short = IMAGENET.but(schedule="one_cycle", milestones=()) if name == "imagenet" else QUICK
        changes |= dict.fromkeys(("teacher_recipe", "recipe"), short.but(epochs=epochs))
    return replace(chosen, **{key: value for key, value in changes.items() if value is not None})


def course_runs(
    profile: Profile, methods: Iterable[str] = ("alone", "kd", "dcd", "dcd+kd"), train: ImageSet | None = None,
    test: ImageSet | None = None,
) -> tuple[Run, dict[tuple[str, int], Run]]:
    """Return (the teacher's run, {(method, seed): the student's run}) of a profile; a run that exists is loaded, one
    that another process is training is left to it and loaded at the end.

    Under one seed every student starts from the same weights and sees the same batches and views, so methods can be
    compared pair by pair.

    Args:
        methods: as `distill` takes them; "alone" learns from the labels only.
        train, test: the profile's image sets if they are loaded already.

    Raises:
        ValueError: an unknown method; train without test.
    """
    if (train is None) != (test is None):
        raise ValueError("only one of train and test was given: pass both, or neither to load the profile's own")
    methods = spelt_out(methods)  # a misspelt method fails here, not after the teacher's training
    if train is None:
        train, test = profile.load()
    plan = Plan(train, test, retrain=profile.retrain, execution=profile.execution)
    pair = (profile.teacher, profile.student)
    choices = (profile.seeds, profile.recipe, profile.teacher_recipe, profile.teacher_seed)
    (teacher,), students = plan.tasks([pair], methods, *choices)
    runs: dict[Task, Run] = {}

    def run(task: Task, wait: bool) -> Run:
        return plan.run(task, runs[task.teacher].model if task.teacher else None, wait)

    work_through([teacher, *students], run, runs)
    return runs[teacher], {(task.method, task.seed): runs[task] for task in students}
