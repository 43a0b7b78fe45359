"""Two profiles of the course: quick (embedded images, minutes on a CPU) and full (the paper's recipe on CIFAR-100)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from dcd_utils import data
from dcd_utils.training import PAPER, QUICK, QUICK_TEACHER, Recipe


@dataclass(frozen=True)
class Profile:
    """What a notebook trains: `data.load`'s arguments, two networks by name, a recipe and a seed for the one teacher, a
    recipe and seeds for its students, how many test images (points) a t-SNE or UMAP picture shows, and whether the
    runs that come with the course are left aside (retrain)."""

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

    def load(self, **options) -> tuple[data.ImageSet, data.ImageSet]:
        """Return (train, test) of the profile's data set; options as in `data.load`."""
        return data.load(self.dataset, self.root, **options)


# the quick settings were chosen on other images, with seeds of 100 and more
_PROFILES = {
    "quick": Profile("quick", "shapes", None, "resnet20", "resnet8", QUICK_TEACHER, QUICK, 0, (2, 3, 4, 5, 6), 1000),
    "full": Profile("full", "cifar100", None, "wrn_40_2", "wrn_16_2", PAPER, PAPER, 0, (0, 1, 2), 5000),
}


def profile(
    name: str = "quick", dataset: str | None = None, root: str | os.PathLike | None = None, teacher: str | None = None,
    student: str | None = None, epochs: int | None = None, seeds: tuple[int, ...] | None = None,
    retrain: bool = False,
) -> Profile:
    """Return the named profile with some of its choices replaced; None leaves a choice as it is.

    Other epochs than the profile's hold for teacher and students alike, along the quick recipe's single cycle: the
    milestones of "steps" would lie elsewhere.

    Raises:
        ValueError: no profile of that name.
    """
    if name not in _PROFILES:
        raise ValueError(f'profile "{name}" does not exist: choose one of {", ".join(_PROFILES)}')
    chosen = _PROFILES[name]
    changes = {"dataset": dataset, "root": root, "teacher": teacher, "student": student, "retrain": retrain}
    changes["seeds"] = tuple(seeds) if seeds is not None else None
    if epochs is not None and not epochs == chosen.recipe.epochs == chosen.teacher_recipe.epochs:
        changes |= dict.fromkeys(("teacher_recipe", "recipe"), QUICK.but(epochs=epochs))
    return replace(chosen, **{key: value for key, value in changes.items() if value is not None})
