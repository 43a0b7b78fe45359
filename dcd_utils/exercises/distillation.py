"""Exercises of notebook 03, distilling students."""

import math

import numpy as np
from scipy.stats import sem

from dcd_utils.exercises.mechanism import Exercise

# accuracies of two methods under the same seeds, which differ more than the methods do; either may be ahead
_ACCURACIES = [
    ([57.1, 54.8, 58.9, 55.6, 60.2], [53.0, 51.9, 54.4, 51.0, 55.7]),
    ([74.92, 75.31, 74.60], [73.26, 76.90, 73.35]), ([30.0, 36.0], [31.0, 39.0])]
PAIRED = Exercise("03.1 Paired differences", _ACCURACIES).answers(
    lambda a, b: (np.mean(np.subtract(a, b)), sem(np.subtract(a, b))),
    lambda a, b: (np.mean(np.subtract(a, b)), math.hypot(sem(a), sem(b))),
    "The mean is right. The error is the one for *unrelated* runs: which list of numbers should it be computed from?",
    lambda a, b: (np.mean(np.subtract(a, b)), sem(np.subtract(a, b), ddof=0)),
    "Close: with few seeds it matters whether the variance is divided by n or by n - 1.",
    lambda a, b: (np.mean(np.subtract(a, b)), np.std(np.subtract(a, b), ddof=1)),
    "The second number is the spread of one difference. How much smaller is the error of their mean?",
    lambda a, b: (np.mean(np.subtract(a, b)), np.std(np.subtract(a, b))),
    "The second number is a spread, and one divided by n. Asked for is the standard error of the mean.",
    lambda a, b: (np.mean(np.subtract(b, a)), sem(np.subtract(a, b))),
    "Look at the sign: positive should mean that the first method is better.",
    lambda a, b: (np.mean(np.abs(np.subtract(a, b))), sem(np.abs(np.subtract(a, b)))),
    "These are sizes of differences. Where the second method is ahead, the difference is negative.")


def _log_scale(steps: int, learning_rate: float, weight_decay: float, momentum: float, start: float = 1.0) -> float:
    velocity, value = 0.0, start
    for _ in range(steps):
        velocity = momentum * velocity + weight_decay * value
        value -= learning_rate * velocity
    return value


_SETTINGS = [(945, 0.05, 5e-4, 0.9), (2000, 0.1, 1e-3, 0.0), (300, 0.1, 5e-3, 0.5), (3, 0.2, 0.5, 0.5)]  # few steps
DECAYED = Exercise("03.2 The scale under weight decay alone", _SETTINGS).answers(
    lambda *case: math.exp(_log_scale(*case)),
    _log_scale, "This is the parameter t. What is the scale that belongs to it?",
    lambda *case: _log_scale(*case, start=math.e), "Here the scale itself decays. What does the optimiser shrink?",
    lambda steps, rate, decay, momentum: math.exp(_log_scale(steps, rate, decay, 0.0)),
    "Right without momentum. The velocity keeps a part of what it was in the step before.",
    lambda steps, rate, decay, momentum: math.exp(_log_scale(steps, rate * (1 - momentum), decay, momentum)),
    "PyTorch's velocity is momentum * velocity + gradient: the gradient is not multiplied by 1 - momentum.",
    lambda steps, rate, decay, momentum: math.exp(1 - steps * rate * decay),
    "This takes the same amount off t in every step. Decay is in proportion to what is left of t.")

# operations of one forward pass of a student and a teacher
PRICE = Exercise("03.3 What the teacher costs", [(12.51, 40.82), (101.12, 327.61), (177.07, 1083.04)]).answers(
    lambda s, t: (3 * s + t) / (3 * s),
    lambda s, t: (s + t) / s, "This treats both networks alike. Which of the two needs a backward pass?",
    lambda s, t: t / (3 * s), "This is the extra cost alone. How many times as long does the whole step take?",
    lambda s, t: t / (3 * s + t), "This is the teacher's share. Compare the step with one of the student alone.",
    lambda s, t: (2 * s + t) / (2 * s),
    "A backward pass computes two gradients for each layer, of its input and of its weights: count the passes again.",
    lambda s, t: 3 * s + t, "This is a step's cost in operations. Compare it with that of a step without a teacher.")
