"""Training: recipes, the loop, and runs that are found again by their config."""

from dcd_utils.training.api import check_method, distill, train
from dcd_utils.training.loop import Job, NonFiniteLoss, batches, evaluate, train_epoch
from dcd_utils.training.recipe import IMAGENET, PAPER, QUICK, QUICK_TEACHER, Execution, Recipe, recipe_for
from dcd_utils.training.runs import Run, RunBusy
from dcd_utils.training.teacher import FrozenTeacher, NoTeacher, StoredTeacher

__all__ = [
    "IMAGENET", "PAPER", "QUICK", "QUICK_TEACHER", "Execution", "FrozenTeacher", "Job", "NoTeacher", "NonFiniteLoss",
    "Recipe", "Run", "RunBusy", "StoredTeacher", "batches", "check_method", "distill", "evaluate",
    "recipe_for", "train", "train_epoch",
]
