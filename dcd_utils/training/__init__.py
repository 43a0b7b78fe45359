"""Training: recipes, the loop, and runs that are found again by their config."""

from dcd_utils.training.api import check_method, distill, train
from dcd_utils.training.loop import Job, NonFiniteLoss, batches, evaluate, train_epoch
from dcd_utils.training.recipe import PAPER, QUICK, QUICK_TEACHER, Recipe, recipe_for
from dcd_utils.training.runs import Run, RunBusy, RunFailed
from dcd_utils.training.teacher import FrozenTeacher, NoTeacher, StoredTeacher

__all__ = [
    "PAPER", "QUICK", "QUICK_TEACHER", "FrozenTeacher", "Job", "NoTeacher", "NonFiniteLoss", "Recipe", "Run", "RunBusy",
    "RunFailed", "StoredTeacher", "batches", "check_method", "distill", "evaluate", "recipe_for", "train",
    "train_epoch",
]
