"""Exercises of notebook 03, distilling students."""

from __future__ import annotations

import math

import numpy as np

from dcd_utils.exercises.mechanism import Exercise, Mistake

# accuracies of two methods under the same seeds; the seeds differ more than the methods do
_PAIRS = (
    ([57.1, 54.8, 58.9, 55.6, 60.2], [53.0, 51.9, 54.4, 51.0, 55.7]),
    ([74.92, 75.31, 74.60], [73.26, 73.90, 73.35]),
    ([30.0, 36.0], [29.0, 34.0]),
)


def _difference(a, b) -> np.ndarray:
    return np.asarray(a, dtype=float) - np.asarray(b, dtype=float)


def _error(values, ddof: int = 1) -> float:
    return np.std(values, ddof=ddof) / math.sqrt(len(values))


_PAIRED = Exercise(
    number="03.1",
    asks="paired difference and its standard error",
    cases=tuple((pair, (_difference(*pair).mean(), _error(_difference(*pair)))) for pair in _PAIRS),
    mistakes=(
        Mistake(
            lambda a, b: (_difference(a, b).mean(), math.hypot(_error(a), _error(b))),
            "The mean is right. The error is the one for *unrelated* runs: which list of numbers should it "
            "be computed from?",
        ),
        Mistake(
            lambda a, b: (_difference(a, b).mean(), _error(_difference(a, b), ddof=0)),
            "Close: with few seeds it matters whether the variance is divided by n or by n - 1.",
        ),
        Mistake(
            lambda a, b: (_difference(a, b).mean(), np.std(_difference(a, b), ddof=1)),
            "The second number is the spread of one difference. How much smaller is the error of their mean?",
        ),
        Mistake(
            lambda a, b: (_difference(a, b).mean(), np.std(_difference(a, b))),
            "The second number is a spread, and one divided by n. Asked for is the standard error of the mean.",
        ),
        Mistake(
            lambda a, b: (_difference(b, a).mean(), _error(_difference(a, b))),
            "Look at the sign: positive should mean that the first method is better.",
        ),
    ),
)

_TRAININGS = ((945, 0.05, 5e-4, 0.9), (2000, 0.1, 1e-3, 0.0), (300, 0.1, 5e-3, 0.5))


def _log_scale(steps: int, learning_rate: float, weight_decay: float, momentum: float, start: float = 1.0) -> float:
    velocity, value = 0.0, start
    for _ in range(steps):
        velocity = momentum * velocity + weight_decay * value
        value -= learning_rate * velocity
    return value


_DECAYED = Exercise(
    number="03.2",
    asks="the scale under weight decay alone",
    cases=tuple((case, math.exp(_log_scale(*case))) for case in _TRAININGS),
    mistakes=(
        Mistake(
            _log_scale,
            "This is the parameter t. What is the scale that belongs to it?",
        ),
        Mistake(
            lambda *case: _log_scale(*case, start=math.e),
            "Here the scale itself decays, towards 0. Which number does the optimiser hold and shrink?",
        ),
        Mistake(
            lambda *case: math.exp(_log_scale(*case[:3], momentum=0.0)),
            "Right without momentum. The velocity keeps a part of what it was in the step before.",
        ),
        Mistake(
            lambda steps, rate, decay, momentum: math.exp(_log_scale(steps, rate * (1 - momentum), decay, momentum)),
            "PyTorch's velocity is momentum * velocity + gradient: the gradient is not multiplied by 1 - momentum.",
        ),
        Mistake(
            lambda steps, rate, decay, momentum: math.exp(1 - steps * rate * decay),
            "This takes the same amount off t in every step. Decay is in proportion to what is left of t.",
        ),
    ),
)

_COSTS = ((12.51, 40.82), (101.12, 327.61), (177.07, 1083.04))

_PRICE = Exercise(
    number="03.3",
    asks="what the teacher costs",
    cases=tuple(((student, teacher), (3 * student + teacher) / (3 * student)) for student, teacher in _COSTS),
    mistakes=(
        Mistake(
            lambda student, teacher: (student + teacher) / student,
            "This treats both networks alike. Which of the two needs a backward pass?",
        ),
        Mistake(
            lambda student, teacher: teacher / (3 * student),
            "This is the extra cost alone. The question is how many times as long the whole step takes.",
        ),
        Mistake(
            lambda student, teacher: teacher / (3 * student + teacher),
            "This is the teacher's share of the step. The question compares it with a step of the student alone.",
        ),
        Mistake(
            lambda student, teacher: (2 * student + teacher) / (2 * student),
            "A backward pass computes two gradients for each layer, of its input and of its weights: count "
            "the passes again.",
        ),
        Mistake(
            lambda student, teacher: 3 * student + teacher,
            "This is the cost of a step in operations. Compare it with that of a step without a teacher.",
        ),
    ),
)

EXERCISES = [_PAIRED, _DECAYED, _PRICE]
