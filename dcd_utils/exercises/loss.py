"""Exercises of notebook 02, the DCD loss."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dcd_utils.exercises.mechanism import Exercise, Mistake

# the cosines of the notebook's batch of four, and scores of another size, so that no answer can be fitted to one shape
_FOUR = torch.tensor(
    [[0.96, 0.60, 0.28, 0.80], [0.28, 0.80, -0.96, -0.60], [-0.28, -0.80, 0.96, 0.60], [0.00, -0.60, 1.00, 0.80]],
    dtype=torch.float64,
)
_THREE = torch.tensor([[3.0, -1.0, 0.5], [2.0, 0.0, -2.0], [-4.0, 1.5, 1.0]], dtype=torch.float64)


def _match(scores: Tensor) -> Tensor:
    return torch.arange(len(scores))


def _row(scores: Tensor) -> Tensor:
    return F.cross_entropy(scores, _match(scores))


def _sigmoid_loss(scores: Tensor) -> Tensor:
    signs = 2 * torch.eye(len(scores), dtype=scores.dtype) - 1
    return -F.logsigmoid(signs * scores).sum() / len(scores)


def _bias_gradient(loss, scores: Tensor) -> Tensor:
    bias = torch.zeros((), dtype=scores.dtype, requires_grad=True)
    return torch.autograd.grad(loss(scores + bias), bias)[0]


_BOTH_WAYS = Exercise(
    number="02.1",
    asks="contrast in both directions",
    cases=tuple(((scores,), (_row(scores) + _row(scores.T)) / 2) for scores in (_FOUR * math.e, _THREE)),
    mistakes=(
        Mistake(
            lambda scores: _row(scores) + _row(scores.T),
            "Both directions are there. For a symmetric score matrix the two are equal, and the answer should equal "
            "them too: does it?",
        ),
        Mistake(
            _row,
            "This is the contrast from student to teacher alone. Which softmax belongs to a teacher that looks for its "
            "student?",
        ),
        Mistake(
            lambda scores: _row(scores.T),
            "This is the contrast from teacher to student alone: one direction is missing.",
        ),
        Mistake(
            lambda scores: (scores.softmax(1).diagonal().mean() + scores.softmax(0).diagonal().mean()) / -2,
            "The probabilities are right. What is done to each of them before the mean is taken?",
        ),
        Mistake(
            lambda scores: -(_row(scores) + _row(scores.T)) / 2,
            "Look at its sign: can a loss of this kind fall below 0?",
        ),
    ),
)


def _mistaken_scale(contrast: float, batch_size: int, gap: float, least: float = 1.0) -> float:
    """The scale that would be needed if a right and a wrong cosine could differ by `gap`."""
    return math.log((batch_size - 1) / (math.exp(contrast) - least)) / gap


_SCALE_NEEDED = Exercise(
    number="02.2",
    asks="the scale that a contrast needs",
    cases=(
        ((0.1, 64), 6.295376575132),
        ((1.0, 64), 3.545531592532),
        ((0.5, 4), 1.148523313676),
        ((0.01, 256), 10.101814605247),
    ),
    mistakes=(
        Mistake(
            lambda contrast, size: _mistaken_scale(contrast, size, gap=1.0),
            "Nearly. This is right for wrong teachers at cosine 0. Can they be pushed further from the student?",
        ),
        Mistake(
            lambda contrast, size: _mistaken_scale(contrast, size, gap=2.0),
            "This puts every wrong teacher at cosine -1. Can all of them be there, for every student at once?",
        ),
        Mistake(
            lambda contrast, size: _mistaken_scale(contrast, size, gap=size / (size - 1), least=0.0),
            "Check it with the definition: in the sum inside the logarithm, the right teacher has a term of its own.",
        ),
        Mistake(
            lambda contrast, size: math.log(1 + (size - 1) * math.exp(-contrast * size / (size - 1))),
            "This is the smallest contrast of a given scale. The question is the other way round.",
        ),
        Mistake(
            lambda contrast, size: math.log(_mistaken_scale(contrast, size, gap=size / (size - 1))),
            "This is the logarithm of what is asked for: the parameter t, not the scale.",
        ),
    ),
)

_SIGMOID_BIAS = Exercise(
    number="02.3",
    asks="the bias's gradient in the sigmoid loss",
    cases=tuple(
        ((scores,), _bias_gradient(_sigmoid_loss, scores)) for scores in (_FOUR * math.e, _THREE, _FOUR * 10 - 5)
    ),
    mistakes=(
        Mistake(
            lambda scores: _bias_gradient(_sigmoid_loss, scores) / len(scores),
            "The form is right, the size is not. By what does the loss divide its sum: by the images, or by the pairs?",
        ),
        Mistake(
            lambda scores: _bias_gradient(_sigmoid_loss, scores) * len(scores),
            "The form is right, the size is not: the loss is a sum over pairs divided by something.",
        ),
        Mistake(
            lambda scores: -_bias_gradient(_sigmoid_loss, scores),
            "Look at its sign. If every score is far too high, the loss falls when the bias falls.",
        ),
        Mistake(
            lambda scores: _bias_gradient(lambda s: -F.logsigmoid(s).sum() / len(s), scores),
            "This treats every pair as a match. The label of a pair off the diagonal differs.",
        ),
        Mistake(
            lambda scores: _bias_gradient(lambda s: -F.logsigmoid(s.diagonal()).mean(), scores),
            "This counts the matching pairs alone: in this loss the pairs off the diagonal speak too.",
        ),
        Mistake(
            lambda scores: _bias_gradient(_row, scores).round(decimals=9),
            "This is the gradient in the softmax loss. The sigmoid decides about each pair on its own.",
        ),
    ),
)

EXERCISES = [_BOTH_WAYS, _SCALE_NEEDED, _SIGMOID_BIAS]
