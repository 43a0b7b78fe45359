"""Exercises of notebook 00, the overview."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_utils import runtime
from dcd_utils.exercises.mechanism import Exercise, Mistake

_GUESSING = Exercise(
    number="00.1",
    asks="the loss of knowing nothing",
    cases=tuple(((classes,), math.log(classes)) for classes in (20, 100, 7)),
    mistakes=(
        Mistake(
            lambda classes: 1 / classes,
            "This is the probability that the right class receives. What does cross-entropy make of a probability?",
        ),
        Mistake(
            lambda classes: -math.log(classes),
            "Look at its sign: can a cross-entropy fall below 0?",
        ),
        Mistake(
            math.log2,
            "This is in bits. The course, like PyTorch, counts in nats: which logarithm is that?",
        ),
        Mistake(
            lambda classes: 100 / classes,
            "This is the accuracy of guessing, in percent. The question is about the loss.",
        ),
        Mistake(
            lambda classes: 1 - 1 / classes,
            "This is how often guessing is wrong. Cross-entropy looks at the probability given to the right class.",
        ),
    ),
)


def _batch(size: int, dim: int, noise: float, key: str) -> tuple[Tensor, Tensor]:
    """Student and teacher features that agree in part, with rows of very different lengths."""
    draws = runtime.generator("exercise 00.2", key)
    student = torch.randn(size, dim, generator=draws)
    teacher = student + noise * torch.randn(size, dim, generator=draws)
    lengths = torch.rand(2, size, 1, generator=draws) * 4 + 0.1
    return student * lengths[0], teacher * lengths[1]


def _found(scores: Tensor, dim: int = 1) -> Tensor:
    return (scores.argmax(dim=dim) == torch.arange(len(scores))).float().mean()


def _cosines(student: Tensor, teacher: Tensor) -> Tensor:
    return F.normalize(student, dim=1) @ F.normalize(teacher, dim=1).T


_SHARE_FOUND = Exercise(
    number="00.2",
    asks="the game that DCD plays",
    cases=tuple(
        (batch, _found(_cosines(*batch)))
        for batch in (_batch(12, 3, 0.6, "few"), _batch(40, 5, 0.9, "many"), _batch(25, 2, 0.3, "flat"))
    ),
    mistakes=(
        Mistake(
            lambda student, teacher: _found(student @ teacher.T),
            "These are inner products. Long features then win over similar ones: what makes an inner product a cosine?",
        ),
        Mistake(
            lambda student, teacher: _found(_cosines(student, teacher), dim=0),
            "Here each teacher looks for its student. Along which dimension does a student compare the teachers?",
        ),
        Mistake(
            lambda student, teacher: 100 * _found(_cosines(student, teacher)),
            "This is in percent. A number from 0 to 1 is asked for.",
        ),
        Mistake(
            lambda student, teacher: len(student) * _found(_cosines(student, teacher)),
            "This is how many images, not which share of them.",
        ),
        Mistake(
            lambda student, teacher: _found(-torch.cdist(student, teacher)),
            "This takes the nearest teacher by distance. Cosines ignore how long the features are.",
        ),
        Mistake(
            lambda student, teacher: _cosines(student, teacher).diagonal().mean(),
            "This is how similar students are to their own teachers. How often is that more than to any other?",
        ),
    ),
)

EXERCISES = [_GUESSING, _SHARE_FOUND]
