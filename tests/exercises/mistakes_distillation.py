"""Notebook 03: two or more typical wrong answers to each exercise, with words of the hint that each must get."""

import math

import numpy as np
import torch
from scipy.stats import sem


def _minus(first, second):
    return np.subtract(first, second)


def _shrunk(start, steps, learning_rate, weight_decay, momentum, dampening=0.0):
    """PyTorch's own SGD on one number without a gradient."""
    value = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    settings = {"lr": learning_rate, "weight_decay": weight_decay, "momentum": momentum}
    optimizer = torch.optim.SGD([value], **settings)
    # dampening in PyTorch spares the first step, an answer by hand would not: the rate does the same for all of them
    optimizer.param_groups[0]["lr"] *= 1 - dampening
    value.grad = torch.zeros_like(value)
    for _ in range(steps):
        optimizer.step()
    return value.item()


MISTAKES = {
    "03.1": [
        (lambda a, b: (_minus(a, b).mean(), np.sqrt(sem(a) ** 2 + sem(b) ** 2)), "unrelated"),
        (lambda a, b: (_minus(a, b).mean(), sem(_minus(a, b), ddof=0)), "n - 1"),
        (lambda a, b: (_minus(a, b).mean(), _minus(a, b).std(ddof=1)), "error of their mean"),
        (lambda a, b: (_minus(a, b).mean(), _minus(a, b).std()), "divided by n"),
        (lambda a, b: (_minus(b, a).mean(), sem(_minus(a, b))), "sign"),
    ],
    "03.2": [
        (lambda *training: _shrunk(1.0, *training), "the parameter t"),
        (lambda *training: _shrunk(math.e, *training), "scale itself decays"),
        (lambda steps, rate, decay, momentum: math.exp((1 - rate * decay) ** steps), "without momentum"),
        (lambda *training: math.exp(_shrunk(1.0, *training, dampening=training[-1])), "1 - momentum"),
        (lambda steps, rate, decay, momentum: math.exp(1 - steps * rate * decay), "same amount"),
    ],
    "03.3": [
        (lambda student, teacher: 1 + teacher / student, "backward pass"),
        (lambda student, teacher: teacher / student / 3, "extra cost alone"),
        (lambda student, teacher: 1 - 3 * student / (3 * student + teacher), "share of the step"),
        (lambda student, teacher: 1 + teacher / student / 2, "two gradients"),
        (lambda student, teacher: teacher + 3 * student, "in operations"),
    ],
}
