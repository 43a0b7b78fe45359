"""Experiments: what is to be run, running it, and what came of it."""

from dcd_utils.training.course import course_runs
from dcd_utils.training.grid import reproduce
from dcd_utils.training.profiles import Profile, profile
from dcd_utils.training.published import published
from dcd_utils.training.report import comparison, read_results

__all__ = ["Profile", "comparison", "course_runs", "profile", "published", "read_results", "reproduce"]
