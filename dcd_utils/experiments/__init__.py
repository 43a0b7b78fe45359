"""Experiments: what is to be run, running it, and what came of it, beside what was published."""

from dcd_utils.experiments.export import Exported, export
from dcd_utils.experiments.grid import reproduce
from dcd_utils.experiments.methods import KD_AS_PARTNER, method_order, title
from dcd_utils.experiments.profiles import Profile, course_runs, profile
from dcd_utils.experiments.published import published
from dcd_utils.experiments.report import comparison, report
from dcd_utils.experiments.scorecard import scorecard, scorecard_table
from dcd_utils.experiments.tables import Paired, gains, paired, read_results

__all__ = [
    "KD_AS_PARTNER", "Exported", "Paired", "Profile", "comparison", "course_runs", "export", "gains", "method_order",
    "paired", "profile", "published", "read_results", "report", "reproduce", "scorecard", "scorecard_table", "title",
]
