"""Training: recipes, the loop, and runs that are found again by their config."""

from dcd_utils.training.api import check_method, distill, train
from dcd_utils.training.batches import batches
from dcd_utils.training.cache import CacheDoesNotFit, CachedTeacher
from dcd_utils.training.course import course_runs
from dcd_utils.training.grid import reproduce
from dcd_utils.training.loop import FrozenTeacher, NonFiniteLoss, evaluate, fit, no_teacher, train_epoch
from dcd_utils.training.profiles import Profile, profile
from dcd_utils.training.published import published
from dcd_utils.training.recipe import PAPER, QUICK, QUICK_TEACHER, Recipe, recipe_for
from dcd_utils.training.report import comparison, method_order, read_results, report
from dcd_utils.training.runs import Run, RunBusy

__all__ = [
    "PAPER",
    "QUICK",
    "QUICK_TEACHER",
    "CacheDoesNotFit",
    "CachedTeacher",
    "FrozenTeacher",
    "NonFiniteLoss",
    "Profile",
    "Recipe",
    "Run",
    "RunBusy",
    "batches",
    "check_method",
    "comparison",
    "course_runs",
    "distill",
    "evaluate",
    "fit",
    "method_order",
    "no_teacher",
    "profile",
    "published",
    "read_results",
    "recipe_for",
    "report",
    "reproduce",
    "train",
    "train_epoch",
]
