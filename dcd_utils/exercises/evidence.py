"""Exercises of notebook 07, what the methods reach and how sure that is."""

import numpy as np
from scipy.stats import norm, sem, t

from dcd_utils.exercises.mechanism import Exercise


def _accuracies(errors: float, seeds: int = 3, between_seeds: float = 2.0):
    """Accuracies of two methods whose paired difference is 1, or -1: so many standard errors away from 0."""
    rng = np.random.default_rng(seeds)
    second, noise = 70 + between_seeds * rng.normal(size=seeds), rng.normal(size=seeds)
    noise = (noise - noise.mean()) / sem(noise)
    return second + (errors + noise) / abs(errors), second


def _outside(a, b, error=None, quantile=None):
    """Whether 0 lies outside the interval: the standard error times the quantile of Student's t, if none is given."""
    return bool(abs(np.mean(a - b)) > (error or sem(a - b)) * (quantile or t.ppf(0.975, len(a) - 1)))


# The quantile for 3 seeds is 4.30, mistakes make 1.96, 2.15, 2.48, 2.92, 3.18, 3.51, 7.45, 9.92 of it: cases between
_DIFFERENCES = [_accuracies(errors) for errors in (-0.5, 2.05, -2.3, 2.7, 3.05, -3.35, 3.8, -5.5, 5.5, 8.5, 20.0)]
_DIFFERENCES += [_accuracies(2.1, seeds=10), _accuracies(2.4, seeds=10), _accuracies(20.0, between_seeds=0.05)]
NOISE = Exercise("07.1 A difference or noise?", _DIFFERENCES).answers(
    _outside,
    lambda a, b: _outside(a, b, quantile=norm.ppf(0.975)),
    "1.96 belongs to a spread that is known. A few seeds only estimate it: which distribution allows for that?",
    lambda a, b: _outside(a, b, quantile=t.ppf(0.975, len(a))),
    "Nearly. The mean of the differences is estimated from them too: how many degrees of freedom are left?",
    lambda a, b: _outside(a, b, error=np.std(a - b, ddof=1)),
    "This is the interval of a single difference. How much narrower is that of their mean?",
    lambda a, b: _outside(a, b, error=np.hypot(sem(a), sem(b))),
    "This takes the runs for unrelated. Under the same seed, most of what moves one method moves the other too.",
    lambda a, b: _outside(a, b, quantile=t.ppf(0.95, len(a) - 1)),
    "With this quantile, 5 % lie above it and 5 % below its negative. Both ends together should hold 5 %.",
    lambda a, b: _outside(a, b, error=sem(a - b, ddof=0)), "Close: with few seeds, dividing by n or n - 1 matters.",
    lambda a, b: bool(np.mean(a - b) > 0) and _outside(a, b), "What if the whole interval lies below 0?",
    lambda a, b: not _outside(a, b), "The other way round: True is for an interval that does not contain 0.")
